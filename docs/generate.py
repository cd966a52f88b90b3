"""Writes the pages of the reference from the code, and copies the hand-written ones beside them.

`python docs/generate.py FOLDER`; nothing that it writes is kept in the repository.
"""

import ast
import shutil
import sys
import tempfile
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal, get_args, get_origin

import griffe
import typer.main
from pydantic import BaseModel
from pydantic.fields import FieldInfo

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
NO_WORDS = "**no words**"
"""Stands where something has no words; a test looks for it."""
WIDTH = 100
FAR = 1e9
"""Bounds beyond it are not worth telling."""
API = {
    "Pools": [
        "gdo.pool.ingest.ingest",
        "gdo.descriptors.importing.import_descriptors",
        "gdo.descriptors.describe.describe",
        "gdo.descriptors.duplicates.find.find_duplicates",
        "gdo.pool.query.run_sql",
        "gdo.pool.quality.set_quality_weights",
        "gdo.report.html.make.report",
        "gdo.explore.serve.explore",
    ],
    "Subsets": [
        "gdo.selectors.preset.load_preset",
        "gdo.selectors.select.select",
        "gdo.selectors.explain.explain",
        "gdo.export.run.export",
    ],
    "Training": [
        "gdo.train.sparrow.run.make_sparrow",
        "gdo.train.sparrow.diversity.measure_diversity",
        "gdo.train.recipe.load_recipe",
        "gdo.train.run.train",
        "gdo.train.evaluate.run.evaluate",
        "gdo.train.compare.run.compare",
        "gdo.train.experiment.experiment",
    ],
    "Making it yours": [
        "gdo.descriptors.base.Column",
        "gdo.descriptors.base.MediaDescriptor",
        "gdo.descriptors.base.SampleDescriptor",
        "gdo.descriptors.base.DeviceDescriptor",
        "gdo.descriptors.base.ProbedDescriptor",
        "gdo.pool.frames.FrameBudget",
        "gdo.pool.frames.Frames",
        "gdo.pool.readers.Block",
        "gdo.export.formats.Format",
        "gdo.export.plan.Plan",
        "gdo.export.rows.Row",
    ],
}
"""The public functions and classes, by what they are for."""


def write_pages(folder: Path) -> None:
    """Copy the hand-written pages and write the generated ones; the folder is made anew."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(DOCS, folder, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    pages = {
        "commands": command_page(),
        "pool": pool_page(),
        "presets": preset_page(),
        "recipes": recipe_page(),
        "python": python_page(),
        "modules": modules_page(),
    }
    for name, text in pages.items():
        path = folder / "reference" / f"{name}.md"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def command_page() -> str:
    """Every command with its arguments and options, as `--help` tells them."""
    from gdo.cli.main import app

    group: Any = typer.main.get_command(app)
    parts = ["# Commands\n\nExit code 0: done; 1: the work failed; 2: wrong use.\n"]
    for name, command in sorted(group.commands.items()):
        context = command.context_class(command, info_name=f"gdo {name}")
        given = [one for one in command.params if one.param_type_name == "argument"]
        usage = " ".join([_shown(one, context).partition(" <")[0] for one in given] + ["[OPTIONS]"])
        parts.append(f"\n## gdo {name}\n\n{command.help or NO_WORDS}\n\n```text\ngdo {name} {usage}\n```\n\n")
        rows = [_parameter(one, context) for one in command.params]
        parts.append(table(["argument or option", "default", ""], rows))
    return "".join(parts)


def _parameter(parameter: Any, context: Any) -> list[str]:
    default = parameter.get_default(context)
    given = "required" if parameter.required else "" if default in (None, False, ()) else f"`{default}`"
    return [f"`{_shown(parameter, context)}`", given, parameter.help or NO_WORDS]


def _shown(parameter: Any, context: Any) -> str:
    return " ".join(parameter.get_help_record(context)[0].removeprefix("*").split())


def pool_page() -> str:
    """Every table and view of a pool with its columns, asked of a pool that has all descriptors' tables."""
    from gdo.descriptors.engine.stored import DescriptorParts
    from gdo.pool.candidate import refresh_candidate
    from gdo.pool.store import Pool

    with tempfile.TemporaryDirectory() as folder:
        pool = Pool(Path(folder) / "pool.duckdb", create=True)
        with pool.write() as connection:
            for kept in all_descriptors():
                DescriptorParts(pool, kept).take(connection, has_parts=False, at_end=False)
            refresh_candidate(connection)
        with pool.read() as connection:
            titles = connection.execute(_TITLES).fetchall()
            columns = connection.execute(_COLUMNS).fetchall()
    sources = {kept.name: _source_of(type(kept)) for kept in all_descriptors()}
    parts = [
        "# The pool's tables\n\nA pool is one DuckDB file. The words below stand in it too: "
        "`SELECT * FROM duckdb_columns()` shows them as `comment`. Times are UTC; a missing value is NULL.\n"
        "\nThe length of a vector depends on the model; here it is 128 for media and for texts.\n"
    ]
    for name, kind, words in titles:
        parts.append(f"\n## {name}\n\n{'A view. ' if kind == 'view' else ''}{words or NO_WORDS}\n\n")
        if name in sources:
            parts.append(f"Source: {sources[name]}\n\n")
        head = ["column", "type", "unit", ""]
        mine = [_column(*told) for whose, *told in columns if whose == name]
        if name == VIEW:
            parts.append(_FROM)
            head.insert(3, "from")
            origins = _origins([(whose, column) for whose, column, *_ in columns], list(sources))
            mine = [[*cells[:3], origins[cells[0].strip("`")], *cells[3:]] for cells in mine]
        parts.append(table(head, mine))
    return "".join(parts)


VIEW = "candidate"
_FROM = (
    "`sample` is what the ingested row says, `media` its first medium; a descriptor's values stand in the "
    "table of its name, and an imported value comes before them. What is computed, the view works out of "
    "other columns.\n\n"
)


def _origins(columns: Iterable[tuple[str, str]], descriptors: Sequence[str]) -> dict[str, str]:
    """Where each column of the view comes from, by the tables that have it; links to them.

    Args:
        columns: Table and column, of all tables.
        descriptors: Names of the tables that descriptors fill.
    """
    tables: dict[str, set[str]] = {}
    for name, column in columns:
        tables.setdefault(name, set()).add(column)
    found = {}
    for column in tables[VIEW]:
        if column in tables["sample"]:
            names = ["sample"]
        elif column.removeprefix("media_") in tables["media"]:
            names = ["media"]
        else:
            names = [name for name in ("imported", *descriptors) if column in tables[name]]
        links = [f"[{name}](#{name})" for name in names]
        found[column] = ", else ".join(links if set(names) - {"imported"} else [*links, "computed"])
    return found


_TITLES = """
SELECT table_name AS name, 'table' AS kind, comment FROM duckdb_tables() WHERE NOT internal
UNION ALL
SELECT view_name, 'view', comment FROM duckdb_views() WHERE NOT internal
ORDER BY name != 'candidate', name
"""
_COLUMNS = """
SELECT table_name, column_name, data_type, comment FROM duckdb_columns()
WHERE NOT internal ORDER BY table_name, column_index
"""


def _column(name: str, kind: str, words: str | None) -> list[str]:
    text, bracket, unit = (words or NO_WORDS).rpartition(" [")
    says, unit = (text, unit.removesuffix("]")) if bracket and unit.endswith("]") else (words or NO_WORDS, "")
    return [f"`{name}`", kind if len(kind) < 40 else kind.partition("(")[0], unit, says]


def all_descriptors() -> list[Any]:
    """One object for each table that descriptors keep; vectors as a model of 128 numbers gives them."""
    from gdo.descriptors.catalog import COVERAGE, DESCRIPTORS, PROBED
    from gdo.descriptors.coverage.embedding import MediaEmbedding, SampleEmbedding

    model: Any = SimpleNamespace(card=SimpleNamespace(label="model"), size=128, budget=None)
    probed = [kind() for name, kind in PROBED.items() if name not in DESCRIPTORS]
    return [*DESCRIPTORS.values(), *probed, COVERAGE, MediaEmbedding(model), SampleEmbedding(model)]


def _source_of(kind: type) -> str:
    """What a descriptor's docstring names as its source."""
    return " ".join((kind.__doc__ or NO_WORDS).rpartition("Source: ")[2].split())


def preset_page() -> str:
    """Every parameter of a selection, and the released values."""
    from gdo.selectors.preset import PRESETS, Preset, Weights, load_preset

    released = {name: load_preset(name).model_dump() for name in PRESETS}
    parts = [
        "# Preset parameters\n\nKeys of a preset's TOML file, and of `gdo select --set KEY=VALUE`. "
        "[How to write a preset](../how-to/preset.md). Source: arXiv 2603.12478 and its public code; where "
        "the four released presets have one value, it is the default.\n\n"
    ]
    rows = []
    for name, field in Preset.model_fields.items():
        values = [_plain(released[preset][name]) for preset in PRESETS]
        same = len(set(values)) == 1
        shown = [_plain(field.default)] * len(PRESETS) if same else values
        if name not in ("name", "weights"):
            rows.append([f"`{name}`", f"{field.description or NO_WORDS} ({_kind(field)})", *shown])
    parts.append(table(["key", "", *PRESETS], rows))
    parts.append("\n## Weights of the score\n\nAs `weights.KEY`, or in a table `[weights]`.\n\n")
    parts.append(_fields(Weights))
    return "".join(parts)


def recipe_page() -> str:
    """Every parameter of a training run, and what the released recipes say."""
    from gdo.train.recipe import RECIPES, Recipe

    folder = resources.files("gdo.train") / "recipes"
    parts = [
        "# Recipe parameters\n\nKeys of a recipe's TOML file, and of `gdo train --set KEY=VALUE`; "
        "[training](../training.md) tells what they do. The defaults are the training contract of "
        "arXiv 2603.12478.\n\n",
        _fields(Recipe),
    ]
    for name in RECIPES:
        parts.append(f"\n## {name}\n\n```toml\n{(folder / f'{name}.toml').read_text()}```\n")
    return "".join(parts)


def _fields(model: type[BaseModel]) -> str:
    rows = [
        [f"`{name}`", _kind(field), _plain(field.default), field.description or NO_WORDS]
        for name, field in model.model_fields.items()
    ]
    return table(["key", "values", "default", ""], rows)


def _kind(field: FieldInfo) -> str:
    """A field's type and bounds, as people would write them."""
    words = {"Ge": "at least", "Gt": "above", "Le": "at most", "Lt": "below"}
    bounds = []
    for one in field.metadata:
        name = type(one).__name__
        value: Any = getattr(one, name.lower(), None)
        if name in words and abs(value) < FAR:
            bounds.append(f"{words[name]} {value}")
    return ", ".join([_type(field.annotation), *bounds])


def _type(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return " or ".join(map(str, get_args(kind)))
    if get_origin(kind) is tuple:
        return f"list of: {_type(get_args(kind)[0])}"
    if get_args(kind):
        return " or ".join(map(_type, get_args(kind)))
    return {str: "text", bool: "true or false", type(None): "none"}.get(kind) or str(kind.__name__)


def _plain(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    return {"None": "none", "True": "true", "False": "false"}.get(str(value), str(value))


def python_page() -> str:
    """The public functions and classes, by their docstrings; nothing is imported for it."""
    found = griffe.load("gdo", search_paths=[DOCS.parent], try_relative_path=False)
    parts = ["# Python\n\nEach command is one function.\n"]
    for title, names in API.items():
        parts.append(f"\n## {title}\n")
        parts += [_object(found[name.removeprefix("gdo.")], name) for name in names]
    return "".join(parts)


def modules_page() -> str:
    """Every module with the first sentence of its docstring, folder by folder."""
    parts = ["# Modules", "What each file is for, as it says itself."]
    for folder in ("gdo", "benchmarks"):
        by_folder: dict[Path, list[tuple[str, str]]] = {}
        for file in sorted((ROOT / folder).rglob("*.py")):
            told = ast.get_docstring(ast.parse(file.read_text())) or NO_WORDS
            if file.name != "__init__.py":
                row = (f"`{file.name}`", told.partition("\n\n")[0].replace("\n", " "))
                by_folder.setdefault(file.parent.relative_to(ROOT), []).append(row)
        parts += [f"## {name}\n\n{table(('file', 'what'), rows)}" for name, rows in by_folder.items()]
    return "\n\n".join(parts) + "\n"


def _object(item: Any, name: str) -> str:
    """A function or class: where it is, how it is called, what its docstring says."""
    module, _, short = name.rpartition(".")
    signature = _broken(item.signature()) if item.is_function else f"class {short}"
    parts = [f"\n### {short}\n\n```py\nfrom {module} import {short}\n\n{signature}\n```\n\n"]
    for section in item.docstring.parse("google") if item.docstring else []:
        parts.append(_section(section))
    return "".join(parts)


def _broken(signature: str) -> str:
    """A signature with a line for each parameter, where it is long."""
    if len(signature) <= WIDTH:
        return signature
    lines, depth = [""], 0
    for letter in signature:
        before, depth = depth, depth + (letter in "([{") - (letter in ")]}")
        if before == 1 and depth == 0:
            lines.append("")
        lines[-1] += letter
        if (before, depth) == (0, 1) or (depth == 1 and letter == ","):
            lines.append("")
    inner = [f"    {line.strip()}" for line in lines[1:-1]]
    return "\n".join([lines[0], *inner, lines[-1]])


def _section(section: Any) -> str:
    if section.kind.value == "text":
        return f"{section.value}\n\n"
    title = section.title or section.kind.value.capitalize()
    rows = "".join(f"- {_told(one)}{' '.join(one.description.split())}\n" for one in section.value)
    return f"**{title}**\n\n{rows}\n"


def _told(one: Any) -> str:
    name = getattr(one, "name", "") or str(one.annotation or "")
    return f"`{name}`: " if name else ""


if __name__ == "__main__":
    write_pages(Path(sys.argv[1]))
