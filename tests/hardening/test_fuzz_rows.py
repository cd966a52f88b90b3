"""Ten thousand mutated rows of each format: no crash, no hang, each a sample or a bad row with a reason."""

import gzip
import io
import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from containers import SHAPES, lines
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutate import Mutator
from nursery import Nursery

from gdo.errors import GdoError
from gdo.pool.ingest import ingest
from gdo.pool.store import Pool

COUNT = 10_000
FILES = 10
"""Of a container, each with mutations of its own."""
LIMIT = 300.0
"""Seconds; a load takes a few."""
LLAVA = ["llava image", "llava images", "llava video"]
SHAREGPT = ["sharegpt images", "sharegpt videos"]
SWIFT = ["swift images", "swift videos", "swift frames", "paper image", "paper video"]

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("fuzz")]


@pytest.fixture(scope="module")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    log = tmp_path_factory.mktemp("nursery") / "log.txt"
    with Nursery(log, "duckdb", "polars", "gdo.pool.ingest") as process:
        yield process


def rows_of(shapes: list[str], count: int) -> list[dict[str, Any]]:
    """Good rows of the shapes in turn, no two with the same id."""
    return [SHAPES[shapes[n % len(shapes)]](n) | {"id": f"r{n}"} for n in range(count)]


def json_lines(path: Path, shapes: list[str]) -> int:
    """Good rows first, then mutated ones, half as trees and half as bytes; how many lines that makes."""
    mutator = Mutator(shapes)
    made = []
    for number, row in enumerate(rows_of(shapes, COUNT + 100)):
        (line,) = lines([row]).splitlines()
        if number >= 100:
            mutated = json.dumps(mutator.row(row), ensure_ascii=mutator.chance.random() < 0.5)
            by_tree = mutator.chance.random() < 0.5
            line = mutated.encode(errors="surrogatepass") if by_tree else mutator.line(line)
        made.append(line)
    data = b"\n".join(made)
    path.write_bytes(data)
    return sum(bool(line) and not line.isspace() for line in data.split(b"\n"))


def tables(count: int) -> Iterator[pa.Table]:
    """Mutated rows in columns that have a type; some columns are renamed, some are of another type."""
    for number in range(FILES):
        mutator = Mutator(number)
        rows = rows_of(["swift images"] if number % 2 else ["llava image"], count // FILES)
        table = pa.Table.from_pylist([{key: mutator.like(row[key]) for key in row} for row in rows[:-3]])
        table = pa.concat_tables([table, pa.Table.from_pylist(rows[-3:])], promote_options="permissive")
        for name in table.column_names if number > FILES // 2 else ():
            place = table.column_names.index(name)
            texts = pa.array([json.dumps(value) for value in table[name].to_pylist()])
            odd = [texts, texts.cast(pa.large_binary()), pa.array(range(len(rows))), pa.nulls(len(rows))]
            odd += [pa.array([{"a": None}] * len(rows)), texts.dictionary_encode(), table[name]]
            table = table.set_column(place, name, mutator.chance.choice(odd))
        yield table


def parquet(folder: Path) -> int:
    for number, table in enumerate(tables(COUNT)):
        pq.write_table(table, folder / f"{number}.parquet", row_group_size=300)
    return COUNT


def hf(folder: Path) -> int:
    for number, table in enumerate(tables(COUNT)):
        with pa.ipc.new_stream(folder / f"data-{number:05d}.arrow", table.schema) as writer:
            writer.write_table(table, max_chunksize=300)
    return COUNT


def webdataset(folder: Path) -> int:
    """Shards of rows with pictures; the rows are mutated, the pictures sometimes missing or of no kind."""
    for number in range(FILES):
        mutator = Mutator(number)
        with tarfile.open(folder / f"{number}.tar", "w") as shard:
            for row in rows_of(["swift images"], COUNT // FILES):
                whole = json.dumps(mutator.row(row)).encode()
                data = whole if mutator.chance.random() < 0.5 else mutator.line(lines([row]))
                members = [(".json", data), *mutator.chance.choice(PICTURES)]
                for suffix, content in members:
                    header = tarfile.TarInfo(f"{row['id']}{suffix}")
                    header.size = len(content)
                    shard.addfile(header, io.BytesIO(content))
    return COUNT


PICTURES: list[list[tuple[str, bytes]]] = [
    [],
    [(".jpg", b"\xff\xd8\xff picture")],
    [(".png", b"")],
    [(".0.jpg", b"a"), (".1.jpg", b"b")],
    [(".mp4", b"clip")],
    [(".txt", b"words"), (".cls", b"3")],
]
CONTAINERS: dict[str, Callable[[Path], int]] = {"parquet": parquet, "hf": hf, "webdataset": webdataset}


def load(pool: str, file: str, format: str) -> None:
    """In a child: at least one row of each file is good, so the load succeeds."""
    ingest(pool, [file], format=format, workers=1)


def account(pool: Path) -> tuple[int, int, int]:
    """Rows read, rows with samples, rows without; each row is one or the other, with a reason."""
    with Pool(pool).read() as connection:
        bad = connection.execute("SELECT line, reason, detail FROM bad_row WHERE NOT kept").fetchall()
        good = {line for (line,) in connection.execute("SELECT DISTINCT line FROM sample").fetchall()}
        ((read, told),) = connection.execute("SELECT rows_read, rows_bad FROM source").fetchall()
    assert all(reason for _, reason, _ in bad)
    assert good.isdisjoint(line for line, *_ in bad)
    assert len({line for line, *_ in bad}) == len(bad) == told
    assert read == len(good) + len(bad)
    return read, len(good), len(bad)


@pytest.mark.parametrize(("format", "shapes"), [("llava", LLAVA), ("sharegpt", SHAREGPT), ("swift", SWIFT)])
def test_lines(format: str, shapes: list[str], nursery: Nursery, tmp_path: Path) -> None:
    count = json_lines(tmp_path / "rows.jsonl", shapes)
    check(nursery, tmp_path / "rows.jsonl", format, count)


def test_an_array_of_rows(nursery: Nursery, tmp_path: Path) -> None:
    mutator = Mutator(0)
    good, rows = rows_of(["swift images"], 100), rows_of(["llava image"], COUNT)
    (tmp_path / "rows.json").write_text(json.dumps(good + [mutator.row(row) for row in rows]))
    check(nursery, tmp_path / "rows.json", "auto", COUNT + 100)


@pytest.mark.parametrize("compress", [gzip.compress, zstandard.compress])
def test_compressed_lines(compress: Callable[[bytes], bytes], nursery: Nursery, tmp_path: Path) -> None:
    count = json_lines(tmp_path / "rows.jsonl", LLAVA)
    (tmp_path / "rows").write_bytes(compress((tmp_path / "rows.jsonl").read_bytes()))
    check(nursery, tmp_path / "rows", "llava", count)


@pytest.mark.parametrize("format", CONTAINERS)
def test_containers(format: str, nursery: Nursery, tmp_path: Path) -> None:
    folder = tmp_path / "rows"
    folder.mkdir()
    check(nursery, folder, format, CONTAINERS[format](folder))


def check(nursery: Nursery, path: Path, format: str, count: int) -> None:
    pool = path.with_name("pool.duckdb")
    code, _ = nursery.run("test_fuzz_rows:load", pool, path, format, seconds=LIMIT)
    assert code == 0, nursery.log.read_text()[-3000:]
    read, good, bad = account(pool)
    assert read == count >= COUNT
    assert min(good, bad) > COUNT // 50


@pytest.mark.parametrize("format", CONTAINERS)
def test_damaged_containers(format: str, nursery: Nursery, tmp_path: Path) -> None:
    """Bytes of the files themselves: what cannot be read is told, and what can is taken."""
    folder = tmp_path / "rows"
    folder.mkdir()
    CONTAINERS[format](folder)
    mutator = Mutator(format)
    for file in sorted(folder.iterdir())[1:]:
        file.write_bytes(mutator.data(file.read_bytes(), 4))
    pool = tmp_path / "pool.duckdb"
    code, _ = nursery.run("test_fuzz_rows:load", pool, folder, format, seconds=LIMIT)
    assert code == 0, nursery.log.read_text()[-3000:]
    _, good, bad = account(pool)
    assert good >= 1
    assert bad >= 1


_TEXTS = st.text(max_size=6)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | _TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["role", "x"]), inner),
    max_leaves=6,
)
_ROWS = st.fixed_dictionaries(
    {"id": _VALUES, "images": st.just(["a.jpg"]) | _VALUES},
    optional={"messages": st.just(SHAPES["paper image"](1)["messages"]) | _VALUES, "video_id": _VALUES},
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(_ROWS | _VALUES, max_size=12))
def test_any_file_of_rows(tmp_path: Path, rows: list[Any]) -> None:
    """The same of whatever hypothesis thinks of, made small where it fails."""
    for old in tmp_path.glob("*.duckdb"):
        old.unlink()
    (tmp_path / "rows.jsonl").write_bytes(lines(rows))
    try:
        ingest(tmp_path / "p.duckdb", [tmp_path / "rows.jsonl"], workers=1)
    except GdoError as error:
        assert "gives no sample" in str(error) or "is empty" in str(error)
        return
    assert account(tmp_path / "p.duckdb")[0] == len(rows)
