"""One document's way to its pictures and rows; what a worker process does."""

import hashlib
import os
import shutil
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import orjson

from gdo.errors import GdoError
from gdo.export.chat import untagged
from gdo.pool.rows import SYNTHETIC
from gdo.pool.store import locked
from gdo.train.sparrow.keep import Limits
from gdo.train.sparrow.layout import Layout, Style, lay_out
from gdo.train.sparrow.pen import Pen
from gdo.train.sparrow.picture import FORMATS, draw
from gdo.train.sparrow.readers import Document, Question
from gdo.train.sparrow.trouble import LeftOutError, NotShownError
from gdo.train.sparrow.words import parts_of, words_of

DRAWING = 1
"""Raised when the same text would be drawn otherwise, so that its pictures get another folder."""
PICTURES = "pictures"


@dataclass(frozen=True, slots=True)
class Recipe:
    """How all documents of a run are drawn and kept.

    Attributes:
        words: Most words of a picture.
        whole_sentences: End a picture where a sentence ends.
        picture: Ending of the picture files: png, jpg or webp.
        fonts: Font files to use before the bundled one.
        style: Sizes, in pixels.
        limits: What is kept.
        strict: A text that cannot be shown ends the run.
    """

    words: int = 115
    whole_sentences: bool = False
    picture: str = "png"
    fonts: tuple[Path, ...] = ()
    style: Style = field(default_factory=Style)
    limits: Limits = field(default_factory=Limits)
    strict: bool = False

    def drawing(self) -> list[Any]:
        """What the pictures of a text depend on, the text apart."""
        digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in self.fonts]
        return [DRAWING, self.words, self.whole_sentences, self.picture, digests, self.style]


@dataclass(frozen=True, slots=True)
class Task:
    """A document to be worked on, with what the parent process knows of it.

    Attributes:
        document: The document.
        stem: Begins the ids of its samples; no other file's do.
        file: Its file, as rows tell it.
        format: Reader of the file.
        data_source: Of its samples.
        tokens: Tokens of each question with its answer.
    """

    document: Document
    stem: str
    file: str
    format: str
    data_source: str
    tokens: list[int]


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A row, text or question that is no sample; `question` is empty where it is the whole row."""

    file: str
    line: int
    question: str
    reason: str
    detail: str = ""


@dataclass(slots=True)
class Made:
    """What came of a document.

    Attributes:
        rows: JSON lines, one a sample.
        left_out: Its questions that are no sample, or itself.
        folder: Of its pictures, under the run's; empty without a sample.
        pictures: How many it has.
        drawn: How many of them were drawn now.
        bytes: Of all its pictures.
        digest: SHA-256 of the pictures one after the other.
        fonts: Font files that show its words.
    """

    rows: list[bytes] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    folder: str = ""
    pictures: int = 0
    drawn: int = 0
    bytes: int = 0
    digest: str = ""
    fonts: list[str] = field(default_factory=list)


def make_document(recipe: Recipe, output: Path, task: Task) -> Made:
    """Draw a document's pictures, unless they are there, and write its rows.

    Args:
        recipe: Of the run.
        output: Folder of the run.
        task: The document.

    Raises:
        GdoError: The text cannot be shown, and the run is strict.
    """
    made = Made()
    document = task.document
    made.left_out = [left_out(task, question, reason) for question, reason in document.bad]
    try:
        pages = _pages(task, recipe)
    except LeftOutError as error:
        if recipe.strict and isinstance(error, NotShownError):
            told = f"{task.file}, line {document.line}: {error.reason}: {error.detail}"
            raise GdoError(f"{told}; give a font that has them by --font, or leave --strict") from error
        made.left_out.append(left_out(task, "", error.reason, error.detail))
        return made
    samples = []
    for question, tokens in zip(document.questions, task.tokens, strict=True):
        reason = recipe.limits.question_trouble(task.format, question.text, tokens, len(pages))
        if reason:
            made.left_out.append(left_out(task, question.id, reason))
        else:
            samples.append(question)
    if samples:
        _draw_pages(pages, document.context, recipe, output, made)
        names = [f"{made.folder}/{name}" for name in _names(len(pages), recipe)]
        made.rows = [_row(task, made.folder, question, names) for question in samples]
    return made


def left_out(task: Task, question: str, reason: str, detail: str = "") -> LeftOut:
    """A document, or a question of it, that is no sample."""
    return LeftOut(task.file, task.document.line, question, reason, detail)


def _pages(task: Task, recipe: Recipe) -> list[Layout]:
    """The layouts of a text's pictures.

    Raises:
        LeftOutError: The text is too short or too long, or has what cannot be shown.
    """
    words = words_of(task.document.context)
    parts = list(parts_of(words, recipe.words, whole_sentences=recipe.whole_sentences))
    limits = recipe.limits
    trouble = limits.text_trouble(task.format, task.document.family, len(words))
    trouble = trouble or limits.frames_trouble(len(parts))
    if trouble:
        raise LeftOutError(trouble, f"{len(words)} words")
    pen = _pen(recipe.fonts)
    pages = [page for part in parts for page in lay_out(part, pen, recipe.style)]
    trouble = limits.frames_trouble(len(pages))
    if trouble or not pages:
        raise LeftOutError(trouble or "text has no word", f"{len(pages)} pictures")
    return pages


@lru_cache(maxsize=1)
def _pen(fonts: tuple[Path, ...]) -> Pen:
    """The pen of this process."""
    return Pen(fonts)


@lru_cache(maxsize=1)
def _drawing(recipe: Recipe) -> bytes:
    return orjson.dumps(recipe.drawing())


def _names(count: int, recipe: Recipe) -> list[str]:
    return [f"{number:03d}.{recipe.picture}" for number in range(count)]


def _draw_pages(pages: list[Layout], text: str, recipe: Recipe, output: Path, made: Made) -> None:
    """Write a text's pictures into a folder of its own, which stands there whole or not at all."""
    key = hashlib.sha256(_drawing(recipe) + text.encode(errors="replace")).hexdigest()[:24]
    made.folder, made.pictures = f"{PICTURES}/{key[:2]}/{key}", len(pages)
    folder = output / made.folder
    names = _names(len(pages), recipe)
    pen = _pen(recipe.fonts)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(folder.parent):  # another process may be drawing the same text, for the next row
        if folder.is_dir():
            contents = [(folder / name).read_bytes() for name in names]
        else:
            encode = FORMATS[recipe.picture]
            contents = [encode(draw(page, pen, recipe.style.side)) for page in pages]
            _write_folder(folder, names, contents)
            made.drawn = len(pages)
    made.bytes = sum(map(len, contents))
    made.digest = hashlib.sha256(b"".join(contents)).hexdigest()
    texts = {place.word.text for page in pages for place in page.placed}
    made.fonts = sorted({str(font.path) for word in texts for font, _ in pen.fonts.runs(word)})


def _write_folder(folder: Path, names: list[str], contents: list[bytes]) -> None:
    """Fill a folder beside its place, then rename it."""
    aside = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    aside.mkdir()
    try:
        for name, content in zip(names, contents, strict=True):
            (aside / name).write_bytes(content)
        aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _row(task: Task, folder: str, question: Question, names: list[str]) -> bytes:
    """A sample as a subset's export writes it; one image a part, then the question."""
    document = task.document
    row = {
        "id": f"{task.stem}-{document.line}-{question.id}",
        "video_id": folder.rpartition("/")[2],
        "data_source": task.data_source,
        "bucket": SYNTHETIC,
        "messages": [
            {"role": "user", "content": "<image>" * len(names) + untagged(question.text)},
            {"role": "assistant", "content": untagged(question.answer)},
        ],
        "images": names,
        "videos": [],
        "origin": {
            "file": task.file,
            "line": document.line,
            "document": document.name,
            "question": question.id,
        },
    }
    return orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)
