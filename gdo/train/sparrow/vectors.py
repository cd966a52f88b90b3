"""Instructions as vectors: by a model's text tower, or, where there is none, by the words they share."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from gdo.errors import UsageError
from gdo.pool.text import hash64
from gdo.train.sparrow.words import words_of

Vectors = npt.NDArray[np.float32]

SIZE = 1024
"""Of the vectors of words."""
_PUNCTUATION = ".,;:!?'\"()[]{}<>«»“”‘’…、。，；：！？「」『』（）"


def embed(texts: Sequence[str], embedding: str, device: str) -> tuple[str, Vectors]:
    """What the vectors are, and those of the texts, [n, size], of length 1.

    Raises:
        UsageError: There is no such embedding.
        GdoError: The model's weights cannot be had.
    """
    if embedding == "words":
        return f"words and word pairs, TF-IDF, projected at random to {SIZE}", word_vectors(texts)
    if not embedding.startswith("open_clip:"):
        raise UsageError(f"unknown embedding {embedding!r}; known are words and open_clip:MODEL/WEIGHTS")
    from gdo.descriptors.coverage.open_clip import find_open_clip
    from gdo.descriptors.engine.devices import find_devices

    model = find_open_clip(embedding)
    towers = model.load(find_devices(device)[0])
    return f"text tower of {embedding}", towers.texts([(text, "") for text in texts])


def word_vectors(texts: Sequence[str]) -> Vectors:
    """TF-IDF of words and word pairs, projected by random signs to `SIZE` numbers (feature hashing).

    No weights are needed and meaning is not seen: two instructions are near where they share words that few
    others have.
    """
    features = [_features(text) for text in texts]
    owners = np.repeat(np.arange(len(texts)), [len(found) for found in features])
    hashes = np.array([one for found in features for one in found], np.uint64)
    _, inverse, counts = np.unique(hashes, return_inverse=True, return_counts=True)
    rarity = np.log((1 + len(texts)) / (1 + counts)) + 1
    signs = np.where(hashes >> np.uint64(63), 1.0, -1.0)
    columns = (hashes % np.uint64(SIZE)).astype(np.int64)
    vectors = np.bincount(owners * SIZE + columns, signs * rarity[inverse], len(texts) * SIZE)
    vectors = vectors.reshape(len(texts), SIZE)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[lengths[:, 0] == 0, 0] = 1.0
    return (vectors / np.where(lengths, lengths, 1.0)).astype(np.float32)


def _features(text: str) -> set[int]:
    words = [word.text.lower().strip(_PUNCTUATION) for word in words_of(text)]
    words = [word for word in words if word]
    pairs = [f"{first} {second}" for first, second in pairwise(words)]
    return {hash64(feature) for feature in (*words, *pairs)}
