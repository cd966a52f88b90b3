"""Figures as JSON on standard output."""

import sys
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from typing import Any

import orjson


def print_json(figures: Any) -> None:
    """Print a report, or a list of reports, as indented JSON."""
    plain = [_plain(item) for item in figures] if isinstance(figures, list) else _plain(figures)
    options = orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY
    sys.stdout.write(orjson.dumps(plain, default=str, option=options).decode() + "\n")


def _plain(item: Any) -> Any:
    if isinstance(item, Mapping):
        return dict(item)
    return asdict(item) if is_dataclass(item) and not isinstance(item, type) else item
