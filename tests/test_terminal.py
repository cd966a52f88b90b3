"""What is printed on a terminal: the user's own text as it stands, and numbers that are all there."""

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console, RenderableType
from selection_pools import image_rows, make
from typer.testing import CliRunner

from gdo.cli.main import app
from gdo.cli.progress import ProgressLine
from gdo.pool.query import QueryResult
from gdo.report.query import query_tables
from gdo.report.tables import show, table

ODD = ["[/INST] hi", "[x] bus [ ] car :car:", "[red]", "\\[b]", "[link=http://a.b]c[/link]"]


def printed(*parts: RenderableType, width: int = 120) -> str:
    out = io.StringIO()
    show(*parts, console=Console(file=out, width=width, force_terminal=True, color_system=None))
    return out.getvalue()


def asked(columns: dict[str, str], *rows: Sequence[Any]) -> QueryResult:
    """What a query gave: its columns with their types, and rows."""
    return QueryResult(list(columns), list(columns.values()), list(map(tuple, rows)), len(rows), True, None)


@pytest.mark.parametrize("text", ODD)
def test_text_is_printed_as_it_stands(text: str) -> None:
    assert printed(table(text, [text, "n>"], [("a", 1)])).count(text) == 2
    assert text in printed(table("", ["a"], [(text,)]))
    assert printed(query_tables(asked({text: "VARCHAR"}, [text]))).count(text) == 2


def test_text_cannot_steer_the_terminal() -> None:
    shown = printed(query_tables(asked({"q": "VARCHAR"}, ["\x1b[31mred\x07\x9b1m\ttab\r\nnext"])))
    assert "\x1b" not in shown and "\x07" not in shown and "\x9b" not in shown and "\r" not in shown
    assert re.search(r"\[31mred1m +tab *\nnext", shown)


def test_ids_can_be_put_into_the_next_query() -> None:
    kinds = {"media_id": "UBIGINT", "sum": "HUGEINT", "share": "DECIMAL(4,2)", "twice>": "VARCHAR"}
    shown = printed(query_tables(asked(kinds, [2**64 - 1, 17592186048512, None, "x"])))
    assert shown.splitlines()[0].split() == list(kinds)
    assert shown.splitlines()[1].split() == ["18446744073709551615", "17592186048512", "-", "x"]


def test_numbers_that_differ_look_different() -> None:
    rows = [(0.1 + 0.2, 1.0), (0.3, 2.5), (12345678.25, 1 / 3), (float("nan"), float("inf"))]
    shown = printed(query_tables(asked({"a": "DOUBLE", "b": "FLOAT"}, *rows))).splitlines()[1:5]
    assert len({line.split()[0] for line in shown}) == 4
    assert [line.split()[1] for line in shown] == ["1", "2.5", "0.333333", "inf"]
    assert float(shown[2].split()[0]) == pytest.approx(12345678.25, abs=1e-3)


WIDE = {f"column_{n}": "UBIGINT" for n in range(9)} | {"question": "VARCHAR", "tnc": "DOUBLE"}
WIDE_ROW = [*(10**19 + n for n in range(9)), "Why is the sky above the port so grey? " * 5, 1.9]


@pytest.mark.parametrize("width", [40, 80, 120, 240])
def test_no_number_and_no_column_is_cut_off(width: int) -> None:
    shown = printed(query_tables(asked(WIDE, WIDE_ROW, WIDE_ROW)), width=width)
    words = shown.split()
    for name, value in zip(WIDE, WIDE_ROW, strict=True):
        assert name in words
        assert words.count(str(value)) == 2 or name == "question"
    assert words.count("grey?") == 10
    assert max(map(len, shown.splitlines())) <= width
    assert ("row 2" in shown) == (width < 240)


def test_long_text_folds_beside_whole_numbers() -> None:
    shown = printed(query_tables(asked({"n": "BIGINT", "text": "VARCHAR"}, [10**18, "a b " * 40])), width=60)
    assert "row 1" not in shown
    assert shown.splitlines()[1].split()[0] == str(10**18)
    assert shown.count("a") == 40


def test_a_wide_result_without_rows_still_names_its_columns() -> None:
    assert printed(query_tables(asked(WIDE)), width=60).split()[:-2] == list(WIDE)


def test_other_tables_keep_their_numbers_on_a_narrow_terminal() -> None:
    steps = [f"step {n}>" for n in range(12)]
    shown = printed(table("Accuracy", ["kind", *steps], [("colour", *range(123456, 123468))]), width=60)
    assert all(f"123,4{n}" in shown for n in range(56, 68))


@pytest.fixture
def odd_pool(tmp_path: Path) -> Path:
    rows = [
        row | {"id": f"{ODD[0]}{n}", "data_source": ODD[n % len(ODD)]}
        for n, row in enumerate(image_rows(8, pairs=1))
    ]
    folder = tmp_path / "d[x]"
    made = make(folder, images=rows)
    return made.pool


def test_commands_print_what_users_wrote(odd_pool: Path, tmp_path: Path) -> None:
    def gdo(*arguments: object) -> str:
        result = CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return re.sub(r"\s", "", result.output)

    file = tmp_path / "f[red].jsonl"
    file.write_text(json.dumps(image_rows(1)[0] | {"id": "other"}) + "\n")
    assert "f[red].jsonl" in gdo("ingest", odd_pool, file)
    chosen = gdo(
        "select", odd_pool, "--preset", "diverse", "--count", 4, "--set", "unreadable_media=keep",
        "--name", "s[/i]",
    )  # fmt: skip
    assert "Subsets[/i]" in chosen and "[x]bus[]car:car:" in chosen
    assert f"ov::{ODD[0]}0::t0".replace(" ", "") in gdo("explain", odd_pool, "s[/i]", f"ov::{ODD[0]}0::t0")
    out = tmp_path / "out[/b]"
    assert "out[/b]" in gdo("export", odd_pool, "s[/i]", "-o", out)


def test_progress_prints_what_users_wrote(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    with ProgressLine() as line:
        line.update(f"reading {ODD[0]} :car:", 1, 2, note="[/b] :car:")
        line.say("went [red]on :car:")
    err = capsys.readouterr().err
    assert f"reading {ODD[0]} :car:" in err and "[/b] :car:" in err and "went [red]on :car:" in err


def test_sql_prints_all_rows_as_json(odd_pool: Path, tmp_path: Path) -> None:
    query = "SELECT i AS media_id, i / 7 AS share, [i] AS many FROM range(250) AS t(i) ORDER BY i"
    runner = CliRunner()
    shown = runner.invoke(app, ["sql", str(odd_pool), query, "--json"])
    assert shown.exit_code == 0
    assert json.loads(shown.stdout)[249] == {"media_id": 249, "share": 249 / 7, "many": [249]}
    out = tmp_path / "out.json"
    runner.invoke(app, ["sql", str(odd_pool), query, "-o", str(out)])
    assert shown.stdout == out.read_text()
    few = runner.invoke(app, ["sql", str(odd_pool), query, "--json", "--max-rows", "3"])
    assert len(json.loads(few.stdout)) == 3
    assert len(runner.invoke(app, ["sql", str(odd_pool), query]).stdout.splitlines()) == 1 + 100 + 1


@pytest.mark.parametrize(("options", "shown"), [([], r"\u4f60 \U0001f600"), (["--json"], "你 😀")])
def test_letters_that_the_terminal_lacks_are_no_failure(
    odd_pool: Path, options: list[str], shown: str
) -> None:
    command = [sys.executable, "-m", "gdo", "sql", str(odd_pool), "SELECT '你 😀' AS q", *options]
    result = subprocess.run(
        command, capture_output=True, check=False, env=os.environ | {"PYTHONIOENCODING": "latin-1"}
    )
    assert result.returncode == 0, result.stderr.decode()
    assert shown in result.stdout.decode()


def test_sql_prints_or_writes(odd_pool: Path, tmp_path: Path) -> None:
    wrong = CliRunner().invoke(
        app, ["sql", str(odd_pool), "SELECT 1", "--json", "-o", str(tmp_path / "a.csv")]
    )
    assert wrong.exception is not None and "give one of them" in str(wrong.exception)
    assert not (tmp_path / "a.csv").exists()
