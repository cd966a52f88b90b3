"""From samples to token trees: the chat template, the tokenizer and the processor of a model.

The media of a group go through the processor once, with its first question. The ids of the other questions
are made without pictures and joined to that trunk, which is exact where the tokenizer cuts before the
question; where it does not, the sample goes through the processor by itself.
"""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from gdo.descriptors.probe.contract import Asked, Group, ProbeSettings
from gdo.descriptors.probe.packing import Branch, Tree, text_tree
from gdo.errors import GdoError
from gdo.pool.frames import Frames

_NOT_MEDIA = ("input_ids", "attention_mask", "mm_token_type_ids", "token_type_ids")
FRAME_LIST_FPS = 1.0
"""Frames per second that a video without time stamps is said to have."""


@dataclass(frozen=True, slots=True)
class Shown:
    """Media as a processor takes them.

    Attributes:
        parts: What stands in the user's turn before the text.
        arguments: Keyword arguments of the processor.
    """

    parts: list[dict[str, str]]
    arguments: dict[str, Any]


def show_media(media: Sequence[Frames], settings: ProbeSettings) -> Shown:
    """The frames of all media in order: each as an image, or those of one video as a video.

    A single frame is an image in either case: models of video take two frames or more.
    """
    parts, images, videos, metadata = list[dict[str, str]](), list[Tensor](), list[Tensor](), []
    for frames in media:
        pictures = [torch.from_numpy(image).permute(2, 0, 1) for image in frames.images]
        if settings.frames_as == "images" or len(pictures) == 1:
            parts += [{"type": "image"} for _ in pictures]
            images += pictures
        else:
            parts.append({"type": "video"})
            videos.append(torch.stack(pictures))
            metadata.append(_metadata(frames))
    arguments: dict[str, Any] = {"input_data_format": "channels_first"}
    if images:
        arguments["images"] = images
    if videos:
        arguments |= {"videos": videos, "video_metadata": metadata, "do_sample_frames": False}
    return Shown(parts, arguments)


def _metadata(frames: Frames) -> dict[str, Any]:
    """What a processor asks of a video to tell the time of its frames."""
    fps = frames.info.fps if frames.times and frames.info.fps else FRAME_LIST_FPS
    indices = [round(time * fps) for time in frames.times] if frames.times else frames.indices
    total = max(frames.info.frames or 0, indices[-1] + 1)
    return {"fps": fps, "total_num_frames": total, "frames_indices": indices}


class Chat:
    """The text side of a model: what it is shown for a sample, as token ids.

    Attributes:
        context: Positions that the model can take.
    """

    def __init__(self, processor: Any, model: Any, settings: ProbeSettings, context: int) -> None:
        self.processor = processor
        self.settings = settings
        self.context = context
        self._rope_index = getattr(model.base_model, "get_rope_index", None)
        names = ("image_token", "video_token")
        tokens = (getattr(processor, name, None) for name in names)
        self._media_tokens = [token for token in tokens if isinstance(token, str)]

    @property
    def media_ids(self) -> list[int]:
        """Token ids that stand for pieces of pictures."""
        return list(self.processor.tokenizer.convert_tokens_to_ids(self._media_tokens))

    def texts(self, asked: Asked, parts: Sequence[Mapping[str, str]]) -> tuple[str, str]:
        """The prompt, and prompt with answer and end of turn, under the chat template."""
        turns = [*asked.history, (asked.question, asked.answer)]
        messages: list[dict[str, Any]] = []
        for number, (question, answer) in enumerate(turns):
            content = [*(parts if number == 0 else ()), {"type": "text", "text": question}]
            messages.append({"role": "user", "content": content})
            messages.append({"role": "assistant", "content": [{"type": "text", "text": answer}]})
        prompt = self.processor.apply_chat_template(messages[:-1], tokenize=False, add_generation_prompt=True)
        return prompt, self.processor.apply_chat_template(messages, tokenize=False)

    def ids(self, text: str) -> list[int]:
        """Token ids; a beginning-of-text token is added only where the template has none."""
        return list(self.processor.tokenizer(text, **self._special(text))["input_ids"])

    def _special(self, text: str) -> dict[str, bool]:
        bos = self.processor.tokenizer.bos_token
        return {"add_special_tokens": False} if bos and text.startswith(bos) else {}

    def process(self, text: str, shown: Shown) -> dict[str, Tensor]:
        """The processor on one text and its media; tensors with a first axis of one text."""
        inputs = self.processor(text=[text], return_tensors="pt", **self._special(text), **shown.arguments)
        return dict(inputs)

    def check(self, asked: Asked) -> None:
        """Refuse a text that would be read as media.

        Raises:
            GdoError: The text holds one of the model's own media tokens.
        """
        texts = [asked.question, asked.answer, *(text for turn in asked.history for text in turn)]
        for token in self._media_tokens:
            if any(token in text for text in texts):
                raise GdoError(f"the text holds {token}, which the model takes for a picture")

    def blind_tree(self, asked: Asked, sample: int, *, answer: bool = True) -> Tree:
        """The sample without its media, as one branch."""
        prompt, full = (self.ids(text) for text in self.texts(asked, []))
        self._fit(len(full), 0)
        return text_tree([], [Branch(full if answer else prompt, len(prompt), sample)])

    def media_trees(self, group: Group, samples: Sequence[int], *, answer: bool) -> list[Tree]:
        """The group's samples with their media: one tree, and one each for samples that cannot share it.

        Args:
            group: Media and samples; texts have been checked.
            samples: The samples' numbers, in order.
            answer: Branches end with the answer; otherwise with the prompt.

        Raises:
            Exception: The processor refuses the media.
        """
        shown = show_media(group.media, self.settings)
        trunk = _Trunk(self, shown, group.samples[0])
        branches, alone = list[Branch](), list[Tree]()
        for asked, sample in zip(group.samples, samples, strict=True):
            branch = trunk.branch(asked, sample, answer)
            if branch is not None:
                branches.append(branch)
            elif len(group.samples) == 1:
                raise GdoError("its tokens cannot be told from those of its media")
            else:
                alone += self.media_trees(replace(group, samples=(asked,)), [sample], answer=answer)
        return [trunk.tree(branches), *alone] if branches else alone

    def length_error(self, tree: Tree, branch: Branch) -> str | None:
        """Why a branch cannot be scored; None where it can."""
        try:
            self._fit(len(branch.ids), len(tree.trunk))
        except GdoError as error:
            return str(error)
        return None

    def _fit(self, text: int, media: int) -> None:
        if text + media > self.context:
            raise GdoError(
                f"too long for the model ({media + text} tokens, {media} of them media; "
                f"its context is {self.context})"
            )

    def rope_positions(self, inputs: Mapping[str, Tensor], length: int) -> tuple[Tensor, int]:
        """Positions of the first `length` tokens, [axes, length], and that of the token after them."""
        if self._rope_index is None:
            return torch.arange(length)[None], length
        known = inspect.signature(self._rope_index).parameters
        arguments = {name: value for name, value in inputs.items() if name in known}
        for name in ("input_ids", "mm_token_type_ids", "attention_mask"):
            if name in arguments:
                arguments[name] = arguments[name][:, :length]
        positions = self._rope_index(**arguments)[0][:, 0]
        return positions, int(positions.max()) + 1


class _Trunk:
    """What the samples of a group have in common: all tokens up to the end of the last medium."""

    def __init__(self, chat: Chat, shown: Shown, first: Asked) -> None:
        prompt, _ = chat.texts(first, shown.parts)
        self.chat, self.shown = chat, shown
        self.inputs = chat.process(prompt, shown)
        expanded, plain = self.inputs["input_ids"][0].tolist(), chat.ids(prompt)
        tail = min(_common_end(plain, expanded), self._after_media(expanded))
        self.ids = expanded[: len(expanded) - tail]
        self.head = plain[: len(plain) - tail]

    def _after_media(self, ids: list[int]) -> int:
        """Number of tokens after the last one that stands for a picture."""
        media = set(self.chat.media_ids)
        last = max((i for i, token in enumerate(ids) if token in media), default=-1)
        return len(ids) - 1 - last

    def branch(self, asked: Asked, sample: int, answer: bool) -> Branch | None:
        """The sample's tokens after the trunk; None where its text is cut differently there."""
        prompt, full = (self.chat.ids(text) for text in self.chat.texts(asked, self.shown.parts))
        at = len(self.head)
        if prompt[:at] != self.head or full[:at] != self.head or len(prompt) <= at:
            return None
        return Branch(full[at:] if answer else prompt[at:], len(prompt) - at, sample)

    def tree(self, branches: list[Branch]) -> Tree:
        positions, start = self.chat.rope_positions(self.inputs, len(self.ids))
        media = {name: value for name, value in self.inputs.items() if name not in _NOT_MEDIA}
        return Tree(self.ids, branches, positions, start, media)


def _common_end(a: Sequence[int], b: Sequence[int]) -> int:
    """Length of the longest common end."""
    count = 0
    for x, y in zip(reversed(a), reversed(b), strict=False):
        if x != y:
            break
        count += 1
    return count
