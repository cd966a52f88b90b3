"""The two tables of vectors: `media_embedding`, one per medium, and `embedding`, one per sample.

A sample's vector is the media part beside the text part, of length 1 together; so the cosine of two samples
is the mean of their media's and their texts' cosines.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from gdo.descriptors.base import Column, DeviceDescriptor, Values
from gdo.descriptors.coverage.embedder import Embedder, Towers, Vectors
from gdo.descriptors.coverage.vectors import VectorFile
from gdo.descriptors.engine.on_device import compute_rows
from gdo.descriptors.engine.work import samples_table
from gdo.pool.frames import Frames


class MediaEmbedding(DeviceDescriptor):
    """What a medium looks like: the mean over its frames, of length 1.

    Source: ours; coverage of arXiv 2603.12478 goes by other vectors (docs/explanation/released.md).
    """

    name = "media_embedding"
    version = 1
    needs_stills = True

    def __init__(self, embedder: Embedder) -> None:
        self.embedder = embedder
        self.probe = embedder.card.label
        self.frames = embedder.budget
        self.columns = {
            "embedding": Column(f"FLOAT[{embedder.size}]", "", "what the medium looks like; length 1")
        }

    def prepare(self, frames: Frames) -> Any:
        """The frames as the embedder wants them."""
        return self.embedder.prepare(frames)

    def load(self, device: str) -> Callable[[Sequence[Any]], Values]:
        """The media tower on a device."""
        towers = self.embedder.load(device)
        return lambda prepared: {"embedding": list(towers.media(prepared))}


class SampleEmbedding:
    """What a sample is about: its media's vector, averaged over several, beside its text's.

    Source: ours; coverage of arXiv 2603.12478 goes by other vectors (docs/explanation/released.md).
    """

    name = "embedding"
    version = 1
    subject: Literal["sample"] = "sample"
    inputs = ("question", "answer", "media_ids")

    def __init__(self, embedder: Embedder, media: VectorFile | None = None) -> None:
        self.probe = embedder.card.label
        self.media = media
        self.columns: Mapping[str, Column] = {
            "embedding": Column(
                f"FLOAT[{2 * embedder.size}]",
                "",
                "of media, then of question and answer; length 1 in all",
            )
        }
        self._embedder = embedder

    def load(self, device: str) -> Callable[[pa.Table], pa.Table]:
        """What embeds a batch of samples on a device."""
        return partial(self._embed, self._embedder.load(device))

    def _embed(self, towers: Towers, batch: pa.Table) -> pa.Table:
        texts = list(zip(batch["question"].to_pylist(), batch["answer"].to_pylist(), strict=True))
        told = compute_rows(lambda some: {"text": list(towers.texts(some))}, ["text"], texts)
        rows = []
        columns = (batch["qa_uid"].to_pylist(), batch["media_ids"].to_pylist(), told)
        for uid, media_ids, row in zip(*columns, strict=True):
            media = self._media_part(media_ids or [])
            if "error" in row or media is None:
                rows.append({"qa_uid": uid, "error": row.get("error", "its media have no embedding")})
            else:
                joint = np.concatenate([media, row["text"]])
                rows.append({"qa_uid": uid, "embedding": joint / np.linalg.norm(joint)})
        return samples_table(self.columns, rows)

    def _media_part(self, media_ids: Sequence[int]) -> Vectors | None:
        """Mean of the media's vectors, of length 1; None where one has no vector."""
        assert self.media is not None
        rows = self.media.find(media_ids)
        if (rows < 0).any():
            return None
        total = self.media.vectors[rows].sum(axis=0, dtype=np.float64)
        return np.asarray(total / max(float(np.linalg.norm(total)), 1e-12), np.float32)
