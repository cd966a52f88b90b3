"""Lessons for a small model: pictures with their tokens' words, drills, questions; and what they cost it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import numpy as np
import torch
from exam import (
    Shown,
    all_about,
    draw,
    imagine_evenly,
    needing_no_look,
    questions,
    reading_drill,
    stated,
    whether_time,
)
from mosaics import Drill, Words, make_drill
from pupil import GROUPS, MARKS, ROW, VOCABULARY, Pupil, cut
from torch import Tensor
from torch.nn import functional

from gdo.descriptors.probe.packing import Branch, Packed, Tree, fill_rows, pack, text_tree
from gdo.descriptors.probe.questions import STATIC, TEMPORAL, ask_temporal
from gdo.descriptors.proxy.language import END, IMAGE, START, VIDEO, VISION_END, VISION_START

QUESTIONS = 8
"""On a picture."""
DENSE = 18
"""On a picture all of which is asked about: by a few at a time nothing of it comes to be learned."""
NO_LOOK = 0.08
"""Share of those that need no picture."""
STATED = 3
"""Questions whose answer is stated before them, for each picture."""
ABOUT_TIME = 0.5
"""Share of the pictures beside which it is asked whether some question needs time."""
SHARPNESS = 16.0
"""Of the likeness between a visual token and a word."""
NORM = 1.5
"""Length of a visual token, its place left aside, in lengths of a word's embedding."""
REACH = 0.5
"""How much longer it is at the edge of a picture for its place across or down, in the same unit."""


def told(words: Words, rows: int, columns: int) -> Tensor:
    """What each visual token of frames of so many rows and columns shows.

    Returns:
        float [tokens, words + marks + 2]: 1 for each word and mark it shows, else 0; at last how far to the
        right and how far down it is, -1 to 1.
    """
    number = {word: place for place, word in enumerate((*VOCABULARY, *MARKS))}
    table = torch.zeros(len(words), len(number) + 2)
    for token, said in enumerate(words):
        for word in said:
            if word.split()[0] in number:
                table[token, number[word.split()[0]]] = 1
    across, down = (2 * (torch.arange(count) + 0.5) / count - 1 for count in (columns, rows))
    frames = len(words) // (rows * columns)
    table[:, -2] = across.repeat(frames * rows)
    table[:, -1] = down.repeat_interleave(columns).repeat(frames)
    return table


def speak_loss(pupil: Pupil, seen: Tensor, wanted: Tensor) -> Tensor:
    """How far visual tokens are from saying what they show.

    Args:
        pupil: Its embeddings are the words.
        seen: Visual tokens, [tokens, width].
        wanted: See `told`.
    """
    words, (wanted, places) = pupil.spoken, wanted.split([wanted.shape[1] - 2, 2], dim=1)
    unit = words.norm(dim=1).mean().detach()
    along = seen @ pupil.axes.T
    seen = seen - along @ pupil.axes
    likeness = SHARPNESS * functional.normalize(seen, dim=1) @ functional.normalize(words, dim=1).T
    total = 0.05 * ((seen.norm(dim=1) - NORM * unit) ** 2).mean()
    total = total + ((along / (REACH * unit) - places) ** 2).mean()
    things, grounds = wanted.sum(1) > 1, wanted.sum(1) == 1
    if grounds.any():
        total = total - 0.3 * (likeness[grounds].log_softmax(1) * wanted[grounds]).sum(1).mean()
    if things.any():
        among_all = likeness[things].log_softmax(1) * wanted[things]
        total = total - 0.2 * (among_all.sum(1) / wanted[things].sum(1)).mean()
    for group, weight in GROUPS:
        some = things & (wanted[:, group].sum(1) > 0)
        if some.any():
            right = wanted[some][:, group]
            total = total - weight * (likeness[some][:, group].log_softmax(1) * right).sum(1).mean()
    return total


@dataclass
class Lesson:
    """A batch to learn from.

    Attributes:
        trees: Token trees.
        shown: What the visual tokens of each tree that has some show (`told`), by its number in `trees`.
        learned: Of a drill's branch, which of its answer's tokens count; by the tree's number.
    """

    trees: list[Tree] = field(default_factory=list)
    shown: dict[int, Tensor] = field(default_factory=dict)
    learned: dict[int, list[bool]] = field(default_factory=dict)


def media_tree(
    pupil: Pupil,
    rows: int,
    columns: int,
    stamps: Sequence[float],
    frames: Sequence[Any],
    asked: Sequence[tuple[str, str]],
) -> Tree:
    """A tree as the probe makes it; without frames it has no pixels, which must be given to the model."""
    count, clip = rows * columns, bool(stamps)
    body = "".join(f"<{time:.1f} seconds>{VISION_START}{VIDEO * count}{VISION_END}" for time in stamps)
    head = f"{START}user\n" + (body or f"{VISION_START}{IMAGE * count}{VISION_END}")
    trunk = pupil.ids(head)
    pad = pupil.ids(VIDEO if clip else IMAGE)[0]
    positions = _positions(trunk, pad, rows, columns)
    branches = [_branch(pupil, VISION_END, question, answer) for question, answer in asked]
    kind = ("video_grid_thw", "pixel_values_videos") if clip else ("image_grid_thw", "pixel_values")
    media = {}
    if frames:
        grid = torch.tensor([[max(1, len(stamps)), 2 * rows, 2 * columns]])
        media = {kind[1]: cut(frames), kind[0]: grid}
    return Tree(trunk[:-1], branches, positions[:, :-1], int(positions[0, -1]), media)


def _branch(pupil: Pupil, before: str, question: str, answer: str) -> Branch:
    prompt = pupil.ids(f"{before}{question}{END}{START}assistant\n")
    return Branch(prompt + pupil.ids(answer + END), len(prompt), 0)


def _positions(ids: Sequence[int], pad: int, rows: int, columns: int) -> Tensor:
    """Positions for rotary embedding, [3, len(ids)]: time, down and right within a frame."""
    places, at, now = np.zeros((3, len(ids)), np.int64), 0, 0
    while at < len(ids):
        if ids[at] != pad:
            places[:, at], at, now = now, at + 1, now + 1
            continue
        frame = slice(at, at + rows * columns)
        places[:, frame] = now
        places[1, frame] += np.repeat(np.arange(rows), columns)
        places[2, frame] += np.tile(np.arange(columns), rows)
        at, now = at + rows * columns, now + max(rows, columns)
    return torch.from_numpy(places)


def drill_lesson(pupil: Pupil, rng: Random, count: int, lesson: Lesson) -> None:
    """Add drills to a lesson: things to be looked up, and charts and signs to be read."""
    for turn in range(count):
        drill: Drill = reading_drill(rng) if turn % 2 else make_drill(rng)
        stamps = tuple(0.5 + time for time in range(drill.times)) if drill.times > 1 else ()
        tree = media_tree(pupil, drill.rows, drill.columns, stamps, (), [])
        prompt = pupil.ids(f"{VISION_END}List them.{END}{START}assistant\n")
        spelled = [pupil.ids(f" {word}") for word in drill.list]
        tree.branches.append(Branch(prompt + [token for ids in spelled for token in ids], len(prompt), 0))
        number = len(lesson.trees)
        lesson.trees.append(tree)
        lesson.shown[number] = told(drill.words, drill.rows, drill.columns)
        lesson.learned[number] = [mark for ids, mark in zip(spelled, drill.learned, strict=True) for _ in ids]


def exam_lesson(
    pupil: Pupil,
    rng: Random,
    count: int,
    lesson: Lesson,
    *,
    paint: bool,
    looks: float,
    plain: float,
) -> None:
    """Add stills and clips to a lesson, with questions each; some are asked without the picture too.

    Some are asked after a few sentences, in one of which the answer stands.
    """
    for _ in range(count):
        shown: Shown = draw(rng, paint=paint)
        asked = questions(rng, shown.content, QUESTIONS, looks=looks, plain=plain)
        lesson.shown[len(lesson.trees)] = told(shown.words, shown.rows, shown.columns)
        tree = media_tree(pupil, shown.rows, shown.columns, shown.stamps, shown.frames, asked)
        lesson.trees.append(tree)
        blind = [rng.choice(asked)]
        if rng.random() < ABOUT_TIME:
            blind.append(_about_time(rng))
        blind += stated(rng, shown.content, STATED)
        for one in blind:
            lesson.trees.append(text_tree([], [_branch(pupil, f"{START}user\n", *one)]))


def dense_lesson(pupil: Pupil, rng: Random, count: int, lesson: Lesson, *, plain: float, read: bool) -> None:
    """Add imagined stills and clips to a lesson, with many questions each; to `read`, charts and signs."""
    for _ in range(count):
        shown = imagine_evenly(rng, read=read)
        asked = all_about(rng, shown.content, DENSE, plain=plain, read=read)
        asked = [needing_no_look(rng) if rng.random() < NO_LOOK else one for one in asked]
        lesson.shown[len(lesson.trees)] = told(shown.words, shown.rows, shown.columns)
        lesson.trees.append(media_tree(pupil, shown.rows, shown.columns, shown.stamps, (), asked))


def words_lesson(pupil: Pupil, rng: Random, count: int, lesson: Lesson) -> None:
    """Add questions that need no picture to a lesson, and as many whether a question needs time."""
    asked = [needing_no_look(rng) for _ in range(count)]
    asked += [_about_time(rng) for _ in range(count)]
    lesson.trees += [text_tree([], [_branch(pupil, f"{START}user\n", *one)]) for one in asked]


def _about_time(rng: Random) -> tuple[str, str]:
    """The question whether some question needs time, and the answer."""
    question, needs = whether_time(rng)
    return ask_temporal(question), TEMPORAL if needs else STATIC


def imagine(pupil: Pupil, wanted: Tensor) -> Tensor:
    """Visual tokens that say just what is told of them (`told`), one word in twenty forgotten."""
    said, places = wanted.split([wanted.shape[1] - 2, 2], dim=1)
    said = said * (torch.rand(said.shape) > 0.05)
    embedded = pupil.spoken
    summed = said @ functional.normalize(embedded, dim=1)
    scaled = NORM * summed / summed.norm(dim=1, keepdim=True).clamp(min=0.5)
    there = REACH * (places + 0.1 * torch.randn_like(places)) @ pupil.axes
    return (scaled + there) * embedded.norm(dim=1).mean().detach() + 0.02 * torch.randn_like(scaled)


def look(pupil: Pupil, trees: Sequence[Tree]) -> Tensor:
    """Visual tokens of the trees' pictures, by the tower."""
    pixels = [value for tree in trees for name, value in tree.media.items() if name.startswith("pixel")]
    grids = [value for tree in trees for name, value in tree.media.items() if name.endswith("grid_thw")]
    seen: Tensor = pupil.model.model.visual(
        torch.cat(pixels).float() / 127.5 - 1, grid_thw=torch.cat(grids), return_dict=True
    ).pooler_output
    return seen


def lesson_loss(pupil: Pupil, lesson: Lesson, *, paint: bool) -> Tensor:
    """Loss of the answers and of the drills, and with pictures of what visual tokens say."""
    numbers = {id(tree): number for number, tree in enumerate(lesson.trees)}
    rows = fill_rows(lesson.trees, ROW)
    packed = pack(rows, pupil.forest.pad)
    shown = [tree for row in rows for tree in row if numbers[id(tree)] in lesson.shown]
    wanted = torch.cat([lesson.shown[numbers[id(tree)]] for tree in shown])
    seen = look(pupil, shown) if paint else imagine(pupil, wanted)
    visual = torch.isin(packed.ids, torch.tensor([pupil.ids(token)[0] for token in (IMAGE, VIDEO)]))
    inputs = pupil.model.get_input_embeddings()(packed.ids).masked_scatter(visual[..., None], seen)
    hidden = pupil.model.model.language_model(
        inputs_embeds=inputs,
        attention_mask=packed.mask(torch.device("cpu")),
        position_ids=pupil.forest.rope(packed.positions),
        use_cache=False,
    ).last_hidden_state
    learned = {id(lesson.trees[number].branches[0]): marks for number, marks in lesson.learned.items()}
    loss = _said_loss(pupil, packed, hidden, learned)
    return loss + 0.3 * speak_loss(pupil, seen, wanted) if paint else loss


def _said_loss(pupil: Pupil, packed: Packed, hidden: Tensor, learned: dict[int, list[bool]]) -> Tensor:
    """Mean loss of answers, long ones counting less per token, plus that of the drills."""
    rows, columns, targets = list[int](), list[int](), list[int]()
    answers, drills = list[float](), list[float]()
    for place in packed.places:
        said = place.branch.ids[place.branch.answer :]
        first = place.column + place.branch.answer - 1
        rows += [place.row] * len(said)
        columns += range(first, first + len(said))
        targets += said
        marks = learned.get(id(place.branch))
        answers += [0.0 if marks else len(said) ** -0.5] * len(said)
        drills += map(float, marks or [False] * len(said))
    logits = pupil.model.get_output_embeddings()(hidden[rows, columns])
    losses = functional.cross_entropy(logits, torch.tensor(targets), reduction="none")
    weights = (torch.tensor(some) for some in (answers, drills))
    parts = [(losses * weight).sum() / weight.sum() for weight in weights if weight.any()]
    return torch.stack(parts).sum()
