"""A model's answers to held-out questions: likeliest options, greedy short answers, losses.

The questions of one medium are asked together, on tokens that they share, by the probe that descriptors use.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, TypeVar

import torch

from gdo.descriptors.probe.chat import show_media
from gdo.descriptors.probe.contract import Asked, Group, ProbeCard, ProbeSettings, Scored
from gdo.descriptors.probe.forest import States
from gdo.descriptors.probe.load import make_probe
from gdo.descriptors.probe.packing import Tree
from gdo.descriptors.probe.plain import TEXT_ONLY, inputs_of
from gdo.descriptors.probe.sampling import sample_answers
from gdo.descriptors.probe.scorer import ModelProbe
from gdo.errors import GdoError, MediaError
from gdo.pool.media import read_frames
from gdo.train.evaluate.grade import same_answer
from gdo.train.evaluate.questions import Question

T = TypeVar("T")
LOT = 16
"""Media that are read together, while those before are asked about."""
MOST = 64
"""Questions on one medium that are asked together."""
READERS = 4


@dataclass(slots=True)
class Said:
    """What a model said to one question; what could not be had is None, and `error` tells why.

    Attributes:
        said: The option with the lowest mean loss per token, or the greedy answer.
        correct: Whether that is right.
        said_by_sum: The option with the lowest loss summed over its tokens; None for free answers.
        correct_by_sum: Whether that is right.
        loss: Mean cross-entropy in nats per token of the right answer with its end of turn.
        error: The reason.
    """

    said: str | None = None
    correct: bool | None = None
    said_by_sum: str | None = None
    correct_by_sum: bool | None = None
    loss: float | None = None
    error: str | None = None


def ask(
    model: Any,
    processor: Any,
    questions: Sequence[Question],
    settings: ProbeSettings,
    tell: Callable[[int], None] | None = None,
) -> list[Said]:
    """Ask a model all questions.

    Args:
        model: In evaluation mode.
        processor: Its processor.
        questions: What is asked.
        settings: Frames, pixels, and the most tokens of a free answer.
        tell: Called with the number of questions done.

    Returns:
        What was said, in the order of the questions; a question that cannot be asked has the reason.

    Raises:
        GdoError: The model cannot be asked at all.
    """
    dtype = str(model.dtype).removeprefix("torch.")
    card = ProbeCard("checkpoint", "", "", dtype, _greedy(settings))
    probe = make_probe(card, processor, model)
    answers = [Said(error=question.error) for question in questions]
    done = sum(question.error is not None for question in questions)
    for lot in _read_ahead(questions, settings):
        groups = [group for group, _ in lot]
        numbers = [of_group for _, of_group in lot]
        _score(probe, groups, numbers, questions, answers)
        _generate(probe, groups, numbers, questions, answers)
        done += sum(map(len, numbers))
        if tell:
            tell(done)
    return answers


def _greedy(settings: ProbeSettings) -> ProbeSettings:
    """Settings under which sampling takes the likeliest token; two answers are the fewest, and alike."""
    return replace(settings, temperature=1e-4, top_p=1e-6, answers=2)


Lot = list[tuple[Group, list[int]]]


def _read_ahead(questions: Sequence[Question], settings: ProbeSettings) -> Iterator[Lot]:
    """Groups of questions with the same media, and the questions' numbers; the next lot is read meanwhile."""
    askable = [number for number, question in enumerate(questions) if question.error is None]
    askable.sort(key=lambda number: (repr(questions[number].media), number))
    by_media = [
        some
        for _, same in groupby(askable, key=lambda number: questions[number].media)
        for some in _cut(list(same), MOST)
    ]
    lots = _cut(by_media, LOT)
    with ThreadPoolExecutor(READERS) as readers:

        def begin(lot: list[list[int]]) -> list[Any]:
            return [readers.submit(_read, [questions[n] for n in numbers], settings) for numbers in lot]

        coming = begin(lots[0]) if lots else []
        for place, lot in enumerate(lots):
            ready = coming
            coming = begin(lots[place + 1]) if place + 1 < len(lots) else []
            yield [(future.result(), numbers) for future, numbers in zip(ready, lot, strict=True)]


def _cut(items: list[T], size: int) -> list[list[T]]:
    return [items[at : at + size] for at in range(0, len(items), size)]


def _read(questions: Sequence[Question], settings: ProbeSettings) -> Group:
    """The media of the questions, or why they cannot be read, and all answers that each may have."""
    asked = tuple(
        Asked(f"{question.qa_uid}#{place}", question.text, text, question.history)
        for question in questions
        for place, text in enumerate(_candidates(question))
    )
    try:
        media = questions[0].media
        frames = tuple(read_frames(medium.kind, medium.paths, settings.budget) for medium in media)
    except MediaError as error:
        return Group((), asked, str(error))
    return Group(frames, asked)


def _candidates(question: Question) -> tuple[str, ...]:
    return question.choice.texts if question.choice else (question.answer,)


def _score(
    probe: ModelProbe,
    groups: Sequence[Group],
    numbers: Sequence[Sequence[int]],
    questions: Sequence[Question],
    answers: list[Said],
) -> None:
    """Losses of all options and of the right answers."""
    for group, of_group, scored in zip(
        groups, numbers, probe.score(groups, losses=True, stability=False), strict=True
    ):
        at = 0
        for number in of_group:
            question = questions[number]
            end = at + len(_candidates(question))
            losses, error = _losses(scored[at:end], group, shows=bool(question.media))
            if error:
                answers[number].error = error
            else:
                lengths = [_length(probe, asked) for asked in group.samples[at:end]]
                _choose(question, losses, lengths, answers[number])
            at = end


def _losses(scored: Sequence[Scored], group: Group, *, shows: bool) -> tuple[list[float], str | None]:
    """The loss of each option, or why one of them has none."""
    if group.error:
        return [], group.error
    losses = [one.loss_video if shows else one.loss_blind for one in scored]
    missing = next((one for one, loss in zip(scored, losses, strict=True) if loss is None), None)
    if missing is not None:
        return [], missing.error or "the model gives no loss"
    return [loss for loss in losses if loss is not None], None


def _length(probe: ModelProbe, asked: Asked) -> int:
    """Tokens of an answer with its end of turn."""
    prompt, full = probe.chat.texts(asked, [])
    return len(probe.chat.ids(full)) - len(probe.chat.ids(prompt))


def _choose(question: Question, losses: Sequence[float], lengths: Sequence[int], answer: Said) -> None:
    """Take the likeliest option; of equally likely ones the first."""
    choice = question.choice
    if choice is None:
        answer.loss = losses[0]
        return
    sums = [loss * length for loss, length in zip(losses, lengths, strict=True)]
    best, best_sum = losses.index(min(losses)), sums.index(min(sums))
    answer.loss = losses[choice.right]
    answer.said, answer.correct = choice.texts[best], best == choice.right
    answer.said_by_sum, answer.correct_by_sum = choice.texts[best_sum], best_sum == choice.right


def _generate(
    probe: ModelProbe,
    groups: Sequence[Group],
    numbers: Sequence[Sequence[int]],
    questions: Sequence[Question],
    answers: list[Said],
) -> None:
    """Greedy answers to the questions without options."""
    free: Lot = []
    for group, of_group in zip(groups, numbers, strict=True):
        open_ones = [n for n in of_group if questions[n].choice is None and answers[n].error is None]
        asked = [Asked(questions[n].qa_uid, questions[n].text, "", questions[n].history) for n in open_ones]
        if asked:
            free.append((Group(group.media, tuple(asked)), open_ones))
    said = _grown(probe, free) if probe.shares else _one_by_one(probe, free)
    for number, told in said:
        answer, question = answers[number], questions[number]
        if isinstance(told, GdoError):
            answer.error = str(told)
            continue
        text = probe.chat.processor.tokenizer.decode(told, skip_special_tokens=True).strip()
        answer.said, answer.correct = text, same_answer(text, question.answer)


def _grown(probe: ModelProbe, free: Lot) -> list[tuple[int, list[int] | GdoError]]:
    """Greedy answers as twigs on shared media, as token ids."""
    told: dict[int, list[int] | GdoError] = {}
    questions = {n: asked for group, numbers in free for n, asked in zip(numbers, group.samples, strict=True)}

    def use(states: States) -> None:
        places = states.packed.places
        names = [questions[place.branch.sample].qa_uid for place in places]
        for place, grown in zip(
            places,
            sample_answers(probe.forest, states, places, names, probe.card.settings, probe.ends),
            strict=True,
        ):
            number = place.branch.sample
            told[number] = GdoError("the model gives no numbers") if grown is None else grown[0]

    def fail(tree: Tree, reason: str) -> None:
        told.update({branch.sample: GdoError(reason) for branch in tree.branches})

    trees: list[Tree] = []
    for group, numbers in free:
        if group.media:
            trees += probe.chat.media_trees(group, numbers, answer=False)
        else:
            trees += [
                probe.chat.blind_tree(asked, n, answer=False)
                for asked, n in zip(group.samples, numbers, strict=True)
            ]
    probe.forest.run(trees, use, fail, keep_cache=True)
    return list(told.items())


@torch.inference_mode()
def _one_by_one(probe: ModelProbe, free: Lot) -> list[tuple[int, list[int] | GdoError]]:
    """Greedy answers by the model's own `generate`, as token ids."""
    told: list[tuple[int, list[int] | GdoError]] = []
    forest, settings = probe.forest, probe.card.settings
    for group, numbers in free:
        shown = show_media(group.media, settings) if group.media else TEXT_ONLY
        for asked, number in zip(group.samples, numbers, strict=True):
            inputs = inputs_of(forest, probe.chat, probe.chat.texts(asked, shown.parts)[0], shown)
            made = forest.model.generate(
                **inputs,
                do_sample=False,
                max_new_tokens=settings.max_new_tokens,
                eos_token_id=probe.ends,
                pad_token_id=forest.pad,
            )
            told.append((number, made[0, inputs["input_ids"].shape[1] :].tolist()))
    return told
