"""Sorts of selection against numpy's own stable ones."""

import numpy as np
import pytest

from gdo.selectors.sorting import by_code, highest, highest_by_code, lowest, ordered

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


@pytest.mark.parametrize("count", [0, 1, 100, 4999, 5000, 6000])
@pytest.mark.parametrize("name", ["hashes", "equal hashes"])
def test_the_lowest_are_the_beginning_of_the_order(name: str, count: int) -> None:
    keys = KEYS[name][:5000]
    assert lowest(keys, count).tolist() == np.argsort(keys, kind="stable")[:count].tolist()


VALUES = {
    "few ties": RANDOM.standard_normal(5000),
    "nearly equal": 1 + RANDOM.integers(0, 9, 5000) * 2.0**-52,
    "many ties": RANDOM.integers(-3, 3, 5000) / 2,
    "both zeros": np.where(RANDOM.random(5000) < 0.5, 0.0, -0.0),
    "large": RANDOM.choice([-1e300, 1e300, -1e-300, 1e-300], 5000),
}


@pytest.mark.parametrize("codes", [1, 3, 2000])
@pytest.mark.parametrize("name", VALUES)
def test_the_highest_of_each_code_are_those_of_a_plain_sort(name: str, codes: int) -> None:
    values, code = VALUES[name], RANDOM.integers(0, codes, 5000).astype(np.int32)
    ties = RANDOM.integers(0, 2000, 5000).astype(np.uint64)
    most = RANDOM.integers(0, 9, codes) if codes > 1 else np.array([70])
    ranked = sorted(range(5000), key=lambda place: (-values[place], ties[place], place))
    assert highest(values, ties).tolist() == ranked
    left, want = most.tolist(), []
    for place in ranked:
        if left[code[place]]:
            left[code[place]] -= 1
            want.append(place)
    assert highest_by_code(code, values, ties, most).tolist() == want
