"""Samples as people look at them: contact sheets by value, and near-duplicates side by side."""

from collections.abc import Iterable, Sequence
from typing import Any

import polars as pl

from gdo.report.html.blocks import Block, Card, Note, Section, Sheet, Tiles
from gdo.report.html.source import Source

SHOWN = 6
"""Samples of each row of a sheet."""
GROUPS = 10
"""Groups of near-duplicates that are shown, of media and of samples."""
OF_GROUP = 4
_LOOKED_AT = 64
"""Extreme samples among which `SHOWN` of different media are looked for."""
_LETTERS = 400
"""Most letters of a question or an answer."""

# One row is one wanted sample.
_CARDS = """
SELECT qa_uid, media_ids[1], question, answer, bucket, source_group, len(media_ids)
FROM sample SEMI JOIN wanted USING (qa_uid)
"""

# One row is one member of a group, groups that are least alike first.
_GROUPS = """
WITH grouped AS (
    SELECT duplicate_group, min(similarity) AS least, count(*) AS members
    FROM {table} GROUP BY 1 ORDER BY least, duplicate_group LIMIT ?
)
SELECT duplicate_group, members, least, {key}
FROM {table} JOIN grouped USING (duplicate_group) ORDER BY least, duplicate_group, {key}
"""

_FILES = "SELECT media_id, paths[1] FROM media WHERE list_contains(?, media_id)"

# One row: how much was found.
_FOUND = """
SELECT d.threshold, d.media, d.media_unseen,
    (SELECT count(DISTINCT duplicate_group) FROM media_duplicate), (SELECT count(*) FROM media_duplicate),
    (SELECT count(DISTINCT duplicate_group) FROM sample_duplicate), (SELECT count(*) FROM sample_duplicate),
    (SELECT count(*) FROM sample) - d.samples
FROM duplicate_search AS d
"""


def sheets_section(source: Source) -> Section:
    """Highest, lowest and random samples of each column of values."""
    title = "Contact sheets"
    if not source.filled:
        note = Note("No sample has descriptor values yet.", "gdo describe POOL")
        return Section("sheets", title, "", [note])
    picked = _extremes(source)
    cards = _cards(source, (uid for rows in picked.values() for row in rows.values() for uid, _ in row))
    blocks: list[Block] = [
        Sheet(
            value.name,
            [
                (how, [cards[uid](f"{value.name} {figure:.4g}") for uid, figure in row])
                for how, row in picked[value.name].items()
            ],
            value.doc,
            open=number == 0,
        )
        for number, value in enumerate(source.filled)
    ]
    intro = (
        f"For each column of values the {SHOWN} highest and lowest samples, of different media where it can "
        "be, and as many drawn by a hash. Four frames of a video or frame list, first to last."
    )
    return Section("sheets", title, intro, blocks)


def duplicates_section(source: Source) -> Section:
    """Near-duplicates that were found, the least alike first."""
    title = "Near-duplicates"
    found = source.rows(_FOUND)
    if not found:
        note = Note("Near-duplicates were not looked for yet.", "gdo duplicates POOL")
        return Section("duplicates", title, "", [note])
    threshold, media, unseen, *counts, since = found[0]
    told = ("groups of media", "media in them", "groups of samples", "samples in them")
    blocks: list[Block] = [Tiles([("media compared", media), *zip(told, counts, strict=True)])]
    if since:
        blocks.append(
            Note(
                f"{since:,} samples came or went since near-duplicates were looked for.",
                "gdo duplicates POOL",
            )
        )
    media_rows = source.rows(_GROUPS.format(table="media_duplicate", key="media_id"), [GROUPS])
    sample_rows = source.rows(_GROUPS.format(table="sample_duplicate", key="qa_uid"), [GROUPS])
    cards = _cards(source, (uid for *_, uid in sample_rows))
    if media_rows:
        names = dict(source.rows(_FILES, [[row[3] for row in media_rows]]))
        pictures = [
            (*row[:3], Card(f"media {row[3]}", row[3], facts=names.get(row[3], ""))) for row in media_rows
        ]
        blocks.append(
            Sheet("Groups of media, the least alike first", _grouped(pictures), open=True, paired=True)
        )
    if sample_rows:
        texts = [(*row[:3], cards[row[3]]("")) for row in sample_rows if row[3] in cards]
        blocks.append(
            Sheet("Groups of samples, the least alike first", _grouped(texts), open=True, paired=True)
        )
    intro = (
        f"Media count as the same from similarity {threshold:g}, or where a close look says so; "
        f"{unseen:,} have no fingerprint."
    )
    return Section("duplicates", title, intro, blocks)


def _grouped(rows: Sequence[tuple[int, int, float, Card]]) -> list[tuple[str, list[Card]]]:
    """Rows of a sheet, one for each group."""
    of: dict[int, tuple[str, list[Card]]] = {}
    for group, members, least, card in rows:
        told = f"group {group}: {members:,} members, similarity {least:.4f}"
        _, cards = of.setdefault(group, (told, []))
        if len(cards) < OF_GROUP:
            cards.append(card)
    return list(of.values())


def _extremes(source: Source) -> dict[str, dict[str, list[tuple[str, float]]]]:
    """Ids and values by column and row of the sheet; the extremes are found in one scan over all rows."""
    parts = []
    for value in source.filled:
        row = f"{{'v': {value.finite}, 'h': uid_hash, 'q': qa_uid, 'm': media_ids[1]}}"
        known = f"FILTER (WHERE {value.finite} IS NOT NULL)"
        parts += [f"max({row}, {_LOOKED_AT}) {known}", f"min({row}, {_LOOKED_AT}) {known}"]
    found = source.rows(f"SELECT {', '.join(parts)} FROM candidate")[0]
    picked = {}
    for number, value in enumerate(source.filled):
        known_rows = source.sample.filter(pl.col(value.name).is_not_null())
        first = (number * SHOWN) % max(1, len(known_rows) - SHOWN + 1)
        picked[value.name] = {
            "Highest": _apart(found[2 * number]),
            "Lowest": _apart(found[2 * number + 1]),
            "Random": known_rows.select("qa_uid", value.name).slice(first, SHOWN).rows(),
        }
    return picked


def _apart(found: Sequence[dict[str, Any]] | None) -> list[tuple[str, float]]:
    """The first ones of different media, then the others."""
    first: dict[Any, dict[str, Any]] = {}
    for row in found or []:
        first.setdefault(row["m"], row)
    ones = list(first.values())
    chosen = (ones + [row for row in found or [] if first[row["m"]] is not row])[:SHOWN]
    return [(row["q"], row["v"]) for row in chosen]


class _Face:
    """A sample's card but for the figure that it is shown for."""

    def __init__(self, row: tuple[Any, ...]) -> None:
        self.uid, self.picture, question, answer, bucket, group, media = row
        self.question, self.answer = _cut(question), _cut(answer)
        self.facts = f"{group}, {bucket}" + (f", {media} media" if media > 1 else "")

    def __call__(self, value: str) -> Card:
        return Card(self.uid, self.picture, value, self.question, self.answer, self.facts)


def _cards(source: Source, uids: Iterable[str]) -> dict[str, _Face]:
    wanted = pl.DataFrame({"qa_uid": sorted(set(uids))}, schema={"qa_uid": pl.String})
    source.connection.register("wanted", wanted)
    try:
        return {row[0]: _Face(row) for row in source.rows(_CARDS)}
    finally:
        source.connection.unregister("wanted")


def _cut(text: str | None) -> str:
    whole = text or ""
    return whole if len(whole) <= _LETTERS else whole[: _LETTERS - 1] + "…"
