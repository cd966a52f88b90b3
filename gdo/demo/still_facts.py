"""What is true of a still, or of two of them side by side: the facts that their questions ask about."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import combinations

from gdo.demo.looks import SHAPES, other_colours
from gdo.demo.stills import ARROWS, GROUNDS, OBJECTS, SKIES, TITLES, WORDS, Item, Still, Style
from gdo.demo.words import Fact, Kind, article, listing, number, ordinal, other_numbers


def still_facts(still: Still) -> list[Fact]:
    """Every fact of a still, in a fixed order."""
    return list(_STYLES[still.style](still))


def pair_facts(first: Still, second: Still) -> list[Fact]:
    """What two photos shown together have in common and where they differ."""
    counts = len(first.items), len(second.items)
    more = "neither" if counts[0] == counts[1] else "the first" if counts[0] > counts[1] else "the second"
    total = sum(counts)
    return [
        Fact(
            "more",
            "count",
            (
                "Compare the two pictures: which one shows more objects?",
                "Which of the two images has the larger number of objects in it?",
            ),
            more,
            tuple(option for option in ("the first", "the second", "neither") if option != more),
            "The larger number is found in {}.",
        ),
        Fact(
            "total",
            "count",
            (
                "How many objects are there in the two pictures together?",
                "Count the objects in both images. What is the total?",
            ),
            number(total),
            other_numbers(total),
            "There are {} in all.",
        ),
        _same("ground", "the ground", first.ground, second.ground),
        _same("sky", "the sky", first.sky, second.sky),
    ]


def _same(key: str, part: str, first: str, second: str) -> Fact:
    answer, other = ("yes", "no") if first == second else ("no", "yes")
    wordings = (
        f"Compare the two pictures: is {part} the same in both?",
        f"Does {part} of the second image look like that of the first?",
    )
    return Fact(key, "colour", wordings, answer, (other,), "{}, if the two are laid side by side.")


def _photo(still: Still) -> Iterator[Fact]:
    for item in still.items:
        yield _colour_of(item.name, item.colour)
    if len(still.items) > 1:
        yield from (_which(item, still) for item in still.items)
        yield from (_side(a, b) for a, b in combinations(still.items, 2))
    yield _count(
        "objects",
        len(still.items),
        (
            "How many objects stand on the ground?",
            "Count the coloured objects in front of the viewer.",
            "What is the number of things that cast a shadow?",
        ),
    )
    yield Fact(
        "ground",
        "colour",
        (
            "What is the ground covered with?",
            "What do the objects stand on?",
            "Which kind of ground is seen in the lower half, below the sky?",
        ),
        still.ground,
        _but(GROUNDS, still.ground),
        "The ground is covered with {}.",
    )
    yield Fact(
        "sky",
        "colour",
        (
            "What does the sky look like?",
            "Describe the sky in a few words.",
            "How does the sky look while this is shown?",
        ),
        still.sky,
        _but(SKIES, still.sky),
        "The sky is {}.",
    )
    yield _photo_description(still)


def _photo_description(still: Still) -> Fact:
    """The photo in two sentences; told wrongly, each object has its neighbour's colour or a new one."""
    colours = [item.colour for item in still.items]

    def tell(inks: list[str]) -> str:
        things = [f"{article(ink)} {item.name}" for ink, item in zip(inks, still.items, strict=True)]
        row = (
            f"stand {listing(things)}, named from left to right" if len(things) > 1 else f"stands {things[0]}"
        )
        return f"On {still.ground} there {row}. The sky above is {still.sky}."

    return _description(
        "position", tell(colours), *(tell([*colours[1:], ink]) for ink in other_colours(*colours))
    )


def _description(kind: Kind, told: str, *mistold: str) -> Fact:
    wordings = (
        "Describe the picture.",
        "What is shown here? Go from left to right.",
        "Give a short description of this image, naming colours and places.",
        "Write a caption for the image that says what there is and where it is.",
    )
    return Fact("description", kind, wordings, told, mistold, prose=True)


def _colour_of(name: str, colour: str) -> Fact:
    return Fact(
        f"colour/{name}",
        "colour",
        (
            f"What colour is the {name}?",
            f"Which colour does the {name} have?",
            f"The {name} has been painted. In which colour?",
            f"Tell me the colour of the {name} that is to be seen here.",
        ),
        colour,
        other_colours(colour),
        f"The {name} is {{}}.",
    )


def _which(item: Item, still: Still) -> Fact:
    """Which object has a colour."""
    present = tuple(other.name for other in still.items if other is not item)
    absent = tuple(name for name in OBJECTS if name != item.name and name not in present)
    return Fact(
        f"which/{item.colour}",
        "colour",
        (
            f"Which object is {item.colour}?",
            f"What is the {item.colour} thing?",
            f"One thing in the scene is {item.colour}. What is it?",
        ),
        f"the {item.name}",
        tuple(f"the {name}" for name in (*present, *absent)),
        f"The {item.colour} object is {{}}.",
    )


def _side(left: Item, right: Item) -> Fact:
    """Whether one thing is left or right of another, asked from an end that its names decide on."""
    asked, other, answer = (left, right, "left") if left.name < right.name else (right, left, "right")
    return Fact(
        f"side/{asked.name}/{other.name}",
        "position",
        (
            f"Is the {asked.name} to the left or to the right of the {other.name}?",
            f"On which side of the {other.name} is the {asked.name}?",
            f"Seen from the {other.name}, towards which side of the picture does the {asked.name} stand?",
        ),
        answer,
        ("right" if answer == "left" else "left",),
        f"The {asked.name} is on the {{}}.",
    )


def _count(key: str, n: int, wordings: tuple[str, ...], low: int = 1) -> Fact:
    return Fact(f"count/{key}", "count", wordings, number(n), other_numbers(n, low), "The number is {}.")


def _heap(still: Still) -> Iterator[Fact]:
    counts = Counter(item.name for item in still.items)
    colours = {item.name: item.colour for item in still.items}
    missing = next(shape for shape in SHAPES if shape not in counts)
    for shape in (*counts, missing):
        some = _plural(shape)
        yield _count(
            shape,
            counts[shape],
            (
                f"How many {some} are there?",
                f"Count the {some}.",
                f"What number of {some} do you see before you?",
            ),
            low=0,
        )
    for shape, colour in colours.items():
        yield _colour_of(f"group of {_plural(shape)}" if counts[shape] > 1 else shape, colour)
    yield _count(
        "all",
        len(still.items),
        (
            "How many shapes are there in all?",
            "Count all shapes, of whatever sort.",
            "What is the total of the shapes?",
        ),
    )
    yield from _heap_ends(still)
    told = [
        f"{number(n)} {colours[shape]} {_plural(shape) if n > 1 else shape}" for shape, n in counts.items()
    ]
    mistold = [f"{number(n + 1)} {colours[shape]} {_plural(shape)}" for shape, n in counts.items()]
    yield _description(
        "count",
        f"The picture shows {listing(told)} on a {still.ground} ground.",
        f"The picture shows {listing(mistold)} on a {still.ground} ground.",
    )


def _heap_ends(still: Still) -> Iterator[Fact]:
    """Which shape is outermost, where that is beyond doubt."""
    ends: tuple[tuple[str, Callable[[Item], float]], ...] = (
        ("furthest to the left", lambda item: item.x),
        ("furthest to the right", lambda item: -item.x),
        ("nearest to the top", lambda item: item.y),
        ("nearest to the bottom", lambda item: -item.y),
    )
    for where, place in ends:
        row = sorted(still.items, key=place)
        if len(row) < 2 or place(row[1]) - place(row[0]) < 0.08:
            continue
        rest = [shape for shape in dict.fromkeys(item.name for item in row) if shape != row[0].name]
        absent = [shape for shape in SHAPES if shape != row[0].name and shape not in rest]
        yield Fact(
            f"end/{where}",
            "position",
            (f"Which kind of shape is {where}?", f"Name the sort of shape that stands {where}."),
            article(row[0].name),
            tuple(article(shape) for shape in (*rest, *absent)),
            f"The shape {where} is {{}}.",
        )


def _plural(shape: str) -> str:
    return f"{shape}es" if shape.endswith("s") else f"{shape}s"


def _chart(still: Still) -> Iterator[Fact]:
    bars = still.items
    labels = [bar.name for bar in bars]
    for bar in bars:
        yield _reading(
            f"value/{bar.name}",
            (
                f"What is the value for {bar.name}?",
                f"How high is the bar of {bar.name}?",
                f"Read the chart: which number belongs to {bar.name}?",
            ),
            str(bar.value),
            tuple(str(n) for n in range(1, 13) if n != bar.value),
            f"The value for {bar.name} is {{}}.",
        )
        yield _colour_of(f"bar for {bar.name}", bar.colour)
    for i, turn in enumerate((*(ordinal(i) for i in range(2)), "last")):
        yield Fact(
            f"place/{turn}",
            "position",
            (
                f"Which bar is the {turn} one from the left?",
                f"Going from left to right, what label does the {turn} bar have?",
            ),
            labels[i if i < 2 else -1],
            _but(labels, labels[i if i < 2 else -1]),
            f"The {turn} bar is {{}}.",
        )
    yield from _extremes(bars)
    yield _count(
        "bars",
        len(bars),
        ("How many bars does the chart have?", "Count the bars.", "What is the number of bars?"),
    )
    yield _reading(
        "title",
        ("What is the title of the chart?", "Which word stands above the bars?"),
        still.text,
        _but(TITLES, still.text),
        'The title is "{}".',
    )
    values = [bar.value for bar in bars]
    told, mistold = (
        f'A bar chart with the title "{still.text}" shows '
        f"{listing([f'{name} at {n}' for name, n in zip(labels, row, strict=True)])}."
        for row in (values, [*values[1:], values[0]])
    )
    yield _description("reading", told, mistold)


def _extremes(bars: tuple[Item, ...]) -> Iterator[Fact]:
    by_value = sorted(bars, key=lambda bar: bar.value)
    for word, bar in (("highest", by_value[-1]), ("lowest", by_value[0])):
        yield _reading(
            f"extreme/{word}",
            (
                f"Which bar is the {word}?",
                f"What has the {word} value in the chart?",
                f"After a look at all bars, which label stands under the {word} one?",
            ),
            bar.name,
            _but([other.name for other in bars], bar.name),
            f"The {word} bar is that of {{}}.",
        )


def _sign(still: Still) -> Iterator[Fact]:
    yield _reading(
        "word",
        (
            "What does the sign say?",
            "Which word is written on the board?",
            "Read the word that comes first on the sign.",
        ),
        still.text,
        _but(WORDS, still.text),
        'The word on the sign is "{}".',
    )
    n = int(still.detail)
    yield _reading(
        "number",
        (
            "Which number is on the sign?",
            "What number stands below the word?",
            "Read the number on the board.",
        ),
        still.detail,
        (str(n + 1), str(n + 10), str(100 - n if n != 50 else 51)),
        "The number is {}.",
    )
    yield Fact(
        "arrow",
        "position",
        (
            "Where does the arrow point?",
            "Which way would you go if you followed the arrow?",
            "The sign has an arrow next to its number. To which side does it point?",
        ),
        still.arrow,
        _but(ARROWS, still.arrow),
        "The arrow points {}.",
    )
    yield _colour_of("board of the sign", still.sky)
    told, *mistold = (
        f'{article(colour).capitalize()} sign on a post reads "{still.text}" with the number {still.detail} '
        f"below; an arrow beside it points {still.arrow}. Behind it everything is {still.ground}."
        for colour in (still.sky, *other_colours(still.sky))
    )
    yield _description("reading", told, *mistold)


def _reading(
    key: str, wordings: tuple[str, ...], answer: str, others: tuple[str, ...], sentence: str
) -> Fact:
    return Fact(key, "reading", wordings, answer, others, sentence)


def _but(all_of_it: Iterable[str], answer: str) -> tuple[str, ...]:
    return tuple(other for other in all_of_it if other != answer)


_STYLES: dict[Style, Callable[[Still], Iterator[Fact]]] = {
    "photo": _photo,
    "heap": _heap,
    "chart": _chart,
    "sign": _sign,
}
