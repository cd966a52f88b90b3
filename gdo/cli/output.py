"""Figures as JSON on standard output."""

import sys
from collections.abc import Mapping
from typing import Any

import orjson


def print_json(figures: Any) -> None:
    """Print reports, which are dataclasses, or what is made of them, as one indented JSON document."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY
    sys.stdout.write(orjson.dumps(figures, default=_plain, option=options).decode() + "\n")


def _plain(item: Any) -> Any:
    return dict(item) if isinstance(item, Mapping) else str(item)
