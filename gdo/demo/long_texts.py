"""Long texts with questions on them, for Sparrow: the accounts of many clips, one after the other."""

import json
from functools import partial
from pathlib import Path
from random import Random

from gdo.demo.clip_facts import clip_facts
from gdo.demo.scenes import PROGRAMMES, make_scene
from gdo.pool.atomic import write_output

_CLIPS = 60


def write_long_texts(path: Path, *, count: int, seed: int) -> Path:
    """Write JSON lines of `context`, `question`, `answer`, as `gdo sparrow` reads them; a file is reused."""
    if not path.exists():
        lines = [json.dumps(_text(Random(f"long text/{seed}/{number}"))) for number in range(count)]
        write_output(path, partial(Path.write_bytes, data=("\n".join(lines) + "\n").encode()))
    return path


def _text(rng: Random) -> dict[str, str]:
    """Sixty clips told, and a question on one of them."""
    told = []
    for _ in range(_CLIPS):
        facts = clip_facts(make_scene(rng, rng.choice(sorted(PROGRAMMES))))
        told.append(next(fact.answer for fact in facts if fact.prose))
    number = rng.randrange(_CLIPS)
    text = "\n".join(f"Clip {place}. {account}" for place, account in enumerate(told, 1))
    return {
        "context": text,
        "question": f"What does the text say of clip {number + 1}?",
        "answer": told[number],
    }
