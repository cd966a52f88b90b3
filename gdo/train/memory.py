"""Running out of memory, on GPUs and elsewhere, told with what would need less."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from gdo.errors import GdoError
from gdo.train.batches import Step
from gdo.train.recipe import Recipe

_MESSAGES = ("out of memory", "can't allocate memory", "Cannot allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")
"""How it is named: on GPUs, on the CPU, by the operating system, by a library on a GPU."""


@contextmanager
def memory_told(recipe: Recipe, current: Callable[[], Step]) -> Iterator[None]:
    """Work that may run out of memory.

    Args:
        recipe: What could be lowered.
        current: Gives the step that is being trained; its number is 0 before the first.

    Raises:
        GdoError: Memory ran out, with what to change.
    """
    try:
        yield
    except MemoryError as error:
        raise GdoError(_told(current(), recipe)) from error
    except RuntimeError as error:
        if not any(message in str(error) for message in _MESSAGES):
            raise
        raise GdoError(_told(current(), recipe)) from error


def _told(step: Step, recipe: Recipe) -> str:
    instead = ['method = "lora"'] if recipe.method == "full" else []
    instead += ["more GPUs with --sharding"]
    if step.number:
        longest = max((sum(row.lengths) for row in step.rows), default=0)
        where = f"at step {step.number}, whose longest row has {longest:,} tokens"
        lower = f"row_tokens (now {recipe.row_limit}), max_pixels ({recipe.max_pixels})"
        lower += f", frames ({recipe.frames}), max_length ({recipe.max_length})"
        instead = [*([] if recipe.gradient_checkpointing else ["gradient_checkpointing = true"]), *instead]
    else:
        where = "before the first step: for the weights themselves, however short the rows are"
        lower = "how much is trained (freeze) or the size of the model (--model)"
    return (
        f"out of memory {where}; lower {lower}, or use {', '.join(instead)}. A changed recipe is another "
        "run and needs another folder"
    )
