"""Groups from pairs: whatever is joined by pairs, directly or by way of others."""

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]


def components(size: int, first: Rows, second: Rows) -> Rows:
    """The smallest member of each row's group: int64 [size].

    Args:
        size: Number of rows.
        first: Rows of pairs.
        second: The others of the pairs.
    """
    root = np.arange(size)
    for a, b in zip(first.tolist(), second.tolist(), strict=True):
        x, y = _root(root, a), _root(root, b)
        root[max(x, y)] = min(x, y)
    for row in np.unique(np.concatenate([first, second])).tolist():
        root[row] = _root(root, row)
    return root


def _root(root: Rows, row: int) -> int:
    """The smallest member found so far; halves the way there for those who ask later."""
    while root[row] != row:
        root[row] = root[root[row]]
        row = int(root[row])
    return row
