"""The same rows in every container and shape that ingest reads."""

import gzip
import io
import json
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

Rows = list[dict[str, Any]]

QUESTIONS = ["What is it?\nA. 北京\nB. naïve", "Which choice is “best”?", "What happens after that?"]
JPEG, MP4 = b"\xff\xd8\xff picture %d %d", b"\x00\x00\x00\x18ftypisom clip %d"


def _turns(
    number: int, role: str, user: str, assistant: str, text: str, tag: str = ""
) -> list[dict[str, str]]:
    turns = [{role: "system", text: "Be brief."}]
    for turn in range(number % 3 + 1):
        question = QUESTIONS[(number + turn) % 3] + f" {number}.{turn}"
        turns.append({role: user, text: (tag if turn == 0 else "") + question})
        turns.append({role: assistant, text: f"answer {number}.{turn}"})
    return turns


def _swift(number: int, tag: str = "") -> dict[str, Any]:
    return {"id": f"r{number}", "messages": _turns(number, "role", "user", "assistant", "content", tag)}


def _sharegpt(number: int, tag: str = "") -> dict[str, Any]:
    return {"id": f"r{number}", "conversations": _turns(number, "from", "human", "gpt", "value", tag)}


SHAPES: dict[str, Callable[[int], dict[str, Any]]] = {
    "paper image": lambda n: _swift(n) | {"images": [f"{n}.jpg"], "data_source": "coco(2017)"},
    "paper video": lambda n: (
        _swift(n) | {"images": [f"{n}/{k}.jpg" for k in range(9)], "video_id": f"v{n // 2}"}
    ),
    "swift images": lambda n: _swift(n, "<image><image>\n") | {"images": [f"{n}.jpg", f"{n}b.jpg"]},
    "swift videos": lambda n: _swift(n, "<video>") | {"videos": [f"{n}.mp4"]},
    "swift frames": lambda n: _swift(n, "<video>") | {"videos": [[f"{n}/{k}.jpg" for k in range(3)]]},
    "sharegpt images": lambda n: _sharegpt(n, "<image>\n") | {"images": [f"{n}.jpg"]},
    "sharegpt videos": lambda n: _sharegpt(n, "<video>\n") | {"videos": [f"{n}.mp4"]},
    "llava image": lambda n: _sharegpt(n, "<image>\n") | {"image": f"{n}.jpg"},
    "llava images": lambda n: _sharegpt(n, "<image><image>\n") | {"image": [f"{n}.jpg", f"{n}b.jpg"]},
    "llava video": lambda n: _sharegpt(n, "<image>\n") | {"video": f"{n}.mp4", "data_source": "a_b_c_d_e"},
}


def ten_rows(shape: str) -> Rows:
    """Ten rows of a shape, of one to three pairs each."""
    return [SHAPES[shape](number) for number in range(10)]


def lines(rows: Iterable[Any]) -> bytes:
    """Rows as lines of JSON."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def _bytes(name: str, encode: Callable[[Rows], bytes]) -> Callable[[Path, Rows], Path]:
    def write(folder: Path, rows: Rows) -> Path:
        path = folder / name
        path.write_bytes(encode(rows))
        return path

    return write


def _parquet(folder: Path, rows: Rows) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), folder / "rows.parquet", row_group_size=4)
    return folder / "rows.parquet"


def _parquet_folder(folder: Path, rows: Rows) -> Path:
    (folder / "table" / "data").mkdir(parents=True)
    for number, part in enumerate((rows[:3], rows[3:])):
        pq.write_table(pa.Table.from_pylist(part), folder / f"table/data/train-{number:05d}-of-00002.parquet")
    (folder / "table" / "README.md").write_text("a card")
    return folder / "table"


def _arrow_file(folder: Path, rows: Rows) -> Path:
    table = pa.Table.from_pylist(rows)
    with pa.ipc.new_file(folder / "rows.arrow", table.schema) as writer:
        writer.write_table(table, max_chunksize=4)
    return folder / "rows.arrow"


def dataset(rows: Rows, **features: Any) -> Any:
    """A Hugging Face dataset."""
    import datasets

    datasets.disable_progress_bars()
    made = datasets.Dataset.from_list(rows)
    for name, feature in features.items():
        made = made.cast_column(name, feature)
    return made


def _hf(folder: Path, rows: Rows) -> Path:
    dataset(rows).save_to_disk(folder / "saved", num_shards=2)
    return folder / "saved"


def _hf_dict(folder: Path, rows: Rows) -> Path:
    import datasets

    splits = {"a_train": dataset(rows[:7]), "b_test": dataset(rows[7:])}
    datasets.DatasetDict(splits).save_to_disk(folder / "saved")
    return folder / "saved"


def tar(path: Path, members: Iterable[tuple[str, bytes]]) -> Path:
    """A tar file, through gzip or Zstandard by its suffix."""
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as archive:
        for name, data in members:
            header = tarfile.TarInfo(name)
            header.size = len(data)
            archive.addfile(header, io.BytesIO(data))
    data = held.getvalue()
    if path.suffix in {".gz", ".tgz"}:
        data = gzip.compress(data)
    elif path.suffix == ".zst":
        data = zstandard.compress(data)
    path.write_bytes(data)
    return path


def _tar_of_rows(name: str) -> Callable[[Path, Rows], Path]:
    """A shard of rows that name their media by path."""
    return lambda folder, rows: tar(
        folder / name, [(f"{row['id']}.json", json.dumps(row).encode()) for row in rows]
    )


CONTAINERS: dict[str, Callable[[Path, Rows], Path]] = {
    "jsonl": _bytes("rows.jsonl", lines),
    "jsonl.gz": _bytes("rows.jsonl.gz", lambda rows: gzip.compress(lines(rows))),
    "jsonl.zst": _bytes("rows.jsonl.zst", lambda rows: zstandard.compress(lines(rows))),
    "json": _bytes("rows.json", lambda rows: json.dumps(rows).encode()),
    "json.gz": _bytes("rows.json.gz", lambda rows: gzip.compress(json.dumps(rows, indent=2).encode())),
    "parquet": _parquet,
    "parquet folder": _parquet_folder,
    "arrow": _arrow_file,
    "hf": _hf,
    "hf dict": _hf_dict,
    "tar": _tar_of_rows("rows.tar"),
    "tar.gz": _tar_of_rows("rows.tar.gz"),
    "tar.zst": _tar_of_rows("rows.tar.zst"),
}
