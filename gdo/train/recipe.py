"""Recipes: how a run trains, as named numbers read from TOML and checked before any work starts.

The training contract (spec/training.md, arXiv 2603.12478) is the default of every field; `recipes/*.toml`
say only what is different, and what is worth saying twice.
"""

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gdo.errors import UsageError
from gdo.pool.frames import FrameBudget
from gdo.settings import parse_setting, read_settings

RECIPES = ("paper", "sparrow", "safe", "smoke")
Part = Literal["vision", "merger", "language"]


class Recipe(BaseModel):
    """Every number of a training run that does not depend on the machine."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)

    name: str = Field("custom", description="what runs by it are called by")
    seed: int = Field(42, ge=0, lt=2**32, description="of the order, the held-out samples and the mix")

    method: Literal["full", "lora"] = Field(
        "full", description="full fine-tuning, or adapters on all linear layers that are not frozen"
    )
    lora_rank: int = Field(16, ge=1, description="of adapters")
    lora_alpha: int = Field(32, ge=1, description="of adapters: they are scaled by alpha / rank")
    lora_dropout: float = Field(0.0, ge=0, lt=1, description="of what goes into adapters")
    freeze: tuple[Part, ...] = Field((), description="vision is all under the tower, its mergers too")
    unfreeze: tuple[str, ...] = Field((), description="pieces of parameter names that train nevertheless")

    lr: float = Field(2e-5, gt=0, description="learning rate at its peak")
    vision_lr: float | None = Field(None, gt=0, description="of the vision tower; none: lr")
    merger_lr: float | None = Field(None, gt=0, description="of merger or projector; none: lr")
    weight_decay: float = Field(0.01, ge=0, description="of matrices; vectors have none")
    beta1: float = Field(0.9, ge=0, lt=1, description="of AdamW")
    beta2: float = Field(0.999, ge=0, lt=1, description="of AdamW")
    warmup: float = Field(0.1, ge=0, lt=1, description="share of the steps")
    schedule: Literal["cosine", "linear", "constant_with_warmup"] = Field(
        "cosine", description="of the learning rate after the warm-up"
    )
    max_grad_norm: float = Field(1.0, gt=0, description="gradients beyond it are scaled down to it")
    epochs: int = Field(1, ge=1, description="times that every sample is trained on")
    batch: int = Field(8, ge=1, description="samples of one step, over all devices")
    checkpoints: int = Field(5, ge=1, description="evenly spaced, the last at the end")
    holdout: float = Field(0.001, ge=0, lt=1, description="share of the samples that is not trained on")

    frames: int = Field(32, ge=1, description="most frames of one video or frame list")
    fps: float | None = Field(
        None,
        gt=0,
        description="frames of a second that are taken first; `frames` then thins them",
    )
    max_pixels: int = Field(50_176, ge=1, description="of an image or frame")
    frames_as: Literal["images", "video"] = Field(
        "images", description="what the frames of a clip are to the processor"
    )
    image_place: Literal["in_place", "front", "mixed"] = Field(
        "in_place",
        description="where image tokens stand; mixed: in place or in front, by a coin for each sample",
    )
    batches: Literal["mixed", "one_kind"] = Field(
        "mixed", description="whether images and videos share a batch"
    )
    max_length: int = Field(8192, ge=16, description="tokens of one sample")
    too_long: Literal["drop", "cut"] = Field(
        "drop", description="what becomes of a sample beyond max_length; media are never cut"
    )
    pack: bool = Field(True, description="samples without padding in rows of row_tokens, where that is exact")
    row_tokens: int | None = Field(None, ge=16, description="tokens of a packed row; none: max_length")
    on_unreadable: Literal["stop", "skip"] = Field(
        "stop", description="stop the run, or leave the sample out and name it in the ledger"
    )

    bf16: bool = Field(True, description="where the device is a GPU")
    gradient_checkpointing: bool = Field(True, description="less memory for about a third more time")

    @property
    def budget(self) -> FrameBudget:
        """What is read of a medium: the same object that probes read by."""
        return FrameBudget(frames=self.frames, fps=self.fps, max_pixels=self.max_pixels)

    @property
    def row_limit(self) -> int:
        """Tokens that a packed row is filled up to."""
        return self.row_tokens or self.max_length

    def to_toml(self) -> str:
        """The recipe as a file that `load_recipe` reads; what is none is left out."""
        lines = (f"{key} = {_toml(value)}" for key, value in self.model_dump().items() if value is not None)
        return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return repr(value)


def load_recipe(recipe: str | Path, *, settings: Sequence[str] = ()) -> Recipe:
    """Read a recipe by name or one's own TOML file, and change what the caller asks to change.

    Args:
        recipe: A name of `RECIPES`, or the path of a TOML file with the same keys; the file may begin from
            another by `base = "paper"`.
        settings: `KEY=VALUE` in TOML's notation.

    Raises:
        UsageError: No such recipe, an unknown key or a wrong value.
    """
    folder = resources.files("gdo.train") / "recipes"
    values = read_settings("recipe", recipe, {name: folder / f"{name}.toml" for name in RECIPES})
    values |= dict(map(parse_setting, settings))
    try:
        return Recipe.model_validate(_as_tuples(values))
    except ValidationError as error:
        raise UsageError(f"recipe {recipe}: " + "; ".join(map(_explain, error.errors()))) from error


def _as_tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}


def _explain(error: Any) -> str:
    key = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"unknown key {key!r}; known are {', '.join(Recipe.model_fields)}"
    return f"{key}: {error['msg']}, not {error['input']!r}"
