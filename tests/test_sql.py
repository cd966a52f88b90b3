"""SQL for people: what it gives, in every format, and that nothing gets out of the sandbox."""

import csv
import io
import json
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import polars as pl
import pytest

from gdo.errors import GdoError, UsageError
from gdo.pool import query as module
from gdo.pool.atomic import write_output
from gdo.pool.sandbox import Sandbox
from gdo.pool.store import Pool

SANDBOX = Sandbox()
"""One for all: a process of its own for each query would take longer than they."""
run_sql = partial(module.run_sql, sandbox=SANDBOX)


@pytest.fixture(scope="module", autouse=True)
def _end_the_sandbox() -> Iterator[None]:
    yield
    SANDBOX.close()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sql") / "pool.duckdb"
    with Pool(path, create=True).write() as connection:
        connection.execute(
            "INSERT INTO sample (qa_uid, ordinal, bucket, question, answer, media_ids, uid_hash) "
            "SELECT 'ov::' || range || '::t0', range, 'image_qa', 'Wie schön, \"Ö\"?\nReally', 'yes', "
            "[range, 18446744073709551615]::UBIGINT[], 18446744073709551615 - range FROM range(1000)"
        )
        connection.execute("INSERT INTO imported (qa_uid, vds, ppl) VALUES ('ov::0::t0', 'nan', 1.5)")
    return path


@pytest.fixture
def pool(built: Path, tmp_path: Path) -> Path:
    (tmp_path / "pool.duckdb.d").mkdir()
    return Path(shutil.copy(built, tmp_path))


@pytest.mark.parametrize(
    ("query", "rows"),
    [
        ("SELECT count(*) AS n FROM candidate", [(1000,)]),
        ("WITH a AS (SELECT 1 AS x) SELECT x FROM a", [(1,)]),
        ("FROM sample SELECT sum(ordinal)", [(499500,)]),
        ("VALUES (1, NULL), (2, 'x')", [(1, None), (2, "x")]),
        ("SELECT MAP {'k': 1}, [1, 2], {'a': 1.5::DOUBLE}", [({"k": 1}, [1, 2], {"a": 1.5})]),
        ("SELECT 1 AS a, 2 AS a; -- one statement", [(1, 2)]),
        ("SELECT DISTINCT bucket FROM candidate WHERE question_form = 'Open'", [("image_qa",)]),
    ],
)
def test_rows(pool: Path, query: str, rows: list[tuple[object, ...]]) -> None:
    result = run_sql(pool, query)
    assert result.rows == rows
    assert result.count == len(rows)
    assert result.complete


@pytest.mark.parametrize(
    "query",
    [
        "DESCRIBE candidate",
        "SUMMARIZE SELECT ordinal FROM sample",
        "SHOW TABLES",
        "SHOW ALL TABLES",
        "EXPLAIN SELECT * FROM candidate",
        "explain analyze SELECT count(*) FROM sample",
        "PIVOT sample ON bucket IN ('image_qa') USING count(*) GROUP BY answer",
        "SELECT table_name FROM duckdb_tables()",
        "SELECT table_name FROM information_schema.tables",
        "SELECT unnest(media_ids) FROM sample LIMIT 1",
    ],
)
def test_statements_that_read_are_allowed(pool: Path, query: str) -> None:
    assert run_sql(pool, query).count > 0


def test_columns_types_and_max_rows(pool: Path) -> None:
    result = run_sql(pool, "SELECT ordinal, uid_hash, media_ids FROM sample ORDER BY 1", max_rows=3)
    assert result.columns == ["ordinal", "uid_hash", "media_ids"]
    assert result.types == ["BIGINT", "UBIGINT", "UBIGINT[]"]
    assert [row[0] for row in result.rows] == [0, 1, 2]
    assert result.rows[0][1:] == (2**64 - 1, [0, 2**64 - 1])
    assert not result.complete
    assert run_sql(pool, "SELECT 1 FROM sample", max_rows=1000).complete
    assert run_sql(pool, "SELECT 1 FROM sample", max_rows=0).rows == []


VALUES = """
    SELECT qa_uid, question, media_ids, uid_hash, i.vds, i.ppl, TIMESTAMP '2026-01-02 03:04:05.5' AS at,
           sum(ordinal) OVER () AS total, NULL::VARCHAR AS nothing, {'a': [1]} AS deep, ordinal = 0 AS first
    FROM sample LEFT JOIN imported AS i USING (qa_uid) ORDER BY ordinal LIMIT 2
"""


def test_csv(pool: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    assert run_sql(pool, VALUES, output=out).count == 2
    first, second = csv.DictReader(io.StringIO(out.read_bytes().decode()))
    assert first["question"] == 'Wie schön, "Ö"?\nReally'
    assert json.loads(first["media_ids"]) == [0, 2**64 - 1]
    assert int(second["uid_hash"]) == 2**64 - 2
    assert (first["vds"], second["vds"], first["ppl"]) == ("nan", "", "1.5")
    assert first["at"] == "2026-01-02 03:04:05.500000"
    assert (first["total"], first["nothing"], first["first"]) == ("499500", "", "true")
    assert json.loads(first["deep"]) == {"a": [1]}


def test_json(pool: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    result = run_sql(pool, VALUES, output=out)
    assert result.rows == []
    assert result.path == out
    first, second = json.loads(out.read_bytes())
    assert list(first) == result.columns
    assert first["question"] == 'Wie schön, "Ö"?\nReally'
    assert first["media_ids"] == [0, 2**64 - 1]
    assert second["uid_hash"] == 2**64 - 2
    assert (first["vds"], second["vds"], first["ppl"]) == (None, None, 1.5)
    assert first["at"] == "2026-01-02T03:04:05.500000"
    assert (first["total"], first["nothing"], first["deep"]) == (499500, None, {"a": [1]})


def test_json_of_odd_types(pool: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    run_sql(pool, "SELECT 2.50::DECIMAL(5,2) AS d, [7::HUGEINT] AS h, '\\x0A'::BLOB AS b", output=out)
    assert json.loads(out.read_bytes()) == [{"d": 2.5, "h": [7], "b": "0a"}]
    run_sql(pool, "SELECT 1 AS a WHERE false", output=out)
    assert json.loads(out.read_bytes()) == []


def test_parquet(pool: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    run_sql(pool, VALUES, output=out)
    frame = pl.read_parquet(out)
    assert frame["media_ids"].to_list()[0] == [0, 2**64 - 1]
    assert frame["uid_hash"].to_list() == [2**64 - 1, 2**64 - 2]
    assert frame["vds"].is_nan().to_list() == [True, None]
    assert frame["at"][0].isoformat() == "2026-01-02T03:04:05.500000"
    assert int(frame["total"][0]) == 499500


def test_max_rows_holds_for_files(pool: Path, tmp_path: Path) -> None:
    result = run_sql(pool, "FROM sample", output=tmp_path / "out.parquet", max_rows=7)
    assert (result.count, result.complete) == (7, False)
    assert pl.read_parquet(tmp_path / "out.parquet").height == 7


@pytest.mark.parametrize("name", ["out.json", "out.parquet"])
def test_two_columns_of_one_name_need_another_name(pool: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="two columns are called 'a'"):
        run_sql(pool, "SELECT 1 AS a, 2 AS a", output=tmp_path / name)


def test_output_of_unknown_kind_or_place(pool: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"ends in none of \.csv"):
        run_sql(pool, "SELECT 1", output=tmp_path / "out.xlsx")
    with pytest.raises(UsageError, match="does not exist"):
        run_sql(pool, "SELECT 1", output=tmp_path / "no" / "out.csv")


def test_a_failing_query_leaves_the_old_file_and_no_other(pool: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    out.write_text("old")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(GdoError, match="boom"):
        run_sql(pool, "SELECT if(ordinal > 900, error('boom'), '') FROM sample", output=out)
    assert out.read_text() == "old"
    assert sorted(tmp_path.iterdir()) == before


def test_wrong_queries_keep_the_hints(pool: Path) -> None:
    with pytest.raises(UsageError, match=r"temporal_cat.*Candidate bindings.*temporal_category"):
        run_sql(pool, "SELECT temporal_cat FROM candidate")
    with pytest.raises(UsageError, match=r"Did you mean \"candidate\""):
        run_sql(pool, "SELECT * FROM candidat")
    with pytest.raises(UsageError, match="syntax error"):
        run_sql(pool, "SELEC 1")
    with pytest.raises(GdoError, match="Could not convert string"):
        run_sql(pool, "SELECT qa_uid::INTEGER FROM sample")


@pytest.mark.parametrize(
    ("query", "limit"),
    [
        ("SELECT count(*) FROM sample a, sample b, sample c, sample d WHERE a.question < b.answer", "0.3"),
        ("WITH RECURSIVE r AS (SELECT 1 AS x UNION ALL SELECT x + 1 FROM r) SELECT count(*) FROM r", "0.3"),
        ("SELECT a.qa_uid FROM sample a, sample b, sample c, sample d", "0.5"),
    ],
)
def test_time_limit(pool: Path, tmp_path: Path, query: str, limit: str) -> None:
    before = threading.active_count()
    with pytest.raises(GdoError, match=f"limit of {limit} seconds"):
        run_sql(pool, query, output=tmp_path / "out.csv", time_limit=float(limit))
    assert not (tmp_path / "out.csv").exists()
    assert threading.active_count() == before
    assert run_sql(pool, "SELECT 1").rows == [(1,)]


def test_a_time_limit_of_nothing_is_refused(pool: Path) -> None:
    with pytest.raises(UsageError, match="above 0 seconds"):
        run_sql(pool, "SELECT 1", time_limit=0)


def test_the_memory_limit_is_told(pool: Path) -> None:
    with pytest.raises(GdoError, match="needs more than 600MB of memory"):
        run_sql(pool, "SELECT list(range) FROM range(200000000)", time_limit=120)


def test_queries_of_several_threads(pool: Path) -> None:
    with ThreadPoolExecutor(4) as threads, Pool(pool).read() as other:
        results = list(
            threads.map(lambda n: run_sql(pool, f"SELECT {n}, count(*) FROM sample").rows, range(20))
        )
        assert other.execute("SELECT count(*) FROM sample").fetchall() == [(1000,)]
    assert results == [[(n, 1000)] for n in range(20)]


def test_a_read_only_folder_can_be_queried(pool: Path) -> None:
    pool.parent.chmod(0o500)
    try:
        assert run_sql(pool, "SELECT count(*) FROM sample").rows == [(1000,)]
    finally:
        pool.parent.chmod(0o700)


READS_FILES = "file system operations are disabled"
NOT_POOL = "is refused: queries may use the pool's tables and nothing else"
ATTACKS = [
    # reading files
    ("SELECT * FROM '{secret}'", READS_FILES),
    ("FROM '{dir}/*.csv'", READS_FILES),
    ("SELECT * FROM read_csv('{secret}')", NOT_POOL),
    ("SELECT * FROM read_text('{secret}')", NOT_POOL),
    ("SELECT * FROM ReAd_BlOb('{secret}')", NOT_POOL),
    ("SELECT * FROM \"read_json\"('{secret}')", NOT_POOL),
    ("SELECT * FROM main.read_parquet('{secret}')", NOT_POOL),
    ("SELECT * FROM system.main.read_csv_auto('{secret}')", NOT_POOL),
    ("SELECT * FROM glob('{dir}/*')", NOT_POOL),
    ("SELECT (SELECT content FROM read_text('{secret}'))", NOT_POOL),
    ("WITH x AS MATERIALIZED (FROM sniff_csv('{secret}')) FROM x", NOT_POOL),
    ("SELECT [c FOR c IN (SELECT list(content) FROM read_text('{secret}'))]", NOT_POOL),
    ("DESCRIBE SELECT * FROM read_csv('{secret}')", NOT_POOL),
    ("SUMMARIZE '{secret}'", READS_FILES),
    ("EXPLAIN ANALYZE SELECT * FROM read_csv('{secret}')", NOT_POOL),
    ("explain (format json) SELECT * FROM read_csv('{secret}')", NOT_POOL),
    ("SELECT * FROM query('SELECT * FROM read_' || 'text(''{secret}'')')", NOT_POOL),
    ("SELECT * FROM query_table(['sample'])", NOT_POOL),
    (
        "SELECT * FROM json_execute_serialized_sql(json_serialize_sql('FROM read_text(''{secret}'')'))",
        NOT_POOL,
    ),
    ("SELECT * FROM read_duckdb('{dir}/other.duckdb')", NOT_POOL),
    ("SELECT * FROM parquet_metadata('{secret}')", NOT_POOL),
    ("FROM sample SEMI JOIN read_csv('{secret}') ON true", NOT_POOL),
    # the process's own memory
    ("SELECT * FROM connection", "Table with name connection does not exist"),
    ("SELECT * FROM ATTACKS", "Table with name ATTACKS does not exist"),
    ("SELECT * FROM arrow_scan(1, 2, 3)", NOT_POOL),
    ("SELECT * FROM pandas_scan(1)", NOT_POOL),
    # writing files
    ("COPY sample TO '{dir}/x.csv'", "a COPY statement is refused"),
    ("COPY (SELECT 1) TO '{dir}/x.parquet' (FORMAT parquet)", "a COPY statement is refused"),
    ("EXPLAIN ANALYZE COPY sample TO '{dir}/x.csv'", "EXPLAIN takes a statement that reads"),
    ("/* */ EXPLAIN ANALYZE COPY sample TO '{dir}/x.csv'", "EXPLAIN takes a statement that reads"),
    ("EXPORT DATABASE '{dir}/x'", "a EXPORT statement is refused"),
    ("SELECT * FROM enable_logging(storage='file', storage_path='{dir}/x')", NOT_POOL),
    ("SELECT write_log('x')", NOT_POOL),
    # other databases, network, extensions
    ("ATTACH '{dir}/x.duckdb'", "a ATTACH statement is refused"),
    ("DETACH pool", "a DETACH statement is refused"),
    ("SELECT * FROM 'http://127.0.0.1:{port}/x.csv'", READS_FILES),
    ("SELECT * FROM 's3://bucket/x.parquet'", READS_FILES),
    ("SELECT * FROM read_text('http://127.0.0.1:{port}/')", NOT_POOL),
    ("INSTALL httpfs", "a LOAD statement is refused"),
    ("LOAD httpfs", "a LOAD statement is refused"),
    ("LOAD '{secret}'", "a LOAD statement is refused"),
    # settings, state and the machine
    ("SET enable_external_access = true", "a SET statement is refused"),
    ("RESET lock_configuration", "a SET statement is refused"),
    ("SET VARIABLE x = 1", "a SET statement is refused"),
    ("PRAGMA database_list", "a PRAGMA statement is refused"),
    ("PRAGMA enable_profiling", "a PRAGMA statement is refused"),
    ("CALL enable_logging()", "a CALL statement is refused"),
    ("FROM duckdb_settings()", NOT_POOL),
    ("SELECT path FROM duckdb_databases", NOT_POOL),
    ("FROM pg_catalog.pg_settings", NOT_POOL),
    ("FROM pragma_database_list", NOT_POOL),
    ("SELECT current_setting('temp_directory')", NOT_POOL),
    ("SELECT x FROM (VALUES (1)) t(x) WHERE x::VARCHAR = current_setting('threads')", NOT_POOL),
    ("SELECT getenv('HOME')", "getenv does not exist"),
    # changing the pool
    ("INSERT INTO sample (qa_uid) VALUES ('x')", "a INSERT statement is refused"),
    ("UPDATE sample SET answer = 'x'", "a UPDATE statement is refused"),
    ("DELETE FROM sample", "a DELETE statement is refused"),
    ("DROP TABLE sample", "a DROP statement is refused"),
    ("CREATE TEMP TABLE x AS SELECT 1", "a CREATE statement is refused"),
    ("CREATE OR REPLACE MACRO temporal_of(a, b) AS 1", "a CREATE statement is refused"),
    ("WITH d AS (DELETE FROM sample RETURNING *) SELECT * FROM d", "is wrong"),
    ("CHECKPOINT", "a CALL statement is refused"),
    ("SELECT * FROM force_checkpoint()", NOT_POOL),
    ("VACUUM", "a VACUUM statement is refused"),
    ("BEGIN", "a TRANSACTION statement is refused"),
    ("PREPARE p AS SELECT 1", "a PREPARE statement is refused"),
    # more than one statement, or none
    ("SELECT 1; COPY sample TO '{dir}/x.csv'", "give one SQL statement; here are 2"),
    ("SELECT 1; SET threads = 1; SELECT 2", "give one SQL statement; here are 3"),
    ("", "give one SQL statement; here are 0"),
    ("-- nothing", "give one SQL statement; here are 0"),
    ("PIVOT sample ON bucket USING count(*)", "give PIVOT its values"),
]


@pytest.mark.parametrize(("query", "reason"), ATTACKS, ids=[query for query, _ in ATTACKS])
def test_the_sandbox_holds(pool: Path, tmp_path: Path, query: str, reason: str) -> None:
    folder = tmp_path / "outside"
    folder.mkdir()
    secret = folder / "secret.csv"
    secret.write_text("a\nsecret\n")
    before = pool.read_bytes()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        port = server.getsockname()[1]
        attack = query.replace("{secret}", str(secret)).replace("{dir}", str(folder))
        with pytest.raises(UsageError) as refused:
            run_sql(pool, attack.replace("{port}", str(port)), time_limit=20)
        with pytest.raises(BlockingIOError):
            server.accept()
    assert reason in str(refused.value)
    assert [path.name for path in folder.iterdir()] == ["secret.csv"]
    assert pool.read_bytes() == before
    assert run_sql(pool, "SELECT count(*) FROM sample").rows == [(1000,)]


def test_the_next_writing_removes_what_a_killed_one_left(pool: Path, tmp_path: Path) -> None:
    out = tmp_path / "written"
    out.mkdir()
    long = "SELECT count(*) FROM range(10000000) AS a, range(10000000) AS b WHERE a.range * b.range % 7 = 3"
    left = writing(
        [sys.executable, "-m", "gdo.cli.main", "sql", str(pool), long, "-o", str(out / "a.csv")], out
    )
    run_sql(pool, VALUES, output=out / "b.csv")
    assert left.exists()
    run_sql(pool, VALUES, output=out / "a.csv")
    assert sorted(file.name for file in out.iterdir()) == ["a.csv", "b.csv"]


def test_what_is_being_written_is_left_alone(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from gdo.pool.atomic import write_output;"
        "write_output(Path(sys.argv[1]), lambda aside: (aside.write_text('x'), print(), time.sleep(60)))"
    )
    with subprocess.Popen(
        [sys.executable, "-u", "-c", code, str(tmp_path / "out.txt")], stdout=subprocess.PIPE
    ) as other:
        assert other.stdout
        other.stdout.readline()
        write_output(tmp_path / "out.txt", lambda aside: aside.write_text("mine"))
        assert len(list(tmp_path.glob(".out.txt.*.part"))) == 1
        other.kill()
    write_output(tmp_path / "out.txt", lambda aside: aside.write_text("mine"))
    assert [file.name for file in tmp_path.iterdir()] == ["out.txt"]


def writing(command: list[str], folder: Path) -> Path:
    """Kill a command once it has begun to write into a folder; the file that it leaves there."""
    with subprocess.Popen(command) as process:
        while not (found := list(folder.glob(".*.part"))):
            assert process.poll() is None
            time.sleep(0.02)
        process.kill()
    return found[0]
