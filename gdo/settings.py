"""Named numbers in TOML, as presets and recipes are: released ones by name, a person's own on top of them."""

import tomllib
from collections.abc import Mapping, Sequence
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from gdo.errors import UsageError


def read_settings(
    what: str,
    asked: str | Path,
    released: Mapping[str, Traversable],
    *,
    joined: Sequence[str] = (),
    seen: tuple[Path, ...] = (),
) -> dict[str, Any]:
    """The values of a released file or a person's own, those of its `base` below them, and its `name`.

    Args:
        what: What people call it.
        asked: A released name, or a TOML file.
        released: Files by name.
        joined: Tables that are joined with the base's key by key.
        seen: The files that led here.

    Raises:
        UsageError: There is no such name or file, it is no TOML, or its base leads back to it.
    """
    name = str(asked)
    if name in released:
        return {"name": name, **tomllib.loads(released[name].read_text())}
    path = Path(asked).absolute()
    if path in seen:
        raise UsageError(f"{path}: base leads back to the file itself")
    if not path.is_file():
        raise UsageError(f"there is no {what} {name!r}; known are {', '.join(released)}, or give a TOML file")
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not TOML: {error}") from error
    base = values.pop("base", None)
    start: dict[str, Any] = {}
    if base is not None:
        beside = path.parent / str(base)
        below = beside if beside.is_file() else str(base)
        start = read_settings(what, below, released, joined=joined, seen=(*seen, path))
    both = {key for key in joined if key in start and isinstance(values.get(key), dict)}
    return {**start, "name": path.stem, **values, **{key: {**start[key], **values[key]} for key in both}}


def parse_setting(setting: str) -> tuple[str, Any]:
    """One `KEY=VALUE`; a value that is no TOML is taken as a string.

    Raises:
        UsageError: It is something else.
    """
    key, equals, text = setting.partition("=")
    if not equals or not key.strip():
        raise UsageError(f"--set takes KEY=VALUE, not {setting!r}")
    try:
        return key.strip(), tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return key.strip(), text.strip()
