"""Sorts of selection against numpy's own stable ones."""

import numpy as np
import pytest

from gdo.selectors.sorting import by_code, ordered

RANDOM = np.random.default_rng(7)
KEYS = {
    "none": np.empty(0),
    "one": np.array([3.0]),
    "all equal": np.zeros(1000),
    "both zeros": np.where(RANDOM.random(1000) < 0.5, 0.0, -0.0),
    "few ties": np.round(RANDOM.standard_normal(20_000), 4),
    "many ties": RANDOM.integers(0, 20, 20_000).astype(np.float64),
    "infinite": RANDOM.choice([-np.inf, 0.5, np.inf], 1000),
    "hashes": RANDOM.integers(0, 2**64, 20_000, dtype=np.uint64),
    "equal hashes": RANDOM.integers(0, 2**64, 100, dtype=np.uint64)[RANDOM.integers(0, 100, 5000)],
}


@pytest.mark.parametrize("name", KEYS)
def test_equal_keys_stay_as_they_stand(name: str) -> None:
    keys = KEYS[name]
    assert ordered(keys).tolist() == np.argsort(keys, kind="stable").tolist()


@pytest.mark.parametrize("size", [1, 300, 1 << 16, (1 << 16) + 1, 200_000])
def test_equal_codes_stay_as_they_stand(size: int) -> None:
    codes = RANDOM.integers(max(0, size - 500), size, 10_000).astype(np.int32)
    assert by_code(codes, size).tolist() == np.argsort(codes, kind="stable").tolist()
