"""How long does it take to find near-duplicates among very many vectors, and does it find them all?

    python benchmarks/near_duplicates.py [--sizes 100000 1000000 3000000] [--json FILE]

Vectors of 512 numbers stand in a memory-mapped file in $TMPDIR (6 GB for 3 million). They lie in clusters,
as embeddings do, so that unrelated ones of a cluster have inner products of about 0.4; a twentieth are
copies of others, with products of 0.90 to 0.999. Each size is found in a process of its own: seconds, peak
memory (pages of the file that are in memory count too), recall of the planted pairs at 0.90, pairs found
that were not planted, and the exponent of growth between the smallest and each size.
"""

import argparse
import json
import math
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from measure import machine, run_measured, write_json
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

SIZE = 512
PER_CLUSTER = 200
COPIES = 0.05
THRESHOLD = 0.90
ROWS_AT_ONCE = 20_000


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def make(path: Path, rows: int) -> NDArray[np.int64]:
    """Write the vectors; which rows are copies of which: int64 [copies, 2]."""
    rng = np.random.default_rng(rows)
    vectors = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(rows, SIZE))
    centres = unit(rng.standard_normal((max(1, rows // PER_CLUSTER), SIZE), dtype=np.float32))
    for start in range(0, rows, ROWS_AT_ONCE):
        count = min(ROWS_AT_ONCE, rows - start)
        own = unit(rng.standard_normal((count, SIZE), dtype=np.float32))
        vectors[start : start + count] = unit(0.8 * centres[rng.integers(0, len(centres), count)] + own)
    copies = rng.permutation(rows)[: 2 * round(COPIES * rows)].reshape(-1, 2)
    for start in range(0, len(copies), ROWS_AT_ONCE):
        some = copies[start : start + ROWS_AT_ONCE]
        cosine = rng.uniform(THRESHOLD + 0.001, 0.999, (len(some), 1)).astype(np.float32)
        original = vectors[some[:, 0]]
        noise = rng.standard_normal(original.shape, dtype=np.float32)
        noise = unit(noise - (noise * original).sum(axis=1, keepdims=True) * original)
        vectors[some[:, 1]] = unit(cosine * original + np.sqrt(1 - cosine**2) * noise)
    vectors.flush()
    return np.sort(copies, axis=1)


def find(path: Path, found: Path) -> None:
    """What the measured process does."""
    from gdo.descriptors.duplicates.neighbours import close_pairs

    vectors = np.load(path, mmap_mode="r")
    started = time.perf_counter()
    pairs = close_pairs(vectors, THRESHOLD)
    np.savez(found, first=pairs.first, second=pairs.second, seconds=time.perf_counter() - started)


def measure(rows: int, folder: Path) -> dict[str, float]:
    path, found = folder / f"{rows}.npy", folder / f"{rows}.npz"
    planted = make(path, rows)
    measured = run_measured([sys.executable, __file__, "--find", str(path), str(found)])
    with np.load(found) as told:
        keys, seconds = told["first"] * rows + told["second"], float(told["seconds"])
    path.unlink()
    wanted = planted[:, 0] * rows + planted[:, 1]
    hits = int(np.isin(wanted, keys).sum())
    return {
        "rows": rows,
        "seconds": seconds,
        "peak_mb": measured.peak_mb,
        "recall": hits / len(wanted),
        "others": len(keys) - hits,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100_000, 1_000_000, 3_000_000])
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--find", type=Path, nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.find:
        find(*arguments.find)
        return
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        for rows in sorted(arguments.sizes):
            figures.append(measure(rows, Path(folder)))
            first, last = figures[0], figures[-1]
            if last is not first:
                last["exponent"] = math.log(last["seconds"] / first["seconds"]) / math.log(
                    last["rows"] / first["rows"]
                )
            print(json.dumps(last), file=sys.stderr, flush=True)
    table = Table("vectors", "seconds", "peak MB", "recall", "pairs not planted", "growth n^")
    for one in figures:
        exponent = f"{one['exponent']:.2f}" if "exponent" in one else ""
        cells = f"{one['rows']:,.0f}", f"{one['seconds']:.1f}", f"{one['peak_mb']:,.0f}"
        table.add_row(*cells, f"{one['recall']:.5f}", f"{one['others']:,.0f}", exponent)
    Console(width=120).print(table)
    write_json(arguments.json, {"machine": machine(), "size": SIZE, "found": figures})


if __name__ == "__main__":
    main()
