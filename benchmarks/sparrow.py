"""Pictures a second on one core: `gdo sparrow` against a plain Pillow loop that measures each word again.

Both draw the same parts of the same texts (FairytaleQA's stories, or made ones without /work/shared) in the
same letters and write PNG bytes; neither writes files. They take turns, a batch of texts each, so that a busy
machine slows both alike.

    python benchmarks/sparrow.py [--texts 40] [--json]
"""

import argparse
import io
import json
import random
import time
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from gdo.train.sparrow.glyphs import bundled
from gdo.train.sparrow.layout import Style, lay_out
from gdo.train.sparrow.pen import Pen
from gdo.train.sparrow.picture import FORMATS, draw
from gdo.train.sparrow.readers import Document, read_documents
from gdo.train.sparrow.words import Word, joined, parts_of, words_of

STORIES = Path(__file__).resolve().parents[2] / "shared" / "data" / "longtext" / "fairytaleqa_all.jsonl.gz"
WORDS = 115
BATCH = 5


def texts(count: int) -> list[str]:
    if STORIES.exists():
        found = (
            item.context for item in read_documents(STORIES, "fairytaleqa", {}) if isinstance(item, Document)
        )
        return [text for _, text in zip(range(count), found, strict=False)]
    rng = random.Random(42)
    letters = "etaoinshrdlu"
    vocabulary = ["".join(rng.choices(letters, k=rng.randint(1, 9))) for _ in range(6000)]
    ranks = [1 / (place + 1) for place in range(len(vocabulary))]
    return [" ".join(rng.choices(vocabulary, ranks, k=2000)) for _ in range(count)]


@cache
def font_of(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(bundled()), size)


def plain_picture(words: list[str], style: Style) -> bytes:
    """One part as a person would write it: try the next word, measure the line, draw line by line."""
    size = style.size
    while True:
        font = font_of(size)
        image = Image.new("RGB", (style.side, style.side), "white")
        pen = ImageDraw.Draw(image)
        lines, line = list[str](), ""
        for word in words:
            longer = f"{line} {word}".strip()
            if line and pen.textlength(longer, font) > style.side - 2 * style.margin:
                lines.append(line)
                longer = word
            line = longer
        lines.append(line)
        height = sum(font.getmetrics())
        if len(lines) * height <= style.side or size == style.least:
            break
        size -= 1
    top = (style.side - len(lines) * height) // 2
    for number, shown in enumerate(lines):
        pen.text((style.margin, top + number * height), shown, "black", font)
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def ours(text: str, pen: Pen, style: Style) -> list[bytes]:
    return [
        FORMATS["png"](draw(page, pen, style.side))
        for part in parts_of(words_of(text), WORDS)
        for page in lay_out(part, pen, style)
    ]


def plain(text: str, style: Style) -> list[bytes]:
    parts: list[list[Word]] = list(parts_of(words_of(text), WORDS))
    return [plain_picture(joined(part).split(), style) for part in parts]


def measure(count: int) -> dict[str, Any]:
    style, pen = Style(), Pen()
    sums = {"ours": [0.0, 0, 0], "plain": [0.0, 0, 0]}
    chosen = texts(count)
    for start in range(0, len(chosen), BATCH):
        for name, sum_of in sums.items():
            began = time.process_time()
            for text in chosen[start : start + BATCH]:
                pictures = ours(text, pen, style) if name == "ours" else plain(text, style)
                sum_of[1] += len(pictures)
                sum_of[2] += sum(map(len, pictures))
            sum_of[0] += time.process_time() - began
    figures: dict[str, Any] = {"texts": len(chosen), "real_texts": STORIES.exists()}
    for name, (seconds, pictures, size) in sums.items():
        figures[name] = {
            "pictures": pictures,
            "ms_per_picture": 1000 * seconds / pictures,
            "pictures_per_second": pictures / seconds,
            "bytes_per_picture": size / pictures,
        }
    figures["ratio"] = figures["ours"]["pictures_per_second"] / figures["plain"]["pictures_per_second"]
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--texts", type=int, default=40, help="texts to draw")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    figures = measure(options.texts)
    if options.json:
        print(json.dumps(figures, indent=2))
        return
    for name in ("ours", "plain"):
        told = figures[name]
        print(
            f"{name:6} {told['pictures']:6} pictures {told['ms_per_picture']:7.2f} ms each "
            f"{told['pictures_per_second']:7.1f}/s {told['bytes_per_picture']:8.0f} bytes each"
        )
    print(f"ratio  {figures['ratio']:.1f}")


if __name__ == "__main__":
    main()
