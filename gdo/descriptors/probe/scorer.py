"""The probe at work: batches of groups in, losses and stability of every sample out."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import TypeVar

import torch

from gdo.descriptors.probe.chat import Chat, show_media
from gdo.descriptors.probe.contract import Asked, Group, ProbeCard, Scored
from gdo.descriptors.probe.forest import Forest, NotFiniteError, States, last_prompt_states
from gdo.descriptors.probe.packing import Branch, Place, Tree, text_tree
from gdo.descriptors.probe.plain import plain_answers, plain_loss
from gdo.descriptors.probe.questions import STATIC, TEMPORAL, ask_temporal
from gdo.descriptors.probe.sampling import jaccard, sample_answers
from gdo.errors import GdoError
from gdo.pool.threads import in_threads

CHARACTERS_PER_TOKEN = 3
TEMPLATE_TOKENS = 16

Item = TypeVar("Item")


@dataclass(slots=True)
class _Sheet:
    """The samples of one call, and what became of each."""

    asked: list[Asked]
    scored: list[Scored] = field(default_factory=list)
    reasons: list[list[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.scored = [Scored() for _ in self.asked]
        self.reasons = [[] for _ in self.asked]

    def fail(self, sample: int, reason: str) -> None:
        if reason not in self.reasons[sample]:
            self.reasons[sample].append(reason)

    def fail_tree(self, tree: Tree, reason: str) -> None:
        for branch in tree.branches:
            self.fail(branch.sample, reason)

    def put(self, sample: int, name: str, value: float) -> None:
        """Store a value; one that is no number is an error of its sample."""
        if math.isfinite(value):
            setattr(self.scored[sample], name, value)
        else:
            self.fail(sample, f"{name} is not a number ({value})")

    def close(self) -> list[Scored]:
        for scored, reasons in zip(self.scored, self.reasons, strict=True):
            scored.error = "; ".join(reasons) or None
        return self.scored


@dataclass(slots=True)
class ModelProbe:
    """A loaded vision-language model that samples are asked of; see `contract.Probe`.

    Attributes:
        card: What it is.
        chat: Its text side.
        forest: Its forward.
        ends: Token ids that end an answer.
        shares: Samples of one medium share its tokens; otherwise each is scored by itself.
        picture_tokens: Tokens of one picture of [height, width].
        ahead: Groups that are made into tensors together, while the model computes those before.
        threads: Threads that make them, each on one core.
    """

    card: ProbeCard
    chat: Chat
    forest: Forest
    ends: list[int]
    picture_tokens: Callable[[int, int], int]
    shares: bool = True
    ahead: int = 32
    threads: int = 1

    def cost(self, group: Group) -> int:
        """Token positions that the group takes up, media included, about."""
        pictures = [image.shape[:2] for frames in group.media for image in frames.images]
        media = sum(self.picture_tokens(*shape) for shape in pictures)
        return media + sum(_text_cost(asked) for asked in group.samples) * (2 if pictures else 1)

    def score(self, groups: Sequence[Group], *, losses: bool, stability: bool) -> list[list[Scored]]:
        """Losses and stability of every sample; a value that cannot be had is None, with the reason.

        Source: VDS, PPL and SC of arXiv 2603.12478, as told in spec/descriptors.md.
        """
        sheet = _Sheet([asked for group in groups for asked in group.samples])
        numbers, samples = iter(range(len(sheet.asked))), []
        for group in groups:
            samples.append([next(numbers) for _ in group.samples])
        tasks = [
            (part, kept)
            for group, of_group in zip(groups, samples, strict=True)
            for part, kept in [self._checked(group, of_group, sheet)]
            if kept
        ]
        (self._score_trees if self.shares else self._score_plain)(tasks, sheet, losses, stability)
        scored = sheet.close()
        return [[scored[sample] for sample in of_group] for of_group in samples]

    def temporal_need(self, questions: Sequence[str]) -> list[float | None]:
        """P(Temporal) / (P(Temporal) + P(Static)) of the first answer token; None where it is no number.

        The question alone is asked, as released; 1 and 0 of the release are this above and below 0.5.

        Source: TNC of arXiv 2603.12478, as told in spec/descriptors.md.
        """
        temporal, static = self._first_tokens()
        needs: list[float | None] = [None] * len(questions)

        def use(states: States) -> None:
            places, told = states.packed.places, list[float]()
            for logits in self.forest.logits(last_prompt_states(states, places)):
                told += (logits[:, temporal] - logits[:, static]).double().sigmoid().tolist()
            if len(places) > 1 and not all(map(math.isfinite, told)):
                raise NotFiniteError
            for place, value in zip(places, told, strict=True):
                needs[place.branch.sample] = value if math.isfinite(value) else None

        trees = list(self._question_trees(questions))
        self.forest.run(trees, use, lambda tree, reason: None)
        return needs

    def _checked(self, group: Group, samples: list[int], sheet: _Sheet) -> tuple[Group, list[int]]:
        """The group without the samples whose text cannot be asked."""
        kept = list[int]()
        for asked, sample in zip(group.samples, samples, strict=True):
            try:
                self.chat.check(asked)
                kept.append(sample)
            except GdoError as error:
                sheet.fail(sample, str(error))
        return Group(group.media, tuple(sheet.asked[sample] for sample in kept), group.error), kept

    def _score_trees(
        self, tasks: list[tuple[Group, list[int]]], sheet: _Sheet, losses: bool, stability: bool
    ) -> None:
        def use(states: States) -> None:
            places = states.packed.places
            shown = [place for place in places if place.shown]
            told = self.forest.answer_losses(states) if losses else []
            names = ["loss_video" if place.shown else "loss_blind" for place in places][: len(told)]
            alike = self._stability(states, shown, sheet) if stability and shown else []
            if len(places) > 1 and not all(map(math.isfinite, (*told, *alike))):
                raise NotFiniteError
            for place, name, value in zip(places, names, told, strict=False):
                sheet.put(place.branch.sample, name, value)
            for place, value in zip(shown, alike, strict=False):
                sheet.put(place.branch.sample, "self_consistency", value)

        for trees in self._ahead(tasks, sheet, losses):
            self.forest.run(trees, use, sheet.fail_tree, keep_cache=stability)

    def _ahead(
        self, tasks: list[tuple[Group, list[int]]], sheet: _Sheet, losses: bool
    ) -> Iterator[list[Tree]]:
        """Trees of media and blind ones by the lot; threads make the next lot while one is computed."""

        def make(task: tuple[Group, list[int]]) -> list[Tree]:
            trees = self._media_trees(*task, sheet, losses)
            return [*trees, *self._blind_trees(*task, sheet)] if losses else trees

        made = self.in_threads(make, tasks, self.ahead)
        while lot := list(islice(made, self.ahead)):
            yield [tree for trees in lot for tree in trees]

    def in_threads(
        self, make: Callable[[Item], list[Tree]], items: Iterable[Item], ahead: int
    ) -> Iterator[list[Tree]]:
        """What is made of each item, in order, by threads that work up to `ahead` items before."""
        if self.threads == 1:
            yield from in_threads(make, items, 1, ahead)
            return
        before = torch.get_num_threads()
        try:
            yield from in_threads(make, items, self.threads, ahead, partial(torch.set_num_threads, 1))
        finally:
            torch.set_num_threads(before)  # threads that begin later take over what was set last

    def _media_trees(self, group: Group, samples: list[int], sheet: _Sheet, losses: bool) -> list[Tree]:
        """Trees of the samples that can be shown their media; the others get the reason."""
        if not group.media:
            for sample in samples:
                sheet.fail(sample, group.error or "no media")
            return []
        try:
            trees = self.chat.media_trees(group, samples, answer=losses)
        except Exception as error:  # processors raise whatever they like
            if len(samples) > 1:
                return [
                    tree
                    for asked, sample in zip(group.samples, samples, strict=True)
                    for tree in self._media_trees(Group(group.media, (asked,)), [sample], sheet, losses)
                ]
            sheet.fail(samples[0], f"the processor refuses it ({_line(error)})")
            return []
        return [fitting for tree in trees for fitting in self._fitting(tree, sheet)]

    def _fitting(self, tree: Tree, sheet: _Sheet) -> Iterator[Tree]:
        """The tree without branches that are too long for the model, in parts that fit a batch."""
        kept = list[Branch]()
        for branch in tree.branches:
            if reason := self.chat.length_error(tree, branch):
                sheet.fail(branch.sample, reason)
            else:
                kept.append(branch)
        parts = [Tree(tree.trunk, kept, tree.positions, tree.start, tree.media)] if kept else []
        while parts:
            part = parts.pop(0)
            halves = part.split() if part.length > self.forest.budget else []
            if halves:
                parts = halves + parts
            else:
                yield part

    def _blind_trees(self, group: Group, samples: list[int], sheet: _Sheet) -> Iterator[Tree]:
        for asked, sample in zip(group.samples, samples, strict=True):
            try:
                yield self.chat.blind_tree(asked, sample)
            except Exception as error:  # tokenizers and templates raise whatever they like
                sheet.fail(sample, str(error) if isinstance(error, GdoError) else _line(error))

    def _stability(self, states: States, places: list[Place], sheet: _Sheet) -> list[float]:
        """How alike the sampled answers of each place are; NaN where the model gave no numbers."""
        names = [sheet.asked[place.branch.sample].qa_uid for place in places]
        answers = sample_answers(self.forest, states, places, names, self.card.settings, self.ends)
        return [math.nan if of_place is None else jaccard(of_place) for of_place in answers]

    def _score_plain(
        self, tasks: list[tuple[Group, list[int]]], sheet: _Sheet, losses: bool, stability: bool
    ) -> None:
        """Every sample by itself."""
        settings = self.card.settings
        for group, samples in tasks:
            shown = show_media(group.media, settings) if group.media else None
            for asked, sample in zip(group.samples, samples, strict=True):
                try:
                    if losses:
                        sheet.put(sample, "loss_blind", plain_loss(self.forest, self.chat, asked, None))
                    if shown is None:
                        sheet.fail(sample, group.error or "no media")
                        continue
                    if losses:
                        sheet.put(sample, "loss_video", plain_loss(self.forest, self.chat, asked, shown))
                    if stability:
                        answers = plain_answers(self.forest, self.chat, asked, shown, settings, self.ends)
                        sheet.put(sample, "self_consistency", jaccard(answers))
                except Exception as error:  # processors raise whatever they like
                    sheet.fail(sample, f"the model refuses it ({_line(error)})")

    def _question_trees(self, questions: Sequence[str]) -> Iterator[Tree]:
        """The prompts, their common head as the trunk of as many branches as a row takes."""
        prompts = [self.chat.ids(self._temporal_prompt(question)) for question in questions]
        first, other = (self.chat.ids(self._temporal_prompt(text)) for text in ("a", "Z"))
        head = next(i for i, (a, b) in enumerate(zip(first, other, strict=False)) if a != b)
        trunk = first[:head] if self.shares else []
        branches, size = list[Branch](), len(trunk)
        for sample, prompt in enumerate(prompts):
            if len(prompt) > self.chat.context:
                continue
            if not trunk or prompt[:head] != trunk:
                yield text_tree([], [Branch(prompt, len(prompt), sample)])
                continue
            rest = prompt[head:]
            if branches and size + len(rest) > self.forest.row:
                yield text_tree(trunk, branches)
                branches, size = [], head
            branches.append(Branch(rest, len(rest), sample))
            size += len(rest)
        if branches:
            yield text_tree(trunk, branches)

    def _temporal_prompt(self, question: str) -> str:
        return self.chat.texts(Asked("", ask_temporal(question), ""), [])[0]

    def _first_tokens(self) -> tuple[int, int]:
        """First tokens of the two answers, as they follow the prompt.

        Raises:
            GdoError: They are the same.
        """
        tokens = []
        for word in (TEMPORAL, STATIC):
            prompt, full = self.chat.texts(Asked("", ask_temporal("What happens?"), word), [])
            tokens.append(self.chat.ids(full)[len(self.chat.ids(prompt))])
        if tokens[0] == tokens[1]:
            raise GdoError(f"{self.card.model} begins {TEMPORAL} and {STATIC} with the same token")
        return tokens[0], tokens[1]


def _text_cost(asked: Asked) -> int:
    texts = [asked.question, asked.answer, *(text for turn in asked.history for text in turn)]
    return TEMPLATE_TOKENS * (1 + len(asked.history)) + sum(map(len, texts)) // CHARACTERS_PER_TOKEN


def _line(error: Exception) -> str:
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
