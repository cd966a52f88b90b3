"""Code blocks of README and docs: where they stand, what they are, and why one is not run."""

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]

_FENCE = re.compile(r'^(?P<pad> *)```(?P<language>\w*)(?: title="(?P<title>[^"]+)")?$')
_REASON = re.compile(r"^ *<!-- not run: (?P<reason>.+) -->$")


@dataclass(frozen=True)
class Block:
    page: Path
    line: int
    language: str
    title: str | None
    text: str
    not_run: str | None

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def read_blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    lines = page.read_text().splitlines()
    blocks, at = [], 0
    while at < len(lines):
        fence = _FENCE.match(lines[at])
        if fence:
            end = next(i for i in range(at + 1, len(lines)) if lines[i].strip() == "```")
            reason = _REASON.match(lines[at - 1]) if at else None
            text = textwrap.dedent("\n".join(lines[at + 1 : end]) + "\n")
            told = reason["reason"] if reason else None
            blocks.append(Block(page, at + 1, fence["language"], fence["title"], text, told))
            at = end
        at += 1
    return blocks


def indented_code(page: Path) -> list[int]:
    """Lines that Markdown takes for code without a fence, which would be run by nobody."""
    found, fenced, listed, before = [], False, False, ""
    for number, line in enumerate(page.read_text().splitlines(), 1):
        if line.strip().startswith("```"):
            fenced = not fenced
        elif not fenced:
            listed = bool(re.match(r"^ *([-*]|\d+\.) ", line)) or (listed and (not line or line[0] == " "))
            if line.startswith("    ") and not before.strip() and not listed:
                found.append(number)
        before = line
    return found


def commands_of(block: Block) -> list[str]:
    """The commands of a console block: what stands behind a prompt, with its continued lines."""
    joined = block.text.replace("\\\n", " ")
    return [line[2:] for line in joined.splitlines() if line.startswith("$ ")]
