"""Figures as JSON on standard output, in UTF-8 as JSON is."""

import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson


def print_json(figures: Any) -> None:
    """Print reports, which are dataclasses, or what is made of them, as one indented JSON document."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY
    sys.stdout.flush()
    sys.stdout.buffer.write(orjson.dumps(figures, default=_plain, option=options) + b"\n")


def print_made(name: str, make: Callable[[Path], object]) -> None:
    """Print a file of this name that `make` writes, however large it is."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / name
        make(path)
        sys.stdout.flush()
        with path.open("rb") as file:
            shutil.copyfileobj(file, sys.stdout.buffer)


def _plain(item: Any) -> Any:
    return dict(item) if isinstance(item, Mapping) else str(item)
