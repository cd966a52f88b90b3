"""What a job leaves: rows, files and ids, without the times at which they were made."""

import hashlib
import json
from pathlib import Path
from typing import Any

from gdo.pool.candidate import quoted
from gdo.pool.store import Pool
from gdo.selectors.cache import cache_folder

State = dict[str, Any]


def of_pool(path: Path) -> State:
    """All rows of all tables but their times, and the files beside the pool but selection's cache.

    A command that was killed between two commits stands in `run` twice: each is told once.
    """
    files, cache = of_files(path.with_name(path.name + ".d")), cache_folder(Pool(path)).name
    state: State = {"files": {name: of for name, of in files.items() if name.split("/")[0] != cache}}
    with Pool(path).read() as connection:
        tables = connection.execute("SELECT table_name FROM duckdb_tables() ORDER BY 1").fetchall()
        for (table,) in tables:
            columns = connection.execute(
                "SELECT column_name FROM duckdb_columns() WHERE table_name = ? AND data_type <> 'TIMESTAMP' "
                "ORDER BY column_index",
                [table],
            ).fetchall()
            names = [name for (name,) in columns if table != "run" or name != "run_id"]
            shown = ", ".join(map(quoted, names))
            state[table] = connection.execute(
                f"SELECT DISTINCT {shown} FROM {quoted(table)} ORDER BY ALL"
            ).fetchall()
            if table != "run":
                state[f"{table}, rows"] = connection.execute(
                    f"SELECT count(*) FROM {quoted(table)}"
                ).fetchall()
    return state


def of_files(folder: Path) -> State:
    """Digests of all files of a folder, hidden ones too, by their names; folders have none."""
    return {
        path.relative_to(folder).as_posix(): (
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
        )
        for path in sorted(folder.rglob("*"))
    }


def of_run(run: Path) -> State:
    """The ledger and the names of the files; weights are held against each other by `weights`."""
    from gdo.train.ledger import read_ledger

    columns = ["step", "position", "qa_uid", "source", "outcome", "tokens", "answer_tokens", "frames"]
    told = json.loads((run / "run.json").read_bytes())
    return {
        "ledger": read_ledger(run).select(columns).rows(),
        "files": sorted(of_files(run)),
        "agrees": told["ledger"]["agrees"],
        "counts": told["counts"],
    }


def weights(run: Path) -> dict[str, Any]:
    """Those of the last checkpoint."""
    from safetensors.numpy import load_file

    from gdo.train.checkpoints import list_checkpoints

    return dict(load_file(list_checkpoints(run)[-1].path / "model.safetensors"))


def check_whole(folder: Path) -> None:
    """After a kill: the pool opens and can be asked, and what was in place before is there whole."""
    pool = folder / "pool.duckdb"
    if pool.exists():
        with Pool(pool).read() as connection:
            samples, sources = connection.execute(
                "SELECT (SELECT count(*) FROM candidate), (SELECT coalesce(sum(samples), 0) FROM source)"
            ).fetchall()[0]
            assert samples == sources or not sources
            members = connection.execute(
                "SELECT subset, count(qa_uid) FROM subset LEFT JOIN subset_sample USING (subset) GROUP BY 1"
            ).fetchall()
            assert all(count for _, count in members)
    for manifest in folder.glob("[a-z]*/manifest.json"):
        for file in json.loads(manifest.read_bytes())["files"]:
            digest = hashlib.sha256((manifest.parent / file["name"]).read_bytes()).hexdigest()
            assert digest == file["sha256"], f"{manifest.parent / file['name']} is not what was written"
