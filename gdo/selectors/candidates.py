"""Candidates: what selection reads of a pool, as one array per column, in order of ingestion.

Every field of a stratum is an array of small codes with its names beside it; codes count up in order of
first appearance where the spec's rules go by it.
"""

from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gdo.errors import UsageError
from gdo.pool.columns import Number, values_of
from gdo.pool.store import scalar
from gdo.pool.text import source_group
from gdo.selectors.preset import Preset

Array = npt.NDArray[np.generic]
Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Codes = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]
Hashes = npt.NDArray[np.uint64]

FIELDS = (
    "bucket",
    "duration_bucket",
    "temporal_category",
    "question_form",
    "q_len_bucket",
    "a_len_bucket",
    "source_group",
)
"""The fields of a stratum, in the order in which its name joins them (spec section 2)."""

SCORED = ("loss_video", "loss_blind", "frame_diversity", "vds", "quality_score")
"""The descriptor columns that the released score reads."""


@dataclass(frozen=True)
class Field:
    """One categorical column: `codes[i]` is the place of sample i's value in `names`."""

    codes: Codes
    names: list[str]

    @cached_property
    def counts(self) -> Integers:
        """Samples per name."""
        return np.bincount(self.codes, minlength=len(self.names)).astype(np.int64)


@dataclass(frozen=True)
class Candidates:
    """All samples that may be chosen; every array has one entry per sample."""

    ordinal: Integers
    fields: dict[str, Field]
    stratum: Codes
    """Codes in order of first appearance."""
    strata: Integers
    """Index of the first sample of each stratum."""
    data_source: Field
    video: Mask
    video_uid: Codes
    """-1 for images."""
    question_tokens: Codes
    answer_tokens: Codes
    answer_distinct: Codes
    uid_hash: Hashes
    text_hash: Hashes
    question_hash: Hashes
    near: Codes
    """Groups of near-duplicates, -1 where a sample is in none; all are -1 unless the preset asks for them."""
    described: Mask
    values: dict[str, Floats]
    """The columns of `SCORED`; NaN is missing."""
    orphans: dict[str, Floats]
    """The same columns of described rows that are no candidate: their id is unknown, or was kept out."""

    def __len__(self) -> int:
        return len(self.ordinal)

    def keep(self, mask: Mask) -> "Candidates":
        """Only the samples of the mask, with strata and first appearances taken anew."""
        if mask.all():
            return self
        fields = {name: _recode(field, mask) for name, field in self.fields.items()}
        stratum, strata = _strata(fields)
        return Candidates(
            ordinal=self.ordinal[mask],
            fields=fields,
            stratum=stratum,
            strata=strata,
            data_source=_recode(self.data_source, mask),
            video=self.video[mask],
            video_uid=self.video_uid[mask],
            question_tokens=self.question_tokens[mask],
            answer_tokens=self.answer_tokens[mask],
            answer_distinct=self.answer_distinct[mask],
            uid_hash=self.uid_hash[mask],
            text_hash=self.text_hash[mask],
            question_hash=self.question_hash[mask],
            near=self.near[mask],
            described=self.described[mask],
            values={name: column[mask] for name, column in self.values.items()},
            orphans={
                name: np.concatenate([self.orphans[name], column[~mask & self.described]])
                for name, column in self.values.items()
            },
        )

    def stratum_name(self, index: int) -> str:
        """The seven fields of one sample's stratum, joined by `|`."""
        return "|".join(field.names[field.codes[index]] for field in self.fields.values())

    @cached_property
    def counts(self) -> dict[str, Integers]:
        """Samples per name of each field of a stratum."""
        return self.counts_of(None)

    def counts_of(self, members: Integers | None) -> dict[str, Integers]:
        """The same of some of the samples, each as often as it is named, or of all."""
        codes = self.stratum if members is None else self.stratum[members]
        per_stratum = np.bincount(codes, minlength=len(self.strata))
        return {
            name: np.bincount(field.codes[self.strata], per_stratum, len(field.names)).astype(np.int64)
            for name, field in self.fields.items()
        }

    @cached_property
    def spread(self) -> dict[str, tuple[float, float]]:
        """Mean and standard deviation (n - 1) of the finite values of each column, orphans included."""
        return {name: _spread(column, self.orphans[name]) for name, column in self.values.items()}

    @cached_property
    def digest(self) -> str:
        """The fingerprint where the media of no sample are broken."""
        return self._digest(np.empty(0, dtype=np.int64))

    def fingerprint(self, broken: Mask) -> str:
        """A digest of everything that selection reads, the same on every machine.

        `broken` are the samples kept out because their media cannot be read.
        """
        return self._digest(self.ordinal[broken]) if broken.any() else self.digest

    def _digest(self, broken: Integers) -> str:
        digest = blake2b(digest_size=16)
        arrays: list[Array] = [
            broken,
            self.ordinal,
            self.uid_hash,
            self.text_hash,
            self.described,
            self.video_uid,
        ]
        arrays += [self.question_tokens, self.answer_tokens, self.answer_distinct, *self.values.values()]
        arrays += [np.sort(column) for column in self.orphans.values()]
        for field in (*self.fields.values(), self.data_source):
            digest.update("\0".join(field.names).encode(errors="surrogatepass"))
            arrays.append(field.codes)
        if (self.near >= 0).any():
            arrays.append(self.near)
        for array in arrays:
            digest.update(np.ascontiguousarray(array).view(np.uint8).data)
        return digest.hexdigest()


_NAMES = {
    "bucket": ("image_qa", "short_video", "synthetic_text_video"),
    "duration_bucket": ("image", "very_short", "short", "medium", "long", "very_long"),
    "temporal_category": ("Static", "Temporal", "Mixed"),
    "question_form": ("MCQ", "Open"),
    "q_len_bucket": ("q_tiny", "q_short", "q_medium", "q_long", "q_very_long"),
    "a_len_bucket": ("a_tiny", "a_short", "a_medium", "a_long", "a_very_long"),
}
"""The values of fields that have fixed ones; the query hands them over as codes."""

_EXPRESSIONS = {
    "duration_bucket": "CASE WHEN bucket = 'image_qa' THEN 'image' "
    "ELSE duration_of(kept_frames(listed_frames, media_frames, $target)) END",
    "question_form": "CASE WHEN CASE WHEN $raw THEN mcq_raw ELSE mcq END THEN 'MCQ' ELSE 'Open' END",
}
_CODED = ", ".join(
    f"CAST({_EXPRESSIONS.get(name, name)} AS ENUM({', '.join(map(repr, names))})) AS {name}"
    for name, names in _NAMES.items()
)
# NULL as NaN and flags as numbers: what NumPy can take over as it is.
_VALUES = ", ".join(f"coalesce({name}, 'nan'::DOUBLE) AS {name}" for name in SCORED)
QUERY = f"""
SELECT
    ordinal, uid_hash, text_hash, question_hash, question_tokens, answer_tokens, answer_distinct,
    described::UTINYINT AS described, imported::UTINYINT AS imported,
    hash(video_uid) AS video_uid, data_source, {_CODED}, {_VALUES}
FROM candidate
"""
_ORPHANS = f"SELECT {_VALUES} FROM imported ANTI JOIN sample USING (qa_uid) ORDER BY qa_uid"


def load_candidates(connection: duckdb.DuckDBPyConnection, preset: Preset) -> Candidates:
    """Read every sample of a pool.

    Raises:
        UsageError: The pool has no sample.
    """
    parameters = {"target": preset.target_frames, "raw": preset.question_form == "raw"}
    table = connection.sql(QUERY, params=parameters).to_arrow_table()
    if not table.num_rows:
        raise UsageError("the pool has no samples; `gdo ingest POOL FILE...` first")
    ordinal = values_of(table["ordinal"], np.int64)
    order = np.argsort(ordinal, kind="stable")
    places = np.empty_like(order)
    places[order] = np.arange(len(order))

    def numbers(name: str, dtype: type[Number]) -> npt.NDArray[Number]:
        return values_of(table[name], dtype, places)

    data_source = _coded(table["data_source"], places)
    fields = {name: _coded(table[name], places) for name in _NAMES}
    fields["source_group"] = _grouped(data_source)
    stratum, strata = _strata(fields)
    buckets = fields["bucket"]
    video = np.array([name == "short_video" for name in buckets.names])[buckets.codes]
    return Candidates(
        ordinal=ordinal[order],
        fields=fields,
        stratum=stratum,
        strata=strata,
        data_source=data_source,
        video=video,
        video_uid=_video_codes(numbers("video_uid", np.uint64), video),
        question_tokens=numbers("question_tokens", np.int32),
        answer_tokens=numbers("answer_tokens", np.int32),
        answer_distinct=numbers("answer_distinct", np.int32),
        uid_hash=numbers("uid_hash", np.uint64),
        text_hash=numbers("text_hash", np.uint64),
        question_hash=numbers("question_hash", np.uint64),
        near=np.full(len(order), -1, dtype=np.int32),
        described=numbers("described", np.bool_),
        values={name: _finite(numbers(name, np.float64)) for name in SCORED},
        orphans=_orphans(connection, int(numbers("imported", np.bool_).sum())),
    )


_UNREADABLE = """
SELECT ordinal FROM sample
WHERE list_has_any(
    media_ids, (SELECT list(media_id) FROM media WHERE error IS NOT NULL AND coalesce(frames, 0) = 0)
)
"""


def unreadable(connection: duckdb.DuckDBPyConnection, candidates: Candidates) -> Mask:
    """Samples with a medium that was read and gave no picture."""
    return np.isin(candidates.ordinal, values_of(connection.sql(_UNREADABLE).to_arrow_table()[0], np.int64))


def _orphans(connection: duckdb.DuckDBPyConnection, matched: int) -> dict[str, Floats]:
    """The scored columns of imported rows of no sample; `matched` rows have one."""
    if int(scalar(connection, "SELECT count(*) FROM imported")) == matched:
        return {name: np.empty(0) for name in SCORED}
    table = connection.sql(_ORPHANS).to_arrow_table()
    return {name: _finite(values_of(table[name], np.float64)) for name in SCORED}


def _spread(values: Floats, orphans: Floats) -> tuple[float, float]:
    finite = np.concatenate([values[~np.isnan(values)], orphans[~np.isnan(orphans)]])
    mean = float(finite.mean()) if len(finite) else 0.0
    variance = float(finite.var(ddof=1)) if len(finite) > 1 else 0.0
    return mean, variance**0.5 if variance > 1e-12 else 1.0


def _finite(values: Floats) -> Floats:
    """The values, NaN where they are not finite."""
    values[~np.isfinite(values)] = np.nan
    return values


def _coded(column: pa.ChunkedArray, places: Integers) -> Field:
    """Codes of a column of strings, or of ENUM values, in order of first appearance."""
    encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    encoded = encoded.unify_dictionaries()
    names = encoded.chunk(0).dictionary.to_pylist()
    values = values_of(pa.chunked_array([chunk.indices for chunk in encoded.chunks]), np.int32, places)
    codes, first = first_appearance(values, len(names))
    return Field(codes, [names[code] for code in values[first]])


def _grouped(data_source: Field) -> Field:
    """The source group of each sample; it follows from the name of its source."""
    groups = [source_group(name) for name in data_source.names]
    names = list(dict.fromkeys(groups))
    by_source = np.array([names.index(group) for group in groups], dtype=np.int32)
    return Field(by_source[data_source.codes], names)


def _video_codes(hashes: Hashes, video: Mask) -> Codes:
    """Codes of the videos in order of first appearance, -1 for images; the hash only tells videos apart."""
    codes = np.full(len(hashes), -1, dtype=np.int32)
    values, inverse = np.unique(hashes[video], return_inverse=True)
    codes[video] = first_appearance(inverse, len(values))[0]
    return codes


def first_appearance(codes: npt.NDArray[np.integer[Any]], size: int) -> tuple[Codes, Integers]:
    """Codes renumbered in order of first appearance, and the index at which each first appears."""
    first = np.full(size, len(codes), dtype=np.int64)
    first[codes[::-1]] = np.arange(len(codes) - 1, -1, -1)
    present = np.flatnonzero(first < len(codes))
    order = present[np.argsort(first[present], kind="stable")]
    renumber = np.full(size, -1, dtype=np.int32)
    renumber[order] = np.arange(len(order), dtype=np.int32)
    return renumber[codes], first[order]


def _strata(fields: dict[str, Field]) -> tuple[Codes, Integers]:
    """One code for each combination of field values that occurs."""
    joint = np.zeros(len(fields["bucket"].codes), dtype=np.int64)
    size = 1
    for field in fields.values():
        size *= len(field.names)
        joint = joint * len(field.names) + field.codes
        if size > 1 << 20:
            values, joint = np.unique(joint, return_inverse=True)
            size = len(values)
    return first_appearance(joint, size)


def _recode(field: Field, mask: Mask) -> Field:
    codes, first = first_appearance(field.codes[mask], len(field.names))
    kept = field.codes[mask][first]
    return Field(codes, [field.names[code] for code in kept])
