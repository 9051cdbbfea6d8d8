"""What the documents of a micro-batch begin with in common is computed once: a tree of segments in place of whole documents.

A token's hidden state depends on the tokens up to it alone, so that documents with the same beginning (a system prompt, the prompt
of a pair, of a group of sampled answers) have the same states there; each goes on from them, and gradients add up in them. Losses
and gradients are those of separate documents up to rounding. Which tokens are learnt plays no part: a shared place may be looked at
by several documents.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import takewhile

LEAST = 8
"""A shorter common beginning is not worth a segment of its own."""


@dataclass
class Tree:
    """Segments end to end, a parent before its children; where each document's tokens lie."""

    ids: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    """Of each token in its document."""
    lengths: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    """Of each segment; -1 where a document begins."""
    places: list[list[int]] = field(default_factory=list)
    """Of each document: the place of each of its tokens in `ids`."""

    def add(self, tokens: Sequence[int], parent: int, start: int) -> tuple[int, list[int]]:
        """A segment whose first token is number `start` of its documents; (its number, the places of its tokens)."""
        at = len(self.ids)
        self.ids += tokens
        self.positions += range(start, start + len(tokens))
        self.lengths.append(len(tokens))
        self.parents.append(parent)
        return len(self.lengths) - 1, list(range(at, at + len(tokens)))


def apart(documents: Sequence[Sequence[int]]) -> Tree:
    """Every document by itself."""
    tree = Tree()
    for document in documents:
        tree.places.append(tree.add(document, -1, 0)[1])
    return tree


def shared(documents: Sequence[Sequence[int]]) -> Tree:
    """Common beginnings of at least `LEAST` tokens once, however deep; the order is that of the documents."""
    tree = Tree(places=[[] for _ in documents])
    grow = [(-1, 0, list(range(len(documents))))]
    while grow:
        parent, depth, members = grow.pop(0)
        groups: dict[tuple[int, ...], list[int]] = {}
        for number in members:
            head = tuple(documents[number][depth : depth + LEAST])
            groups.setdefault(head if len(head) == LEAST else (-1, number), []).append(number)
        for group in groups.values():
            rests = [documents[number][depth:] for number in group]
            common = _common(rests)
            if not common:
                continue
            segment, places = tree.add(common, parent, depth)
            for number in group:
                tree.places[number] += places
            if len(group) > 1:
                grow.append((segment, depth + len(common), group))
    return tree


def _common(parts: list[Sequence[int]]) -> list[int]:
    """What all begin with: as far as the two that differ most agree."""
    low, high = min(parts), max(parts)
    return [one for one, _ in takewhile(lambda pair: pair[0] == pair[1], zip(low, high, strict=False))]
