"""Embeddings by open_clip: the image tower over the frames, averaged, and the text tower.

Pictures are resized in the readers' processes, with Pillow as open_clip does it, so that those never load
torch; the rest of its preprocessing happens on the device.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gdo.descriptors.coverage.embedder import EmbedSettings, Towers, Vectors
from gdo.descriptors.probe.contract import ModelCard
from gdo.errors import GdoError, UsageError
from gdo.pool.frames import FrameBudget, Frames

PREFIX = "open_clip:"
PICTURES_PER_FORWARD = 128
TEXTS_PER_FORWARD = 512

Pictures = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class OpenClip:
    """A model of open_clip; see `embedder.Embedder`.

    Attributes:
        card: What it is.
        size: Numbers in a vector.
        budget: The frames that it wants of a medium.
        model: Its name in open_clip.
        weights: A name of weights, or a file.
        side: Height and width of its pictures.
        squash: Pictures are squeezed into a square; otherwise its sides are cut off.
        bilinear: How pictures are resized; otherwise bicubic.
    """

    card: ModelCard
    size: int
    budget: FrameBudget
    model: str
    weights: str
    side: int
    squash: bool = False
    bilinear: bool = False

    def prepare(self, frames: Frames) -> Pictures:
        """The frames at the model's size, uint8 [frames, 3, side, side]."""
        return np.stack([self._resize(picture) for picture in frames.images])

    def _resize(self, picture: NDArray[np.uint8]) -> Pictures:
        from PIL import Image

        image = Image.fromarray(picture)
        width, height = image.size
        how = Image.Resampling.BILINEAR if self.bilinear else Image.Resampling.BICUBIC
        if self.squash:
            small = image.resize((self.side, self.side), how)
        else:
            short = min(width, height)
            width, height = int(self.side * width / short), int(self.side * height / short)
            left, top = round((width - self.side) / 2), round((height - self.side) / 2)
            square = (left, top, left + self.side, top + self.side)
            small = image.resize((width, height), how).crop(square)
        return np.asarray(small).transpose(2, 0, 1)

    def load(self, device: str) -> Towers:
        """Load the weights.

        Raises:
            GdoError: They cannot be had.
        """
        import open_clip

        try:
            model = open_clip.create_model(
                self.model, pretrained=self.weights, device=device, require_pretrained=True
            )
            return _OpenClipTowers(model.eval(), open_clip.get_tokenizer(self.model), device)
        except Exception as error:  # hubs, files and shapes fail in their own ways
            raise GdoError(
                f"the weights {self.weights} of {self.model} cannot be loaded "
                f"({type(error).__name__}: {str(error).partition(chr(10))[0]}); name a file of weights "
                f"({PREFIX}{self.model}/FILE), or embed with the probe (--embed probe)"
            ) from error


class _OpenClipTowers:
    """A loaded model."""

    def __init__(self, model: Any, tokenizer: Any, device: str) -> None:
        import torch

        self.model, self.tokenizer, self.device = model, tokenizer, device
        told = model.visual.preprocess_cfg
        self.mean, self.std = (
            torch.tensor(told[name], device=device).reshape(3, 1, 1) for name in ("mean", "std")
        )

    def media(self, prepared: Sequence[Pictures]) -> Vectors:
        """The mean over each medium's frames, of length 1."""
        import torch

        flat = np.concatenate(prepared)
        parts = []
        with torch.inference_mode():
            for at in range(0, len(flat), PICTURES_PER_FORWARD):
                some = torch.from_numpy(flat[at : at + PICTURES_PER_FORWARD]).to(self.device)
                pictures = (some.float() / 255 - self.mean) / self.std
                parts.append(self.model.encode_image(pictures, normalize=True).float().cpu().numpy())
        vectors = np.concatenate(parts)
        ends = np.cumsum([len(pictures) for pictures in prepared])[:-1]
        return _unit(np.stack([part.sum(axis=0) for part in np.split(vectors, ends)]))

    def texts(self, texts: Sequence[tuple[str, str]]) -> Vectors:
        """Of question and answer, as much as the model's context takes."""
        import torch

        parts = []
        with torch.inference_mode():
            for at in range(0, len(texts), TEXTS_PER_FORWARD):
                joined = [f"{question} {answer}" for question, answer in texts[at : at + TEXTS_PER_FORWARD]]
                tokens = self.tokenizer(joined).to(self.device)
                parts.append(self.model.encode_text(tokens, normalize=True).float().cpu().numpy())
        return _unit(np.concatenate(parts))


def find_open_clip(name: str) -> OpenClip:
    """The embedder of a name such as `open_clip:ViT-B-32/laion2b_s34b_b79k`; after the slash also a file.

    Raises:
        UsageError: There is no such model, or no such weights; or its pictures are not square.
    """
    import open_clip

    model, slash, weights = name.removeprefix(PREFIX).partition("/")
    config = open_clip.get_model_config(model)
    if not slash or config is None:
        raise UsageError(
            f"{name!r} is no {PREFIX}MODEL/WEIGHTS that open_clip knows; "
            f"python -c 'import open_clip; print(open_clip.list_pretrained())' lists them"
        )
    file = Path(weights)
    if not file.is_file() and weights not in open_clip.list_pretrained_tags_by_model(model):
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(model)) or "none"
        raise UsageError(f"{weights} is no file, and no weights of {model} (known: {tags})")
    told = open_clip.get_pretrained_cfg(model, weights) or {}
    side, mode = config["vision_cfg"]["image_size"], told.get("resize_mode") or "shortest"
    if not isinstance(side, int) or mode == "longest":
        raise UsageError(f"{name} does not take square pictures, and gdo makes no others")
    fingerprint = sha256(file.read_bytes()).hexdigest() if file.is_file() else weights
    settings = EmbedSettings()
    card = ModelCard(f"{PREFIX}{model}", weights, fingerprint, "float32", settings, _versions())
    bilinear = told.get("interpolation") == "bilinear"
    return OpenClip(
        card, config["embed_dim"], settings.budget, model, weights, side, mode == "squash", bilinear
    )


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("torch", "open_clip_torch")}


def _unit(vectors: Vectors) -> Vectors:
    """Rows of length 1."""
    double = vectors.astype(np.float64)
    return np.asarray(double / np.linalg.norm(double, axis=1, keepdims=True), np.float32)
