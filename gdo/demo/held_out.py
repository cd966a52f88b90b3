"""Questions to test on: clean ones, of every kind, on media that no example pool of another seed has."""

import json
from collections import Counter
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from gdo.demo.clip_facts import clip_facts
from gdo.demo.media import Medium, write_medium
from gdo.demo.plan import CLEAN, make_plan
from gdo.demo.scenes import Scene
from gdo.demo.still_facts import still_facts
from gdo.demo.text_facts import text_fact
from gdo.demo.words import Fact
from gdo.pool.atomic import remove_left, write_output

_DRAWN_FROM = 3000
"""Samples in whose pool the media are found."""
_PER_MEDIUM = 2
_OPTIONS = 4


def make_held_out(folder: Path, *, per_kind: int, seed: int) -> Path:
    """Write questions with up to four short answers to choose from, and their media; a file is reused.

    The options stand in the field `options`, not in the question: the likeliest is what a model says, whether
    or not it knows what to do with letters.

    Args:
        folder: Where to write; made if missing.
        per_kind: Most questions of each kind.
        seed: Of everything random; another one than the pool's.

    Returns:
        A JSONL file of rows as `gdo evaluate --on` takes them, with the field `kind`.
    """
    file = folder / "held_out.jsonl"
    if file.exists():
        return file
    for name in ("images", "videos"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        remove_left(folder / name)
    rng = Random(f"held out/{seed}")
    media = make_plan(_DRAWN_FROM, seed, CLEAN).media
    rng.shuffle(media)
    taken: Counter[str] = Counter()
    lines: list[str] = []
    for medium in media:
        wanted = [fact for fact in _facts(medium, rng) if taken[fact.kind] < per_kind and not fact.prose]
        for fact in wanted[:_PER_MEDIUM]:
            taken[fact.kind] += 1
            lines.append(json.dumps(_record(medium, fact, rng, len(lines))))
            write_medium(folder, medium)
    write_output(file, partial(Path.write_bytes, data=("\n".join(lines) + "\n").encode()))
    return file


def _facts(medium: Medium, rng: Random) -> list[Fact]:
    """The facts of a medium, and one of none, in a random order."""
    content = medium.content
    facts = [text_fact(rng), *(clip_facts(content) if isinstance(content, Scene) else still_facts(content))]
    rng.shuffle(facts)
    return facts


def _record(medium: Medium, fact: Fact, rng: Random, number: int) -> dict[str, Any]:
    clip = isinstance(medium.content, Scene)
    asked = f"{'<video>' if clip else '<image>'}\n{rng.choice(fact.wordings)}"
    answers = [fact.answer, *rng.sample(fact.others, min(len(fact.others), _OPTIONS - 1))]
    answers = [answer[0].upper() + answer[1:] for answer in answers]
    turns = [{"role": "user", "content": asked}, {"role": "assistant", "content": answers[0]}]
    return {
        "id": f"held-out-{number:05d}",
        "kind": fact.kind,
        "messages": turns,
        "options": sorted(answers),
        "videos" if clip else "images": [medium.path],
    }
