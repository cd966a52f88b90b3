"""How diverse instructions are: of each source, and of a pool before and after other data is mixed in.

Figures of sets of different size do not compare (more instructions stand closer together), so `before` and
`after` are taken over equally many, drawn by a hash of their ids.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gdo.errors import UsageError
from gdo.pool.readers import READERS, detect
from gdo.pool.rows import SHAPES, SYNTHETIC, BadRowError, parse_row
from gdo.pool.store import Pool
from gdo.pool.text import hash64, source_group
from gdo.train.sparrow.vectors import Vectors, embed

BLOCK = 2048
"""Instructions compared with all others at a time."""

_QUERY = """
SELECT source_group, bucket, question, uid_hash FROM sample ORDER BY ordinal
"""


@dataclass(frozen=True, slots=True)
class Spread:
    """How far the instructions of one set stand apart.

    Attributes:
        source: Source group, or `before mixing` and `after mixing` for all of them.
        mixed_in: It is a source that was mixed in.
        instructions: How many there are.
        measured: How many the figures are of.
        neighbour: Mean cosine distance to the nearest other one, 0 to 2; None for a single one.
        vendi: Vendi score, 1 to `measured`: the effective number of different ones.
    """

    source: str
    mixed_in: bool
    instructions: int
    measured: int
    neighbour: float | None
    vendi: float


@dataclass(frozen=True, slots=True)
class Point:
    """An instruction on the map, and the sets that it is in."""

    source: str
    before: bool
    after: bool
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Diversity:
    """What was measured.

    Attributes:
        embedding: What the vectors are.
        sources: Each source by itself.
        before: All sources but those mixed in.
        after: All sources; None where nothing is mixed in.
        points: The map of those before and after: the two directions in which they differ most.
    """

    embedding: str
    sources: list[Spread]
    before: Spread
    after: Spread | None
    points: list[Point]


@dataclass(frozen=True, slots=True)
class _Instruction:
    source: str
    mixed_in: bool
    text: str
    order: int
    """A hash by which a sample is drawn: the same on every machine, and blind to what the text says."""


def measure_diversity(
    pool: Path | str,
    mix: Sequence[Path | str] = (),
    *,
    embedding: str = "words",
    device: str = "auto",
    share: float | None = None,
    limit: int = 20_000,
    map_points: int = 4_000,
) -> Diversity:
    """Measure the diversity of a pool's instructions, and what mixing in other data does to it.

    Mixed in are the rows of `mix` and the pool's own samples of the bucket `synthetic_text_video`.

    Args:
        pool: A pool.
        mix: Files of rows, such as the `sparrow.jsonl` of `gdo sparrow`.
        embedding: `words` (see `vectors`) or `open_clip:MODEL/WEIGHTS`, whose text tower is asked.
        device: For open_clip: auto, cpu, cuda.
        share: Part of the mix that is mixed in, 0 to 1; None mixes in all there is.
        limit: Most instructions that a figure is taken over.
        map_points: Most points of the map.

    Raises:
        UsageError: There is no pool or file, or nothing but what is mixed in; or a number makes no sense.
        GdoError: The model's weights cannot be had.
    """
    if limit < 2 or map_points < 2:
        raise UsageError(f"limit and map_points must be at least 2; they are {limit} and {map_points}")
    if share is not None and not 0 <= share <= 1:
        raise UsageError(f"the share of what is mixed in is from 0 to 1; it is {share}")
    found = _of_pool(Path(pool)) + [item for file in mix for item in _of_file(Path(file))]
    own = [place for place, item in enumerate(found) if not item.mixed_in]
    if not own:
        raise UsageError(f"{pool} has no samples but synthetic ones; there is nothing to mix them into")
    orders = np.array([item.order for item in found], np.uint64)
    drawn = np.argsort(orders, kind="stable")
    by_source = dict[tuple[str, bool], list[int]]()
    for place in drawn.tolist():
        by_source.setdefault((found[place].source, found[place].mixed_in), []).append(place)
    is_own = np.array([not item.mixed_in for item in found])
    compared = min(limit, len(own))
    before, others = drawn[is_own[drawn]][:compared], drawn[~is_own[drawn]]
    after = drawn[:compared]
    if share is not None:
        mixed = min(round(share * compared), len(others))
        after = drawn[np.isin(drawn, [*others[:mixed], *before[: compared - mixed]])]
    needed = sorted({*before.tolist(), *after.tolist()} | {p for s in by_source.values() for p in s[:limit]})
    told, vectors = embed([found[place].text for place in needed], embedding, device)
    at = {place: number for number, place in enumerate(needed)}

    def spread(source: str, mixed_in: bool, places: Sequence[int], whole: int) -> Spread:
        rows = vectors[[at[place] for place in places]]
        return Spread(source, mixed_in, whole, len(rows), mean_neighbour(rows), vendi_score(rows))

    named = sorted(by_source.items(), key=lambda item: (item[0][1], -len(item[1]), item[0][0]))
    first, second = set(before[:map_points].tolist()), set(after[:map_points].tolist())
    shown = sorted(first | second)
    flat = plane(vectors[[at[place] for place in shown]]).tolist()
    return Diversity(
        embedding=told,
        sources=[spread(*key, places[:limit], len(places)) for key, places in named],
        before=spread("before mixing", False, before.tolist(), len(own)),
        after=spread("after mixing", True, after.tolist(), len(found)) if len(own) < len(found) else None,
        points=[
            Point(found[place].source, place in first, place in second, x, y)
            for place, (x, y) in zip(shown, flat, strict=True)
        ],
    )


def mean_neighbour(vectors: Vectors) -> float | None:
    """Mean cosine distance of each vector to its nearest other one; None for fewer than two.

    Args:
        vectors: [n, size], of length 1.
    """
    if len(vectors) < 2:
        return None
    total = 0.0
    for start in range(0, len(vectors), BLOCK):
        near = vectors[start : start + BLOCK] @ vectors.T
        rows = np.arange(len(near))
        near[rows, start + rows] = -np.inf
        total += float(np.sum(1 - near.max(axis=1), dtype=np.float64))
    return max(total / len(vectors), 0.0)


def vendi_score(vectors: Vectors) -> float:
    """Exp of the entropy of the eigenvalues of K / n, K being the cosines of all pairs; from 1 to n.

    Source: Friedman and Dieng, "The Vendi Score" (arXiv 2210.02410), order 1. The eigenvalues other than 0
    are those of the smaller of the two products of the vectors.

    Args:
        vectors: [n, size], of length 1.
    """
    double = vectors.astype(np.float64)
    gram = double.T @ double if len(double) > double.shape[1] else double @ double.T
    shares = np.linalg.eigvalsh(gram / len(double))
    shares = shares[shares > 1e-12]
    return math.exp(-float(np.sum(shares * np.log(shares))))


def plane(vectors: Vectors) -> npt.NDArray[np.float64]:
    """Places on a map [n, 2]: the first two principal components, each towards its longer tail."""
    centred = vectors.astype(np.float64) - vectors.mean(axis=0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    places = centred @ axes[:, :-3:-1]
    turned: npt.NDArray[np.float64] = np.where(np.sum(places**3, axis=0) < 0, -places, places)
    return turned


def _of_pool(path: Path) -> list[_Instruction]:
    with Pool(path).read() as connection:
        rows = connection.execute(_QUERY).fetchall()
    return [_Instruction(source, bucket == SYNTHETIC, *rest) for source, bucket, *rest in rows]


def _of_file(path: Path) -> list[_Instruction]:
    """The questions of a file's rows; bad rows are left out, as ingest leaves them out."""
    found = list[_Instruction]()
    for block in READERS[detect(path)](path):
        for _, raw in block.rows():
            try:
                if isinstance(raw, BadRowError):
                    raise raw
                row = parse_row(raw, SHAPES["auto"])
            except BadRowError:
                continue
            source = source_group(row.data_source or path.stem)
            for question, _ in row.pairs:
                order = hash64(f"{path.name}\0{len(found)}")
                found.append(_Instruction(source, True, question, order))
    if not found:
        raise UsageError(f"{path} holds no question; give the file of rows, such as DIR/sparrow.jsonl")
    return found
