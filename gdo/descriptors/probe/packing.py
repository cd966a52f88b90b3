"""Token trees, packed into rows: what samples share is computed once, and hardly a position is padding.

A tree has a trunk (the media and what stands before them) and branches (each a question and its answer). In
a row stand several trees one after the other; a token sees the trunk of its tree and its own branch, up to
itself. So a branch gets the very values it would get in a sequence of its own.
"""

from bisect import bisect_left, insort
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

PADDING = -1
"""Tree number of positions that hold nothing."""


@dataclass(eq=False, slots=True)
class Branch:
    """The tokens of one sample after the trunk.

    Attributes:
        ids: Prompt, then answer.
        answer: Index in `ids` of the answer's first token, 1 or more; `len(ids)` where there is no answer.
        sample: Number of the sample among those that are scored together.
    """

    ids: list[int]
    answer: int
    sample: int


@dataclass(eq=False, slots=True)
class Tree:
    """Branches that share a trunk.

    Attributes:
        trunk: Token ids, media placeholders expanded.
        branches: At least one.
        positions: Positions of the trunk for rotary embedding, [axes, len(trunk)]; one axis for text alone.
        start: Position of the first token of every branch.
        media: What the processor made of the pictures; tensors that are joined along their first axis.
    """

    trunk: list[int]
    branches: list[Branch]
    positions: Tensor
    start: int
    media: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def length(self) -> int:
        """Token positions that it takes."""
        return len(self.trunk) + sum(len(branch.ids) for branch in self.branches)

    def split(self) -> list["Tree"]:
        """Two trees of half the branches each; nothing where there is one branch only."""
        half = len(self.branches) // 2
        if not half:
            return []
        return [
            Tree(self.trunk, branches, self.positions, self.start, self.media)
            for branches in (self.branches[:half], self.branches[half:])
        ]


def text_tree(trunk: list[int], branches: list[Branch]) -> Tree:
    """A tree without media."""
    return Tree(trunk, branches, torch.arange(len(trunk))[None], len(trunk))


Row = list[Tree]


def row_length(row: Row) -> int:
    """Token positions that the trees of a row take."""
    return sum(tree.length for tree in row)


def fill_rows(trees: Sequence[Tree], length: int) -> list[Row]:
    """Put trees into rows of at most `length` positions, or of the longest tree where that is longer.

    Best fit, the longest first: gaps beside long trees are filled with short ones. The rows come longest
    first; the order depends on nothing but the trees and their order.
    """
    ordered = sorted(trees, key=lambda tree: -tree.length)
    length = max(length, ordered[0].length if ordered else 0)
    rows: list[Row] = []
    gaps: list[tuple[int, int]] = []
    for tree in ordered:
        at = bisect_left(gaps, (tree.length, -1))
        if at < len(gaps):
            gap, number = gaps.pop(at)
        else:
            gap, number = length, len(rows)
            rows.append([])
        rows[number].append(tree)
        insort(gaps, (gap - tree.length, number))
    return sorted(rows, key=row_length, reverse=True)


def cut_batches(rows: Sequence[Row], budget: int) -> Iterator[list[Row]]:
    """Rows of similar length together, at most `budget` positions with padding, at least one row."""
    batch: list[Row] = []
    for row in rows:
        if batch and row_length(batch[0]) * (len(batch) + 1) > budget:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


@dataclass(frozen=True, slots=True)
class Place:
    """Where a branch stands in packed rows.

    Attributes:
        branch: The branch.
        row: Number of its row.
        column: Column of its first token.
        position: Position of its first token for rotary embedding.
        shown: Its tree has media.
    """

    branch: Branch
    row: int
    column: int
    position: int
    shown: bool


@dataclass(frozen=True, slots=True)
class Packed:
    """A batch of rows as tensors.

    Attributes:
        ids: Token ids, int64 [rows, length].
        positions: For rotary embedding, int64 [axes, rows, length].
        tree: Tree of every token, int64 [rows, length]; PADDING where there is none.
        branch: Branch of every token in its tree, 0 for the trunk, int64 [rows, length].
        media: Tensors of the pictures of all trees, in the order of the tokens.
        places: Every branch, in the order of the tokens.
    """

    ids: Tensor
    positions: Tensor
    tree: Tensor
    branch: Tensor
    media: dict[str, Tensor]
    places: list[Place]

    def mask(self, device: torch.device) -> Tensor:
        """Who sees whom, bool [rows, 1, length, length], made on `device`; empty positions see empty ones."""
        tree, branch = self.tree.to(device), self.branch.to(device)
        same_tree = tree[:, :, None] == tree[:, None, :]
        trunk_or_own = (branch[:, None, :] == 0) | (branch[:, :, None] == branch[:, None, :])
        seen = (same_tree & trunk_or_own).tril()
        return seen[:, None]


def pack(rows: Sequence[Row], pad: int) -> Packed:
    """Lay rows out as tensors; `pad` is the id at empty positions."""
    length = max(row_length(row) for row in rows)
    axes = max(tree.positions.shape[0] for row in rows for tree in row)
    shape = (len(rows), length)
    ids = torch.full(shape, pad)
    positions = torch.zeros((axes, *shape), dtype=torch.int64)
    trees, branches = torch.full(shape, PADDING), torch.zeros(shape, dtype=torch.int64)
    places: list[Place] = []
    count = 0
    for r, row in enumerate(rows):
        at = 0
        for tree in row:
            end = at + len(tree.trunk)
            ids[r, at:end] = torch.tensor(tree.trunk, dtype=torch.int64)
            positions[:, r, at:end] = tree.positions
            trees[r, at : at + tree.length] = count
            at = end
            for number, branch in enumerate(tree.branches, 1):
                end = at + len(branch.ids)
                ids[r, at:end] = torch.tensor(branch.ids, dtype=torch.int64)
                positions[:, r, at:end] = torch.arange(tree.start, tree.start + len(branch.ids))
                branches[r, at:end] = number
                places.append(Place(branch, r, at, tree.start, bool(tree.media)))
                at = end
            count += 1
    media = [tree.media for row in rows for tree in row if tree.media]
    names = dict.fromkeys(name for part in media for name in part)
    joined = {name: torch.cat([part[name] for part in media if name in part]) for name in names}
    return Packed(ids, positions, trees, branches, joined, places)
