"""Columns between Arrow and numpy: the values that pyarrow gives, without loading pandas for them."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from gdo.pool.columns import named, null_as_nan, numbers, texts_at, values_of

pytest.importorskip("pandas", reason="pandas is not installed: nothing could load it")


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint64, np.float64])
def test_numbers_are_what_pyarrow_makes_of_them(dtype: type[np.generic]) -> None:
    values = np.arange(21).astype(dtype)
    assert numbers(values[::2]).equals(pa.array(values[::2]))
    valid = values.astype(np.int64) % 3 > 0
    assert numbers(values, valid).equals(pa.array(values, mask=~valid))
    assert len(numbers(values[:0])) == 0


def test_texts_are_told_by_number() -> None:
    column = named(np.array([1, 0, 1], np.int32), ["a", "größer"])
    assert column.to_pylist() == ["größer", "a", "größer"]


def test_values_come_back_from_any_chunks() -> None:
    column = pa.chunked_array([pa.array([9.0, 1.0, 2.0])[1:], pa.array([], pa.float64()), pa.array([3.0])])
    assert values_of(column, np.float64).tolist() == [1.0, 2.0, 3.0]
    assert values_of(column, np.float64, np.array([2, 0, 1])).tolist() == [2.0, 3.0, 1.0]
    holes = pa.chunked_array([pa.array([9.0, *[None, 1.0] * 9])[2:], pa.array([None], pa.float64())])
    assert [None if math.isnan(value) else value for value in null_as_nan(holes)] == holes.to_pylist()


def test_texts_are_taken_by_their_places() -> None:
    texts = [f"größer {'als ' * (number % 5)}{number}" * (number % 7 > 0) for number in range(30_000)]
    chunks = [pa.array(["left out", *texts[:7]])[1:], pa.array(texts[7:])]
    for column in (pa.chunked_array(chunks), pa.chunked_array([pa.array(["left out", *texts])[1:]])):
        for count in (1, 8192, 20_000):
            places = np.random.default_rng(count).integers(0, len(texts), count)
            taken = texts_at(column, places)
            taken.validate(full=True)
            assert taken.to_pylist() == [texts[place] for place in places]


_FROM_FILES_TO_A_SUBSET = """
import sys
from pathlib import Path
from gdo.descriptors.importing import import_descriptors
from gdo.export.run import export
from gdo.pool.ingest import ingest
from gdo.selectors.select import select

folder = Path(sys.argv[1])
pool = folder / "pool.duckdb"
ingest(pool, [folder / "rows.jsonl"])
import_descriptors(pool, folder / "metrics.jsonl")
select(pool, "minloss", count=3)
export(pool, "minloss", folder / "chosen.jsonl")
print("pandas" in sys.modules)
"""


def test_no_step_from_files_to_a_subset_loads_pandas(tmp_path: Path) -> None:
    row = (
        '{{"id": "{0}", "image": "{0}.jpg", "conversations": [{{"from": "human", "value": "What is {0}?"}}, '
    )
    row += '{{"from": "gpt", "value": "A thing."}}]}}\n'
    (tmp_path / "rows.jsonl").write_text("".join(row.format(number) for number in range(9)))
    metric = '{{"qa_uid": "ov::{0}::t0", "ppl": 1.{0}, "vds": {0}}}\n'
    (tmp_path / "metrics.jsonl").write_text("".join(metric.format(number) for number in range(9)))
    command = [sys.executable, "-c", _FROM_FILES_TO_A_SUBSET, str(tmp_path)]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert told.stdout.split() == ["False"], told.stderr
    assert len((tmp_path / "chosen.jsonl").read_text().splitlines()) == 3
