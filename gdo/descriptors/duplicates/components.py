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
    while True:
        a, b = root[first], root[second]
        if (a == b).all():
            return root
        np.minimum.at(root, np.maximum(a, b), np.minimum(a, b))
        while ((further := root[root]) != root).any():
            root = further
