"""The command line: what it imports, what it prints, how it fails; and the main job on real files."""

import json
import subprocess
import sys
from pathlib import Path

import click
import duckdb
import pytest
import typer.main
from typer.testing import CliRunner

from gdo.cli.main import app
from gdo.selectors.preset import PRESETS

HEAVY = {"torch", "duckdb", "polars", "numpy", "pyarrow", "cv2", "av", "pydantic", "orjson"}


def gdo(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gdo", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def done(*arguments: object) -> str:
    result = gdo(*arguments)
    assert result.returncode == 0, result.stderr + result.stdout
    return result.stdout


def test_help_loads_nothing_heavy() -> None:
    code = "import sys; import gdo.cli.main; print(sorted(m for m in sys.modules if '.' not in m))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not HEAVY & set(json.loads(loaded.replace("'", '"')))


def test_the_engine_loads_no_torch_before_a_model_is_asked() -> None:
    code = (
        "import sys, gdo.descriptors.describe, gdo.descriptors.engine.estimate; print('torch' in sys.modules)"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\n"


def commands() -> dict[str, click.Command]:
    group = typer.main.get_command(app)
    return dict(group.commands)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", sorted(commands()))
def test_every_command_and_option_has_words(name: str) -> None:
    command = commands()[name]
    assert command.help
    for parameter in command.params:
        if parameter.name != "help":
            assert getattr(parameter, "help", None), f"gdo {name}: {parameter.name} has no help"
    assert CliRunner().invoke(app, [name, "--help"]).exit_code == 0


def test_version() -> None:
    assert done("--version").startswith("gdo ")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["select", "missing.duckdb", "--preset", "temp"], "there is no pool"),
        (["ingest", "pool.duckdb", "missing.jsonl"], "there is no file"),
        (["sql", "missing.duckdb", "SELECT 1"], "there is no pool"),
        (["describe", "missing.duckdb"], "there is no pool"),
        (["describe", "missing.duckdb", "--estimate"], "there is no pool"),
        (["describe", "missing.duckdb", "--device", "tpu"], "there is no pool"),
        (["describe", "missing.duckdb", "--proxy-minutes", "0"], "proxy_minutes must be more than 0"),
        (["describe", "missing.duckdb", "--frames", "0"], "frames must be a whole number"),
        (["export", "missing.duckdb", "temp", "-o", "out"], "there is no pool"),
        (["nonsense"], "No such command"),
        (["select"], "Missing argument"),
    ],
)
def test_wrong_use_is_told_in_one_line_with_exit_code_2(
    arguments: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = gdo(*arguments)
    assert result.returncode == 2
    assert says in result.stderr
    assert "Traceback" not in result.stderr


def test_a_file_without_samples_fails_with_exit_code_1(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"id": 1}\nnot json\n')
    result = gdo("ingest", tmp_path / "pool.duckdb", file)
    assert result.returncode == 1
    assert "gives no sample" in result.stderr
    assert "not JSON" in result.stderr


def test_what_was_taken_before_a_bad_file_is_told_too(tmp_path: Path) -> None:
    row = {"id": "a", "images": ["a.png"], "messages": [
        {"role": "user", "content": "<image>What?"}, {"role": "assistant", "content": "It."}]}  # fmt: skip
    (tmp_path / "good.jsonl").write_text(json.dumps(row) + "\n")
    (tmp_path / "bad.jsonl").write_text("{}\n")
    result = gdo("ingest", tmp_path / "pool.duckdb", tmp_path / "good.jsonl", tmp_path / "bad.jsonl")
    assert result.returncode == 1
    assert "Ingested" in result.stdout
    assert "bad.jsonl gives no sample" in result.stderr


def test_the_price_of_describing_is_told_and_nothing_is_done(tmp_path: Path) -> None:
    rows = [{"id": "a", "images": ["a.png"], "messages": [
        {"role": "user", "content": "<image>What?"}, {"role": "assistant", "content": "It."}]}]  # fmt: skip
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pool = tmp_path / "pool.duckdb"
    done("ingest", pool, tmp_path / "rows.jsonl")
    before = pool.read_bytes()
    prices = json.loads(done("describe", pool, "motion", "temporal", "--estimate", "--json"))
    assert [(one["name"], one["missing"]) for one in prices["descriptors"]] == [
        ("motion", 1),
        ("temporal", 1),
    ]
    assert pool.read_bytes() == before
    result = gdo("describe", pool, "dependency", "--device", "tpu")
    assert (result.returncode, result.stdout) == (2, "")
    assert "device 'tpu' is none of auto, cpu, cuda, cuda:N" in result.stderr


def test_what_went_wrong_is_told_as_json_too(tmp_path: Path) -> None:
    row = {"id": "a", "images": ["a.png"], "messages": [
        {"role": "user", "content": "<image>What?"}, {"role": "assistant", "content": "It."}]}  # fmt: skip
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    metrics = [{"qa_uid": "ov::a::t0", "vds": 0.5}, {"qa_uid": "ov::b::t0", "ppl": 2}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(one) + "\n" for one in metrics))
    pool = tmp_path / "pool.duckdb"
    read = json.loads(done("ingest", pool, tmp_path / "rows.jsonl", "--probe-media", "--json"))
    assert [file["samples"] for file in read["files"]] == [1]
    (reason,) = read["headers"]["reasons"]
    taken = json.loads(done("import-descriptors", pool, tmp_path / "metrics.jsonl", "--json"))
    assert taken["unknown"] == 1
    assert (taken["missing"]["vds"], taken["missing"]["ppl"]) == (1, 1)
    described = json.loads(done("describe", pool, "motion", "--json"))["descriptors"][0]
    assert described["reasons"] == {reason: 1}


ODD_ANSWER = "Something odd."


@pytest.fixture(scope="module")
def real_pool(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real pool with its odd files, through ingest and describe by the command line."""
    folder = tmp_path_factory.mktemp("real")
    data = shared / "data" / "realpool"
    odd = folder / "odd.jsonl"
    with odd.open("w") as out:
        for number, line in enumerate((data / "odd.jsonl").read_text().splitlines()):
            video = json.loads(line)["video"]
            messages = [{"role": "user", "content": "<video>What is it?"}]
            messages.append({"role": "assistant", "content": f"{ODD_ANSWER} {number}"})
            out.write(json.dumps({"id": f"odd{number}", "videos": [video], "messages": messages}) + "\n")
    pool = folder / "pool.duckdb"
    files = [data / "pool_image.jsonl", data / "pool_video.jsonl", odd]
    done("ingest", pool, *files, "--media-root", data, "--probe-media")
    done("describe", pool, "motion", "temporal")
    return pool


@pytest.mark.slow
def test_the_main_job_on_the_real_pool(real_pool: Path, tmp_path: Path) -> None:
    report = json.loads(done("select", real_pool, "--preset", "diverse", "--count", 60, "--json"))[0]
    assert report["selected_count"] == 60
    assert report["total_pairs"] + report["excluded_unreadable_media"] == 112 + 167 + 14
    exported = json.loads(done("export", real_pool, "diverse", "-o", tmp_path / "out", "--json"))
    assert exported["samples"] == 60
    rows = [json.loads(line) for line in next((tmp_path / "out").glob("*.jsonl")).read_text().splitlines()]
    assert len(rows) == 60
    out = tmp_path / "motion.csv"
    query = "SELECT qa_uid, amm FROM candidate WHERE bucket = 'short_video' ORDER BY amm DESC NULLS LAST"
    done("sql", real_pool, query, "-o", out)
    assert len(out.read_text().splitlines()) == 1 + 167 + 14
    explained = done("explain", real_pool, "diverse", rows[0]["id"])
    assert "taken at stage" in explained


@pytest.mark.slow
def test_odd_files_are_described_or_their_reason_is_told(real_pool: Path, shared: Path) -> None:
    expected = [
        json.loads(line) for line in (shared / "data" / "realpool" / "odd.jsonl").read_text().splitlines()
    ]
    with duckdb.connect(str(real_pool), read_only=True) as connection:
        rows = connection.execute(
            "SELECT paths[1], frames, media.error, amm, motion.error FROM media JOIN motion USING (media_id)"
        ).fetchall()
    found = {path: rest for path, *rest in rows}
    for odd in expected:
        frames, media_error, amm, error = found[odd["video"]]
        assert (media_error is not None) == odd["expect"]["error"], odd["video"]
        assert frames == odd["expect"]["frames"], odd["video"]
        assert (amm is None) == (odd["expect"]["frames"] == 0), odd["video"]
        assert (error is None) == (amm is not None), odd["video"]


@pytest.mark.slow
def test_unreadable_media_stay_out_of_subsets(real_pool: Path, shared: Path) -> None:
    lines = (shared / "data" / "realpool" / "odd.jsonl").read_text().splitlines()
    dead = [number for number, line in enumerate(lines) if not json.loads(line)["expect"]["frames"]]
    report = json.loads(done("select", real_pool, "--preset", "temp", "--count", 200, "--json"))[0]
    assert report["excluded_unreadable_media"] == len(dead)
    assert "its media cannot be read" in done("explain", real_pool, "temp", f"vv::odd{dead[0]}::t0")
    kept = done(
        "select", real_pool, "--preset", "temp", "--count", 200, "--set", "unreadable_media=keep",
        "--name", "kept", "--json",
    )  # fmt: skip
    assert json.loads(kept)[0]["excluded_unreadable_media"] == 0


@pytest.mark.slow
def test_the_demo_runs_and_runs_again(tmp_path: Path) -> None:
    first = done("demo", "-o", tmp_path / "demo", "--quick", "--samples", 120)
    assert "Spearman" in first and all(preset in first for preset in PRESETS)
    assert (tmp_path / "demo" / "compare.png").is_file()
    again = done("demo", "-o", tmp_path / "demo", "--quick", "--samples", 120)
    assert "unchanged" in again
    with duckdb.connect(str(tmp_path / "demo" / "pool.duckdb"), read_only=True) as connection:
        assert connection.execute("SELECT count(*) FROM candidate WHERE amm IS NULL").fetchall() == [(0,)]
        names = {row[0] for row in connection.execute("SELECT * FROM (DESCRIBE candidate)").fetchall()}
    assert not names & {"kind", "wrong_answer", "true_speed", "duplicate_group"}
