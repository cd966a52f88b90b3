"""Every command and snippet of README and docs is run, in order, on a small pool with a tiny model.

The tutorial makes all that it needs. The other pages begin with what it left, under the names they use.
"""

import gzip
import json
import os
import shlex
import shutil
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from doc_blocks import PAGES, ROOT, Block, commands_of, read_blocks
from typer.testing import CliRunner

from gdo.cli.main import app
from gdo.descriptors.catalog import DESCRIPTORS
from gdo.export.formats import FORMATS
from gdo.pool.query import run_sql

SMALLER = {
    "samples=400": "samples=120",
    "--proxy-minutes 1 ": "--proxy-minutes 0.03 ",
    "--clusters 100": "--clusters 10",
    "--count 400": "--count 40",
    "vv::vd000055::t1": "vv::vd000000::t0",
    "describe demo/pool.duckdb --": "describe demo/pool.duckdb motion temporal --",
    " demo/pool.duckdb temp ": " demo/pool.duckdb temp_plus ",
    "train pool.duckdb temp --": "train pool.duckdb temp --recipe smoke --workers 0 --",
}
"""What makes a command of a page quick, or fit the small pool; the rest of it is run as it stands."""
NOT_RUN = 17
"""Blocks that cannot be run here, each with a reason beside it in the page."""
RUN = {"console", "python", "sql", "toml"}
pytestmark = pytest.mark.xdist_group("docs")  # one process makes what the tutorial leaves
MODEL = Path("Qwen/Qwen3-VL-8B-Instruct")
TUTORIAL = ROOT / "docs" / "tutorial.md"


def has_blocks_to_run(page: Path) -> bool:
    return any(block.language in RUN and not block.not_run for block in read_blocks(page))


AFTER = [page for page in PAGES if page != TUTORIAL and has_blocks_to_run(page)]


def test_blocks_that_are_not_run_do_not_grow() -> None:
    skipped = [block for page in PAGES for block in read_blocks(page) if block.not_run]
    assert len(skipped) == NOT_RUN, "\n".join(f"{block.place}: {block.not_run}" for block in skipped)


def gdo_commands() -> list[tuple[Block, list[str]]]:
    blocks = [block for page in PAGES for block in read_blocks(page) if block.language == "console"]
    split = [(block, shlex.split(line, comments=True)) for block in blocks for line in commands_of(block)]
    return [(block, words) for block, words in split if words[0] == "gdo"]


def test_every_command_is_one_that_gdo_knows() -> None:
    """Those that are not run too: their names and options exist."""
    group: Any = typer.main.get_command(app)
    for block, (_, name, *words) in gdo_commands():
        assert name in group.commands, block.place
        try:
            group.commands[name].make_context(name, list(words))
        except Exception as error:
            pytest.fail(f"{block.place}: gdo {name} {shlex.join(words)}: {error}")


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    """What snippets add to gdo is taken out again."""
    tables: list[dict[str, Any]] = [DESCRIPTORS, FORMATS]  # type: ignore[list-item]
    before = [dict(table) for table in tables]
    yield
    for table, was in zip(tables, before, strict=True):
        table.clear()
        table.update(was)


@pytest.fixture(scope="session")
def after_the_tutorial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the tutorial leaves, furnished."""
    folder = tmp_path_factory.mktemp("tutorial")
    run_page(TUTORIAL, folder)
    furnish(folder)
    return folder


def furnish(folder: Path) -> None:
    """Put what other pages speak of beside what the tutorial left."""
    shutil.copytree(folder / "pool.duckdb.d" / "proxy", folder / MODEL)
    (folder / "media").symlink_to("files")
    for name in ("images.jsonl", "videos.jsonl"):
        shutil.copy(folder / "files" / name, folder)
    demo = folder / "demo"
    demo.mkdir()
    (demo / "files").symlink_to("../files")
    (folder / "mvbench").mkdir()
    shutil.copy(next((folder / "files" / "images").iterdir()), folder / "mvbench")
    guarded = {"question": "What colour is the ball?", "answer": "It is red."}
    (folder / "mvbench.jsonl").write_text(json.dumps(guarded) + "\n")
    book = {"context": "A long day at sea. " * 60, "answer": "Long."}
    with gzip.open(folder / "books.jsonl.gz", "wt") as out:
        out.writelines(json.dumps(book | {"question": f"How long was day {n}?"}) + "\n" for n in range(24))
    for results in folder.glob("runs/*/evaluation"):
        shutil.rmtree(results)  # of these very folders, not of a copy


@pytest.mark.slow
def test_the_tutorial_runs(after_the_tutorial: Path) -> None:
    assert (after_the_tutorial / "runs" / "temp" / "run.json").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("page", AFTER, ids=lambda page: page.stem)
def test_the_blocks_of_a_page_run(page: Path, after_the_tutorial: Path, tmp_path: Path) -> None:
    folder = tmp_path / "page"
    shutil.copytree(after_the_tutorial, folder, symlinks=True)
    if page.parent == ROOT:
        shutil.rmtree(folder / "runs")  # README makes its own
    run_page(page, folder)


def run_page(page: Path, folder: Path) -> None:
    """Run the blocks of a page in order, in a folder; what a block leaves the next one finds."""
    before, path = Path.cwd(), list(sys.path)
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    try:
        for block in read_blocks(page):
            if not block.not_run:
                run_block(block)
    finally:
        os.chdir(before)
        sys.path[:] = path


def run_block(block: Block) -> None:
    text = block.text
    for usual, small in SMALLER.items():
        text = text.replace(usual, small)
    if block.title:
        Path(block.title).write_text(text)
    elif block.language == "console":
        for line in commands_of(Block(block.page, block.line, block.language, None, text, None)):
            run_command(block, shlex.split(line, comments=True))
    elif block.language == "python":
        exec(compile(text, block.place, "exec"), {"__name__": "__main__"})
    elif block.language == "sql":
        run_statements(text)
    elif block.language == "toml":
        tomllib.loads(text)


def run_command(block: Block, words: list[str]) -> None:
    assert words[0] == "gdo", f"{block.place}: {words[0]} is not run; say why in a comment above"
    result = CliRunner().invoke(app, words[1:])
    assert result.exit_code == 0, f"{block.place}: {shlex.join(words)}\n{result.output}\n{result.exception}"


def run_statements(text: str) -> None:
    bare = "\n".join(line for line in text.splitlines() if not line.startswith("--"))
    for statement in filter(str.strip, bare.split(";")):
        run_sql("pool.duckdb", statement)
