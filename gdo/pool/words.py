"""The words of tables and columns: the pool keeps them as comments, which any DuckDB client can ask for.

Those of fixed tables stand in `sql/words.sql`, those of a descriptor's values with the descriptor.
"""

import re
from collections.abc import Mapping
from functools import cache
from importlib import resources

_LINE = re.compile(r"^COMMENT ON COLUMN (\w+)\.(\w+) IS '(.*)';$", re.MULTILINE)


@cache
def words_script() -> str:
    """The script that comments on the fixed tables and views."""
    return (resources.files("gdo.pool") / "sql" / "words.sql").read_text()


@cache
def words_of(table: str) -> Mapping[str, str]:
    """The words of a fixed table's columns by `words.sql`; a unit stands in brackets at the end."""
    return {
        column: words.replace("''", "'")
        for whose, column, words in _LINE.findall(words_script())
        if whose == table
    }


def words_of_keys(subject: str) -> dict[str, str]:
    """The words of the columns that tables of all descriptors of media, or of samples, have."""
    media = {"media_id": "the medium: media.media_id"}
    return {
        **(media if subject == "media" else {"qa_uid": "the sample: sample.qa_uid"}),
        "version": "version of the descriptor that made the values",
        "probe": "what made the values: a label of table probe, or a rule; empty where nothing is asked",
        "error": "why a value is missing; NULL where none is",
    }


def with_unit(told: Mapping[str, str]) -> str:
    """The words of a descriptor's column, of its `doc` and `unit`."""
    return f"{told['doc']} [{told['unit']}]" if told["unit"] else told["doc"]
