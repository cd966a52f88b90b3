"""Which samples a proxy is trained on: a uniform sample of the pool, and a slice of its media held out."""

from dataclasses import dataclass

from gdo.descriptors.engine.work import Medium
from gdo.descriptors.proxy.language import SPECIAL
from gdo.descriptors.temporal_text import temporal_probability
from gdo.errors import GdoError
from gdo.pool.store import Pool
from gdo.pool.text import hash64

HELD_OUT_SHARE = 0.1

_SAMPLES = """
SELECT qa_uid, question, answer, media_ids
FROM sample
WHERE answer <> ''
ORDER BY xor(uid_hash, CAST(? AS UBIGINT)), qa_uid
LIMIT ?
"""

_MEDIA = """
SELECT media_id, kind, root, paths
FROM media
WHERE media_id IN (SELECT unnest(CAST(? AS UBIGINT[])))
ORDER BY media_id
"""


@dataclass(frozen=True, slots=True)
class Row:
    """A sample as the proxy learns from it.

    Attributes:
        qa_uid: Its key.
        question: Without media tags.
        answer: What the pool says.
        media: Ids of the media it shows, in order.
        temporal: The question needs time, by `temporal_text`.
        held_out: It is not trained on.
    """

    qa_uid: str
    question: str
    answer: str
    media: tuple[int, ...]
    temporal: bool
    held_out: bool


@dataclass(frozen=True, slots=True)
class Draw:
    """The sample: its rows in the order in which they were drawn, and their media."""

    rows: list[Row]
    media: dict[int, Medium]


def draw_sample(pool: Pool, seed: int, limit: int) -> Draw:
    """Draw up to `limit` samples of a pool by a hash of (seed, qa_uid), the same on any machine.

    A tenth of them, all that show the same medium first, are held out. Texts that contain one of the
    model's special tokens are left out.

    Raises:
        GdoError: The pool has fewer than two media or samples to learn from.
    """
    with pool.read() as connection:
        found = connection.execute(_SAMPLES, [hash64(f"proxy/{seed}"), limit]).fetchall()
        usable = [row for row in found if not any(token in row[1] + row[2] for token in SPECIAL)]
        wanted = sorted({media_id for row in usable for media_id in row[3]})
        media = connection.execute(_MEDIA, [wanted]).fetchall()
    groups = [str(row[3][0]) if row[3] else row[0] for row in usable]
    by_hash = sorted(set(groups), key=lambda group: hash64(f"held out/{seed}/{group}"))
    if len(by_hash) < 2:
        raise GdoError(f"{pool.path} has too few samples to train the self-proxy on; name a --probe")
    held_out = set(by_hash[: max(1, round(HELD_OUT_SHARE * len(by_hash)))])
    rows = [
        Row(uid, question, answer, tuple(shown), temporal_probability(question) > 0.5, group in held_out)
        for (uid, question, answer, shown), group in zip(usable, groups, strict=True)
    ]
    home = pool.path.parent
    return Draw(
        rows, {key: Medium(key, kind, str(home / (root or "")), paths) for key, kind, root, paths in media}
    )
