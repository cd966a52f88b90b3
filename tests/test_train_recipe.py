"""Recipes: the contract's numbers, and refusals that name what is wrong."""

import math
from pathlib import Path

import pytest

from gdo.descriptors.probe.contract import CONTRACT_BUDGET
from gdo.errors import UsageError
from gdo.train.recipe import RECIPES, Recipe, load_recipe
from gdo.train.schedule import rate


def test_paper_is_the_training_contract() -> None:
    recipe = load_recipe("paper")
    told = (recipe.method, recipe.freeze, recipe.epochs, recipe.lr, recipe.weight_decay, recipe.warmup)
    assert told == ("full", (), 1, 2e-5, 0.01, 0.1)
    assert (recipe.max_grad_norm, recipe.max_length, recipe.checkpoints) == (1.0, 8192, 5)
    assert (recipe.holdout, recipe.seed, recipe.bf16, recipe.gradient_checkpointing) == (
        0.001,
        42,
        True,
        True,
    )
    assert recipe.budget == CONTRACT_BUDGET


def test_sparrow_and_safe_say_what_differs() -> None:
    sparrow, safe = load_recipe("sparrow"), load_recipe("safe")
    told = (sparrow.lr, sparrow.weight_decay, sparrow.beta2, sparrow.warmup, sparrow.schedule)
    assert told == (5e-6, 0.05, 0.95, 0.03, "cosine")
    assert (sparrow.batch, sparrow.max_length) == (64, 10_740)
    assert (safe.lr, safe.freeze, safe.unfreeze) == (1e-5, ("vision",), ("merger",))


@pytest.mark.parametrize("name", RECIPES)
def test_a_saved_recipe_reads_back_as_it_was(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name, settings=["vision_lr=4e-6", 'unfreeze=["merger", "blocks.1\\""]'])
    file = tmp_path / "recipe.toml"
    file.write_text(recipe.to_toml())
    assert load_recipe(file) == recipe


def test_a_file_begins_from_its_base_and_settings_come_last(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('base = "sparrow"\nlr = 1e-4\nbatch = 16\n')
    recipe = load_recipe(tmp_path / "mine.toml", settings=["batch=8", "image_place=mixed"])
    assert (recipe.name, recipe.lr, recipe.batch, recipe.beta2) == ("mine", 1e-4, 8, 0.95)
    assert recipe.image_place == "mixed"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["learning_rate=1"], "unknown key 'learning_rate'; known are .*lr"),
        (["lr=0"], "lr: .*greater than 0"),
        (["lr=fast"], "lr: .*number, not 'fast'"),
        (["batch=2.5"], "batch: .*integer"),
        (['freeze=["eyes"]'], "freeze.0: .*'vision'"),
        (["lr"], "KEY=VALUE"),
    ],
)
def test_wrong_settings_are_named(settings: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_recipe("paper", settings=settings)


def test_a_base_that_leads_back_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('base = "b.toml"')
    (tmp_path / "b.toml").write_text('base = "a.toml"')
    with pytest.raises(UsageError, match="leads back"):
        load_recipe(tmp_path / "a.toml")
    with pytest.raises(UsageError, match="known are paper, sparrow, safe, smoke"):
        load_recipe("papier")


def test_the_row_limit_is_the_longest_sample_where_none_is_given() -> None:
    assert Recipe().row_limit == 8192
    assert Recipe(row_tokens=16_384).row_limit == 16_384


@pytest.mark.parametrize("steps", [1, 2, 5, 100])
@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant_with_warmup"])
def test_no_step_has_a_rate_of_zero(steps: int, schedule: str) -> None:
    recipe = load_recipe("paper", settings=[f"schedule={schedule}"])
    rates = [rate(done, steps, recipe) for done in range(steps)]
    warmup = math.ceil(steps / 10)
    assert all(0 < share <= 1 for share in rates)
    assert rates[:warmup] == pytest.approx([(i + 1) / warmup for i in range(warmup)])
    assert rates[warmup:] == sorted(rates[warmup:], reverse=True)
    if steps == 100 and schedule == "cosine":
        assert rates[55] == pytest.approx(0.5)
