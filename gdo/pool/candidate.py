"""The view `candidate`: every sample with its strata and all its descriptor values, one row each.

It is written anew whenever values are committed, so that any DuckDB client sees the same columns that
selection reads, `quality_score` computed from the others among them.
"""

import json
from collections.abc import Sequence
from importlib import resources
from typing import Any

import duckdb

from gdo.pool.words import with_unit, words_of, words_of_keys

VALUE_COLUMNS = {
    "amm": "DOUBLE",
    "frame_diversity": "DOUBLE",
    "loss_blind": "DOUBLE",
    "loss_video": "DOUBLE",
    "vds": "DOUBLE",
    "ppl": "DOUBLE",
    "tnc": "DOUBLE",
    "self_consistency": "DOUBLE",
    "cluster_id": "BIGINT",
    "cluster_dist": "DOUBLE",
    "cluster_rep": "DOUBLE",
    "cluster_hard": "DOUBLE",
    "quality_score": "DOUBLE",
}
"""The public names and types of descriptor values; a column no descriptor has filled yet is NULL."""

_KEYS = {"media": "s.media_ids[1]", "sample": "s.qa_uid"}


def refresh_candidate(connection: duckdb.DuckDBPyConnection) -> None:
    """Make `candidate` show the current version of every descriptor; imported values come first.

    Called in the transaction of whatever changed samples or values: the medians and spreads that
    `quality_score` goes by are taken anew.
    """
    rows = connection.execute(
        "SELECT name, subject, version, probe, columns FROM descriptor ORDER BY name"
    ).fetchall()
    joins, described, extra = [], ["i.qa_uid IS NOT NULL"], list[str]()
    values: dict[str, list[str]] = {name: [f"i.{name}"] for name in VALUE_COLUMNS}
    for number, (name, subject, version, probe, columns) in enumerate(rows):
        plain = [column for column, told in json.loads(columns).items() if _is_plain(told["type"])]
        if not plain:
            continue
        alias = f"d{number}"
        key = f"{subject}_id" if subject == "media" else "qa_uid"
        joins.append(
            f"LEFT JOIN {quoted(name)} AS {alias} ON {alias}.{key} = {_KEYS[subject]} "
            f"AND {alias}.version = {int(version)} AND {alias}.probe = {literal(probe)}"
        )
        described.append(f"{alias}.{key} IS NOT NULL")
        for column in plain:
            if column in values:
                values[column].append(f"{alias}.{column}")
            else:
                extra.append(f"{alias}.{quoted(column)}")
    shown = [
        f"CAST(coalesce({', '.join(sources)}) AS {VALUE_COLUMNS[name]}) AS {name}"
        for name, sources in values.items()
    ]
    connection.execute(
        _VIEW.format(
            values=",\n        ".join(shown + extra),
            described=" OR ".join(described),
            joins="\n    ".join(joins),
        )
    )
    _write_words(connection, rows)
    _refresh_quality(connection, computed=len(values["vds"]) > 1)


def _write_words(connection: duckdb.DuckDBPyConnection, rows: Sequence[Sequence[Any]]) -> None:
    """Comment on `candidate`, and on the tables of descriptors that have no words yet."""
    bare = connection.execute("SELECT table_name FROM duckdb_tables() WHERE comment IS NULL").fetchall()
    words = {**words_of("imported"), **words_of("sample"), **words_of("candidate")}
    comments = ["VIEW candidate IS 'One row is one sample with its strata and all descriptor values.'"]
    for name, subject, _, _, columns in rows:
        told = json.loads(columns)
        words |= {column: with_unit(said) for column, said in told.items() if _is_plain(said["type"])}
        if (name,) in bare:
            table = quoted(name)
            mine = words_of_keys(subject) | {column: with_unit(said) for column, said in told.items()}
            there = connection.table(name).columns
            comments.append(f"TABLE {table} IS {literal(f'One row is what {name} says of one {subject}.')}")
            comments += [
                f"COLUMN {table}.{quoted(column)} IS {literal(mine[column])}"
                for column in mine
                if column in there
            ]
    comments += [f"COLUMN candidate.{quoted(column)} IS {literal(words[column])}" for column in words]
    connection.execute("".join(f"COMMENT ON {comment};" for comment in comments))


def _refresh_quality(connection: duckdb.DuckDBPyConnection, *, computed: bool) -> None:
    """Renew table `quality_scale`; it stays empty until there is a vds, without which nothing has a score."""
    imported = connection.execute("SELECT count(vds) > 0 FROM imported").fetchall()[0][0]
    if computed or imported:
        script = resources.files("gdo.pool") / "sql" / "refresh_quality.sql"
        connection.execute(script.read_text())
    else:
        connection.execute("DELETE FROM quality_scale")


def _is_plain(declared: str) -> bool:
    """Whether a column is for people: vectors and bytes stay in their descriptor's own table."""
    return declared != "BLOB" and not declared.endswith("]")


def literal(text: str) -> str:
    """A text as SQL takes it."""
    return "'" + text.replace("'", "''") + "'"


def quoted(name: str) -> str:
    """A name of a table or column as SQL takes it."""
    return '"' + name.replace('"', '""') + '"'


_VIEW = """
CREATE OR REPLACE VIEW candidate AS
SELECT shown.* REPLACE (
    CASE WHEN quality_score IS NULL AND NOT (imported AND scores_imported)
        THEN quality_of(weight, guess, scale, total, vds, frame_diversity, self_consistency, ppl, amm, tnc,
            cluster_rep, cluster_hard)
        ELSE quality_score END AS quality_score
)
FROM (
    SELECT
        s.qa_uid, s.ordinal, s.source_id, s.line, s.id, s.turn, s.video_uid, s.data_source,
        s.question, s.answer, s.media_ids, s.listed_frames,
        s.question_tokens, s.answer_tokens, s.answer_distinct, s.temporal_words, s.mcq, s.mcq_raw,
        s.uid_hash, s.text_hash, s.question_hash,
        m.frames AS media_frames, m.width, m.height, m.fps, m.duration, m.error AS media_error,
        s.bucket,
        CASE WHEN s.bucket = 'image_qa' THEN 'image'
             ELSE duration_of(kept_frames(s.listed_frames, m.frames, 32)) END AS duration_bucket,
        temporal_of(s.bucket, s.temporal_words) AS temporal_category,
        CASE WHEN s.mcq THEN 'MCQ' ELSE 'Open' END AS question_form,
        q_len_of(s.question_tokens) AS q_len_bucket,
        a_len_of(s.answer_tokens) AS a_len_bucket,
        s.source_group,
        i.qa_uid IS NOT NULL AS imported,
        {described} AS described,
        {values}
    FROM sample AS s
    LEFT JOIN media AS m ON m.media_id = s.media_ids[1]
    LEFT JOIN imported AS i ON i.qa_uid = s.qa_uid
    {joins}
) AS shown, quality_constant
"""
