"""The explorer's answers are those of the pool, and it answers nobody else and gives away nothing else."""

import json
import math
import os
import re
import shutil
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import duckdb
import numpy as np
import psutil
import pytest
from attacks import ENDED, ENDLESS, GREEDY, OUTSIDE, fill
from explorers import BROKEN, HOME, HOSTILE, TOKEN, client_of, make_explored_pool
from starlette.testclient import TestClient

from gdo.errors import GdoError, UsageError
from gdo.explore.explained import Explained
from gdo.explore.filters import check_where
from gdo.explore.frames import FrameCache, Wanted
from gdo.explore.order import order_of
from gdo.explore.save import _work_out
from gdo.explore.serve import explore
from gdo.explore.snapshot import take_snapshot
from gdo.explore.state import Explorer
from gdo.explore.strangers import Strangers
from gdo.explore.vectors import DIRECTIONS, VectorIndex
from gdo.export.run import export
from gdo.pool.ingest import ingest
from gdo.pool.query import run_sql
from gdo.pool.store import Pool
from gdo.selectors.explain import explain


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_explored_pool(tmp_path_factory.mktemp("explored"))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the copy of the pool stands."""
    return tmp_path_factory.mktemp("copy")


@pytest.fixture(scope="module")
def client(pool: Path, home: Path) -> Iterator[TestClient]:
    with client_of(pool, home) as client:
        yield client


@pytest.fixture(scope="module")
def table(pool: Path) -> list[dict[str, Any]]:
    """View `candidate` in the order of ingestion."""
    with Pool(pool).read() as connection:
        result = connection.execute("SELECT * FROM candidate ORDER BY ordinal")
        names = [column[0] for column in result.description]
        return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def told(response: Any) -> Any:
    assert response.status_code == 200, response.text
    return response.json()


def all_uids(client: TestClient, size: int = 37, **asked: Any) -> list[str]:
    """All ids of a list, page by page."""
    uids: list[str] = []
    after = 0
    while after is not None:
        page = told(client.post("/api/page", json={**asked, "after": after, "size": size}))
        uids += [sample["qa_uid"] for sample in page["samples"]]
        after = page["after"]
    return uids


FILTERS: list[dict[str, Any]] = [
    {},
    {"facets": {"bucket": ["short_video"]}},
    {"facets": {"bucket": ["short_video"], "temporal_category": ["Temporal", "Mixed"]}},
    {"facets": {"cluster_id": [1, None]}},
    {"facets": {"cluster_id": [3], "bucket": []}},
    {"facets": {"imported": ["true"]}},
    {"subsets": [{"subset": "temp"}]},
    {"subsets": [{"subset": "temp", "inside": False}, {"subset": "diverse", "role": "uniform"}]},
    {"where": "amm > 0.2 OR question ILIKE '%count%' -- in words"},
    {"facets": {"bucket": ["image_qa"]}, "where": "qa_uid IN (SELECT qa_uid FROM subset_sample)"},
    {"facets": {"media_error": [None]}, "where": "turn = 0"},
    {"where": "false"},
]


@pytest.mark.parametrize("filter", FILTERS)
@pytest.mark.parametrize("order", [{}, {"by": "vds"}, {"by": "amm", "direction": "asc"}])
def test_a_list_is_what_its_sql_gives_from_the_pool(
    client: TestClient, pool: Path, filter: dict[str, Any], order: dict[str, str]
) -> None:
    with Pool(pool).read() as connection:
        page = told(client.post("/api/page", json={"filter": filter, "order": order}))
        wanted = [uid for (uid,) in connection.execute(page["sql"]).fetchall()]
    assert all_uids(client, filter=filter, order=order) == wanted
    assert told(client.post("/api/facets", json=filter))["total"] == len(wanted)


def test_facets_count_what_choosing_another_value_would_give(
    client: TestClient, table: list[dict[str, Any]]
) -> None:
    asked = {"facets": {"bucket": ["image_qa"]}}
    facets = {f["name"]: f["values"] for f in told(client.post("/api/facets", json=asked))["facets"]}
    buckets = {v["value"]: v["count"] for v in facets["bucket"]}
    assert buckets == {
        name: sum(row["bucket"] == name for row in table) for name in {row["bucket"] for row in table}
    }
    clusters = {v["value"]: v["count"] for v in facets["cluster_id"]}
    assert sum(clusters.values()) == buckets["image_qa"]
    assert clusters[None] == sum(row["cluster_id"] is None for row in table if row["bucket"] == "image_qa")


def test_missing_values_stay_missing_and_come_last(client: TestClient, table: list[dict[str, Any]]) -> None:
    page = told(client.post("/api/page", json={"order": {"by": "vds", "direction": "asc"}, "size": 200}))
    values = [sample["vds"] for sample in page["samples"]]
    there = [value for value in values if value is not None]
    assert there == sorted(there)
    assert values[: len(there)] == there
    assert len(values) - len(there) == sum(row["vds"] is None for row in table) > 0


def test_a_sample_with_all_that_is_known(client: TestClient, table: list[dict[str, Any]]) -> None:
    row = next(r for r in table if r["bucket"] == "short_video" and r["vds"] is not None and r["turn"] == 1)
    sample = told(client.get("/api/sample", params={"uid": row["qa_uid"]}))
    values = {value["name"]: value for value in sample["values"]}
    assert values["amm"]["value"] == pytest.approx(row["amm"])
    assert values["amm"]["unit"] == "pixels"
    assert values["amm"]["maker"] == "motion 1"
    below = [r["vds"] for r in table if r["vds"] is not None]
    assert values["vds"]["below"] == pytest.approx(np.mean(np.array(below) <= row["vds"]))
    assert values["self_consistency"]["value"] is None
    assert [t["turn"] for t in sample["turns"]] == sorted(
        r["turn"] for r in table if (r["source_id"], r["line"]) == (row["source_id"], row["line"])
    )
    assert sample["media"][0]["media_id"] == str(row["media_ids"][0])


def test_texts_come_as_they_are(client: TestClient) -> None:
    assert told(client.get("/api/sample", params={"uid": BROKEN}))["question"] == HOSTILE


def test_neighbours_are_those_of_sql(client: TestClient, pool: Path, table: list[dict[str, Any]]) -> None:
    uid = table[3]["qa_uid"]
    query = (
        "SELECT b.qa_uid, array_cosine_similarity(a.embedding, b.embedding) AS alike "
        "FROM embedding AS a, embedding AS b WHERE a.qa_uid = ? AND b.qa_uid <> a.qa_uid "
        "ORDER BY alike DESC LIMIT 12"
    )
    with Pool(pool).read() as connection:
        wanted = connection.execute(query, [uid]).fetchall()
    found = told(client.get("/api/neighbours", params={"uid": uid}))["alike"]
    assert [sample["qa_uid"] for sample in found] == [name for name, _ in wanted]
    assert [s["similarity"] for s in found] == pytest.approx([alike for _, alike in wanted], abs=2e-3)
    without = told(client.get("/api/neighbours", params={"uid": BROKEN}))
    assert (without["alike"], without["has_vectors"], without["has_vector"]) == ([], True, False)


def test_neighbours_among_many_directions() -> None:
    rng = np.random.default_rng(1)
    centres = rng.standard_normal((50, 4 * DIRECTIONS))
    vectors = centres[rng.integers(0, 50, 3000)] + 0.5 * rng.standard_normal((3000, 4 * DIRECTIONS))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    index = VectorIndex(vectors.astype(np.float16), np.ones(3000, np.bool_))
    hits = 0
    for row in range(40):
        cosines = vectors @ vectors[row]
        cosines[row] = -1
        hits += len({r for r, _ in index.nearest(row, 10)} & set(np.argsort(-cosines)[:10].tolist()))
    assert hits >= 0.99 * 400


def test_explain_is_that_of_the_command(client: TestClient, pool: Path, table: list[dict[str, Any]]) -> None:
    for row in table[::40]:
        found = told(client.get("/api/explain", params={"uid": row["qa_uid"], "subset": "temp"}))
        wanted = explain(pool, "temp", row["qa_uid"])
        assert (found["verdict"], found["rank"]) == (wanted.verdict, wanted.rank)


def test_compare_two_subsets(client: TestClient, pool: Path, table: list[dict[str, Any]]) -> None:
    asked = {"first": {"subset": "temp"}, "second": {"subset": "diverse"}}
    compared = told(client.post("/api/compare", json=asked))
    query = "SELECT subset, qa_uid FROM subset_sample WHERE role = 'chosen'"
    members: dict[str, set[str]] = {"temp": set(), "diverse": set()}
    for subset, uid in run_sql(pool, query).rows:
        members[subset].add(uid)
    parts = {
        "first": members["temp"] - members["diverse"],
        "both": members["temp"] & members["diverse"],
        "second": members["diverse"] - members["temp"],
    }
    assert compared["sizes"] == {name: len(uids) for name, uids in parts.items()}
    medians = next(column for column in compared["numbers"] if column["name"] == "amm")
    for name, uids in parts.items():
        values = [row["amm"] for row in table if row["qa_uid"] in uids and row["amm"] is not None]
        assert medians[name] == (pytest.approx(np.median(values), rel=1e-5) if values else None)
    for facet in compared["facets"]:
        for part, uids in parts.items():
            assert math.isclose(sum(value[part] for value in facet["values"]), bool(uids), abs_tol=1e-9)


STRANGE = [
    "amm > 1) OR (true",
    "true) UNION SELECT (1",
    "1 = 1; DROP TABLE candidate",
    "1 = 1) --",
    "amm > 1 /*",
    "true) LIMIT (1",
    "true) WINDOW w AS (ORDER BY (1)",
    "question IN (SELECT content FROM read_text('/etc/passwd'))",
    "question IN (FROM '/etc/passwd')",
    "question IN (FROM read_csv('/etc/passwd'))",
    "question IN (FROM glob('/*'))",
    "question IN (FROM duckdb_settings())",
    "question IN (FROM duckdb_secrets())",
    "qa_uid IN (FROM read_parquet('http://127.0.0.1/x'))",
    "getenv('HOME') = ''",
    "current_setting('memory_limit') = ''",
    "no_such_column = 1",
    "? = 1",
    "amm >",
    "rowid IN (SELECT row FROM query('DROP TABLE candidate'))",
]


@pytest.mark.parametrize("where", STRANGE)
def test_conditions_that_are_none_or_reach_beyond_are_refused(client: TestClient, where: str) -> None:
    response = client.post("/api/page", json={"filter": {"where": where}})
    assert response.status_code == 400
    assert "root:" not in response.text
    assert len(told(client.post("/api/page", json={}))["samples"]) == 48


@pytest.mark.parametrize("where", ["amm > 1) OR (true", "1) AS x, (2", "true) FROM x WHERE (true"])
def test_a_condition_cannot_close_our_bracket(where: str) -> None:
    with duckdb.connect() as connection, pytest.raises(UsageError):
        check_where(connection, where)


@pytest.mark.parametrize("attack", OUTSIDE)
def test_no_condition_gets_out(
    client: TestClient, pool: Path, home: Path, tmp_path: Path, attack: str
) -> None:
    """The only SQL that the explorer takes, with a whole statement in the place of a condition and in one."""
    (tmp_path / "secret.csv").write_text("a\nsecret\n")
    before = states_of(pool, home)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        query = fill(of_copy(attack), pool, tmp_path, server.getsockname()[1])
        for where in (query, f"qa_uid IN ({query})", f"EXISTS ({query})"):
            response = client.post("/api/page", json={"filter": {"where": where}})
            assert (response.status_code, list(response.json())) == (400, ["error"]), where
            assert "secret\\n" not in response.text
        with pytest.raises(BlockingIOError):
            server.accept()
    assert [path.name for path in tmp_path.iterdir()] == ["secret.csv"]
    assert states_of(pool, home) == before


def of_copy(attack: str) -> str:
    """An attack by the name of the one table of samples that the copy has."""
    return re.sub(r"\bsample\b", "candidate", attack)


def states_of(pool: Path, home: Path) -> dict[Path, tuple[int, int]]:
    """The pool, what stands beside it, and its copy; but for what DuckDB puts aside while it works."""
    files = [path for path in (pool.parent / "pool.duckdb.d", home) for path in path.rglob("*")]
    told = {path: path.stat() for path in [pool, *files] if "tmp" not in path.parts[-2:]}
    return {path: (stat.st_mtime_ns, stat.st_size) for path, stat in told.items()}


@pytest.mark.slow
@pytest.mark.parametrize("attack", [*ENDLESS[::4], ENDLESS[7], GREEDY[0], *GREEDY[4:8], GREEDY[-1]])
def test_time_and_memory_are_all_that_a_condition_can_use_up(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, attack: str
) -> None:
    monkeypatch.setattr("gdo.explore.strangers.TIME_LIMIT", 1.0)
    monkeypatch.setattr("gdo.pool.sandbox.GRACE", 0.5)
    where = f"EXISTS (FROM ({attack}) AS t(x) WHERE x::VARCHAR > '')"
    response = client.post("/api/page", json={"filter": {"where": where}})
    assert response.status_code in (400, 500)
    assert re.search(ENDED, response.json()["error"])
    monkeypatch.undo()
    assert told(client.post("/api/page", json={"filter": {"where": f"turn = 0 OR {len(attack)} = 0"}}))[
        "samples"
    ]


def test_a_long_condition_is_stopped(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    long = "amm > (SELECT count(*) FROM range(1000000) a, range(1000000) b WHERE a.range * b.range % 7 = 3)"
    monkeypatch.setattr("gdo.explore.strangers.TIME_LIMIT", 1.0)
    response = client.post("/api/page", json={"filter": {"where": f"{long} OR {long} OR {long}"}})
    assert response.status_code in (400, 500)
    assert "error" in response.json()
    monkeypatch.undo()
    assert len(told(client.post("/api/page", json={"filter": {"where": "turn = 0"}}))["samples"]) > 0


@pytest.mark.parametrize(
    "asked",
    [
        {"filter": {"facets": {"question": ["x"]}}},
        {"filter": {"facets": {"cluster_id": ["1 OR 1=1"]}}},
        {"filter": {"facets": {"imported": ["maybe"]}}},
        {"filter": {"subsets": [{"subset": "nobody's"}]}},
        {"order": {"by": "amm; DROP TABLE candidate"}},
        {"order": {"by": "question"}},
    ],
)
def test_unknown_names_are_told(client: TestClient, asked: dict[str, Any]) -> None:
    response = client.post("/api/page", json=asked)
    assert response.status_code == 400
    assert response.json()["error"]


@pytest.mark.parametrize(
    "asked", [{"size": 100_000}, {"after": -1}, {"filters": {}}, {"order": {"direction": "up"}}, []]
)
def test_requests_of_another_shape_are_refused(client: TestClient, asked: Any) -> None:
    assert client.post("/api/page", json=asked).status_code == 422


def test_values_with_quotes_are_values(client: TestClient) -> None:
    asked = {"filter": {"facets": {"data_source": ["x'; DROP TABLE candidate; --"]}}}
    page = told(client.post("/api/page", json=asked))
    assert page["samples"] == []
    assert "'x''; DROP TABLE candidate; --'" in page["sql"]


# Who is answered


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "127.0.0.1:8000@evil", "", "0.0.0.0"],
)
def test_other_hosts_are_refused(client: TestClient, host: str) -> None:
    assert client.get("/api/pool", headers={"Host": host}).status_code == 421


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "https://127.0.0.1:8000", "http://127.0.0.1:9"]
)
@pytest.mark.parametrize("address", ["/api/page", "/api/refresh", "/api/save"])
def test_other_origins_are_refused(client: TestClient, origin: str, address: str) -> None:
    assert client.post(address, json={}, headers={"Origin": origin}).status_code == 403


def test_forms_are_refused(client: TestClient) -> None:
    response = client.post("/api/refresh", content="{}", headers={"Content-Type": "text/plain"})
    assert response.status_code == 403
    del client.headers["Origin"]
    try:
        assert client.post("/api/refresh", json={}).status_code == 403
    finally:
        client.headers["Origin"] = HOME


@pytest.mark.parametrize(
    "address", ["/", "/app.js", "/api/pool", "/media/1/video", "/nothing", "/?token=wrong"]
)
def test_nobody_is_answered_without_the_token(client: TestClient, address: str) -> None:
    stranger = TestClient(client.app, base_url=HOME)
    assert stranger.get(address).status_code == 401
    assert TOKEN not in stranger.get(address).text


def test_the_token_stays_out_of_reach(client: TestClient) -> None:
    stranger = TestClient(client.app, base_url=HOME)
    response = stranger.get("/", params={"token": TOKEN}, follow_redirects=False)
    assert response.headers["location"] == "/"
    assert "httponly" in response.headers["set-cookie"].lower()
    assert "samesite=strict" in response.headers["set-cookie"].lower()
    page = client.get("/")
    assert TOKEN not in page.text
    assert page.headers["content-security-policy"].startswith("default-src 'self';")
    assert page.headers["x-content-type-options"] == "nosniff"


def test_it_listens_on_this_machine_alone(pool: Path, tmp_path: Path) -> None:
    """By what the system says of all sockets of the process."""
    with started(pool, tmp_path) as (server, address):
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(address.partition("?")[0], timeout=60)
        sockets = psutil.Process(server.pid).net_connections("inet")
        listening = [one.laddr for one in sockets if one.status == psutil.CONN_LISTEN]
        assert listening == [("127.0.0.1", urlsplit(address).port)]


@contextmanager
def started(pool: Path, folder: Path) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """`gdo explore` in a process of its own, with the address that it told."""
    command = [sys.executable, "-u", "-m", "gdo.cli.main", "explore", str(pool)]
    environment = {**os.environ, "TMPDIR": str(folder)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as server:
        try:
            assert server.stdout
            yield server, re.findall(r"http://\S+", server.stdout.readline())[0]
        finally:
            server.kill()


def test_a_port_that_is_taken_is_told(pool: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UsageError, match="cannot be had"):
            explore(pool, port=taken.getsockname()[1])


def test_the_address_answers_as_soon_as_it_is_told(pool: Path) -> None:
    def connect(address: str) -> None:
        parts = urlsplit(address)
        socket.create_connection((parts.hostname, parts.port), 5).close()
        raise KeyboardInterrupt

    explore(pool, told=connect)


# Media


def media_of(client: TestClient, uid: str) -> dict[str, Any]:
    return dict(told(client.get("/api/sample", params={"uid": uid}))["media"][0])


def video_of(client: TestClient) -> dict[str, Any]:
    return media_of(client, all_uids(client, filter={"facets": {"bucket": ["short_video"]}})[0])


def test_frames_are_shown(client: TestClient) -> None:
    medium = video_of(client)
    strip = told(client.get(f"/api/media/{medium['media_id']}", params={"frames": 8, "side": 240}))
    assert len(strip["indices"]) == 8
    assert strip["times"] == sorted(strip["times"])
    assert strip["error"] is None
    pictures = [
        client.get(f"/media/{medium['media_id']}/frame/{n}", params={"frames": 8, "side": 240})
        for n in (0, 7)
    ]
    assert all(picture.headers["content-type"] == "image/jpeg" for picture in pictures)
    assert all(picture.content.startswith(b"\xff\xd8") for picture in pictures)


def test_a_video_is_given_in_parts(client: TestClient, pool: Path) -> None:
    medium = video_of(client)
    whole = (pool.parent / "files" / medium["path"]).read_bytes()
    address = f"/media/{medium['media_id']}/video"
    assert client.get(address).content == whole
    part = client.get(address, headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, whole[10:20])
    assert part.headers["content-range"] == f"bytes 10-19/{len(whole)}"
    assert client.get(address, headers={"Range": "bytes=-5"}).content == whole[-5:]
    assert client.get(address, headers={"Range": f"bytes={len(whole)}-"}).status_code == 416


def test_a_broken_video_is_told(client: TestClient) -> None:
    medium = media_of(client, BROKEN)
    strip = told(client.get(f"/api/media/{medium['media_id']}"))
    assert strip["indices"] == []
    assert "broken.mp4" in strip["error"]
    assert client.get(f"/media/{medium['media_id']}/frame/0").status_code == 404
    assert BROKEN in all_uids(client, filter={"where": "media_error IS NOT NULL"})


@pytest.mark.parametrize(
    "address",
    [
        "/media/..%2F..%2Fetc%2Fpasswd/video",
        "/media//etc/passwd/video",
        "/media/1/video",
        "/media/-1/video",
        "/media/99999999999999999999999/video",
        "/media/1/frame/0",
        "/static/../app.py",
        "/..%2f..%2fapp.py",
        "/app.py",
        "/etc/passwd",
    ],
)
def test_only_media_of_the_pool_are_given(client: TestClient, address: str) -> None:
    response = client.get(address)
    assert response.status_code in (400, 404, 422)
    assert "root:" not in response.text
    assert "import" not in response.text


def test_a_file_that_is_no_video_is_not_given(pool: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.html").write_text("<script>secret</script>")
    (tmp_path / "rows.jsonl").write_text(
        '{"id": "x", "video": "secret.html", "conversations": ['
        '{"from": "human", "value": "<video>\\nWhat?"}, {"from": "gpt", "value": "No."}]}\n'
    )
    ingest(tmp_path / "pool.duckdb", [tmp_path / "rows.jsonl"], workers=1)
    with client_of(tmp_path / "pool.duckdb", tmp_path) as client:
        medium = media_of(client, "vv::x::t0")
        response = client.get(f"/media/{medium['media_id']}/video")
        assert response.status_code == 400
        assert "secret<" not in response.text


def test_an_image_is_not_given_as_a_file(client: TestClient) -> None:
    medium = media_of(client, all_uids(client, filter={"facets": {"bucket": ["image_qa"]}})[0])
    assert client.get(f"/media/{medium['media_id']}/video").status_code == 400
    assert client.get(f"/media/{medium['media_id']}/frame/0?frames=1&side=960").status_code == 200


@pytest.mark.parametrize("wanted", ["frames=0", "frames=10000", "side=100000"])
def test_no_more_frames_than_are_shown(client: TestClient, wanted: str) -> None:
    assert client.get(f"/api/media/{video_of(client)['media_id']}?{wanted}").status_code == 400


def test_the_memory_of_frames_is_bounded(client: TestClient, pool: Path) -> None:
    files = [str(path) for path in sorted((pool.parent / "files").rglob("*.jpg"))[:6]]
    cache = FrameCache(kept_bytes=20_000)
    try:
        strips = [cache.get(Wanted("image", (file,), 1, 240 * 240)) for file in files]
        assert all(strip.pictures for strip in strips)
        assert 0 < cache._size <= 20_000
        assert cache.get(Wanted("image", (files[0],), 1, 240 * 240)) == strips[0]
    finally:
        cache.close()


# The pool itself


def test_nothing_is_saved_without_leave(client: TestClient, pool: Path) -> None:
    before = pool.read_bytes()
    response = client.post("/api/save", json={"name": "mine", "list": {}})
    assert response.status_code == 400
    assert "--write" in response.json()["error"]
    assert pool.read_bytes() == before


def test_others_write_while_it_is_open_and_it_says_so(pool: Path, tmp_path: Path) -> None:
    mine = Path(shutil.copy(pool, tmp_path / "pool.duckdb"))
    with client_of(mine, tmp_path) as client:
        assert not told(client.get("/api/pool"))["stale"]
        code = f"from gdo.selectors.select import select; select({str(mine)!r}, 'temp', name='new', count=9)"
        subprocess.run([sys.executable, "-c", code], check=True, timeout=600)
        answer = told(client.get("/api/pool"))
        assert answer["stale"]
        assert "new" not in {subset["subset"] for subset in answer["subsets"]}
        answer = told(client.post("/api/refresh", json={}))
        assert not answer["stale"]
        assert "new" in {subset["subset"] for subset in answer["subsets"]}
        assert len(all_uids(client, filter={"subsets": [{"subset": "new"}]})) == 9
    assert not list(tmp_path.glob("gdo-copy-*"))


def test_a_saved_filter_is_a_subset_like_others(pool: Path, tmp_path: Path) -> None:
    files = pool.parent / "files"
    (tmp_path / "files").symlink_to(files)
    mine = Path(shutil.copy(pool, tmp_path / "pool.duckdb"))
    with client_of(mine, tmp_path, writes=True) as client:
        filter = {"facets": {"bucket": ["short_video"]}, "where": "amm > 0.05"}
        order = {"by": "amm"}
        wanted = all_uids(client, filter=filter, order=order)
        saved = told(
            client.post("/api/save", json={"name": "moves", "list": {"filter": filter, "order": order}})
        )
        assert saved["chosen"] == len(wanted) > 0
        assert all_uids(client, filter={"subsets": [{"subset": "moves"}]}, order=order) == wanted
        again = client.post("/api/save", json={"name": "moves", "list": {}})
        assert "already" in again.json()["error"]
        for name in ("", "a/b", "x" * 150, "'; --"):
            assert client.post("/api/save", json={"name": name, "list": {}}).status_code in (400, 422)
        nothing = client.post("/api/save", json={"name": "none", "list": {"filter": {"where": "false"}}})
        assert "no sample" in nothing.json()["error"]
        told_why = client.get("/api/explain", params={"uid": wanted[0], "subset": "moves"})
        assert "saved from a filter" in told_why.json()["error"]
    with Pool(mine).read() as connection:
        members = connection.execute(
            "SELECT qa_uid FROM subset_sample WHERE subset = 'moves' AND role = 'chosen' ORDER BY rank"
        ).fetchall()
        assert [uid for (uid,) in members] == wanted
        control = connection.execute(
            "SELECT qa_uid FROM subset_sample WHERE subset = 'moves' AND role = 'uniform' ORDER BY rank"
        ).fetchall()
        assert connection.execute("SELECT command FROM run ORDER BY run_id DESC LIMIT 1").fetchall() == [
            ("explore",)
        ]
        (parameters, fingerprint, other) = connection.execute(
            "SELECT a.parameters, a.pool_fingerprint, b.pool_fingerprint FROM subset a, subset b "
            "WHERE a.subset = 'moves' AND b.subset = 'temp'"
        ).fetchall()[0]
    assert "amm > 0.05" in parameters
    assert fingerprint == other
    assert len(control) >= len(members)
    assert export(mine, "moves", tmp_path / "out", format="ids").samples == len(wanted)
    assert export(mine, "moves", tmp_path / "uni", format="ids", uniform=True, multiple=1).samples == len(
        wanted
    )


def test_samples_that_were_replaced_while_a_subset_was_saved_are_not_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They keep their places in the pool, and other samples would be in the subset."""
    rows, mine = tmp_path / "rows.jsonl", tmp_path / "pool.duckdb"

    def put(answer: str) -> None:
        turns = [{"role": "user", "content": "What?"}, {"role": "assistant", "content": answer}]
        made = [{"id": f"{answer}{n}", "image": "a.png", "messages": turns} for n in range(4)]
        rows.write_text("".join(json.dumps(row) + "\n" for row in made))
        ingest(mine, [rows], workers=1, replace=True)

    def and_replace(*arguments: Any) -> Any:
        members = _work_out(*arguments)
        put("other")
        return members

    put("this")
    monkeypatch.setattr("gdo.explore.save._work_out", and_replace)
    with client_of(mine, tmp_path, writes=True) as client:
        refused = client.post("/api/save", json={"name": "mine", "list": {}})
    assert "changed while the subset was being saved" in refused.json()["error"]
    with Pool(mine).read() as connection:
        assert connection.execute("FROM subset").fetchall() == []


def test_an_empty_pool_can_be_opened(tmp_path: Path) -> None:
    with Pool(tmp_path / "pool.duckdb", create=True).write():
        pass
    with client_of(tmp_path / "pool.duckdb", tmp_path) as client:
        assert told(client.get("/api/pool"))["samples"] == 0
        assert told(client.post("/api/page", json={}))["samples"] == []
        assert told(client.post("/api/facets", json={}))["total"] == 0


def test_a_failed_copy_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "pool.duckdb").write_bytes(b"no database")
    with pytest.raises(Exception, match="cannot be opened"):
        take_snapshot(Pool(tmp_path / "pool.duckdb"), Strangers(), tmp_path)
    assert not list(tmp_path.glob("gdo-copy-*"))


# What is done ahead, and what killed processes leave


@pytest.mark.parametrize("largest_first", [True, False])
def test_an_order_is_that_of_a_stable_sort(largest_first: bool) -> None:
    rng = np.random.default_rng(3)
    close = 1 + rng.standard_normal(5000) * 1e-12
    values = np.concatenate([close, rng.integers(-3, 4, 5000), [0.0, -0.0, np.inf, -np.inf, 1e300, -1e300]])
    values = rng.permutation(np.where(rng.random(len(values)) < 0.1, np.nan, values))
    wanted = np.argsort(-values if largest_first else values, kind="stable")
    assert order_of(values, largest_first=largest_first).tolist() == wanted.tolist()


def test_reasons_for_missing_values_are_told(client: TestClient, pool: Path) -> None:
    def why(uid: str) -> dict[str, str | None]:
        return {v["name"]: v["why"] for v in told(client.get("/api/sample", params={"uid": uid}))["values"]}

    (reason,) = run_sql(
        pool,
        f"SELECT m.error FROM motion AS m, candidate AS c WHERE m.media_id = c.media_ids[1] "
        f"AND c.qa_uid = '{BROKEN}'",
    ).rows[0]
    assert "not a video" in reason
    assert why(BROKEN)["amm"] == reason
    assert why(BROKEN)["ppl"] == "not computed"
    still = all_uids(client, filter={"where": "bucket = 'image_qa' AND amm IS NOT NULL"})
    assert not still or why(still[0])["amm"] is None


def test_a_descriptor_that_was_not_run_on_a_sample_is_named(pool: Path, tmp_path: Path) -> None:
    mine = Path(shutil.copy(pool, tmp_path / "pool.duckdb"))
    with Pool(mine).write() as connection:
        uid = connection.execute("SELECT qa_uid FROM temporal ORDER BY qa_uid").fetchall()[0][0]
        other = connection.execute("SELECT qa_uid FROM temporal ORDER BY qa_uid").fetchall()[1][0]
        connection.execute("DELETE FROM temporal WHERE qa_uid = ?", [uid])
        connection.execute("UPDATE temporal SET tnc = NULL WHERE qa_uid = ?", [other])
    with client_of(mine, tmp_path) as client:
        for name, wanted in [(uid, "gdo describe POOL temporal"), (other, "temporal has no value")]:
            values = told(client.get("/api/sample", params={"uid": name}))["values"]
            assert wanted in next(value["why"] for value in values if value["name"] == "tnc")


def test_selections_are_worked_out_ahead(pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Explorer(pool, home=tmp_path) as explorer:
        explorer.warm()
        assert explorer._preparing
        explorer._preparing.join()
        monkeypatch.setattr("gdo.explore.explained._Working", None)  # nothing more is worked out
        uid = explorer.snapshot.ask("SELECT qa_uid FROM subset_sample WHERE subset = 'diverse'")[0]["qa_uid"]
        assert explorer.explain("diverse", uid) == explain(pool, "diverse", uid)
        assert not list(explorer.snapshot.folder.path.glob("explained-*"))


def test_a_process_that_is_ended_is_told_and_begun_anew(pool: Path, tmp_path: Path) -> None:
    explained = Explained(Pool(pool), tmp_path)
    working = explained._working(("temp", Pool(pool).stamp()))
    working.end()
    with pytest.raises(GdoError, match="was ended; ask again"):
        explained.get("temp")
    assert explained.get("temp").preset.name == "temp"
    with pytest.raises(UsageError, match="there is no subset 'none'"):
        explained.get("none")
    explained.close()
    with pytest.raises(GdoError, match="opened anew"):
        explained.get("temp")


def test_the_next_explorer_removes_what_a_killed_one_left(pool: Path, tmp_path: Path) -> None:
    with started(pool, tmp_path):
        (left,) = tmp_path.glob("gdo-copy-*")
        with Explorer(pool, home=tmp_path):
            assert left.exists()  # it is in use
    with Explorer(pool, home=tmp_path) as explorer:
        assert list(tmp_path.glob("gdo-copy-*")) == [explorer.snapshot.folder.path]
        assert explorer.snapshot.folder.path != left
    assert not list(tmp_path.glob("gdo-copy-*"))
