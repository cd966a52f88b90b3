"""The parts of a vision-language model: which parameters are whose, which of them train, how fast.

Names tell: all under a module called visual or vision_* is the tower, and in it, or beside it, what is called
merger, projector or connector joins it to the language model, which is the rest. Freezing the tower freezes
all that stands under it, the merger of Qwen models too; `unfreeze` then gives back by name.
"""

import re
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from gdo.errors import UsageError
from gdo.train.recipe import Part, Recipe

if TYPE_CHECKING:
    import torch

_TOWER = re.compile(r"(^|\.)(visual|vision\w*)\.")
_MERGER = re.compile(r"(^|\.)\w*(merger|projector|connector)\w*\.")
OUTPUT = re.compile(r"(^|\.)(lm_head|embed_tokens)\.")
"""Names of what turns tokens into states and states into logits."""


def part_of(name: str) -> Part:
    """The part that a parameter of this name belongs to."""
    if _MERGER.search(name):
        return "merger"
    return "vision" if _TOWER.search(name) else "language"


def is_frozen(name: str, recipe: Recipe) -> bool:
    """Whether the recipe keeps a parameter of this name as it is."""
    if any(piece in name for piece in recipe.unfreeze):
        return False
    under_tower = "vision" in recipe.freeze and _TOWER.search(name) is not None
    return under_tower or part_of(name) in recipe.freeze


def freeze(model: "torch.nn.Module", recipe: Recipe) -> None:
    """Switch off the gradients of all parameters that the recipe freezes.

    Raises:
        UsageError: A name of `unfreeze` is in no parameter's name, or nothing is left to train.
    """
    names = [name for name, _ in model.named_parameters()]
    for piece in recipe.unfreeze:
        if not any(piece in name for name in names):
            raise UsageError(f"unfreeze: no parameter of the model has {piece!r} in its name")
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not is_frozen(name, recipe))
    if all(is_frozen(name, recipe) for name in names):
        raise UsageError("the recipe freezes all of the model; there is nothing to train")


def add_adapters(model: Any, recipe: Recipe) -> Any:
    """Put LoRA adapters on every linear layer that the recipe does not freeze, and freeze all else.

    Source: Hu et al., arXiv 2106.09685; the adapters are those of peft.

    Raises:
        UsageError: peft is not installed.
    """
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise UsageError("LoRA needs peft: pip install gdo[train]") from error
    import torch

    layers = [
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear)
        and not is_frozen(f"{name}.weight", recipe)
        and not OUTPUT.search(f"{name}.")
    ]
    if not layers:
        raise UsageError("the recipe freezes all linear layers; there is nothing to put LoRA adapters on")
    config = LoraConfig(
        r=recipe.lora_rank,
        lora_alpha=recipe.lora_alpha,
        lora_dropout=recipe.lora_dropout,
        target_modules=layers,
        task_type="CAUSAL_LM",
    )
    with quiet_peft():
        return get_peft_model(model, config)


@contextmanager
def quiet_peft() -> Iterator[None]:
    """A block in which peft may ask transformers by an old name without a warning to the user."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        yield


def parameter_groups(
    parameters: Iterable[tuple[str, "torch.nn.Parameter"]], recipe: Recipe
) -> list[dict[str, Any]]:
    """Groups for an optimizer: each part with its learning rate, matrices with weight decay, vectors without.

    The language model comes first.
    """
    rates: dict[Part, float] = {
        "language": recipe.lr,
        "merger": recipe.merger_lr or recipe.lr,
        "vision": recipe.vision_lr or recipe.lr,
    }
    groups: dict[tuple[str, bool], dict[str, Any]] = {}
    for part, lr in rates.items():
        for decays in (True, False):
            decay = recipe.weight_decay if decays else 0.0
            groups[part, decays] = {"params": [], "lr": lr, "weight_decay": decay}
    for name, parameter in parameters:
        if parameter.requires_grad:
            groups[part_of(name), parameter.ndim > 1]["params"].append(parameter)
    return [group for group in groups.values() if group["params"]]
