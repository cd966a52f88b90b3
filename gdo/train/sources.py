"""Where the samples of a run come from: a pool's subset, exported JSONL, and what is mixed in."""

import json
import random
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from gdo.errors import GdoError, UsageError
from gdo.export.chat import chat_row
from gdo.export.manifest import find_origin
from gdo.export.rows import find_members, path_prefixes, read_rows
from gdo.pool.store import Pool
from gdo.train.samples import absolute_paths

MAIN = "subset"
"""Name, in the ledger, of the samples that were chosen."""
KNOWN_FILES = ("data.jsonl", "sparrow.jsonl")
"""What `gdo export` and `gdo sparrow` call their samples; in other folders the only JSONL is taken."""


@dataclass(frozen=True, slots=True)
class Data:
    """What to train on.

    Attributes:
        path: A pool, or an exported JSONL or its folder.
        subset: Name of the pool's subset; None for JSONL.
        uniform: The uniform control instead of the chosen samples.
        multiple: Only so many times as many of the control as were chosen.
        mix: What is mixed in: folder or JSONL, and its share of all samples.
    """

    path: Path
    subset: str | None = None
    uniform: bool = False
    multiple: float | None = None
    mix: tuple[tuple[Path, float], ...] = ()

    def __post_init__(self) -> None:
        shares = [share for _, share in self.mix]
        if any(not 0 < share < 1 for share in shares) or sum(shares) >= 1:
            raise UsageError(f"the shares of --mix must be above 0 and below 1 together; they are {shares}")
        if self.subset is None and (self.uniform or self.multiple is not None):
            raise UsageError("the uniform control is of a pool's subset; give POOL SUBSET with it")

    def told(self) -> dict[str, Any]:
        """As the run's file tells it."""
        mix = [[str(path.absolute()), share] for path, share in self.mix]
        names = ("subset", "uniform", "multiple")
        return {"path": str(self.path.absolute()), **{n: getattr(self, n) for n in names}, "mix": mix}


def parse_mix(text: str) -> tuple[Path, float]:
    """`DIR_OR_JSONL:SHARE` as path and share.

    Raises:
        UsageError: It is of another form.
    """
    path, colon, share = text.rpartition(":")
    try:
        return Path(path if colon and path else ""), float(share if path else "")
    except ValueError:
        raise UsageError(f"--mix takes DIR_OR_JSONL:SHARE, such as sparrow:0.33, not {text!r}") from None


def read_data(data: Data, seed: int) -> Iterator[dict[str, Any]]:
    """The rows of all that is trained on, as the swift export writes them, paths absolute, with a `source`.

    Raises:
        UsageError: There is no such subset or file, or too little to mix in.
        GdoError: A row cannot be read.
    """
    count = 0
    for row in _main_rows(data):
        count += 1
        yield {**row, "source": MAIN}
    if not count:
        raise UsageError(f"{data.path} has no samples to train on")
    total = count / (1 - sum(share for _, share in data.mix))
    for path, share in data.mix:
        yield from _drawn(path, round(total * share), seed)


def _main_rows(data: Data) -> Iterator[dict[str, Any]]:
    return file_rows(data.path) if data.subset is None else _subset_rows(data, data.subset)


def _subset_rows(data: Data, subset: str) -> Iterator[dict[str, Any]]:
    pool = Pool(data.path)
    with pool.read() as connection:
        find_origin(connection, subset)
        members = find_members(connection, pool.path, subset, uniform=data.uniform, multiple=data.multiple)
        prefixes, _ = path_prefixes(members, absolute=True)
        with closing(read_rows(connection, members, prefixes, None)) as rows:
            for row in rows:
                yield chat_row(row, frames_as_images=False, with_bucket=members.synthetic)


def selected_ids(data: Data, began: datetime) -> tuple[list[str] | None, str]:
    """The ids that the pool says were selected, and in words what they are.

    None stands for ids that cannot be told any more, or never stood in a pool; the words then say why.

    Args:
        data: What a run trained on.
        began: When it had read its data, in UTC; a subset selected after that is another one.
    """
    if data.subset is None:
        return None, f"the rows of {data.path} as the run copied them"
    copy = f"the run's own copy of subset {data.subset}"
    try:
        with Pool(data.path).read() as connection:
            created = connection.execute(
                "SELECT created FROM subset WHERE subset = ?", [data.subset]
            ).fetchall()
            if not created:
                return None, f"{copy}: {data.path} has no such subset any more"
            if created[0][0] and created[0][0] > began:
                return None, f"{copy}: it was selected anew in {data.path} after the run began"
            members = find_members(
                connection, data.path, data.subset, uniform=data.uniform, multiple=data.multiple
            )
            ids = connection.execute(
                "SELECT qa_uid FROM subset_sample WHERE subset = ? AND role = ? AND rank < ? ORDER BY rank",
                [members.subset, members.role, members.count],
            ).fetchall()
    except GdoError as error:
        return None, f"{copy}: the pool cannot be read now ({error})"
    return [uid for (uid,) in ids], f"the {members.role} samples of subset {data.subset} in {data.path}"


def file_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a JSONL in the form of the swift export, their paths made absolute.

    Relative paths start from the manifest's `media_root` where one stands beside the file, else from the
    file's folder. Rows without an `id` are named by file and line.
    """
    file = _data_file(path)
    root = _media_root(file)
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = orjson.loads(line)
            except orjson.JSONDecodeError as error:
                raise GdoError(f"{file}, line {number}: not JSON: {error}") from error
            if not isinstance(row, dict):
                raise GdoError(f"{file}, line {number}: not an object")
            yield absolute_paths({"id": f"{file.stem}:{number}", **row}, root)


def _data_file(path: Path) -> Path:
    if path.is_file():
        return path
    if not path.is_dir():
        raise UsageError(f"there is no file or folder {path}")
    named = [path / name for name in KNOWN_FILES if (path / name).is_file()]
    found = named[:1] or sorted(path.glob("*.jsonl"))
    if len(found) != 1:
        names = ", ".join(file.name for file in found) or "none"
        raise UsageError(f"{path} should hold one JSONL file of samples; it holds {names}: name the file")
    return found[0]


def _media_root(file: Path) -> Path:
    """The folder that a file's relative paths start from."""
    for manifest in (file.with_name("manifest.json"), file.with_name(f"{file.name}.manifest.json")):
        try:
            told = json.loads(manifest.read_text()).get("media_root")
        except (OSError, ValueError, AttributeError):
            continue
        if told:
            return file.absolute().parent / str(told)
    return file.absolute().parent


def _drawn(path: Path, count: int, seed: int) -> list[dict[str, Any]]:
    """So many rows of a file, drawn without replacement, in the file's order."""
    rows: Sequence[dict[str, Any]] = list(file_rows(path))
    if count > len(rows):
        raise UsageError(
            f"--mix {path}: its share asks for {count} samples and it holds {len(rows)}; lower the share"
        )
    chosen = random.Random(f"{seed}/{path.name}").sample(range(len(rows)), count)
    name = _data_file(path).stem if path.is_file() else path.name
    name = f"{name} (mixed in)" if name == MAIN else name
    return [{**rows[number], "source": name} for number in sorted(chosen)]
