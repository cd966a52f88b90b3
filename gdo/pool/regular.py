"""Regular rows, many at once: what most files hold is parsed by DuckDB and paired by polars.

`rows` and `samples` say what a row means; this says the same of rows whose every value has the usual type,
tens of times faster. Whatever is not plainly good (a flaw, an odd type, a mix of media) is left to them, so a
reason is only ever told in one place.
"""

import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa

from gdo.errors import GdoError
from gdo.pool.readers import MAX_LINE, Block, Lines
from gdo.pool.rows import MAX_MEDIA, MAX_NAME, MAX_TEXT, MAX_TURNS, SYNTHETIC, Shape
from gdo.pool.samples import BlockResult, Settings, parse_items
from gdo.pool.text import CHOICE_WORDS, TEMPORAL_WORDS, hash64, source_group, word_pattern, words_of

_SPACE = " \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007"
_SPACE += "\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
"""What Python calls white space."""

_TOKEN = "[a-z0-9_]+"
_OPTION_LINE = rf"\n[{_SPACE}]*A[.)]"

_NAMES = ("id", "video_id", "data_source")
_FILES = ("image", "video")
_LISTS = ("images", "videos")
_TALKS = ("messages", "conversations")
_TURN = {"role": "VARCHAR", "from": "VARCHAR", "content": "VARCHAR", "value": "VARCHAR"}
_STRUCTURE = json.dumps(
    dict.fromkeys((*_NAMES, "bucket", *_FILES), "VARCHAR")
    | {key: ["VARCHAR"] for key in _LISTS}
    | {key: [_TURN] for key in _TALKS}
)
# DuckDB lets a comma trail, and of a repeated key takes the first: such lines are left to the other way.
_PARSE = r"""
SELECT line, json_structure(text) AS structure, from_json(text, $structure) AS row
FROM (
    SELECT line, text, json_keys(text) AS keys FROM lines
    WHERE TRY(json_valid(text)) AND NOT regexp_matches(text, ',\s*[}\]]')
)
WHERE len(keys) = len(list_distinct(keys))
"""
_USER, _ASSISTANT = ["user", "human"], ["assistant", "gpt"]


class RegularReader:
    """Parses blocks of lines; several threads may do so at once, and then each takes one core."""

    def __init__(self) -> None:
        self._connection = duckdb.connect(config={"threads": 1})

    def close(self) -> None:
        """Let go of DuckDB."""
        self._connection.close()

    def suits(self, block: Block, shape: Shape) -> bool:
        """Whether most rows of a block are regular."""
        return isinstance(block, Lines) and 2 * len(self._parse(block, shape)) > block.data.count(b"\n")

    def parse_block(self, block: Block, settings: Settings, target: Path) -> BlockResult:
        """As `samples.parse_block`, with the regular rows of the block taken all at once."""
        result, done = BlockResult(), set[int]()
        if isinstance(block, Lines):
            rows = self._parse(block, settings.shape)
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
            parse_items(block.rows(done), settings, target, result)
        else:
            parse_items(block.rows(), settings, target, result)
        return result

    def _parse(self, block: Lines, shape: Shape) -> pl.DataFrame:
        """Rows whose values have the usual types: line, names, images and videos as lists, messages."""
        lines = _lines(block)
        with self._connection.cursor() as cursor:
            cursor.register("lines", lines)
            found = cursor.sql(_PARSE, params={"structure": _STRUCTURE}).to_arrow_table()
        frame = pl.DataFrame(pl.from_arrow(found))
        usual = [name for name in frame["structure"].unique().to_list() if _is_usual(name, shape)]
        rows = frame.filter(pl.col("structure").is_in(usual)).drop("structure").unnest("row")
        return rows.select(
            "line",
            *_NAMES,
            bucket=pl.when(pl.col("bucket") == SYNTHETIC).then("bucket"),
            images=_first_list(shape.images),
            videos=_first_list(shape.videos),
            messages=_first(shape.messages),
        )


def _write(frame: pl.DataFrame, path: Path) -> None:
    """Write a part; polars has an error of its own for a full disk."""
    try:
        frame.write_parquet(path, compression="lz4", statistics=False)
    except pl.exceptions.ComputeError as error:
        raise GdoError(f"{path} cannot be written: {error}") from error


def _lines(block: Lines) -> pa.Table:
    """The lines of a block with their numbers; none where the block is not UTF-8."""
    data = block.data + b"\n"
    ends = np.flatnonzero(np.frombuffer(data, np.uint8) == ord("\n"))
    offsets = np.concatenate([[0], ends + 1]).astype(np.int64)
    text = pa.LargeStringArray.from_buffers(len(ends), pa.py_buffer(offsets), pa.py_buffer(data))
    try:
        text.validate(full=True)
    except pa.ArrowInvalid:
        text = text.slice(0, 0)
    lines = pa.table({"line": np.arange(block.start, block.start + len(text)), "text": text})
    short = np.diff(offsets[: len(text) + 1]) <= MAX_LINE
    return lines if short.all() else lines.filter(short)


def _has_video(rows: pl.DataFrame) -> bool:
    """Whether a row marks the file as a video file."""
    return bool(rows.select((_given("video_id") | pl.col("videos").is_not_null()).any()).item())


def _take(rows: pl.DataFrame, settings: Settings) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Pairs and media of the plainly good rows, in the columns of parts."""
    rows = _with_plain_media(rows, settings.kind)
    pairs, rows = _pair_up(rows)
    if settings.first_image_only and settings.kind == "image":
        rows = rows.with_columns(pl.col("images").list.head(1))
    rows = _named(rows, settings)
    media, ids = _media(rows, settings)
    return _samples(rows.with_columns(ids), pairs), media


@lru_cache(maxsize=4096)
def _is_usual(structure: str, shape: Shape) -> bool:
    """Whether a row with these types means what it seems to."""
    row = json.loads(structure)
    if not isinstance(row, dict):
        return False
    texts = {"VARCHAR", "NULL", None}
    for key in (*_NAMES, *shape.images, *shape.videos):
        kind = row.get(key)
        if key in _LISTS:
            if kind not in ("NULL", None, ["NULL"], ["VARCHAR"]):
                return False
        elif isinstance(kind, list | dict) or kind not in texts:
            return False
    for key in shape.messages:
        kind = row.get(key)
        if kind in ("NULL", None, ["NULL"]):
            continue
        turn = kind[0] if isinstance(kind, list) else None
        if not isinstance(turn, dict):
            return False
        if any(isinstance(turn.get(k), list | dict) or turn.get(k) not in texts for k in _TURN):
            return False
    return True


def _given(name: str) -> pl.Expr:
    return pl.col(name).is_not_null() & (pl.col(name) != "")


def _first(keys: Sequence[str]) -> pl.Expr:
    """The first list of these that is not empty."""
    return pl.coalesce(pl.when(pl.col(key).list.len() > 0).then(pl.col(key)) for key in keys)


def _first_list(keys: Sequence[str]) -> pl.Expr:
    """The first of these keys that says something, as a list."""
    return pl.coalesce(
        pl.when(pl.col(key).list.len() > 0).then(pl.col(key))
        if key in _LISTS
        else pl.when(_given(key)).then(pl.concat_list(key))
        for key in keys
    )


def _with_plain_media(rows: pl.DataFrame, kind: str) -> pl.DataFrame:
    """Rows with media of one sort, the sort of the file, and short names."""
    wanted = pl.col("images").is_not_null() != pl.col("videos").is_not_null()
    if kind == "image":
        wanted &= pl.col("images").is_not_null()
    short = [pl.col(name).fill_null("").str.len_chars() <= MAX_NAME for name in _NAMES]
    few = pl.coalesce("images", "videos").list.len() <= MAX_MEDIA
    rows = rows.filter(wanted, few, *short, pl.col("messages").list.len() <= MAX_TURNS)
    for name in _LISTS:
        odd = pl.element().is_null() | pl.element().str.contains(r"^file://|^\s*$|\x00|^[\x1c-\x1f]")
        flat = rows[name].explode(empty_as_null=False, keep_nulls=False)
        if flat.null_count() or flat.str.contains(r"^file://|^\s*$|\x00|^[\x1c-\x1f]").any():
            rows = rows.filter(~pl.col(name).list.eval(odd).list.any().fill_null(False))
    return rows


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
            role=pl.when(_given("role")).then("role").otherwise("from"),
            text=pl.coalesce("content", "value").fill_null(""),
        )
        .with_columns(user=pl.col("role").is_in(_USER), assistant=pl.col("role").is_in(_ASSISTANT))
    )
    tags = [pl.col("text").str.count_matches(tag, literal=True) for tag in ("<image>", "<video>")]
    speaking = turns.filter(pl.col("user") | pl.col("assistant"))
    counts = (
        speaking.lazy()
        .group_by("row")
        .agg(
            image_tags=tags[0].filter("user").sum(),
            video_tags=tags[1].filter("user").sum(),
            long=(pl.col("text").str.len_chars() > MAX_TEXT).any(),
        )
        .collect()
    )
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
    broken = turns.filter("broken")["row"].unique()
    good = (
        rows.drop("messages")
        .join(counts, on="row", how="inner", maintain_order="left")
        .filter(~pl.col("long"), _placeholders_fit(), pl.col("row").is_in(pairs["row"].unique().implode()))
        .filter(~pl.col("row").is_in(broken.implode()))
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
    rows = rows.with_columns(id=pl.when(_given("id")).then("id").otherwise(made), data_source=source)
    groups = {value: source_group(value) for value in rows["data_source"].unique().to_list()}
    uid = pl.when(_given("video_id")).then("video_id").otherwise(pl.lit(prefix) + pl.col("id"))
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
    offsets = pa.array(np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32))
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
    question, answer = _normalised(frame["question"]), _normalised(frame["answer"])
    tokens = answer.str.to_lowercase().str.extract_all(_TOKEN)
    temporal, choice = _words(question)
    uid = frame.select(pl.concat_str("stem", "turn")).to_series()
    pair = frame.select(pl.concat_str(question, answer, separator="|||")).to_series()
    return frame.select(
        *columns,
        uid.alias("qa_uid"),
        "turn",
        "question",
        "answer",
        question_tokens=question.str.to_lowercase().str.count_matches(_TOKEN).cast(pl.Int32),
        answer_tokens=tokens.list.len().cast(pl.Int32),
        answer_distinct=tokens.list.n_unique().cast(pl.Int32),
        temporal_words=temporal,
        mcq=choice,
        mcq_raw=choice | frame["question"].str.contains(_OPTION_LINE),
        uid_hash=_hashes(uid),
        text_hash=_hashes(pair),
        question_hash=_hashes(question),
    )


def _normalised(texts: pl.Series) -> pl.Series:
    """`text.normalise`, for texts without white space at their ends."""
    odd = (texts.str.contains("  ", literal=True) | texts.str.contains(f"[{_SPACE[1:]}]")).arg_true()
    return texts.scatter(odd, texts.gather(odd).str.replace_all(f"[{_SPACE}]+", " ")) if len(odd) else texts


def _hashes(texts: pl.Series) -> pl.Series:
    return _series("", pa.array(map(hash64, texts.to_list()), pa.uint64(), size=len(texts)))


def _series(name: str, array: pa.Array) -> pl.Series:
    return pl.Series(name, pl.from_arrow(array))


def _words(questions: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Which questions have a temporal word, and which a choice; beyond ASCII, Python's word bounds decide."""
    found = [questions.str.contains(f"(?i){word_pattern(w)}") for w in (TEMPORAL_WORDS, CHOICE_WORDS)]
    wide = (questions.str.len_bytes() != questions.str.len_chars()).arg_true()
    if len(wide):
        told = [words_of(question, []) for question in questions.gather(wide).to_list()]
        for number, values in enumerate(zip(*told, strict=True)):
            found[number] = found[number].scatter(wide, pl.Series(values))
    return found[0], found[1]
