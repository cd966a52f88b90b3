"""What is true of a clip: the facts that its questions ask about."""

from collections.abc import Callable, Iterator
from itertools import permutations

from gdo.demo.actor_facts import actor_facts, called, yes_no
from gdo.demo.looks import SHAPES, TONES, other_colours
from gdo.demo.scenes import Act, Actor, Scene
from gdo.demo.words import Fact, Kind, article, listing, number, ordinal, other_numbers

_MAIN_KIND: dict[str, Kind] = {
    "still": "direction",
    "move": "direction",
    "stop": "change",
    "turn": "direction",
    "appear": "order",
    "relay": "order",
    "race": "order",
    "blink": "count_time",
    "bounce": "count_time",
    "recolour": "change",
}


def clip_facts(scene: Scene) -> list[Fact]:
    """Every fact of a scene, in a fixed order; all but the kind `one_frame` need several frames."""
    facts = [*_looks(scene), *_places(scene), *_movers(scene)]
    for actor in scene.actors:
        facts += actor_facts(actor, scene)
    if scene.programme in _PROGRAMME_FACTS:
        facts += _PROGRAMME_FACTS[scene.programme](scene)
    return [*facts, _description(scene)]


def _others(actor: Actor, scene: Scene) -> tuple[str, ...]:
    """Wrong answers to "which shape": the other actors, filled up with shapes that are not there."""
    present = tuple(called(other) for other in scene.actors if other is not actor)
    absent = [shape for shape in SHAPES if all(shape != other.shape for other in scene.actors)]
    unused = other_colours(*(other.colour for other in scene.actors))
    return (*present, *(f"the {colour} {shape}" for colour, shape in zip(unused[:2], absent, strict=False)))


def _looks(scene: Scene) -> Iterator[Fact]:
    """Colours, shapes, ground: what any frame (with the shape in it) shows."""
    for actor in scene.actors:
        if actor.turns:
            continue
        colour, shape = actor.colour, actor.shape
        yield Fact(
            f"colour/{shape}",
            "one_frame",
            (
                f"What colour is the {shape}?",
                f"Which colour does the {shape} have?",
                f"Name the colour of the {shape} that can be seen while the clip plays.",
                f"The {shape} is painted in one colour. Which one?",
            ),
            colour,
            other_colours(colour),
            f"The {shape} is {{}}.",
        )
        yield Fact(
            f"shape/{colour}",
            "one_frame",
            (
                f"What shape is the {colour} object?",
                f"Which shape is drawn in {colour}?",
                f"One object is {colour}. What is its shape?",
            ),
            shape,
            tuple(other for other in SHAPES if other != shape),
            f"The {colour} object is a {{}}.",
        )
    yield Fact(
        "ground",
        "one_frame",
        (
            "What colour is the background?",
            "Which colour has the ground behind the shapes?",
            "Name the main colour of the background before which everything happens.",
        ),
        scene.tone,
        tuple(tone for tone in TONES if tone != scene.tone),
        "The background is {}.",
    )


def _places(scene: Scene) -> Iterator[Fact]:
    """How many shapes there are and in which lane each is, where all are in view all the time."""
    if any(actor.act in ("blink", "appear") for actor in scene.actors):
        return
    n = len(scene.actors)
    yield Fact(
        "count",
        "one_frame",
        (
            "How many shapes are there?",
            "Count the shapes in view.",
            "What is the number of shapes on screen?",
        ),
        number(n),
        other_numbers(n),
        "The number of shapes is {}.",
    )
    if n == 1:
        return
    side = "the top" if scene.axis == "x" else "the left"
    for i, actor in enumerate(scene.actors):
        yield Fact(
            f"lane/{i}",
            "one_frame",
            (
                f"Which shape is the {ordinal(i)} one, counted from {side}?",
                f"Going from {side} of the picture, which shape comes {ordinal(i)}?",
            ),
            called(actor),
            _others(actor, scene),
            f"Counted from {side}, number {number(i + 1)} is {{}}.",
        )


def _movers(scene: Scene) -> Iterator[Fact]:
    """Which shapes move, and how many."""
    moving = [actor for actor in scene.actors if actor.moves]
    n = len(moving)
    yield Fact(
        "moving",
        "count_time",
        (
            "How many shapes change their place during the clip?",
            "How many of the shapes move?",
            "Count the shapes that leave their place at any moment, whether they come back later or not.",
        ),
        number(n),
        other_numbers(n, low=0),
        "The number of shapes that move is {}.",
    )
    if n != 1 or len(scene.actors) == 1:
        return
    yield Fact(
        "mover",
        "direction",
        (
            "Which shape is on the move during the clip?",
            "Only one shape leaves its place during the clip. Which one?",
            "While the others keep still, one shape moves. Which is it?",
        ),
        called(moving[0]),
        _others(moving[0], scene),
        "It is {} that moves.",
    )


def _sequence(scene: Scene, verb: str) -> list[Fact]:
    """Who acts when: each lead's turn, each pair, and the whole row."""
    row = [scene.actors[i] for i in scene.leads]
    names = [called(actor) for actor in row]
    facts = []
    for i, actor in enumerate(row):
        turn = "last" if i == len(row) - 1 else ordinal(i)
        rest = tuple(name for name in names if name != names[i]) + _others(actor, scene)[-1:]
        facts.append(
            Fact(
                f"turn/{i}",
                "order",
                (
                    f"Which shape {verb}s {turn}?",
                    f"Which of the shapes is the {turn} one to {verb} in the clip?",
                ),
                names[i],
                rest,
                f"It is {{}} that {verb}s {turn}.",
            )
        )
    for i, j in permutations(range(len(row)), 2):
        wordings = (
            f"Does {names[i]} {verb} before {names[j]}?",
            f"Is {names[i]} earlier than {names[j]} to {verb}?",
        )
        facts.append(yes_no(f"before/{i}{j}", "order", wordings, i < j))
    orders = [listing(order) for order in permutations(names)]
    wordings = (
        f"In which order do the shapes {verb}?",
        f"List the shapes in the sequence in which they {verb}.",
    )
    return [*facts, Fact("sequence", "order", wordings, orders[0], tuple(orders[1:4]), "The order is: {}.")]


def _appear(scene: Scene) -> list[Fact]:
    n = len(scene.leads)
    arrivals = Fact(
        "arrivals",
        "count_time",
        (
            "How many shapes appear one after the other?",
            "Count the shapes that come into view during the clip.",
        ),
        number(n),
        other_numbers(n),
        "The number of shapes that come into view is {}.",
    )
    return [*_sequence(scene, "appear"), arrivals]


def _race(scene: Scene) -> list[Fact]:
    """The leads are the one that starts ahead and the one that starts behind it."""
    ahead, behind = (scene.actors[i] for i in scene.leads)
    names = called(ahead), called(behind)
    way = ahead.headings()[0]
    reach = [abs(b - a) for actor in (ahead, behind) for a, b in [_span(actor, scene)]]
    passed = reach[1] > reach[0]
    third = _others(ahead, scene)[-1]
    fast, slow = (names[1], names[0]) if passed else (names[0], names[1])
    faster = Fact(
        "faster",
        "order",
        (
            "Which shape is the fastest while both are moving?",
            f"Which shape covers more ground while moving {way}?",
        ),
        fast,
        (slow, third),
        "The fastest shape is {}.",
    )
    overtakes = yes_no(
        "overtakes",
        "order",
        (
            f"Does {names[1]} overtake {names[0]}?",
            f"Is {names[0]} passed by {names[1]} before the clip ends?",
        ),
        passed,
    )
    winner = Fact(
        "winner",
        "order",
        (
            f"Which shape is further {way} when the clip finally ends?",
            f"Both move {way}. Which one is in front after the race?",
        ),
        fast,
        (slow, third),
        "In the end {} is in front.",
    )
    starter = Fact(
        "starter",
        "order",
        (
            f"Which shape is in front at the start, before the race {way} is decided?",
            f"Of the two shapes that go {way}, which one leads at first?",
        ),
        names[0],
        (names[1], third),
        "At first {} is in front.",
    )
    return [faster, overtakes, winner, starter]


def _span(actor: Actor, scene: Scene) -> tuple[float, float]:
    """Where along its lane an actor starts and ends, in pixels."""
    along = 1 if scene.axis == "x" else 2
    return actor.path[0][along], actor.path[-1][along]


_PROGRAMME_FACTS: dict[str, Callable[[Scene], list[Fact]]] = {
    "appear": _appear,
    "relay": lambda scene: _sequence(scene, "move"),
    "race": _race,
}


def _description(scene: Scene) -> Fact:
    """The whole clip told in a few sentences; told wrongly, each actor has another's colour or a new one."""
    row = [scene.actors[i] for i in scene.leads]
    row += [actor for actor in scene.actors if actor not in row]
    colours = [actor.colour for actor in row]
    unused = other_colours(*colours, *(actor.turns[1] for actor in row if actor.turns))

    def tell(inks: list[str]) -> str:
        stories = [_story(actor, ink, i) for i, (actor, ink) in enumerate(zip(row, inks, strict=True))]
        return f"{' '.join(stories)} The background is {scene.tone}."

    return Fact(
        "description",
        _MAIN_KIND[scene.programme],
        (
            "Describe what happens in the clip.",
            "What can be seen here? Tell it in the order in which it happens.",
            "Give a short account of the clip: which shapes are there, and what does each of them do?",
            "Summarise the video in a few sentences.",
        ),
        tell(colours),
        tuple(tell([*colours[1:], ink]) for ink in unused),
        prose=True,
    )


def _story(actor: Actor, colour: str, rank: int) -> str:
    ways = actor.headings()
    times = f"{number(actor.times)} time{'s' if actor.times > 1 else ''} in all"
    stories: dict[Act, str] = {
        "still": "stays where it is",
        "move": f"moves {listing(ways)}" if ways else "",
        "race": f"moves {listing(ways)}" if ways else "",
        "stop": f"moves {ways[0]} and then stops" if ways else "",
        "turn": f"moves {listing(ways, 'and then')}" if ways else "",
        "bounce": f"goes there and back, {times}",
        "blink": f"vanishes and comes back, {times}",
        "appear": f"appears {ordinal(rank)}",
        "recolour": f"becomes {actor.turns[1]}" if actor.turns else "",
    }
    start = f"{article(colour)} {actor.shape}"
    return f"{start[0].upper()}{start[1:]} {stories[actor.act]}."
