"""The uniform control: a random sample under the same rules, to hold a subset against (spec section 6)."""

from collections.abc import Sequence

import numpy as np

from gdo.selectors.candidates import Candidates, Codes, Hashes, Integers, Mask
from gdo.selectors.sorting import lowest, ordered


def draw_control(candidates: Candidates, ties: Hashes, count: int, max_qa_per_video: int) -> Integers:
    """`uniform_control` in the order of the samples' ties, of which no more are sorted than it takes."""
    wanted = min(count, len(candidates))
    head = lowest(ties, wanted + wanted // 8)
    taken = head[_accept(candidates, head, max_qa_per_video, texts=True)][:wanted]
    if len(taken) == wanted:
        return taken
    return uniform_control(candidates, ordered(ties), count, max_qa_per_video)


def uniform_control(candidates: Candidates, order: Integers, count: int, max_qa_per_video: int) -> Integers:
    """Up to `count` samples in the order of their hash, no text and no near-duplicate twice, few per video.

    Where the pool runs short the rule of texts is relaxed, then the per-video rule too.
    """
    wanted = min(count, len(candidates))
    head = order[: wanted + wanted // 8]
    taken = head[_accept(candidates, head, max_qa_per_video, texts=True)][:wanted]
    if len(taken) < wanted and len(head) < len(order):
        taken = order[_accept(candidates, order, max_qa_per_video, texts=True)][:wanted]
    if len(taken) < wanted:
        rest = _without(order, taken)
        used = np.bincount(candidates.video_uid[taken][candidates.video[taken]]).tolist()
        more = rest[_accept(candidates, rest, max_qa_per_video, texts=False, used=used)]
        taken = np.concatenate([taken, more])[:wanted]
    if len(taken) < wanted:
        taken = np.concatenate([taken, _without(order, taken)])[:wanted]
    return taken


def _without(order: Integers, taken: Integers) -> Integers:
    left = np.ones(len(order), dtype=np.bool_)
    left[taken] = False
    return order[left[order]]


def _accept(
    candidates: Candidates, order: Integers, cap: int, *, texts: bool, used: Sequence[int] = ()
) -> Mask:
    """Which samples of an order a greedy pass takes, `used` samples of each video being taken before it.

    Only samples that share their text, or a video with more than `cap` samples, can be refused; the loop
    goes over those alone.
    """
    accept = np.ones(len(order), dtype=np.bool_)
    videos = candidates.video_uid[order]
    doubtful = videos >= 0 if used else _crowded(videos, cap)
    if texts:
        doubtful = doubtful | _repeated(candidates.text_hash[order]) | (candidates.near[order] >= 0)
    seen, groups, per_video = set[int](), set[int](), dict(enumerate(used))
    places = np.flatnonzero(doubtful)
    rows = order[places]
    columns = (candidates.text_hash, candidates.near, candidates.video_uid)
    for place, text, group, video in zip(
        places.tolist(), *(column[rows].tolist() for column in columns), strict=True
    ):
        repeats = texts and (text in seen or group in groups)
        if repeats or (video >= 0 and per_video.get(video, 0) >= cap):
            accept[place] = False
            continue
        seen.add(text)
        if group >= 0:
            groups.add(group)
        if video >= 0:
            per_video[video] = per_video.get(video, 0) + 1
    return accept


def _crowded(video_uid: Codes, cap: int) -> Mask:
    """Samples of a video that has more than `cap`."""
    sizes = np.bincount(video_uid[video_uid >= 0], minlength=1)
    return np.logical_and(video_uid >= 0, sizes[video_uid] > cap)


def _repeated(text_hash: Hashes) -> Mask:
    """Samples whose text another sample has too."""
    order = np.argsort(text_hash)
    ordered = text_hash[order]
    same = np.zeros(len(ordered) + 1, dtype=np.bool_)
    same[1:-1] = ordered[1:] == ordered[:-1]
    repeated = np.empty(len(ordered), dtype=np.bool_)
    repeated[order] = same[:-1] | same[1:]
    return repeated
