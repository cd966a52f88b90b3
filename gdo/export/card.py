"""The card of an exported folder, by which `datasets` tells rows from the manifest beside them."""

from pathlib import Path

CARD = "README.md"

_DEFAULT = "- config_name: default\n"
_ROWS = f"""\
---
configs:
{_DEFAULT}  data_files: "data.*"
---

Exported by gdo; `manifest.json` tells from what.
"""


def write_card(folder: Path, digest: str) -> None:
    """Name the file of rows, so that `load_dataset(folder)` reads it alone; a format's own card is kept.

    `datasets` keeps what it loaded under the folder's name and what the card says, so the card says the
    digest of the data: without it another export of that name would give the rows of the first one.
    """
    path = folder / CARD
    card = path.read_text(encoding="utf-8") if path.exists() else _ROWS
    signed = card.replace(_DEFAULT, f'{_DEFAULT}  description: "sha256 {digest}"\n', 1)
    path.write_text(signed, encoding="utf-8")
