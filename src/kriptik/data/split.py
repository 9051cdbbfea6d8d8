"""Which rows are held out: rows that share a question, an answer or nearly all words never sit on both sides."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from kriptik.data.text import hash64, normal

EVAL_SHARE, EVAL_LEAST, EVAL_MOST, EVAL_TOP_SHARE = 0.10, 64, 500, 0.20
TEST_FROM = 5000
"""With so many rows a test set as large as the held-out one is kept aside as well."""
BANDS, BAND = 4, 4
"""Near-duplicates: MinHash (Broder 1997) over word pairs, found by bands of four hashes that agree."""
NEAR_SHARE = 0.75
"""Share of hashes that must agree; it estimates the share of word pairs that two texts have in common."""
SHINGLE, NEAR_WORDS = 2, 12
"""Texts with fewer words are compared exactly only."""
ANSWER_WORDS, ANSWER_CHARS = 4, 24
MASK = 2**64 - 1
FACTORS = [hash64(f"minhash/{number}") | 1 for number in range(BANDS * BAND)]


@dataclass(frozen=True)
class Marks:
    """What is remembered of a row: hashes of its question, its answer and all of it, and its MinHash (empty: too short)."""

    question: int
    answer: int
    whole: int
    near: tuple[int, ...]


@dataclass
class Groups:
    """Union-find over rows that must stay together."""

    parents: list[int] = field(default_factory=list)

    def add(self) -> int:
        """A new row, in a group of its own."""
        self.parents.append(len(self.parents))
        return len(self.parents) - 1

    def of(self, row: int) -> int:
        """The first row of the row's group."""
        while self.parents[row] != row:
            self.parents[row] = self.parents[self.parents[row]]
            row = self.parents[row]
        return row

    def join(self, one: int, other: int) -> None:
        """Two rows belong together."""
        one, other = sorted((self.of(one), self.of(other)))
        self.parents[other] = one


def marks_of(question: str, answer: str) -> Marks:
    """The hashes of a row; texts count as the same in their normal form.

    An answer of a few words ("yes", a label) says nothing about where a row comes from: it counts together with its question.
    """
    asked, said = normal(question), normal(answer)
    whole = hash64(f"{asked}\n{said}")
    telling = len(said.split()) >= ANSWER_WORDS or len(said) >= ANSWER_CHARS
    return Marks(hash64(asked), hash64(said) if telling else whole, whole, minhash(f"{asked} {said}"))


def group(marks: Sequence[Marks]) -> tuple[Groups, int]:
    """Groups of rows that share a question, an answer or nearly everything; and how many near-duplicates there are."""
    groups, near = Groups(), 0
    seen: dict[tuple[str, int], int] = {}
    bands: dict[tuple[int, ...], list[int]] = {}
    for row, mark in enumerate(marks):
        groups.add()
        for key in (("q", mark.question), ("a", mark.answer)):
            groups.join(row, seen.setdefault(key, row))
        if not mark.near:
            continue
        keys = [(band, *mark.near[band * BAND : (band + 1) * BAND]) for band in range(BANDS)]
        candidates = sorted({other for key in keys for other in bands.get(key, ())})
        alike = [other for other in candidates if _agree(mark.near, marks[other].near) >= NEAR_SHARE]
        near += bool(alike)
        for other in alike:
            groups.join(row, other)
        for key in keys:
            bands.setdefault(key, []).append(row)
    return groups, near


def assign(groups: Groups, seed: int) -> tuple[list[str], int]:
    """(where each row goes: train, eval or test; how many rows are held out). Whole groups, in an order fixed by the seed."""
    count = len(groups.parents)
    sizes: dict[int, int] = {}
    for row in range(count):
        sizes[groups.of(row)] = sizes.get(groups.of(row), 0) + 1
    target = held_out(count)
    order = sorted(sizes, key=lambda first: hash64(f"{seed}/{first}"))
    sides = ["eval", "test"] if count >= TEST_FROM else ["eval"]
    where: dict[int, str] = {}
    for side in sides:
        filled = 0
        for first in order:
            if first not in where and sizes[first] <= target - filled and sizes[first] <= max(1, target // 4):
                where[first], filled = side, filled + sizes[first]
    return [where.get(groups.of(row), "train") for row in range(count)], target


def held_out(count: int) -> int:
    """How many of `count` rows to hold out: a tenth, at least 64 and at most 500, but never more than a fifth."""
    wanted = max(EVAL_LEAST, int(count * EVAL_SHARE))
    return min(wanted, EVAL_MOST, int(count * EVAL_TOP_SHARE))


def overlap(marks: Sequence[Marks], sides: Sequence[str]) -> int:
    """Held-out rows whose question or answer also occurs in training rows; counted anew from the hashes."""
    questions = {mark.question for mark, side in zip(marks, sides, strict=True) if side == "train"}
    answers = {mark.answer for mark, side in zip(marks, sides, strict=True) if side == "train"}
    held = [mark for mark, side in zip(marks, sides, strict=True) if side != "train"]
    return sum(mark.question in questions or mark.answer in answers for mark in held)


def minhash(words: str) -> tuple[int, ...]:
    """The least of the hashed word pairs under each of sixteen permutations; empty for short texts."""
    parts = words.split()
    if len(parts) < NEAR_WORDS:
        return ()
    hashes = {hash64(" ".join(parts[at : at + SHINGLE])) for at in range(len(parts) - SHINGLE + 1)}
    return tuple(min((value * factor ^ value >> 17) & MASK for value in hashes) for factor in FACTORS)


def _agree(one: tuple[int, ...], other: tuple[int, ...]) -> float:
    return sum(a == b for a, b in zip(one, other, strict=True)) / len(one)
