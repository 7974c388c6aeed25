"""Token sequences that begin alike, laid out so that what they share is run once.

Sequences are put into a tree of tokens: a context is its trunk, the choices are its branches, and
questions that begin with the same shots share the trunk that these are. A tree lies flat in one
row of a batch; each token attends to its ancestors alone and has its depth as its position, so a
causal model finds of every token what it would find in the token's own sequence. Of the last
token of a sequence nothing follows, so it is looked up and never run: four choices of one token
cost a forward pass over their context and nothing more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray

from emergectl.inference.encoding import Ids, Pair

Ints = NDArray[np.int64]


@dataclass
class Tree:
    """Tokens in an order in which parents come first; built by `add`.

    `nodes` and `wanted` hold, for every token of every continuation added, the node whose
    prediction it is, and the token; `slots` the continuation that it belongs to.
    """

    tokens: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    depths: list[int] = field(default_factory=list)
    nodes: list[int] = field(default_factory=list)
    wanted: list[int] = field(default_factory=list)
    slots: list[int] = field(default_factory=list)
    _children: dict[tuple[int, int], int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.tokens)

    def add(self, pair: Pair, slot: int) -> None:
        """Lay a sequence into the tree; `slot` names its continuation."""
        node = self._grow(-1, pair.context)
        for token in pair.continuation[:-1]:
            self._want(node, token, slot)
            node = self._grow(node, (token,))
        for token in pair.continuation[-1:]:
            self._want(node, token, slot)

    def new_tokens(self, sequence: Ids) -> int:
        """How many tokens `sequence` would add."""
        node = -1
        for place, token in enumerate(sequence):
            child = self._children.get((node, token))
            if child is None:
                return len(sequence) - place
            node = child
        return 0

    def is_chain(self) -> bool:
        """Whether no token has two that follow it."""
        return self.parents == list(range(-1, len(self) - 1))

    def _want(self, node: int, token: int, slot: int) -> None:
        self.nodes.append(node)
        self.wanted.append(token)
        self.slots.append(slot)

    def _grow(self, node: int, tokens: Ids) -> int:
        for token in tokens:
            child = self._children.get((node, token))
            if child is None:
                child = self._children[node, token] = len(self.tokens)
                self.tokens.append(token)
                self.parents.append(node)
                self.depths.append(self.depths[node] + 1 if node >= 0 else 0)
            node = child
        return node


@dataclass(frozen=True)
class Forest:
    """Trees as one batch, padded on the right.

    `tokens`, `depths`: int64 [trees, nodes]; `inside`: bool [trees, nodes], false where padded.
    `mask`: bool [trees, 1, nodes, nodes], which token (last) each may attend to; None where all
    trees are chains, for which causality says it. `rows`, `nodes`, `wanted`, `slots`: int64
    [wanted], where a token is predicted, which one, and for which continuation.
    """

    tokens: torch.Tensor
    depths: torch.Tensor
    inside: torch.Tensor
    mask: torch.Tensor | None
    rows: torch.Tensor
    nodes: torch.Tensor
    wanted: torch.Tensor
    slots: Ints

    def to(self, device: torch.device) -> Forest:
        """The same on a device; `slots` stay where they are."""
        return replace(
            self,
            tokens=self.tokens.to(device),
            depths=self.depths.to(device),
            inside=self.inside.to(device),
            mask=None if self.mask is None else self.mask.to(device),
            rows=self.rows.to(device),
            nodes=self.nodes.to(device),
            wanted=self.wanted.to(device),
        )


def plant(trees: Sequence[Tree]) -> Forest:
    """The batch of some trees."""
    shape = (len(trees), max(len(tree) for tree in trees))
    tokens, depths = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    inside = np.zeros(shape, bool)
    for row, tree in enumerate(trees):
        tokens[row, : len(tree)] = tree.tokens
        depths[row, : len(tree)] = tree.depths
        inside[row, : len(tree)] = True
    mask = None
    if not all(tree.is_chain() for tree in trees):
        mask = torch.from_numpy(np.stack([_ancestors(tree, shape[1]) for tree in trees]))[:, None]
    return Forest(
        tokens=torch.from_numpy(tokens),
        depths=torch.from_numpy(depths),
        inside=torch.from_numpy(inside),
        mask=mask,
        rows=torch.from_numpy(np.repeat(np.arange(len(trees)), [len(t.nodes) for t in trees])),
        nodes=torch.tensor([node for tree in trees for node in tree.nodes], dtype=torch.int64),
        wanted=torch.tensor([token for tree in trees for token in tree.wanted], dtype=torch.int64),
        slots=np.array([slot for tree in trees for slot in tree.slots], np.int64),
    )


def _ancestors(tree: Tree, width: int) -> NDArray[np.bool_]:
    """[width, width]: each token's ancestors and itself; padding attends to itself alone, since
    a softmax over nothing is not a number."""
    mask = np.eye(width, dtype=bool)
    parents = np.array(tree.parents)
    starts = np.flatnonzero(parents != np.arange(-1, len(parents) - 1)).tolist()
    # A stretch of tokens that follow each other sees what its parent sees, and itself so far.
    for start, stop in zip([0, *starts], [*starts, len(parents)], strict=True):
        parent = tree.parents[start]
        if parent >= 0:
            mask[start:stop, :start] = mask[parent, :start]
        mask[start:stop, start:stop] = np.tri(stop - start, dtype=bool)
    return mask


def grow_trees(
    questions: Sequence[tuple[int, tuple[Pair, ...]]], *, share: bool, most_tokens: int
) -> list[Tree]:
    """Trees over the questions' pairs, largest first; a question names its first slot.

    Without `share` every continuation gets a chain of its own, for models that know no tree.
    Questions join the tree of the one that sorts before them as long as sharing saves more
    tokens than it adds, and the tree stays within `most_tokens` or twice its context: a row's
    attention grows with its square.
    """
    trees: list[Tree] = []
    if not share:
        for first_slot, pairs in questions:
            for place, pair in enumerate(pairs):
                tree = Tree()
                tree.add(pair, first_slot + place)
                trees.append(tree)
        return sorted(trees, key=len, reverse=True)
    asked = [question for question in questions if question[1]]
    for first_slot, pairs in sorted(asked, key=lambda question: question[1][0].context):
        if not trees or not _joins(trees[-1], pairs, most_tokens):
            trees.append(Tree())
        for place, pair in enumerate(pairs):
            trees[-1].add(pair, first_slot + place)
    return sorted(trees, key=len, reverse=True)


def _joins(tree: Tree, pairs: tuple[Pair, ...], most_tokens: int) -> bool:
    context = pairs[0].context
    added = tree.new_tokens(context)
    more = added + sum(len(pair.continuation) for pair in pairs)
    room = max(most_tokens, 2 * len(context)) - len(tree)
    return more < len(context) - added and more <= room
