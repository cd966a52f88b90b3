"""What is true of one shape in a clip: whether and where it moves, how often, and what becomes of it."""

from collections.abc import Callable
from itertools import permutations

from gdo.demo.looks import SHAPES, other_colours
from gdo.demo.scenes import Act, Actor, Scene
from gdo.demo.words import Fact, Kind, number, other_numbers

_HEADINGS = ("left", "right", "up", "down")
_DEEDS = {
    "stop": "it stops and stays where it is",
    "turn": "it turns and goes another way",
    "vanish": "it vanishes",
    "colour": "it takes on another colour",
}


def actor_facts(actor: Actor, scene: Scene) -> list[Fact]:
    """The facts of one actor of a scene; all need several frames."""
    return _ACTS[actor.act](actor, scene)


def called(actor: Actor) -> str:
    """How questions name an actor: by its colour too, unless that changes."""
    return f"the {actor.shape}" if actor.turns else f"the {actor.colour} {actor.shape}"


def yes_no(key: str, kind: Kind, wordings: tuple[str, ...], yes: bool) -> Fact:
    """A fact that is asked about with yes or no."""
    answer, other = ("yes", "no") if yes else ("no", "yes")
    return Fact(key, kind, wordings, answer, (other,), "{}, as the clip shows.")


def _motion(actor: Actor, scene: Scene) -> list[Fact]:
    """Whether a shape moves, and which way it goes (first, where it turns)."""
    name = called(actor)
    moves = yes_no(
        f"moves/{actor.shape}",
        "direction",
        (
            f"Does {name} move?",
            f"Does {name} change its place during the clip?",
            f"Is {name} in another place at any later time of the clip?",
        ),
        actor.moves,
    )
    if not actor.moves:
        return [moves]
    way = actor.headings()[0]
    first = (
        (f"Which way does {name} move?", f"Towards which side does {name} travel during the clip?")
        if len(set(actor.headings())) == 1
        else (f"Which way does {name} move first?", f"When {name} sets off, which way does it go at first?")
    )
    heading = Fact(
        f"heading/{actor.shape}",
        "direction",
        (*first, f"In which direction does {name} start to move while the clip plays?"),
        way,
        tuple(other for other in _HEADINGS if other != way),
        f"{name[0].upper()}{name[1:]} moves {{}}.",
    )
    return [moves, heading]


def _move(actor: Actor, scene: Scene) -> list[Fact]:
    return [*_motion(actor, scene), _stops(actor)]


def _stops(actor: Actor) -> Fact:
    name = called(actor)
    return yes_no(
        f"stops/{actor.shape}",
        "change",
        (
            f"Does {name} come to rest well before the clip ends?",
            f"Does {name} stop moving at some point and then stay there?",
            f"Is {name} at rest at the end, after it has moved?",
        ),
        actor.act == "stop",
    )


def _deed(actor: Actor, deed: str) -> Fact:
    """What a moving shape does after its first stretch."""
    name = called(actor)
    return Fact(
        f"deed/{actor.shape}",
        "change",
        (
            f"What happens to {name} after it has moved {actor.headings()[0]}?",
            f"After moving {actor.headings()[0]} for a while, what does {name} do next?",
            f"What becomes of the movement of {name} in the later part of the clip?",
        ),
        _DEEDS[deed],
        tuple(text for other, text in _DEEDS.items() if other != deed),
        f"After {name} has moved, {{}}.",
    )


def _stop(actor: Actor, scene: Scene) -> list[Fact]:
    return [*_motion(actor, scene), _stops(actor), _deed(actor, "stop")]


def _turn(actor: Actor, scene: Scene) -> list[Fact]:
    name, (first, last) = called(actor), actor.headings()
    pairs = [(a, b) for a, b in permutations(_HEADINGS, 2) if (a, b) != (first, last)]
    pairs.sort(key=lambda pair: pair != (last, first))
    after = Fact(
        f"after/{actor.shape}",
        "direction",
        (
            f"Which way does {name} go after its turn?",
            f"In which direction is {name} moving at the end of the clip?",
            f"{name[0].upper()}{name[1:]} changes its direction once. Where is it heading then?",
        ),
        last,
        tuple(way for way in _HEADINGS if way != last),
        "After the turn it moves {}.",
    )
    both = Fact(
        f"ways/{actor.shape}",
        "order",
        (
            f"In which order does {name} take its two directions?",
            f"Describe the way of {name} in a few words: where does it go first, and where then?",
        ),
        f"first {first}, then {last}",
        tuple(f"first {a}, then {b}" for a, b in pairs[:4]),
        "It goes {}.",
    )
    return [*_motion(actor, scene), _deed(actor, "turn"), after, both]


def _times(actor: Actor, wordings: tuple[str, ...], sentence: str) -> Fact:
    others = other_numbers(actor.times)
    return Fact(f"times/{actor.shape}", "count_time", wordings, number(actor.times), others, sentence)


def _bounce(actor: Actor, scene: Scene) -> list[Fact]:
    name = called(actor)
    way = "left and right" if scene.axis == "x" else "up and down"
    wordings = (
        f"How many times does {name} go there and back while the clip plays?",
        f"Count the round trips of {name} during the clip.",
        f"How often does {name} come back to the place where it was at first?",
    )
    axis = Fact(
        f"axis/{actor.shape}",
        "direction",
        (f"Does {name} swing up and down or left and right?", f"Along which line does {name} go to and fro?"),
        way,
        ("left and right" if scene.axis == "y" else "up and down", "in a circle"),
        "It goes {}.",
    )
    return [
        _motion(actor, scene)[0],
        _times(actor, wordings, "It goes there and back {} times in all."),
        axis,
    ]


def _blink(actor: Actor, scene: Scene) -> list[Fact]:
    name = called(actor)
    wordings = (
        f"How many times does {name} vanish?",
        f"How often does {name} disappear and come back during the clip?",
        f"Count how many times {name} is gone for a moment before it is seen again.",
    )
    return [_motion(actor, scene)[0], _times(actor, wordings, "The number of times it vanishes is {}.")]


def _recolour(actor: Actor, scene: Scene) -> list[Fact]:
    assert actor.turns
    name, old, new = called(actor), actor.colour, actor.turns[1]
    others = other_colours(old, new)
    after = Fact(
        f"new/{actor.shape}",
        "change",
        (
            f"Which colour does {name} take on during the clip?",
            f"What colour is {name} after the change?",
            f"What colour does {name} have at the end of the clip?",
        ),
        new,
        (old, *others[:3]),
        f"In the end {name} is {{}}.",
    )
    before = Fact(
        f"old/{actor.shape}",
        "change",
        (
            f"What colour was {name} before it changed?",
            f"Which colour does {name} lose?",
            f"What is the colour of {name} at first?",
        ),
        old,
        (new, *others[:3]),
        f"At first {name} is {{}}.",
    )
    shapes = [other.shape for other in scene.actors if other is not actor]
    shapes += [shape for shape in SHAPES if shape not in (*shapes, actor.shape)]
    which = Fact(
        "changer",
        "change",
        ("Which shape changes its colour?", "Which shape has another colour later than at first?"),
        name,
        tuple(f"the {shape}" for shape in shapes),
        "It is {} that changes its colour.",
    )
    return [*_motion(actor, scene), after, before, which]


_ACTS: dict[Act, Callable[[Actor, Scene], list[Fact]]] = {
    "still": _motion,
    "move": _move,
    "stop": _stop,
    "turn": _turn,
    "bounce": _bounce,
    "blink": _blink,
    "appear": lambda actor, scene: [],
    "recolour": _recolour,
    "race": _motion,
}
