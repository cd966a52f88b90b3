"""Candidates: what selection reads of a pool, as one array per column, in order of ingestion.

Every field of a stratum is an array of small codes with its names beside it; codes count up in order of
first appearance where the spec's rules go by it.
"""

from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gdo.errors import UsageError
from gdo.selectors.preset import Preset

Array = npt.NDArray[np.generic]
Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Codes = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]

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
    uid_hash: npt.NDArray[np.uint64]
    text_hash: npt.NDArray[np.uint64]
    question_hash: npt.NDArray[np.uint64]
    described: Mask
    values: dict[str, Floats]
    """The columns of `SCORED`; NaN is missing."""
    orphans: dict[str, Floats]
    """The same columns of imported rows that belong to no sample of the pool."""

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
            described=self.described[mask],
            values={name: column[mask] for name, column in self.values.items()},
            orphans=self.orphans,
        )

    def stratum_name(self, index: int) -> str:
        """The seven fields of one sample's stratum, joined by `|`."""
        return "|".join(field.names[field.codes[index]] for field in self.fields.values())

    def fingerprint(self) -> str:
        """A digest of everything that selection reads, the same on every machine."""
        digest = blake2b(digest_size=16)
        arrays: list[Array] = [self.ordinal, self.uid_hash, self.text_hash, self.described, self.video_uid]
        arrays += [self.question_tokens, self.answer_tokens, self.answer_distinct, *self.values.values()]
        arrays += [np.sort(column) for column in self.orphans.values()]
        for field in (*self.fields.values(), self.data_source):
            digest.update("\0".join(field.names).encode(errors="surrogatepass"))
            arrays.append(field.codes)
        for array in arrays:
            digest.update(np.ascontiguousarray(array).view(np.uint8).data)
        return digest.hexdigest()


_QUERY = """
SELECT
    ordinal, uid_hash, text_hash, question_hash, question_tokens, answer_tokens, answer_distinct, described,
    video_uid, data_source, bucket,
    CASE WHEN bucket = 'image_qa' THEN 'image'
         ELSE duration_of(kept_frames(listed_frames, media_frames, $target)) END AS duration_bucket,
    temporal_category,
    CASE WHEN CASE WHEN $raw THEN mcq_raw ELSE mcq END THEN 'MCQ' ELSE 'Open' END AS question_form,
    q_len_bucket, a_len_bucket, source_group,
    loss_video, loss_blind, frame_diversity, vds, quality_score
FROM candidate
"""

_ORPHANS = f"SELECT {', '.join(SCORED)} FROM imported ANTI JOIN sample USING (qa_uid)"
_STRINGS = (*FIELDS, "data_source", "video_uid")


def load_candidates(connection: duckdb.DuckDBPyConnection, preset: Preset) -> Candidates:
    """Read every sample of a pool.

    Raises:
        UsageError: The pool has no sample.
    """
    parameters = {"target": preset.target_frames, "raw": preset.question_form == "raw"}
    table = connection.sql(_QUERY, params=parameters).to_arrow_table()
    if not table.num_rows:
        raise UsageError("the pool has no samples; `gdo ingest POOL FILE...` first")
    if not _ascending(table["ordinal"]):
        table = table.sort_by("ordinal")
    coded = {name: _coded(table[name]) for name in _STRINGS}
    fields = {name: coded[name] for name in FIELDS}
    stratum, strata = _strata(fields)
    video = _numbers(coded["bucket"].codes == _code(coded["bucket"], "short_video"), np.bool_)
    orphans = connection.sql(_ORPHANS).to_arrow_table()
    return Candidates(
        ordinal=_numbers(table["ordinal"], np.int64),
        fields=fields,
        stratum=stratum,
        strata=strata,
        data_source=coded["data_source"],
        video=video,
        video_uid=np.where(video, coded["video_uid"].codes, np.int32(-1)),
        question_tokens=_numbers(table["question_tokens"], np.int32),
        answer_tokens=_numbers(table["answer_tokens"], np.int32),
        answer_distinct=_numbers(table["answer_distinct"], np.int32),
        uid_hash=_numbers(table["uid_hash"], np.uint64),
        text_hash=_numbers(table["text_hash"], np.uint64),
        question_hash=_numbers(table["question_hash"], np.uint64),
        described=_numbers(table["described"], np.bool_),
        values={name: _numbers(table[name], np.float64) for name in SCORED},
        orphans={name: _numbers(orphans[name], np.float64) for name in SCORED},
    )


def _ascending(column: pa.ChunkedArray) -> bool:
    values = _numbers(column, np.int64)
    return bool((values[1:] > values[:-1]).all())


def _numbers(column: object, dtype: npt.DTypeLike) -> npt.NDArray[np.generic]:
    """A column as a NumPy array; NULL and infinity become NaN in columns of floats."""
    values = np.asarray(column.to_numpy() if isinstance(column, pa.ChunkedArray) else column)
    if np.dtype(dtype) != np.float64:
        return values.astype(dtype, copy=False)
    floats = values.astype(np.float64)
    floats[~np.isfinite(floats)] = np.nan
    return floats


def _coded(column: pa.ChunkedArray) -> Field:
    """Codes of a string column, in order of first appearance."""
    encoded = column.combine_chunks().dictionary_encode()
    return Field(encoded.indices.to_numpy().astype(np.int32, copy=False), encoded.dictionary.to_pylist())


def _code(field: Field, name: str) -> int:
    return field.names.index(name) if name in field.names else -1


def first_appearance(codes: Codes, size: int) -> tuple[Codes, Integers]:
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
