"""`gdo report`: its figures are SQL's, nothing of the pool can run in it, and a browser draws it all."""

import html
import json
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pytest
from browser import BrowserPage
from PIL import Image
from selection_pools import image_row, make, messages, video_row
from typer.testing import CliRunner

from gdo.cli.main import app
from gdo.errors import GdoError, UsageError
from gdo.pool.candidate import refresh_candidate
from gdo.pool.store import Pool
from gdo.report.html import make as making
from gdo.report.html.make import report
from gdo.report.html.mapping import project
from gdo.report.html.relations import spearman
from gdo.report.html.values import edges_of
from gdo.report.sparrow import keep_diversity, kept_diversity
from gdo.selectors.candidates import FIELDS
from gdo.selectors.select import select
from gdo.train.sparrow.diversity import measure_diversity

SAMPLES = 300
HACK = "window.hacked=1"
AWKWARD = (
    f"<script>{HACK}</script>",
    f'"><img src=x onerror={HACK}>',
    f"</script><script>{HACK}</script>",
    f"<a href='javascript:{HACK}'>press me</a>",
    "ما هو لون الكرة؟ \u202ethgir ot tfel",
    "{{ 7 * 7 }} {% raw %} %{x} ${y} \\u003c",
    "nul \x00 bell \x07 and \u2028 a line",
    "'single' \"double\" & &amp; <!-- -->",
    "🎬 多少个物体？",
    "why? " * 300,
)
SOURCES = (f"<b>bold</b><img src=x onerror={HACK}>", "coco", "2024-01-01", "a very long name " * 6)
VALUES = ("amm", "vds", "ppl", "tnc", "quality_score", "loss_video")
NAMES = ["<i>temp</i>", "diverse"]
MIXED = "<u>stories</u>"


def awkward_pool(folder: Path) -> Path:
    """300 samples with awkward texts; values for two thirds, vectors, near-duplicates, two subsets.

    What was measured of its instructions is kept beside it: a third of what is compared is mixed in.
    """
    rng = np.random.default_rng(1)
    images = [
        image_row(n, (f"{AWKWARD[n % 10]} {n}", AWKWARD[(n + 3) % 10]), source=SOURCES[n % 4])
        | {"images": [f"{n % 5}.png"]}
        for n in range(200)
    ]
    images += [{"id": "empty", "images": ["0.png"], "messages": messages(("What is it?", ""))}, "not json"]
    videos = [video_row(n, (f"{AWKWARD[n % 10]} {n}", "A"), source=f"0_30_s_{n % 3}") for n in range(100)]
    metrics = [
        {
            "qa_uid": f"{'ov::i' if n < 200 else 'vv::v'}{n % 200}::t0",
            "amm": float(rng.exponential()),
            "vds": float(rng.normal()),
            "ppl": float(np.exp(3 * rng.normal())),
            "tnc": float(rng.random()) if n % 2 else None,
            "loss_video": float(rng.random()),
            "loss_blind": float(rng.random()),
            "quality_score": float(rng.random()),
            "cluster_id": n % 13,
        }
        for n in range(SAMPLES)
        if n % 3
    ]
    pool = make(folder, images, videos, metrics).pool
    for number in range(3):
        Image.fromarray(rng.integers(0, 255, (40, 60, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    (folder / "3.png").write_text("no picture")
    with Pool(pool).write() as connection:
        columns = json.dumps({"embedding": {"type": "FLOAT[4]", "unit": "", "doc": "made up"}})
        connection.execute(
            "CREATE TABLE embedding (qa_uid VARCHAR, version INTEGER, probe VARCHAR, embedding FLOAT[4],"
            " error VARCHAR)"
        )
        connection.execute(
            "INSERT INTO embedding SELECT qa_uid, 1, '<p>', [hash(qa_uid) % 97, hash(id) % 89, turn, 1]"
            "::FLOAT[4], NULL FROM sample"
        )
        connection.execute("INSERT INTO descriptor VALUES ('embedding', 'sample', 1, '<p>', ?)", [columns])
        connection.execute(
            "INSERT INTO duplicate_search VALUES (0.99, 1, '{}', 104, 1, 300, now()::TIMESTAMP)"
        )
        connection.execute(
            "INSERT INTO media_duplicate "
            "SELECT media_id, 0, 0.995, 'fingerprint' FROM media WHERE kind = 'image' LIMIT 3"
        )
        connection.execute("INSERT INTO sample_duplicate SELECT qa_uid, 0, 0.995 FROM sample LIMIT 2")
        refresh_candidate(connection)
    select(pool, "temp", name=NAMES[0], count=60, settings=["uniform_multiplier=2"])
    select(pool, "diverse", name=NAMES[1], count=40)
    mix = folder / "mix.jsonl"
    rows = [image_row(n, (f"What of {n * n}, {n}?", "A"), source=MIXED) for n in range(150)]
    mix.write_text("".join(json.dumps(row) + "\n" for row in rows))
    keep_diversity(asdict(measure_diversity(pool, [mix], share=1 / 3)), pool)
    return pool


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return awkward_pool(tmp_path_factory.mktemp("awkward"))


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with an evaluation: 2 checkpoints, 50 questions, 2 that could not be asked."""
    folder = tmp_path_factory.mktemp("runs") / "temp"
    (folder / "evaluation").mkdir(parents=True)
    rows = [
        {
            "step": step,
            "samples": 32 * step,
            "tokens": 900 * step,
            "frames": 64 * step,
            "qa_uid": f"q{n}",
            "correct": None if n >= 48 else n < 10 * step,
            "error": "unreadable" if n >= 48 else None,
        }
        for step in (1, 2)
        for n in range(50)
    ]
    pl.DataFrame(rows).write_parquet(folder / "evaluation" / "held_out.parquet")
    return folder


@pytest.fixture(scope="module")
def page(pool: Path, evaluated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = report(pool, tmp_path_factory.mktemp("page") / "report.html", runs=[str(evaluated)])
    return made.path


@pytest.fixture(scope="module")
def charts(page: Path) -> dict[str, Any]:
    """Figures of the page by title, as the browser would read them."""
    return read_charts(page)


def read_grid(page: Path, title: str) -> list[list[str]]:
    """The rows of a table, as they are read."""
    _, _, after = page.read_text("utf-8").partition(f"<h4><bdi>{html.escape(title)}</bdi></h4>")
    body = after.partition("<h4>")[0].partition("<tbody>")[2].partition("</tbody>")[0]
    cells = [re.findall(r"<td.*?><bdi>(.*?)</bdi></td>", row, re.S) for row in body.split("</tr>")[:-1]]
    return [[html.unescape(cell) for cell in row] for row in cells]


def read_sheet(page: Path, title: str) -> dict[str, list[str]]:
    """Ids of the cards of a sheet by the title of their row."""
    text = page.read_text("utf-8")
    _, _, after = text.partition(f"<summary><bdi>{html.escape(title)}</bdi>")
    rows = after.partition("</details>")[0].split("<h4><bdi>")[1:]
    return {
        html.unescape(row.partition("</bdi>")[0]): [
            html.unescape(uid) for uid in re.findall(r'<div class="uid"><bdi>(.*?)</bdi>', row)
        ]
        for row in rows
    }


def read_charts(page: Path) -> dict[str, Any]:
    text = page.read_text("utf-8")
    data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)[1])
    places = re.findall(r'data-(chart|map)="(\d+)" role="img" aria-label="([^"]*)"', text)
    return {html.unescape(title): data[f"{kind}s"][number] for kind, number, title in places}


@pytest.fixture(scope="module")
def ask(pool: Path) -> Callable[..., list[tuple[Any, ...]]]:
    def run(query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        with Pool(pool).read() as connection:
            return connection.execute(query, list(parameters)).fetchall()

    return run


def shown(trace: dict[str, Any]) -> dict[str, float]:
    """Values of a bar trace by name."""
    return {html.unescape(name): value for name, value in zip(trace["customdata"], trace["x"], strict=True)}


def test_buckets_and_sources_are_counted(charts, ask):
    bars = shown(charts["Samples by bucket"]["data"][0])
    assert (
        bars == dict(ask("SELECT bucket, count(*) FROM sample GROUP BY 1")) and sum(bars.values()) == SAMPLES
    )
    sources = charts["Samples by source"]["data"][0]
    assert sources["x"] == [
        n for (n,) in ask("SELECT count(*) AS n FROM sample GROUP BY source_group ORDER BY n DESC")
    ]


@pytest.mark.parametrize("value", VALUES)
def test_histograms_count_every_value_once(charts, ask, value):
    traces = charts[f"{value} by modality"]["data"]
    assert {trace["name"]: sum(trace["y"]) for trace in traces} == dict(
        ask(f"SELECT bucket, count({value}) FROM candidate GROUP BY 1")
    )
    for trace in traces:
        ends = [span.split(" to ") for span in trace["customdata"]]
        low, high = float(ends[5][0]), float(ends[19][1])
        inside = ask(
            f"SELECT count(*) FROM candidate WHERE bucket = ? AND {value} > ? AND {value} <= ?",
            *(trace["name"], low, high),
        )[0][0]
        assert sum(trace["y"][5:20]) == pytest.approx(inside, abs=2)  # the span is told in 4 digits


@pytest.mark.parametrize("value", VALUES)
def test_boxes_are_quartiles(charts, ask, value):
    box = charts[f"{value} by source"]["data"][0]
    rows = ask(
        f"SELECT count({value}) AS n, quantile_cont({value}, [0.05, 0.25, 0.5, 0.75, 0.95]) FROM candidate "
        "GROUP BY source_group HAVING n > 0 ORDER BY n DESC, source_group"
    )
    for place, key in enumerate(("lowerfence", "q1", "median", "q3", "upperfence")):
        assert box[key] == pytest.approx([quantiles[place] for _, quantiles in rows])


def test_profiles_of_a_subset_are_those_of_its_members(charts, ask):
    query = (
        "SELECT a_len_bucket, count(*) / sum(count(*)) OVER () "
        "FROM subset_sample JOIN candidate USING (qa_uid) "
        "WHERE subset = ? AND role = ? GROUP BY 1"
    )
    pool, subset, control = charts[f"{NAMES[0]}: a_len_bucket"]["data"]
    for trace, role in ((subset, "chosen"), (control, "uniform")):
        assert {k: v for k, v in shown(trace).items() if v} == pytest.approx(dict(ask(query, NAMES[0], role)))
    assert sum(pool["x"]) == pytest.approx(1)


def jensen_shannon(first: dict[Any, float], second: dict[Any, float]) -> float:
    """Entropy of the middle less the mean entropy."""

    def entropy(shares: Iterable[float]) -> float:
        return -sum(share * math.log(share) for share in shares if share)

    middle = [(first.get(key, 0) + second.get(key, 0)) / 2 for key in first | second]
    return entropy(middle) - (entropy(first.values()) + entropy(second.values())) / 2


@pytest.mark.parametrize("name", NAMES)
def test_divergences_are_those_of_the_members(charts, ask, name):
    subset, control = (shown(trace) for trace in charts[f"{name}: divergence from the pool"]["data"])
    for field in FIELDS:
        told = f"SELECT {field}, count(*) / sum(count(*)) OVER () FROM candidate"
        of = f"{told} JOIN subset_sample USING (qa_uid) WHERE subset = ? AND role = ? GROUP BY 1"
        pool = dict(ask(f"{told} GROUP BY 1"))
        for trace, role in ((subset, "chosen"), (control, "uniform")):
            expected = jensen_shannon(pool, dict(ask(of, name, role)))
            assert trace[field] == pytest.approx(expected, abs=1e-9)
    assert max(subset.values()) > 0.005


@pytest.mark.parametrize("name", NAMES)
def test_stages_are_those_of_the_members(charts, ask, name):
    stages = charts[f"{name}: samples by stage"]["data"][0]["x"]
    query = "SELECT count(*) FROM subset_sample WHERE subset = ? AND role = 'chosen' GROUP BY stage"
    assert len(stages) > 4 and sorted(stages) == sorted(count for (count,) in ask(query, name))


def test_bounds_say_what_was_got_and_what_is_unmet(pool, page, ask, tmp_path):
    assert {met for *_, met in read_grid(page, "Bounds")} == {"yes"}
    copy = tmp_path / "pool.duckdb"
    copy.write_bytes(pool.read_bytes())
    settings = ["min_video_ratio=0.8", "max_video_ratio=0.9", "max_qa_per_video=1"]
    factors = [f"{name}oversample_factor=0.5" for name in ("", "video_", "temporal_")]
    select(copy, "temp", name="short", count=200, settings=[*settings, *factors])
    made = report(copy, tmp_path / "r.html", subsets=["short"]).path
    with Pool(copy).read() as connection:
        chosen = "FROM subset_sample JOIN sample USING (qa_uid) WHERE subset = 'short' AND role = 'chosen'"
        [(all_of, videos)] = connection.execute(
            f"SELECT count(*), count(*) FILTER (WHERE bucket = 'short_video') {chosen}"
        ).fetchall()
        by_source = dict(connection.execute(f"SELECT source_group, count(*) {chosen} GROUP BY 1").fetchall())
    rows = {bound: (int(asked), int(got), met) for bound, asked, got, met in read_grid(made, "Bounds")}
    assert rows["samples"] == (200, all_of, "yes" if all_of == 200 else "no")
    assert rows["videos, at least"] == (160, videos, "no")
    assert rows["videos, at most"] == (180, videos, "yes")
    floors = {name.removesuffix(", at least"): row for name, row in rows.items() if ", at" in name}
    for name in by_source.keys() & floors.keys():
        assert floors[name][1] == by_source[name]
        assert floors[name][2] == ("yes" if by_source[name] >= floors[name][0] else "no")
    assert len(by_source.keys() & floors.keys()) == 7
    title = f"video_min is {160 - videos} short; of 100 in the pool that could count, left out"
    assert sum(int(count) for _, count, _ in read_grid(made, title)) == 100 - videos > 0


def test_shifts_of_means_are_in_deviations_of_the_pool(charts, ask):
    subset = shown(charts[f"{NAMES[1]}: shift of the means"]["data"][0])
    mean, deviation = ask("SELECT avg(vds), stddev_pop(vds) FROM candidate")[0]
    of = ask(
        "SELECT avg(vds) FROM subset_sample JOIN candidate USING (qa_uid) "
        "WHERE subset = ? AND role = 'chosen'",
        NAMES[1],
    )[0][0]
    assert subset["vds"] == pytest.approx((of - mean) / deviation)


def test_overlap_is_jaccards(charts, ask):
    members = [
        {uid for (uid,) in ask("SELECT qa_uid FROM subset_sample WHERE role = 'chosen' AND subset = ?", name)}
        for name in NAMES
    ]
    expected = len(members[0] & members[1]) / len(members[0] | members[1])
    heat = charts["Jaccard index"]["data"][0]["z"]
    assert heat[0][0] == heat[1][1] == 1 and heat[0][1] == heat[1][0] == pytest.approx(expected)


def test_trajectories_leave_out_what_could_not_be_asked(charts):
    line = charts["held_out: accuracy by samples"]["data"][0]
    assert line["x"] == [32, 64] and line["y"] == pytest.approx([10 / 48, 20 / 48])
    assert all(above > 0 for above in line["error_y"]["array"])


def test_evaluations_of_the_pool_are_drawn_too(pool, tmp_path):
    copy = tmp_path / "pool.duckdb"
    copy.write_bytes(pool.read_bytes())
    with Pool(copy).write() as connection:
        connection.execute(
            "INSERT INTO evaluation BY NAME SELECT 'mvbench' AS evaluation, '/runs/<u>' AS target, step, "
            "step AS samples, step AS tokens, step AS frames, 11 AS questions, 1 AS errors, step AS correct "
            "FROM range(1, 4) AS t(step)"
        )
    line = read_charts(report(copy, tmp_path / "r.html").path)["mvbench: accuracy by tokens"]["data"][0]
    assert line["y"] == pytest.approx([0.1, 0.2, 0.3]) and line["name"] == "&lt;u&gt;"


def test_the_map_has_every_point_once(charts, ask):
    drawn = charts["Samples"]
    assert sorted(drawn["ids"]) == [uid for (uid,) in ask("SELECT qa_uid FROM sample ORDER BY 1")]
    by = {one["name"]: one for one in drawn["colourings"]}
    assert {"modality", "source", *VALUES, *(f"subset {name}" for name in NAMES)} <= set(by)
    assert by[f"subset {NAMES[0]}"]["values"].count(0) == 60
    assert by["vds"]["values"].count(None) == 100


def test_the_map_is_coloured_by_cluster(charts, ask):
    drawn = charts["Samples"]
    [cluster] = [one for one in drawn["colourings"] if one["name"] == "cluster"]
    of = dict(ask("SELECT qa_uid, cluster_id::VARCHAR FROM candidate"))
    sizes = ask(
        "SELECT cluster_id::VARCHAR, count(*) AS n FROM candidate WHERE cluster_id IS NOT NULL GROUP BY 1 "
        "ORDER BY n DESC, 1"
    )
    largest = [name for name, _ in sizes[:10]]
    assert cluster["names"] == [*largest, "other"] and len(sizes) == 13
    for uid, place in zip(drawn["ids"], cluster["values"], strict=True):
        expected = of[uid] if of[uid] is None or of[uid] in largest else "other"
        assert (None if place is None else cluster["names"][place]) == expected


@pytest.mark.parametrize("value", ["quality_score", "vds"])
def test_sheets_hold_the_best_and_the_worst(page, ask, value):
    """Of each medium its best, and of those the best: the pool has six media."""
    rows = read_sheet(page, value)
    for how, order in (("Highest", "DESC"), ("Lowest", "ASC")):
        first = ask(
            f"SELECT qa_uid FROM (SELECT qa_uid, {value}, row_number() OVER (PARTITION BY media_ids[1] "
            f"ORDER BY {value} {order}) AS place FROM candidate WHERE {value} IS NOT NULL) WHERE place = 1 "
            f"ORDER BY {value} {order}"
        )
        assert rows[how] == [uid for (uid,) in first] and len(rows[how]) == 6
    known = {uid for (uid,) in ask(f"SELECT qa_uid FROM candidate WHERE {value} IS NOT NULL")}
    assert len(set(rows["Random"])) == 6 and set(rows["Random"]) <= known


def test_near_duplicates_stand_in_one_row(page, ask):
    media = read_sheet(page, "Groups of media, the least alike first")
    samples = read_sheet(page, "Groups of samples, the least alike first")
    uids = [f"media {key}" for (key,) in ask("SELECT media_id FROM media_duplicate ORDER BY 1")]
    assert media == {"group 0: 3 members, similarity 0.9950": uids}
    pair = [uid for (uid,) in ask("SELECT qa_uid FROM sample_duplicate ORDER BY 1")]
    assert samples == {"group 0: 2 members, similarity 0.9950": pair}


def test_instructions_are_shown_as_they_were_measured(pool, page, charts):
    found = kept_diversity(pool)
    overall = [found["before"], found["after"]]
    mixed = f"{MIXED} (mixed in)"
    grid = read_grid(page, "Instructions by source")
    assert {row[0]: row[1:3] for row in grid} == {
        mixed if one["mixed_in"] else one["source"]: [str(one["instructions"]), str(one["measured"])]
        for one in found["sources"]
    }
    assert grid[0][0] == mixed and grid[0][1] == "150"
    figures = read_grid(page, "All instructions, equally many of each")
    assert [float(row[4].replace(",", "")) for row in figures] == pytest.approx(
        [one["vendi"] for one in overall], rel=1e-3
    )
    for title, key in (("Distance to the nearest instruction", "neighbour"), ("Vendi score", "vendi")):
        bars = shown(charts[title]["data"][0])
        assert [bars["before mixing"], bars["after mixing"]] == [one[key] for one in overall]
        assert len(bars) == 2 + len(found["sources"])


def test_the_map_of_instructions_has_panels_before_and_after(pool, charts):
    found, drawn = kept_diversity(pool), charts["Map of the instructions"]
    titles = [drawn["layout"][axis]["title"]["text"] for axis in ("xaxis", "xaxis2")]
    assert titles == ["before mixing: 300 instructions", "after mixing: 300 instructions"]
    for axis, side in (("x", "before"), ("x2", "after")):
        traces = {
            html.unescape(one["name"]): sorted(zip(one["x"], one["y"], strict=True))
            for one in drawn["data"]
            if one["xaxis"] == axis
        }
        for name, places in traces.items():
            source = MIXED if name.startswith(MIXED) else name.rstrip("…")
            assert places == sorted(
                (round(point["x"], 4), round(point["y"], 4))
                for point in found["points"]
                if point[side] and point["source"].startswith(source)
            )
        assert (f"{MIXED} (mixed in)" in traces) == (side == "after")
    assert len({trace["meta"] for trace in drawn["data"]}) == 8  # a colour for each source


def test_the_diversity_command_keeps_what_the_report_shows(pool, tmp_path):
    copy = tmp_path / "pool.duckdb"
    copy.write_bytes(pool.read_bytes())
    assert "gdo diversity POOL --mix" in report(copy, tmp_path / "r.html").path.read_text("utf-8")
    told = CliRunner().invoke(app, ["diversity", str(copy), "--json"])
    assert told.exit_code == 0
    drawn = read_charts(report(copy, tmp_path / "r.html").path)["Map of the instructions"]
    assert sum(len(trace["x"]) for trace in drawn["data"]) == SAMPLES and "xaxis2" not in drawn["layout"]
    with Pool(copy).write() as connection:
        connection.execute("DELETE FROM sample WHERE bucket = 'short_video'")
    text = report(copy, tmp_path / "r.html").path.read_text("utf-8")
    assert "Measured when the pool had 300 instructions of its own; it has 200 now." in text
    (Pool(copy).folder / "diversity.json").write_text("{")
    with pytest.raises(GdoError, match=r"diversity\.json is damaged .* `gdo diversity"):
        report(copy, tmp_path / "r.html")


@pytest.fixture
def lowered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes 300 samples a large pool."""
    for name, rows in (("source.SAMPLE", 150), ("relations.ROWS", 40), ("mapping.POINTS", 60)):
        monkeypatch.setattr(f"gdo.report.html.{name}", rows)
    monkeypatch.setattr("gdo.report.html.mapping.CHOSEN", 10)


def test_a_large_pool_is_sampled_and_the_page_says_so(pool, ask, tmp_path, lowered):
    def under(rows: int, columns: str) -> list[tuple[Any, ...]]:
        """The samples whose hash is so small that about `rows` of the 300 have it, least first."""
        return ask(
            f"SELECT {columns} FROM candidate WHERE uid_hash <= ?::UBIGINT ORDER BY uid_hash, qa_uid",
            int(rows / SAMPLES * (2**64 - 1)),
        )

    made = report(pool, tmp_path / "r.html")
    text, charts = made.path.read_text("utf-8"), read_charts(made.path)
    rows = under(150, "source_group, vds, quality_score")
    assert 110 < len(rows) < 190 and (made.samples, made.sampled) == (SAMPLES, len(rows))

    taken = f"a sample of {len(rows)} of 300."
    assert text.count(f"Quantiles of {taken}") == 1
    assert text.count(f"samples in brackets. Of {taken}") == len(VALUES) + 1  # and loss_blind
    groups: dict[str, list[float]] = {}
    for group, vds, _ in rows:
        groups.setdefault(group, []).extend([] if vds is None else [vds])
    known = [values for values in groups.values() if values]
    boxes = charts["vds by source"]
    counts = re.findall(r"\((\d+)\)(?!.*\()", "\n".join(boxes["layout"]["yaxis"]["ticktext"]))
    assert set(map(int, counts)) <= {len(values) for values in known} and counts
    assert sorted(boxes["data"][0]["median"]) == pytest.approx(sorted(map(np.median, known)))
    assert sum(sum(trace["y"]) for trace in charts["vds by modality"]["data"]) == 200  # of all samples

    assert "Taken over 40 of 300 samples." in text
    ranked = pl.DataFrame(rows[:40], schema=["group", "vds", "quality_score"], orient="row")
    heat = charts["Rank correlation"]["data"][0]
    names = charts["Rank correlation"]["layout"]["xaxis"]["ticktext"]
    cell = heat["z"][names.index("vds")][names.index("quality_score")]
    assert cell == pytest.approx(spearman(ranked, "vds", "quality_score"))

    base = [uid for (uid,) in under(60, "qa_uid")]
    assert 35 < len(base) < 85 and f"{len(base)} of 300 samples, drawn by a hash of their ids." in text
    assert "Colourings by a subset show up to 10 more of its samples." in text
    drawn = charts["Samples"]
    assert drawn["base"] == len(base) and set(drawn["ids"][: len(base)]) == set(base)
    query = (
        "SELECT qa_uid FROM subset_sample JOIN sample USING (qa_uid) WHERE subset = ? AND role = 'chosen' "
    )
    first = {uid for name in NAMES for (uid,) in ask(query + "ORDER BY uid_hash, qa_uid LIMIT 10", name)}
    assert set(drawn["ids"][len(base) :]) == first - set(base) != set()


def test_pictures_are_left_out_before_a_page_grows_too_large(pool, evaluated, tmp_path, monkeypatch):
    rooms, draw = [], making.draw_pictures

    def note(media, room, told):
        rooms.append(room)
        return draw(media, room, told)

    with monkeypatch.context() as patch:
        patch.setattr(making, "PICTURE_BYTES", making.PAGE_BYTES)
        patch.setattr(making, "draw_pictures", note)
        page = report(pool, tmp_path / "whole.html", runs=[str(evaluated)]).path
    uris = re.findall(r"data:image/jpeg;base64,[^\"]+", page.read_text("utf-8"))
    assert len(uris) == 3 and max(map(len, uris)) < 2 * min(map(len, uris))
    two = 2 * max(map(len, uris))
    for limit, most in (("PAGE_BYTES", making.PAGE_BYTES - rooms[0] + two), ("PICTURE_BYTES", two)):
        with monkeypatch.context() as patch:
            patch.setattr(making, limit, most)
            made = report(pool, tmp_path / "r.html", runs=[str(evaluated)])
        assert made.pictures == 2
        assert "left out to keep the page small" in made.path.read_text("utf-8")
        assert made.bytes < page.stat().st_size


def test_many_subsets_share_the_further_points_of_the_map(pool, ask, tmp_path, lowered, monkeypatch):
    monkeypatch.setattr("gdo.report.html.mapping.POINTS", 6)
    text = report(pool, tmp_path / "r.html").path.read_text("utf-8")
    assert "Colourings by a subset show up to 3 more of its samples." in text


def test_project_finds_the_long_axis_and_says_how_long_it_is():
    rng = np.random.default_rng(0)
    along = rng.normal(size=500) * 10
    vectors = np.stack([along, rng.normal(size=500), np.zeros(500)], axis=1)
    places, share = project(vectors, 400)
    assert abs(np.corrcoef(places[:, 0], along)[0, 1]) > 0.999 and share == pytest.approx(1)
    assert np.array_equal(places, project(vectors, 400)[0])


def test_spearman_knows_order_ties_and_what_is_missing():
    rows = pl.DataFrame(
        {"a": [1.0, 2, 3, 4, None], "b": [1.0, 10, 100, 1000, 0], "c": [4.0, 3, 3, 1, 0], "d": [1.0] * 5}
    )
    assert spearman(rows, "a", "b") == pytest.approx(1)
    assert spearman(rows, "a", "c") == pytest.approx(-math.sqrt(0.9))
    assert spearman(rows, "a", "d") is None


def test_edges_fit_the_values():
    assert edges_of(pl.Series([2.0, 2.0, None])) == pytest.approx(list(np.linspace(1.5, 2.5, 41)))
    wide = edges_of(pl.Series([0.1, 1.0, 10.0, 1000.0]))
    assert wide[1] / wide[0] == pytest.approx(wide[40] / wide[39])


def test_texts_are_escaped_and_pictures_shown_or_told_missing(page):
    text = page.read_text("utf-8")
    body, _, rest = text.partition('<script type="application/json" id="data">')
    assert HACK in body and "<" not in rest.partition("</script>")[0]
    for raw in (f"<script>{HACK}", "<img src=x", "<a href='", "<b>bold", "<i>temp", "\x00", "\x07"):
        assert raw not in body
    assert text.count("data:image/jpeg;base64,") == 3
    assert "3.png: " in text and "no such file" in text
    assert page.stat().st_size < 15_000_000


def test_the_same_pool_gives_the_same_page(pool, evaluated, page, tmp_path):
    again = report(pool, tmp_path / "again.html", runs=[str(evaluated)]).path.read_text("utf-8")
    made = re.compile(r"Made [-0-9: ]+ UTC")
    assert made.sub("", again) == made.sub("", page.read_text("utf-8"))


def test_what_is_not_there_is_told_with_its_command(tmp_path):
    bare = make(tmp_path / "bare", [image_row(0, ("What?", "That."))]).pool
    text = html.unescape(report(bare, tmp_path / "bare.html").path.read_text("utf-8"))
    for command in (
        "diversity POOL --mix sparrow/sparrow.jsonl",
        *("describe POOL", "describe POOL coverage", "select POOL --preset temp", "duplicates POOL"),
        "evaluate runs/temp --on",
    ):
        assert f"<code>gdo {command}" in text


def test_others_may_write_while_it_counts(tmp_path):
    """Half-way through, another client changes the pool; the page is of what was there at the start."""
    bare = make(tmp_path / "bare", [image_row(n, ("What?", "That.")) for n in range(3)]).pool
    told = []

    def write(what: str, done: int, of: int) -> None:
        if what == "counting" and done == 1:
            with duckdb.connect(bare) as connection:
                connection.execute("DELETE FROM sample")
            told.append(done)

    made = report(bare, tmp_path / "bare.html", progress=write)
    assert told and made.samples == 3
    assert len(read_charts(made.path)) > 0


def test_only_the_named_subsets_are_shown(pool, tmp_path):
    charts = read_charts(report(pool, tmp_path / "one.html", subsets=["diverse"]).path)
    assert "diverse: bucket" in charts and f"{NAMES[0]}: bucket" not in charts


def test_wrong_use_is_told(pool, tmp_path):
    with pytest.raises(UsageError, match="no subset 'x'; there are: <i>temp</i>, diverse"):
        report(pool, tmp_path / "r.html", subsets=["x"])
    with pytest.raises(UsageError, match=r"must end in \.html"):
        report(pool, tmp_path / "r.pdf")
    with pytest.raises(UsageError, match="make it first"):
        report(pool, tmp_path / "nowhere" / "r.html")
    with pytest.raises(UsageError, match="has no evaluation"):
        report(pool, tmp_path / "r.html", runs=[str(tmp_path)])
    assert not list(tmp_path.iterdir())


def test_the_command_prints_path_and_sections(pool, tmp_path):
    path = tmp_path / "r.html"
    told = CliRunner().invoke(app, ["report", str(pool), "-o", str(path), "--subset", "diverse", "--json"])
    figures = json.loads(told.stdout)
    assert told.exit_code == 0 and figures["path"] == str(path) and figures["bytes"] == path.stat().st_size
    assert figures["samples"] == SAMPLES and "Contact sheets" in figures["sections"]


MARKS = ".bars path, .boxlayer path, .heatmaplayer image, .scatterlayer path.point"
DRAWN = """
async () => {
  const found = [];
  for (const place of document.querySelectorAll(".chart")) {
    place.scrollIntoView();
    for (let tries = 0; tries < 3000 && !place.querySelector("MARKS"); tries++) {
      await new Promise((done) => setTimeout(done, 20));
    }
    const size = place.querySelector(".main-svg").getBoundingClientRect();
    const marks = place.querySelectorAll("MARKS").length;
    found.push([place.getAttribute("aria-label"), size.width, size.height, marks]);
  }
  return found;
}
""".replace("MARKS", MARKS)


@pytest.mark.browser
def test_a_browser_draws_all_of_it_and_runs_nothing_else(page, charts, browser_page: BrowserPage):
    browser_page.page.goto(page.as_uri())
    drawn = browser_page.evaluate(DRAWN)
    assert [title for title, *_ in drawn] == list(charts)
    assert all(width > 200 and height > 80 and marks > 0 for _, width, height, marks in drawn)
    images = browser_page.evaluate(
        """async () => {
          document.querySelectorAll("details").forEach((one) => { one.open = true; });
          const images = [...document.querySelectorAll("img")];
          images.forEach((one) => { one.loading = "eager"; });
          await Promise.all(images.map((one) => one.decode()));
          return images.map((one) => one.naturalWidth);
        }"""
    )
    assert images and all(images)
    beside = browser_page.evaluate(
        """() => [...document.querySelectorAll(".paired .cards")].map((row) => {
          const boxes = [...row.children].map((card) => card.getBoundingClientRect());
          return [boxes.length, boxes[0].right <= boxes[1].left && boxes[0].top === boxes[1].top];
        })"""
    )
    assert beside == [[3, True], [2, True]]
    assert browser_page.evaluate("window.hacked") is None
    assert browser_page.errors == []
    assert browser_page.requests == [page.as_uri()]


@pytest.mark.browser
def test_the_map_can_be_coloured_every_way(page, charts, browser_page: BrowserPage):
    browser_page.page.goto(page.as_uri())
    browser_page.evaluate("document.querySelector('[data-map]').scrollIntoView()")
    for number, colouring in enumerate(charts["Samples"]["colourings"]):
        browser_page.page.select_option("[data-colour]", str(number))
        told = browser_page.evaluate(
            "() => { const m = document.querySelector('[data-map]'); return ["
            "m.data.reduce((n, t) => n + t.x.length, 0), "
            "m.querySelectorAll('.scatterlayer path.point').length] }"
        )
        assert told == [SAMPLES, SAMPLES], colouring["name"]
    assert browser_page.errors == []


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark(page, browser_page: BrowserPage, tmp_path, scheme):
    browser_page.page.emulate_media(color_scheme=scheme)
    browser_page.page.goto(page.as_uri())

    def shades() -> tuple[float, float]:
        """Mean brightness of a screenshot, and of the charts' letters."""
        browser_page.page.wait_for_selector(".chart .xtick text")
        browser_page.page.screenshot(path=tmp_path / "shot.png")
        picture = np.asarray(Image.open(tmp_path / "shot.png").convert("L"))
        ink = browser_page.evaluate("getComputedStyle(document.querySelector('.chart .xtick text')).fill")
        return float(picture.mean()), sum(map(int, re.findall(r"\d+", ink)[:3])) / 3

    ground, ink = shades()
    assert (ground > 200 and ink < 80) if scheme == "light" else (ground < 80 and ink > 180)
    browser_page.page.click("#theme")
    other_ground, other_ink = shades()
    assert (other_ground > 200) == (scheme == "dark") and (other_ink < 80) == (scheme == "dark")
