"""What a run of Sparrow has come to: counted as documents come back, told to people and to the manifest."""

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from gdo.train.sparrow.pages import LeftOut, Made
from gdo.train.sparrow.place import digest_of


@dataclass(frozen=True, slots=True)
class SparrowReport:
    """What a run made."""

    path: str
    rows_read: int
    rows_bad: int
    texts: int
    """Texts that samples show; the same text in two rows counts once."""
    questions: int
    samples: int
    pictures: int
    drawn: int
    """Pictures drawn now; the others were there."""
    picture_bytes: int
    frame_tokens: int
    text_tokens: str
    """How tokens of text were counted."""
    left_out: dict[str, int]
    """Rows, texts and questions that are no samples, by reason."""
    seconds: float


@dataclass(slots=True)
class Tally:
    """The counts of a run.

    Attributes:
        rows: Rows read.
        bad: Rows that gave no document.
        questions: Questions of the documents, those that are none among them.
        samples: Rows written.
        drawn: Pictures drawn now.
        texts: The texts that samples show, by the folder of their pictures.
        fonts: Font files that were needed.
        left_out: What is no sample.
    """

    rows: int = 0
    bad: int = 0
    questions: int = 0
    samples: int = 0
    drawn: int = 0
    texts: dict[str, Made] = field(default_factory=dict)
    fonts: set[str] = field(default_factory=set)
    left_out: list[LeftOut] = field(default_factory=list)

    def take(self, made: Made) -> None:
        """Add what came of a document."""
        self.samples += len(made.rows)
        self.drawn += made.drawn
        self.left_out += made.left_out
        self.fonts.update(made.fonts)
        if made.folder:
            self.texts[made.folder] = replace(made, rows=[], left_out=[], fonts=[])

    def report(self, path: Path, frame_tokens: int, text_tokens: str, seconds: float) -> SparrowReport:
        """As people are told."""
        return SparrowReport(
            path=str(path),
            rows_read=self.rows,
            rows_bad=self.bad,
            texts=len(self.texts),
            questions=self.questions,
            samples=self.samples,
            pictures=self._pictures(),
            drawn=self.drawn,
            picture_bytes=self._bytes(),
            frame_tokens=frame_tokens,
            text_tokens=text_tokens,
            left_out=self._reasons(),
            seconds=seconds,
        )

    def counts(self) -> dict[str, Any]:
        """As the manifest tells them: the same whether the run was interrupted or not."""
        digest = sha256()
        for folder, made in sorted(self.texts.items()):
            digest.update(f"{folder} {made.digest}\n".encode())
        fonts = []
        for font in sorted(self.fonts):
            with suppress(OSError):
                fonts.append({"file": Path(font).name, "sha256": digest_of(Path(font))})
        return {
            "counts": {
                "rows_read": self.rows,
                "rows_bad": self.bad,
                "questions": self.questions,
                "samples": self.samples,
                "texts": len(self.texts),
                "pictures": self._pictures(),
            },
            "left_out": self._reasons(),
            "fonts": fonts,
            "pictures": {"bytes": self._bytes(), "sha256": digest.hexdigest()},
        }

    def _pictures(self) -> int:
        return sum(made.pictures for made in self.texts.values())

    def _bytes(self) -> int:
        return sum(made.bytes for made in self.texts.values())

    def _reasons(self) -> dict[str, int]:
        """How often each reason was given."""
        return dict(Counter(item.reason for item in self.left_out).most_common())
