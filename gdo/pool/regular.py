"""Regular rows, many at once: what most files hold is parsed by Arrow and paired by polars.

`rows` and `samples` say what a row means; this says the same of rows whose every value has the usual type,
tens of times faster. Whatever is not plainly good (a flaw, an odd type, a mix of media) is left to them, so a
reason is only ever told in one place.
"""

from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa

from gdo.errors import GdoError
from gdo.pool.byte_texts import ByteTexts
from gdo.pool.columns import numbers
from gdo.pool.readers import Block, Lines
from gdo.pool.rows import MAX_MEDIA, MAX_NAME, MAX_TEXT, MAX_TURNS, Shape
from gdo.pool.samples import BlockResult, Settings, parse_items
from gdo.pool.text import (
    CHOICE_WORDS,
    TEMPORAL_WORDS,
    hash64,
    source_group,
    tokens_of,
    word_pattern,
    words_of,
)
from gdo.pool.typed import NAMES, given, typed_rows

_SPACE = " \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007"
_SPACE += "\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
"""What Python calls white space."""

_OPTION_LINE = rf"\n[{_SPACE}]*A[.)]"

_USER, _ASSISTANT = ["user", "human"], ["assistant", "gpt"]


class RegularReader:
    """Parses blocks of lines; several threads may do so at once, and then each takes one core."""

    def __init__(self) -> None:
        self._connection = duckdb.connect(config={"threads": 1})
        self._first: tuple[Lines, pl.DataFrame] | None = None

    def close(self) -> None:
        """Let go of DuckDB."""
        self._connection.close()

    def suits(self, block: Block, shape: Shape) -> bool:
        """Whether most rows of a file's first block are regular."""
        if not isinstance(block, Lines):
            return False
        rows = typed_rows(block, shape, self._connection)
        self._first = block, rows
        return 2 * len(rows) > _lines(block)

    def parse_block(self, block: Block, settings: Settings, target: Path) -> BlockResult:
        """As `samples.parse_block`, with the regular rows of the block taken all at once."""
        result, done = BlockResult(), set[int]()
        if isinstance(block, Lines):
            first, self._first = self._first, None
            if first is not None and first[0] is block:
                rows = first[1]
            else:
                rows = typed_rows(block, settings.shape, self._connection)
            if settings.kind == "image" and not settings.forced and _has_video(rows):
                result.saw_video = True
                return result
            samples, media = _take(rows, settings)
            done = set(samples["line"].unique().to_list())
            result.rows, result.pairs = len(done), len(samples)
            if done:
                for name, frame in (("sample", samples), ("media", media)):
                    path = target.with_name(f"{target.name}-regular.{name}.parquet")
                    _write(frame, path)
                    result.parts.append(path)
            if len(done) < _lines(block) or block.oversized:
                parse_items(block.rows(done), settings, target, result)
        else:
            parse_items(block.rows(), settings, target, result)
        return result


def _lines(block: Lines) -> int:
    return block.data.count(b"\n") + (not block.data.endswith(b"\n"))


def _write(frame: pl.DataFrame, path: Path) -> None:
    """Write a part; polars has an error of its own for a full disk."""
    try:
        frame.write_parquet(path, compression="lz4", statistics=False)
    except pl.exceptions.ComputeError as error:
        raise GdoError(f"{path} cannot be written: {error}") from error


def _has_video(rows: pl.DataFrame) -> bool:
    """Whether a row marks the file as a video file."""
    return bool(rows.select((given("video_id") | pl.col("videos").is_not_null()).any()).item())


def _take(rows: pl.DataFrame, settings: Settings) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Pairs and media of the plainly good rows, in the columns of parts."""
    rows = _with_plain_media(rows, settings)
    pairs, rows = _pair_up(rows)
    if settings.first_image_only and settings.kind == "image":
        rows = rows.with_columns(pl.col("images").list.head(1))
    rows = _named(rows, settings)
    media, ids = _media(rows, settings)
    return _samples(rows.with_columns(ids), pairs), media


def _with_plain_media(rows: pl.DataFrame, settings: Settings) -> pl.DataFrame:
    """Rows with media of one sort, the sort of the file, and short names."""
    wanted = pl.col("images").is_not_null() != pl.col("videos").is_not_null()
    if settings.kind == "image":
        wanted &= pl.col("images").is_not_null()
    elif not settings.forced:
        wanted &= pl.col("videos").is_not_null() | given("video_id") | pl.col("bucket").is_not_null()
    short = [pl.col(name).fill_null("").str.len_chars() <= MAX_NAME for name in NAMES]
    few = pl.coalesce("images", "videos").list.len() <= MAX_MEDIA
    rows = rows.filter(wanted, few, *short, pl.col("messages").list.len() <= MAX_TURNS)
    for name in ("images", "videos"):
        flat = rows[name].explode(empty_as_null=False, keep_nulls=False).to_frame("path")
        if flat.select(_odd(pl.col("path")).any()).item():
            rows = rows.filter(~pl.col(name).list.eval(_odd(pl.element())).list.any().fill_null(False))
    return rows


def _odd(path: pl.Expr) -> pl.Expr:
    """Whether a path is missing, none or an address; the two searches are quicker than one for both."""
    begins = path.str.contains(r"^(?:[A-Za-z][A-Za-z0-9+.-]*://|data:|\s*$|[\x1c-\x1f])")
    return path.is_null() | begins | path.str.contains("\0", literal=True)


def _pair_up(rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The pairs of all rows, by `row`; and the rows that have some and no flaw, with their new number."""
    rows = rows.with_row_index("row")
    turns = (
        rows.select("row", "messages")
        .explode("messages", empty_as_null=False, keep_nulls=False)
        .with_columns(broken=pl.col("messages").is_null())
        .unnest("messages")
        .select(
            "row",
            "broken",
            role=pl.when(given("role")).then("role").otherwise("from"),
            text=pl.coalesce("content", "value").fill_null(""),
        )
        .with_columns(user=pl.col("role").is_in(_USER), assistant=pl.col("role").is_in(_ASSISTANT))
    )
    tags = [pl.col("text").str.count_matches(tag, literal=True) for tag in ("<image>", "<video>")]
    speaking = turns.filter(pl.col("user") | pl.col("assistant"))
    counts = (
        speaking.lazy()
        .filter("user")
        .group_by("row")
        .agg(image_tags=tags[0].sum(), video_tags=tags[1].sum())
        .collect()
    )
    long = speaking.filter(pl.col("text").str.len_bytes() > MAX_TEXT)
    long = long.filter(pl.col("text").str.len_chars() > MAX_TEXT)
    before = [pl.col(name).shift(1) for name in ("row", "user", "text")]
    pairs = (
        speaking.with_columns(asked_in=before[0], asked=before[1], question=before[2])
        .filter(pl.col("assistant"), pl.col("asked"), pl.col("asked_in") == pl.col("row"))
        .select(
            "row",
            pl.col("question").str.replace_all("<(?:image|video|audio)>", " ").str.strip_chars(_SPACE),
            answer=pl.col("text").str.strip_chars(_SPACE),
        )
        .filter(pl.col("question") != "", pl.col("answer") != "")
    )
    flawed = pl.concat([turns.filter("broken")["row"], long["row"]]).unique()
    good = (
        rows.drop("messages")
        .join(counts, on="row", how="inner", maintain_order="left")
        .filter(_placeholders_fit(), pl.col("row").is_in(pairs["row"].unique().implode()))
        .filter(~pl.col("row").is_in(flawed.implode()))
    )
    return pairs.filter(pl.col("row").is_in(good["row"].implode())), good


def _placeholders_fit() -> pl.Expr:
    """The rule of `rows.placeholder_trouble`, for rows with either images or videos."""
    images, videos = pl.col("image_tags"), pl.col("video_tags")
    listed = pl.col("images").list.len().fill_null(0)
    clips = pl.col("videos").list.len().fill_null(0)
    none = (images == 0) & (videos == 0)
    one_clip = (images == 0) & (videos == 1) & (clips == 0)
    clips_as_images = (images == clips) & (videos == 0) & (listed == 0)
    return none | one_clip | clips_as_images | ((images == listed) & (videos == clips))


def _named(rows: pl.DataFrame, settings: Settings) -> pl.DataFrame:
    """The rows with ids and sources for those that have none, and the other columns of a part."""
    video = settings.kind == "video"
    prefix = f"{settings.name}:" if settings.name else ""
    made = pl.format("video-{}" if video else "onevision-{}", "line")
    source = pl.col("data_source").fill_null("llava_video" if video else "onevision")
    rows = rows.with_columns(id=pl.when(given("id")).then("id").otherwise(made), data_source=source)
    groups = {value: source_group(value) for value in rows["data_source"].unique().to_list()}
    uid = pl.when(given("video_id")).then("video_id").otherwise(pl.lit(prefix) + pl.col("id"))
    return rows.with_columns(
        stem=pl.lit(("vv::" if video else "ov::") + prefix) + pl.col("id") + "::t",
        video_uid=uid if video else pl.lit(""),
        source_group=pl.col("data_source").replace_strict(groups, return_dtype=pl.String),
        listed_frames=pl.col("images").list.len().cast(pl.Int32),
    )


def _media(rows: pl.DataFrame, settings: Settings) -> tuple[pl.DataFrame, pl.Series]:
    """The rows' media, each once; and for every row the ids of its own, in order."""
    whole = settings.kind == "video"
    listed = rows.select(
        "line",
        kind=pl.when(pl.col("images").is_null())
        .then(pl.lit("video"))
        .otherwise(pl.lit("frames" if whole else "image")),
        joined=pl.when(pl.col("images").is_null())
        .then("videos")
        .otherwise(pl.concat_list(pl.col("images").list.join("\0")) if whole else pl.col("images")),
    )
    sizes = listed["joined"].list.len().to_numpy()
    flat = listed.explode("joined", empty_as_null=False, keep_nulls=False)
    flat = flat.with_columns(root=pl.lit(settings.root))
    ids = _hashes(flat.select(pl.concat_str("kind", "root", "joined", separator="\0")).to_series())
    media = flat.select(ids.alias("media_id"), "line", "kind", "root", paths=pl.col("joined").str.split("\0"))
    offsets = numbers(np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32))
    lists = pa.ListArray.from_arrays(offsets, ids.to_arrow())
    return media.unique("media_id", keep="first", maintain_order=True), _series("media_ids", lists)


def _samples(rows: pl.DataFrame, pairs: pl.DataFrame) -> pl.DataFrame:
    """One row per pair, in the columns of a part."""
    columns = (
        "line",
        "id",
        "video_uid",
        "data_source",
        "source_group",
        "bucket",
        "listed_frames",
        "media_ids",
    )
    frame = pairs.with_columns(turn=pl.int_range(pl.len(), dtype=pl.Int32).over("row")).join(
        rows.select("row", "stem", *columns), on="row", how="left", maintain_order="left"
    )
    asked, answered = ByteTexts(frame["question"]), ByteTexts(frame["answer"], distinct=True)
    question, answer = _normalised(frame["question"], asked), _normalised(frame["answer"], answered)
    temporal, choice = _words(question, asked)
    uid = frame.select(pl.concat_str("stem", "turn")).to_series()
    pair = frame.select(pl.concat_str(question, answer, separator="|||")).to_series()
    return frame.select(
        *columns,
        uid.alias("qa_uid"),
        "turn",
        "question",
        "answer",
        question_tokens=asked.tokens.astype(np.int32),
        answer_tokens=answered.tokens.astype(np.int32),
        answer_distinct=answered.distinct.astype(np.int32),
        temporal_words=temporal,
        mcq=choice,
        mcq_raw=choice | frame["question"].str.contains(_OPTION_LINE),
        uid_hash=_hashes(uid),
        text_hash=_hashes(pair),
        question_hash=_hashes(question),
    )


def _normalised(texts: pl.Series, seen: ByteTexts) -> pl.Series:
    """`text.normalise`, for texts without white space at their ends."""
    odd = np.union1d(seen.uneven, seen.wide)
    return texts.scatter(odd, texts.gather(odd).str.replace_all(f"[{_SPACE}]+", " ")) if len(odd) else texts


def _hashes(texts: pl.Series) -> pl.Series:
    return pl.Series(np.fromiter(map(hash64, texts.to_list()), np.uint64, len(texts)))


def _series(name: str, array: pa.Array) -> pl.Series:
    return pl.Series(name, pl.from_arrow(array))


def _words(questions: pl.Series, seen: ByteTexts) -> tuple[pl.Series, pl.Series]:
    """Which questions have a temporal word, and which a choice; beyond ASCII, Python's word bounds decide."""
    found = [questions.str.contains(f"(?i){word_pattern(w)}") for w in (TEMPORAL_WORDS, CHOICE_WORDS)]
    if len(seen.wide):
        told = [words_of(text, tokens_of(text)) for text in questions.gather(seen.wide).to_list()]
        for number, values in enumerate(zip(*told, strict=True)):
            found[number] = found[number].scatter(seen.wide, pl.Series(values))
    return found[0], found[1]
