"""The documentation: it builds without a warning, and nothing public is without words."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from doc_blocks import DOCS, PAGES, ROOT, indented_code, read_blocks

LANGUAGES = {"console", "python", "sql", "toml", "text"}


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, generate: ModuleType) -> Path:
    """The whole site, built as `make docs` does it, in a folder of its own."""
    folder = tmp_path_factory.mktemp("site")
    generate.write_pages(folder / "build" / "docs")
    (folder / "zensical.toml").write_text((ROOT / "zensical.toml").read_text())
    command = [Path(sys.executable).parent / "zensical", "build", "--strict", "--clean"]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return folder / "build"


def test_the_site_builds_and_no_link_is_broken(built: Path) -> None:
    written = {page.relative_to(built / "docs").with_suffix("") for page in (built / "docs").rglob("*.md")}
    shown = {page.relative_to(built / "site").with_suffix("") for page in (built / "site").rglob("*.html")}
    assert written <= shown


def test_every_page_is_in_the_navigation(built: Path) -> None:
    told = (ROOT / "zensical.toml").read_text()
    for page in (built / "docs").rglob("*.md"):
        assert f'"{page.relative_to(built / "docs")}"' in told


def test_the_site_asks_nothing_of_the_network(built: Path) -> None:
    for page in (built / "site").rglob("*.html"):
        assert not re.search(r'<(?:script|link|img)[^>]+(?:src|href)="https?:', page.read_text()), page


@pytest.mark.parametrize("page", ["commands", "pool", "presets", "recipes", "modules"])
def test_everything_public_has_words(page: str, built: Path, generate: ModuleType) -> None:
    text = (built / "docs" / "reference" / f"{page}.md").read_text()
    assert [line for line in text.splitlines() if generate.NO_WORDS in line] == []


def test_every_column_that_people_query_says_where_it_comes_from(built: Path, generate: ModuleType) -> None:
    from gdo.pool.candidate import VALUE_COLUMNS
    from gdo.pool.words import words_of

    text = (built / "docs" / "reference" / "pool.md").read_text()
    lines = text.partition("## candidate\n")[2].partition("\n## ")[0].splitlines()
    rows = [[cell.strip() for cell in line.split(" | ")] for line in lines if line.startswith("| `")]
    origins = {row[0].strip("|` "): row[3] for row in rows}
    assert "" not in origins.values()
    assert {name for name, told in origins.items() if told == "[sample](#sample)"} == set(words_of("sample"))
    assert (origins["fps"], origins["media_error"]) == ("[media](#media)", "[media](#media)")
    assert origins["duration_bucket"] == origins["described"] == "computed"
    assert origins["quality_score"] == "[imported](#imported), else computed"
    makers = {
        column: f"[imported](#imported), else [{kept.name}](#{kept.name})"
        for kept in generate.all_descriptors()
        for column in kept.columns
        if column in VALUE_COLUMNS
    }
    assert len(makers) == len(VALUE_COLUMNS) - 1
    assert {name: origins[name] for name in makers} == makers


def test_every_public_function_has_a_docstring_in_the_reference(built: Path, generate: ModuleType) -> None:
    text = (built / "docs" / "reference" / "python.md").read_text()
    sections = {part.partition("\n")[0]: part for part in text.split("\n### ")[1:]}
    names = [name.rpartition(".")[2] for names in generate.API.values() for name in names]
    assert sorted(sections) == sorted(names)
    for name in names:
        assert re.search(r"```\n\n\w", sections[name]), f"{name} has no docstring"


def test_words_stand_in_the_pool_itself(tmp_path: Path) -> None:
    from gdo.pool.store import Pool

    pool = Pool(tmp_path / "pool.duckdb", create=True)
    with pool.write():
        pass
    with pool.read() as connection:
        told = connection.execute(
            "SELECT comment FROM duckdb_columns() WHERE (table_name, column_name) = ('candidate', 'amm')"
        ).fetchall()
    assert told == [("mean optical-flow length between 8 frames at 224 x 224; 0 or more [pixels]",)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_code_stands_in_blocks_that_say_what_they_are(page: Path) -> None:
    assert indented_code(page) == []
    for block in read_blocks(page):
        assert block.language in LANGUAGES, f"{block.place}: ```{block.language}"
        if block.language == "text":
            hidden = [line for line in block.text.splitlines() if re.match(r"(\$|gdo) ", line)]
            assert not hidden, f"{block.place}: a command that nobody runs; make it a console block"


def test_links_of_the_readme_lead_somewhere() -> None:
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md"):
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (ROOT / target).exists(), f"{page.name}: {target}"


def test_tests_and_benchmarks_that_pages_name_exist() -> None:
    for page in PAGES:
        for file, test in re.findall(r"((?:tests|benchmarks)/[\w/]+\.py)(?:::(\w+))?", page.read_text()):
            assert (ROOT / file).is_file(), f"{page.name}: {file}"
            assert not test or f"def {test}(" in (ROOT / file).read_text(), f"{page.name}: {file}::{test}"
