"""From a sample to tensors: chat template, tokens, pictures, and which tokens are learned.

A conversation is tokenised in pieces that end where an answer begins or ends, so that the ids of every prompt
are those that the model sees when it is asked. Learned are the tokens of each answer with its end of turn.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gdo.descriptors.probe.chat import Chat, Shown, show_media
from gdo.descriptors.probe.contract import ProbeSettings
from gdo.errors import GdoError
from gdo.pool.frames import Frames, MediaInfo
from gdo.pool.media import read_frames
from gdo.train.recipe import Recipe
from gdo.train.samples import Medium, Sample, Turn, placed

NOT_LEARNED = -100
_TEXT_INPUTS = ("input_ids", "attention_mask", "mm_token_type_ids", "token_type_ids")


@dataclass(frozen=True, slots=True)
class Encoded:
    """A sample as the model takes it.

    Attributes:
        ids: Token ids, media placeholders expanded, int64 [length].
        labels: The ids of what is learned, elsewhere `NOT_LEARNED`, int64 [length].
        positions: For rotary embedding, int64 [axes, length].
        media: What the processor made of the pictures; tensors that are joined along their first axis.
        frames: Pictures shown.
        cut: It was longer and has lost its end.
    """

    ids: Tensor
    labels: Tensor
    positions: Tensor
    media: Mapping[str, Tensor] = field(default_factory=dict)
    frames: int = 0
    cut: bool = False

    @property
    def answers(self) -> int:
        """Number of learned tokens."""
        return int((self.labels != NOT_LEARNED).sum())


class TooLongError(GdoError):
    """A sample has more tokens than the recipe allows."""


class Encoder:
    """Makes samples into tensors, by the processor and the chat template of a model.

    Args:
        model: The model's folder or its name at the hub.
        recipe: Budgets, placement, length.
    """

    def __init__(self, model: str | Path, recipe: Recipe) -> None:
        from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

        self.recipe = recipe
        self.processor: Any = AutoProcessor.from_pretrained(model)
        settings = ProbeSettings(budget=recipe.budget, frames_as=recipe.frames_as)
        with torch.device("meta"):
            skeleton = AutoModelForImageTextToText.from_config(AutoConfig.from_pretrained(model))
        self._chat = Chat(self.processor, skeleton, settings, recipe.max_length)
        self._settings = settings

    @cached_property
    def _media_tokens(self) -> list[str]:
        names = ("image_token", "video_token")
        found = (getattr(self.processor, name, None) for name in names)
        return [token for token in found if isinstance(token, str)]

    def encode(self, sample: Sample) -> Encoded:
        """Read the sample's media and make its tensors.

        Raises:
            TooLongError: It is longer than `max_length`, and is to be dropped or cannot be cut.
            GdoError: A medium cannot be read, or the text would be read as media.
        """
        for token in self._media_tokens:
            if any(token in turn.text for turn in sample.turns):
                raise GdoError(f"the text holds {token}, which the model takes for a picture")
        sample = placed(sample, self.recipe.image_place, self.recipe.seed)
        frames = [self._read(medium) for medium in sample.media]
        return self.fit(self.join(sample.turns, frames))

    def _read(self, medium: Medium) -> Frames:
        return read_frames(medium.kind, medium.paths, self.recipe.budget)

    def join(self, turns: Sequence[Turn], frames: Sequence[Frames]) -> Encoded:
        """The tensors of a whole conversation; `frames` are those of its media in order."""
        shown = [show_media([one], self._settings) for one in frames]
        ids, learned, types = list[Tensor](), list[Tensor](), list[Tensor]()
        media: dict[str, list[Tensor]] = {}
        for text, of_media, is_answer in self._pieces(turns, shown):
            inputs = self._process(text, of_media, first=not ids)
            piece = inputs["input_ids"][0]
            ids.append(piece)
            learned.append(piece if is_answer else torch.full_like(piece, NOT_LEARNED))
            types.append(inputs.get("mm_token_type_ids", torch.zeros_like(piece)[None])[0])
            for name, value in inputs.items():
                if name not in _TEXT_INPUTS:
                    media.setdefault(name, []).append(value)
        joined = {name: torch.cat(values) for name, values in media.items()}
        told = {"input_ids": torch.cat(ids)[None], "mm_token_type_ids": torch.cat(types)[None], **joined}
        told["attention_mask"] = torch.ones_like(told["input_ids"])
        length = told["input_ids"].shape[1]
        positions, _ = self._chat.rope_positions(told, length)
        count = sum(len(one.images) for one in frames)
        return Encoded(told["input_ids"][0], torch.cat(learned), positions, joined, count)

    def _pieces(
        self, turns: Sequence[Turn], shown: Sequence[Shown]
    ) -> Iterator[tuple[str, list[Shown], bool]]:
        """Prompts and answers in turn: text, the media in it, whether it is an answer."""
        messages, by_turn = _messages(turns, shown)
        waiting: list[Shown] = []
        before = ""
        for number, turn in enumerate(turns):
            waiting += by_turn[number]
            if turn.role != "assistant":
                continue
            prompt = self._template(messages[:number], add_generation_prompt=True)
            whole = self._template(messages[: number + 1])
            if not prompt.startswith(before) or not whole.startswith(prompt):
                raise GdoError(
                    "the model's chat template writes earlier turns anew once there is an answer; "
                    "it cannot be told which tokens are the answer's"
                )
            yield prompt[len(before) :], waiting, False
            end = len(prompt) + self._end_of_turn(whole[len(prompt) :])
            yield whole[len(prompt) : end], [], True
            before, waiting = whole[:end], []

    def _template(self, messages: list[dict[str, Any]], **options: bool) -> str:
        return str(self.processor.apply_chat_template(messages, tokenize=False, **options))

    def _end_of_turn(self, text: str) -> int:
        """Where an answer ends with its end of turn; line breaks that the template adds are not learned."""
        token = self.processor.tokenizer.eos_token
        at = text.rfind(token) if token else -1
        return at + len(token) if at >= 0 else len(text)

    def _process(self, text: str, shown: Sequence[Shown], *, first: bool) -> dict[str, Tensor]:
        """Token ids of a piece and what the processor makes of its media."""
        bos = self.processor.tokenizer.bos_token
        special = {} if first and not (bos and text.startswith(bos)) else {"add_special_tokens": False}
        if not shown:
            ids = self.processor.tokenizer(text, **special)["input_ids"]
            return {"input_ids": torch.tensor([ids], dtype=torch.int64)}
        arguments: dict[str, Any] = {}
        for one in shown:
            for name, value in one.arguments.items():
                arguments[name] = arguments.get(name, []) + value if isinstance(value, list) else value
        return dict(self.processor(text=[text], return_tensors="pt", **special, **arguments))

    def fit(self, encoded: Encoded) -> Encoded:
        """Hold a sample against `max_length`; what is cut keeps all its media and some of an answer."""
        limit, length = self.recipe.max_length, len(encoded.ids)
        if length <= limit:
            return encoded
        ids, labels = encoded.ids[:limit], encoded.labels[:limit]
        media = set(self.processor.tokenizer.convert_tokens_to_ids(self._media_tokens))
        loses_media = bool(media.intersection(encoded.ids[limit:].tolist()))
        if self.recipe.too_long == "drop" or loses_media or not (labels != NOT_LEARNED).any():
            raise TooLongError(f"{length} tokens; max_length is {limit}")
        return replace(encoded, ids=ids, labels=labels, positions=encoded.positions[:, :limit], cut=True)

    def stand_ins(self) -> list[Encoded]:
        """Samples of one black picture each, nothing of them learned: one for every kind of input there is.

        A row without pictures is given them, so that all ranks run the same parts of the model.
        """
        if not self._media_tokens:
            return []
        black = np.zeros((56, 56, 3), dtype=np.uint8)
        shown = [Frames([black], [0], None, MediaInfo("image", 56, 56, frames=1))]
        if self.recipe.frames_as == "video":
            shown.append(Frames([black, black], [0, 1], None, MediaInfo("frames", 56, 56, frames=2)))
        made = []
        for frames in shown:
            turns = (Turn("user", (Medium("image", ()),)), Turn("assistant", ("",)))
            encoded = self.join(turns, [frames])
            made.append(replace(encoded, labels=torch.full_like(encoded.labels, NOT_LEARNED), frames=0))
        return made


def _messages(
    turns: Sequence[Turn], shown: Sequence[Shown]
) -> tuple[list[dict[str, Any]], list[list[Shown]]]:
    """The turns as chat templates take them, and the media of each."""
    left = iter(shown)
    messages, by_turn = [], []
    for turn in turns:
        content: list[dict[str, str]] = []
        of_turn: list[Shown] = []
        for part in turn.parts:
            if isinstance(part, str):
                content.append({"type": "text", "text": part})
            else:
                of_turn.append(next(left))
                content += of_turn[-1].parts
        messages.append({"role": turn.role, "content": content})
        by_turn.append(of_turn)
    return messages, by_turn
