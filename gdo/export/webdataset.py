"""WebDataset: tar shards with the chat row and the media files of every sample, to be read in one sweep.

A sample's files share the key, its rank: `00000012.json`, `00000012.jpg`, or `00000012.000.jpg` and so on
where it has several; the row names its media so. Samples of different kinds have different files, which
`datasets` does not find out by itself: `README.md` declares them, and `load_dataset(folder)` reads it.
"""

import io
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePath

import orjson

from gdo.errors import GdoError
from gdo.export.card import CARD
from gdo.export.chat import chat_row
from gdo.export.plan import Plan
from gdo.export.rows import Medium, Row

SHARD_SAMPLES = 1_000
SHARD_BYTES = 1_000_000_000

_VIDEO_SUFFIXES = {"mp4", "mov", "avi", "mkv", "webm", "m4v", "mpg", "mpeg"}
_CARD = """\
---
configs:
- config_name: default
  data_files: "*.tar"
dataset_info:
  features:
  - name: json
    struct:
    - name: id
      dtype: string
    - name: data_source
      dtype: string{bucket}
    - name: messages
      list:
      - name: role
        dtype: string
      - name: content
        dtype: string
    - name: images
      list: string
    - name: videos
      list:{videos}
{media}
  - name: __key__
    dtype: string
  - name: __url__
    dtype: string
---
"""


def write_webdataset(rows: Iterable[Row], plan: Plan, folder: Path) -> None:
    """Write the shards and the card that declares their fields.

    Raises:
        GdoError: A media file cannot be read.
    """
    fields = set[str]()
    for number, shard in enumerate(_shards(rows)):
        with tarfile.open(folder / f"shard-{number:06d}.tar", "w", format=tarfile.GNU_FORMAT) as tar:
            for row in shard:
                fields |= _add_sample(tar, row, plan)
    kinds = {field: "video" if field.rpartition(".")[2] in _VIDEO_SUFFIXES else "image" for field in fields}
    media = "\n".join(f'  - name: "{field}"\n    dtype: {kinds[field]}' for field in sorted(fields))
    videos = "\n        list: string" if plan.video_lists else " string"
    bucket = "\n    - name: bucket\n      dtype: string" if plan.with_bucket else ""
    card = _CARD.format(bucket=bucket, media=media, videos=videos)
    (folder / CARD).write_text(card, encoding="utf-8")


def _shards(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Cut the rows where a shard has enough samples or bytes of media."""
    shard: list[Row] = []
    total = 0
    for row in rows:
        size = sum(_size(row, path) for medium in row.media for path in medium.paths)
        if shard and (len(shard) == SHARD_SAMPLES or total + size > SHARD_BYTES):
            yield shard
            shard, total = [], 0
        shard.append(row)
        total += size
    yield shard


def _add_sample(tar: tarfile.TarFile, row: Row, plan: Plan) -> set[str]:
    """Add the row and its media to the archive; gives the names of its fields, which are their endings."""
    key = f"{row.rank:08d}"
    several = sum(len(medium.paths) for medium in row.media) > 1
    named, files = list[Medium](), list[tuple[str, str]]()
    for kind, paths in row.media:
        names = []
        for path in paths:
            ending = PurePath(path).suffix.lower() or ".bin"
            field = f"{len(files):03d}{ending}" if several else ending[1:]
            files.append((field, path))
            names.append(f"{key}.{field}")
        named.append(Medium(kind, names))
    content = orjson.dumps(chat_row(row._replace(media=named), plan.frames_as_images, plan.with_bucket))
    tar.addfile(_entry(f"{key}.json", len(content)), io.BytesIO(content))
    for field, path in files:
        try:
            with Path(path).open("rb") as file:
                tar.addfile(_entry(f"{key}.{field}", _size(row, path)), file)
        except OSError as error:
            raise GdoError(f"sample {row.qa_uid}: {path} cannot be packed: {error}") from error
    return {field for field, _ in files}


def _size(row: Row, path: str) -> int:
    try:
        return Path(path).stat().st_size
    except OSError as error:
        raise GdoError(f"sample {row.qa_uid}: {path} cannot be read: {error.strerror}") from error


def _entry(name: str, size: int) -> tarfile.TarInfo:
    """An archive entry that is the same whoever writes it, and whenever."""
    entry = tarfile.TarInfo(name)
    entry.size = size
    return entry
