"""Learning rates over a run: warm-up, then what the recipe says.

Unlike the schedules of transformers no step has a rate of 0: the samples of the first and the last step are
learned too, which matters in short runs.
"""

import math

from gdo.train.recipe import Recipe


def rate(done: int, steps: int, recipe: Recipe) -> float:
    """Share of the full learning rate, above 0 and at most 1, of the step after `done` of `steps`."""
    warmup = math.ceil(steps * recipe.warmup)
    if done < warmup:
        return (done + 1) / warmup
    past = min(1.0, (done - warmup) / max(1, steps - warmup))
    if recipe.schedule == "cosine":
        return (1 + math.cos(math.pi * past)) / 2
    return 1 - past if recipe.schedule == "linear" else 1.0
