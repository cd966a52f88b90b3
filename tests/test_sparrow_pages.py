"""Sparrow's pictures: what layouts say is read back word by word, and drawing keeps to them."""

import io
import re
import unicodedata
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFont

from gdo.errors import UsageError
from gdo.train.sparrow.glyphs import Font, Fonts, bundled, check_fonts
from gdo.train.sparrow.layout import Layout, Style, lay_out
from gdo.train.sparrow.pen import LEVELS, Pen
from gdo.train.sparrow.picture import FORMATS, draw
from gdo.train.sparrow.trouble import NotShownError
from gdo.train.sparrow.words import LONGEST, Word, joined, parts_of, words_of

STYLE = Style()
PEN = Pen()
SHOWN = sorted(code for code in Font(bundled()).characters if unicodedata.category(chr(code))[0] != "C")
ALPHABET = st.one_of(
    st.sampled_from("aeinorstlmW.,!?-\"' \n\t\x00\xad\u200b"),
    st.sampled_from([chr(code) for code in SHOWN]),
    st.sampled_from("שלוםالعربية\u0301\u0308\u064bﬁ"),
)


def plain(text: str) -> str:
    """What must be read in the pictures, said in another way than `words_of` does it."""
    normal = " ".join(unicodedata.normalize("NFC", text).split())
    seen = "".join(sign for sign in normal if unicodedata.category(sign) not in ("Cc", "Cf"))
    return re.sub(" +", " ", seen).strip()


def pages_of(text: str, words: int = 115, style: Style = STYLE) -> list[Layout]:
    return [page for part in parts_of(words_of(text), words) for page in lay_out(part, PEN, style)]


def read_back(pages: list[Layout]) -> str:
    return joined([place.word for page in pages for place in page.placed])


def check_inside(page: Layout, style: Style = STYLE) -> None:
    """No ink outside the margins, by the layout's numbers and by the pixels; no word upon another."""
    boxes = []
    for word, x, y in page.placed:
        ink = PEN.word(word.text, page.size)
        assert style.margin <= x and x + ink.width <= style.side - style.margin
        assert y - ink.above >= 0 and y + ink.below <= style.side
        boxes.append((x, y - ink.above, x + ink.width, y + ink.below, y))
    for first, second in pairwise(boxes):
        assert first[3] <= second[1] or first[4] == second[4]
    canvas = draw(page, PEN, style.side)
    assert (canvas[:, : style.margin] == LEVELS - 1).all()
    assert (canvas[:, style.side - style.margin :] == LEVELS - 1).all()


@settings(deadline=None, max_examples=60)
@given(st.text(ALPHABET, max_size=900), st.integers(1, 130), st.booleans())
def test_no_word_is_lost_and_none_goes_over_the_edge(text: str, most: int, whole: bool) -> None:
    words = words_of(text)
    parts = list(parts_of(words, most, whole_sentences=whole))
    assert [word for part in parts for word in part] == words
    assert all(0 < len(part) <= most for part in parts)
    assert joined(words) == plain(text)
    try:
        pages = [page for part in parts for page in lay_out(part, PEN, STYLE)]
    except NotShownError:  # a stack of marks higher than the picture
        assume(False)
    assert read_back(pages) == plain(text)
    for page in pages:
        check_inside(page)


@pytest.mark.parametrize(
    "text",
    [
        "W" * 2000,
        " ".join(["Donaudampfschifffahrtsgesellschaftskapitaen"] * 115),
        " ".join(["x"] * 115),
        "https://example.org/" + "a/b" * 400 + " and then",
        "e" + "\u0301" * 30 + " after it",
        "j" * 3 + " f" * 200,
    ],
)
def test_wide_and_high_words(text: str) -> None:
    pages = pages_of(text)
    assert read_back(pages) == plain(text)
    for page in pages:
        check_inside(page)


def test_a_part_that_fits_keeps_the_size_and_is_centred() -> None:
    (page,) = pages_of("one two three")
    assert page.size == 20
    assert page.placed[0].x == 20
    canvas = draw(page, PEN, 448)
    rows = np.flatnonzero((canvas < LEVELS - 1).any(axis=1))
    assert abs((rows[0] + rows[-1]) / 2 - 224) < 8
    assert canvas.min() == 0


def test_letters_shrink_until_the_part_fits_and_then_it_becomes_two_pictures() -> None:
    long = " ".join(["wonderfully"] * 115)
    (page,) = lay_out(words_of(long), PEN, STYLE)
    assert STYLE.least <= page.size < STYLE.size
    two = lay_out(words_of(long), PEN, Style(least=19))
    assert len(two) > 1
    assert {one.size for one in two} <= {19, 20}
    assert read_back(two) == long


def test_a_word_wider_than_a_line_is_broken_and_the_letters_keep_their_size() -> None:
    (page,) = pages_of("see " + "W" * LONGEST + " there")
    assert page.size == STYLE.size
    assert [place.word.spaced for place in page.placed] == [True, True, False, True]


def test_the_room_of_a_word_holds_all_its_ink() -> None:
    for code in SHOWN:
        ink = PEN.word(chr(code), 20)
        assert ink.left >= 0 and ink.left + ink.mask.shape[1] <= ink.width, chr(code)


def test_lines_are_filled_greedily() -> None:
    (page,) = pages_of("the quick brown fox jumps over the lazy dog " * 8)
    lines: dict[int, list[tuple[Word, int]]] = {}
    for word, x, y in page.placed:
        lines.setdefault(y, []).append((word, x))
    space = PEN.metrics(page.size).space
    rows = list(lines.values())
    for line, following in pairwise(rows):
        last, x = line[-1]
        end = x + PEN.word(last.text, page.size).width
        assert end + space + PEN.word(following[0][0].text, page.size).width > 428


def test_sentences_stay_whole() -> None:
    text = ("It was late. " * 3 + "The king, who had slept, woke up at last! ") * 20
    for part in parts_of(words_of(text), 25, whole_sentences=True):
        assert part[-1].text[-1] in ".!"
    (first, *_) = parts_of([Word(str(number)) for number in range(60)], 25, whole_sentences=True)
    assert len(first) == 25


def test_scripts_without_spaces_are_cut_between_characters() -> None:
    words = words_of("東京タワーは、高い。 Tower東")
    assert [word.text for word in words] == ["東", "京", "タ", "ワー", "は、", "高", "い。", "Tower", "東"]
    assert [word.spaced for word in words] == [True] + [False] * 6 + [True, False]
    thai = "ก" * 100
    assert [len(word.text) for word in words_of(thai)] == [LONGEST, LONGEST, 20]
    assert joined(words_of(thai)) == thai


def test_right_to_left_lines_run_from_the_right() -> None:
    (page,) = pages_of("שלום עולם New York 42 סוף")
    placed = {place.word.text: place.x for place in page.placed}
    assert placed["שלום"] > placed["עולם"] > placed["York"] > placed["New"] > placed["42"] > placed["סוף"]
    first = PEN.word("שלום", page.size)
    assert placed["שלום"] + first.width == 428
    (mixed,) = pages_of("He said שלום עולם twice")
    columns = {place.word.text: place.x for place in mixed.placed}
    assert columns["He"] < columns["said"] < columns["עולם"] < columns["שלום"] < columns["twice"]
    check_inside(page)


def test_shaping_is_left_to_raqm() -> None:
    """The letters of an Arabic word join; drawn one by one they would not."""
    together = PEN.word("بيت", 20).width
    apart = sum(PEN.word(sign, 20).width for sign in "بيت")
    assert together < apart


def test_without_raqm_such_scripts_are_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gdo.train.sparrow.pen.features.check", lambda name: False)
    pen = Pen()
    assert pen.word("plain", 20).width
    with pytest.raises(NotShownError, match="raqm"):
        pen.word("بيت", 20)


@pytest.mark.parametrize("size", [20, 13, 8])
def test_words_of_cached_letters_look_as_pillow_draws_them(size: int) -> None:
    face = ImageFont.truetype(str(bundled()), size, layout_engine=ImageFont.Layout.BASIC)
    for text in ("everyday", "AVATAR", "To.", "“Fjord”", "Łódź", "jolly"):
        core, (left, top) = face.getmask2(text, "L", anchor="ls")
        mask = np.frombuffer(bytes(core), np.uint8).reshape(core.size[1], core.size[0])
        ink = PEN.word(text, size)
        drawn = np.zeros_like(mask)
        rows, columns = ink.mask.shape
        drawn[-ink.above - top : rows - ink.above - top, :] = ((LEVELS - 1) - ink.mask)[
            :, : mask.shape[1]
        ] * 17
        assert (ink.above, columns) == (-top, mask.shape[1])
        # Where two letters overlap, Pillow blends them in its own way.
        assert (np.abs(drawn.astype(int) - mask) > 17).sum() <= 0.01 * mask.size
        assert ink.width == max(round(face.getlength(text)), left + mask.shape[1]) - min(left, 0)


@pytest.mark.parametrize("ending", sorted(FORMATS))
def test_pictures_decode_to_what_was_drawn(ending: str) -> None:
    (page,) = pages_of("A picture of a text, grey on white.")
    canvas = draw(page, PEN, 448)
    image = Image.open(io.BytesIO(FORMATS[ending](canvas)))
    assert image.size == (448, 448)
    shown = np.asarray(image.convert("L")).astype(int)
    tolerance = 0 if ending == "png" else 60
    assert np.abs(shown - canvas.astype(int) * 17).max() <= tolerance


def test_an_odd_side_makes_a_whole_png() -> None:
    canvas = np.arange(49, dtype=np.uint8).reshape(7, 7) % LEVELS
    image = Image.open(io.BytesIO(FORMATS["png"](canvas)))
    assert (np.asarray(image.convert("L")) == canvas * 17).all()


@pytest.fixture(scope="module")
def han_font(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A font of three characters that the bundled one lacks."""
    return make_font(tmp_path_factory.mktemp("fonts") / "Han.ttf", "国東京")


def make_font(path: Path, signs: str) -> Path:
    builder = FontBuilder(1000, isTTF=True)
    names = [".notdef", *(f"uni{ord(sign):04X}" for sign in signs)]
    builder.setupGlyphOrder(names)
    builder.setupCharacterMap({ord(sign): name for sign, name in zip(signs, names[1:], strict=True)})
    pen = TTGlyphPen(None)
    pen.moveTo((100, 0))
    for point in ((500, 800), (900, 0)):
        pen.lineTo(point)
    pen.closePath()
    glyph = pen.glyph()
    builder.setupGlyf(dict.fromkeys(names, glyph))
    builder.setupHorizontalMetrics(dict.fromkeys(names, (1000, 100)))
    builder.setupHorizontalHeader(ascent=880, descent=-120)
    builder.setupNameTable({"familyName": "Han", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(path)
    return path


def test_characters_of_a_font_are_those_of_its_own_table(han_font: Path) -> None:
    assert Font(han_font).characters == {ord(sign) for sign in "国東京"}
    assert {ord("é"), ord("ж"), 0x1D54F} <= Font(bundled()).characters
    assert ord("国") not in Font(bundled()).characters


def test_a_word_changes_fonts_where_it_must(han_font: Path) -> None:
    fonts = Fonts([han_font])
    assert [(font.path.name, text) for font, text in fonts.runs("A国b東京")] == [
        ("DejaVuSans.ttf", "A"),
        ("Han.ttf", "国"),
        ("DejaVuSans.ttf", "b"),
        ("Han.ttf", "東京"),
    ]
    pen = Pen([han_font])
    assert pen.word("国", 20).width == 20
    assert (pen.word("国", 20).mask < LEVELS - 1).any()


def test_what_no_font_has_is_named_and_never_a_box(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gdo.train.sparrow.glyphs._machine_fonts", tuple)
    with pytest.raises(NotShownError) as raised:
        Pen().word("x国国東", 20)
    assert raised.value.reason == "no font has its characters"
    assert raised.value.detail == "国 (U+56FD), 東 (U+6771)"


def test_fonts_of_the_machine_are_the_last_resort(
    monkeypatch: pytest.MonkeyPatch, han_font: Path, tmp_path: Path
) -> None:
    from gdo.train.sparrow.glyphs import _machine_fonts

    folder = tmp_path / "share" / "fonts"
    folder.mkdir(parents=True)
    (folder / "NotoSans.ttf").write_bytes(han_font.read_bytes())
    (folder / "Broken.ttf").write_bytes(b"\0\1\0\0 no font")
    monkeypatch.setenv("XDG_DATA_DIRS", str(tmp_path / "share"))
    _machine_fonts.cache_clear()
    try:
        assert Fonts().runs("国")[0][0].path == folder / "NotoSans.ttf"
    finally:
        _machine_fonts.cache_clear()


def test_a_file_that_is_no_font_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "font.ttf"
    file.write_bytes(b"not a font")
    with pytest.raises(UsageError, match=r"font\.ttf is not a TrueType"):
        check_fonts([file])
    check_fonts([bundled()])
