"""A close look at two media whose fingerprints agree: are they copies, or pages of one form?

Fingerprints do not see single letters. Here the pictures themselves are laid on each other (by the affine map
of the best correlation; Evangelidis and Psarakis, 2008) and compared block by block: compression changes all
blocks a little, another total on a receipt changes one of them altogether.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gdo.descriptors.engine.local import run_tasks
from gdo.descriptors.fingerprint import Floats, spectra
from gdo.errors import MediaError
from gdo.pool.frames import FrameBudget, MediaKind, Picture
from gdo.pool.media import read_frames
from gdo.pool.store import Pool

SIDE = 512
"""Longer side at which pictures are compared, unless one of them is smaller."""
BLOCK = 32
"""Side of the blocks; they overlap by half."""
LIMIT = 0.3
"""Most that a block of a copy differs by; 0.25 was seen in copies, 0.77 where a form has another total."""
ROOM = {True: 3, False: 8}
"""Pixels that a block may have moved by; more in clips, whose frames are not of quite the same moments."""
LOOKS = 3
"""Frames of a clip that are looked at; the median one decides."""
TIME_LIMIT = 600.0
"""Seconds for a task of a worker process."""
PAIRS_PER_TASK, PAIRS_PER_WORKER = 8, 32
_SIDES = (128, 256, SIDE)
_ZOOMS = (1.0, 0.94, 0.88, 1.06, 1.13)
"""Where the search for the map starts; crops as slight as fingerprints allow for."""
_FAINT = 12.0
"""Standard deviation of grey values that blocks with less contrast are taken to have."""
_STEPS = 25
_BUDGET = FrameBudget(frames=32, fps=4.0, max_pixels=SIDE * SIDE)
_NOTHING_ALIKE = float("inf")


def difference(a: Picture, b: Picture, room: int = ROOM[True]) -> float:
    """How much the block that differs most differs: the share of its contrast that the other does not have.

    Args:
        a: RGB picture, uint8 [height, width, 3].
        b: Another, of any size; either may be a slightly cropped copy of the other.
        room: Pixels that a block may have moved by.

    Returns:
        0 for the same picture; about 1 where something else is shown; infinite where they cannot be laid on
        each other.
    """
    import cv2

    height, width = a.shape[:2]
    scale = min(max(height, width), max(b.shape[:2]), SIDE) / max(height, width)
    size = max(2 * BLOCK, round(width * scale)), max(2 * BLOCK, round(height * scale))
    x, y = (_grey(picture, size) for picture in (a, b))
    warp = _registered(x, y)
    if warp is None:
        return _NOTHING_ALIKE
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    laid = np.asarray(cv2.warpAffine(y, warp, size, flags=how), np.float32)
    seen = cv2.warpAffine(np.ones_like(y), warp, size, flags=how) > 1 - 1e-3
    found = [_NOTHING_ALIKE]
    for top in range(0, size[1] - BLOCK + 1, BLOCK // 2):
        for left in range(0, size[0] - BLOCK + 1, BLOCK // 2):
            around = (
                slice(max(0, top - room), top + BLOCK + room),
                slice(max(0, left - room), left + BLOCK + room),
            )
            if seen[around].all():
                found.append(_moved(x[top : top + BLOCK, left : left + BLOCK], laid[around]))
    return max(found[1:], default=_NOTHING_ALIKE)


def _grey(picture: Picture, size: tuple[int, int]) -> Floats:
    import cv2

    small = cv2.resize(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), size, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.GaussianBlur(small, (0, 0), 1.0), np.float32)


def _registered(x: Floats, y: Floats) -> Floats | None:
    """The map from places in `x` to places in `y`, float32 [2, 3], found small and then refined."""
    height, width = x.shape
    starts = [np.array([[z, 0, (1 - z) * width / 2], [0, z, (1 - z) * height / 2]]) for z in _ZOOMS]
    best, warp = max((_step(x, y, start, _SIDES[0]) for start in starts), key=lambda one: one[0])
    if best < 0:
        return None
    for side in _SIDES[1:]:
        if side < 2 * max(x.shape):
            fit, finer = _step(x, y, warp, side)
            warp = finer if fit > 0 else warp
    return warp.astype(np.float32)


def _step(x: Floats, y: Floats, start: NDArray[np.float64], side: int) -> tuple[float, NDArray[np.float64]]:
    """The correlation of pictures of this side, and the map that gives it; -1 where none was found."""
    import cv2

    scale = min(1.0, side / max(x.shape))
    here, there = (cv2.resize(one, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) for one in (x, y))
    warp = start.astype(np.float32)
    warp[:, 2] *= scale
    until = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, _STEPS, 1e-4)
    everywhere = np.ones(here.shape, np.uint8)
    try:
        fit, found = cv2.findTransformECC(here, there, warp, cv2.MOTION_AFFINE, until, everywhere, 3)
    except cv2.error:  # it did not converge
        return -1.0, start
    placed = np.asarray(found, np.float64)
    placed[:, 2] /= scale
    return float(fit), placed


def _moved(block: Floats, around: Floats) -> float:
    """The least difference of a block to one of the same size around its place."""
    import cv2

    mean = block.mean()
    errors = cv2.matchTemplate(around - mean, block - mean, cv2.TM_SQDIFF)
    top, left = np.unravel_index(int(errors.argmin()), errors.shape)
    other = around[top : top + BLOCK, left : left + BLOCK]
    return float(np.std(block - other) / max(block.std(), other.std(), _FAINT))


def same_clip(a: Sequence[Picture], b: Sequence[Picture]) -> bool:
    """Whether some frames of the shorter of two clips are the same as their partners in the other."""
    short, long = sorted((a, b), key=len)
    waves = spectra(short), spectra(long)
    if len(waves[0]) < len(short) or len(waves[1]) < len(long):
        return False
    partners = (waves[0].reshape(len(short), -1) @ waves[1].reshape(len(long), -1).T).argmax(axis=1)
    places = sorted({len(short) * (number + 1) // (LOOKS + 1) for number in range(LOOKS)})
    found = sorted(difference(short[place], long[partners[place]], ROOM[False]) for place in places)
    return found[len(found) // 2] <= LIMIT


Shown = tuple[MediaKind, list[Path]]
"""A medium's kind and its files."""
Ids = tuple[int, int]
"""Two media, the smaller media_id first."""
Twins = Callable[[tuple[int, ...], tuple[int, ...]], bool]
"""Whether media show the same on a close look."""


def same_media(one: Shown, other: Shown) -> bool:
    """Whether two media of one kind show the same; such as can no longer be read are not known to."""
    try:
        a, b = (list(read_frames(kind, files, _BUDGET).images) for kind, files in (one, other))
    except MediaError:
        return False
    return difference(a[0], b[0]) <= LIMIT if one[0] == "image" else same_clip(a, b)


class CloseLook:
    """Tells whether media of a pool show the same, reading them again; each pair once.

    Args:
        pool: The pool.
        workers: Processes that read media where there are many pairs; 0 for none.
        kept: A file where verdicts are kept as they come; what a killed search left in it is known.
    """

    def __init__(self, pool: Pool, workers: int = 0, kept: Path | None = None) -> None:
        self._pool = pool
        self._workers = workers
        self._kept = kept
        self._known = _read_verdicts(kept) if kept else {}

    def __call__(self, first: tuple[int, ...], second: tuple[int, ...]) -> bool:
        """Whether each of some media is the same as its partner.

        Args:
            first: Their media_id.
            second: Those of their partners.
        """
        return all(a == b or self.at([(min(a, b), max(a, b))])[0] for a, b in zip(first, second, strict=True))

    def ahead(self, ask: Callable[[Twins], object], tell: Callable[[int, int], None]) -> None:
        """Look at all at once at what would be asked one by one.

        Args:
            ask: Asks what it is given of media; told that pairs not yet looked at do not show the same.
            tell: As in `at`.
        """
        asked = set[Ids]()

        def note(first: tuple[int, ...], second: tuple[int, ...]) -> bool:
            pairs = {(min(a, b), max(a, b)) for a, b in zip(first, second, strict=True) if a != b}
            asked.update(pairs)
            return all(self._known.get(pair, False) for pair in pairs)

        ask(note)
        self.at(sorted(asked), tell)

    def at(
        self, pairs: Sequence[Ids], tell: Callable[[int, int], None] = lambda done, total: None
    ) -> list[bool]:
        """Whether the media of each pair show the same.

        Args:
            pairs: Two media_id each, the smaller one first.
            tell: Called with how many of the pairs not seen before were looked at, and of how many.
        """
        new = sorted({pair for pair in pairs if pair not in self._known})
        tasks = self._tasks(new)
        batches = [tasks[start : start + PAIRS_PER_TASK] for start in range(0, len(tasks), PAIRS_PER_TASK)]
        workers = min(self._workers, len(tasks) // PAIRS_PER_WORKER)
        done = 0
        for verdicts in run_tasks(_verdicts, batches, _lost, workers=workers, time_limit=TIME_LIMIT):
            self._known |= verdicts
            self._keep(verdicts)
            done += len(verdicts)
            tell(done, len(new))
        return [self._known[pair] for pair in pairs]

    def _keep(self, verdicts: Mapping[Ids, bool]) -> None:
        if self._kept:
            with self._kept.open("a") as file:
                file.writelines(f"{json.dumps([*pair, same])}\n" for pair, same in verdicts.items())

    def _tasks(self, pairs: Sequence[Ids]) -> list[tuple[Ids, Shown, Shown]]:
        """Pairs with the files of both."""
        if not pairs:
            return []
        home = Path(self._pool.path).parent
        with self._pool.read() as connection:
            rows = connection.execute(
                "SELECT media_id, kind, root, paths FROM media WHERE media_id IN "
                "(SELECT unnest($1::UBIGINT[]))",
                [sorted({one for pair in pairs for one in pair})],
            ).fetchall()
        shown = {
            one: (kind, [home / (root or "") / path for path in paths]) for one, kind, root, paths in rows
        }
        return [((a, b), shown[a], shown[b]) for a, b in pairs]


def _read_verdicts(kept: Path) -> dict[Ids, bool]:
    """Verdicts of a file; of a line that was cut off, or written on after that, none."""
    verdicts: dict[Ids, bool] = {}
    for line in kept.read_text().splitlines() if kept.exists() else ():
        with suppress(ValueError):
            first, second, same = json.loads(line)
            verdicts[first, second] = same
    return verdicts


def _verdicts(tasks: Sequence[tuple[Ids, Shown, Shown]]) -> dict[Ids, bool]:
    return {pair: same_media(one, other) for pair, one, other in tasks}


def _lost(task: tuple[Ids, Shown, Shown], reason: str) -> dict[Ids, bool]:
    """A pair whose worker did not come back is not known to be the same."""
    return {task[0]: False}
