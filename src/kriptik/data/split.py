"""Which rows belong together, which are repeated, and which side of the split each goes to. Pure; numbers in, numbers out.

Rows that share a question or an answer, or are nearly the same, form one group (union-find), and a group is never divided. The
side follows from the seed and the group's own key, so neither the order of the rows nor the process matters.
"""

import re
from array import array
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from kriptik.data import text
from kriptik.spec.data import Row

Side = Literal["train", "eval", "test"]
SIDES: tuple[Side, ...] = ("train", "eval", "test")

LABEL_SHARE, LABEL_ROWS, LABEL_CHARS = 0.05, 20, 40
"""A short answer that so many rows share is a label ("yes", "refund"), or a phrase ("thank you"), and ties no rows together."""
_BETWEEN = re.compile(r"""(?<!\S)["'“”„‘’¿¡]+|[.,!?;:…"'“”‘’]+(?!\S)""")


@dataclass(frozen=True)
class Traits:
    """What the split needs to know of a row. Hashes of 64 bits; `ties` are pairs (hash, short enough to be a label)."""

    exact: int
    question: int
    ties: tuple[tuple[int, bool], ...]


@dataclass
class Split:
    """Sides by row (None: dropped as a repetition), groups by row, and what was counted afterwards."""

    sides: list[Side | None]
    groups: list[int]
    duplicates: int = 0
    repeats: array = field(default_factory=lambda: array("L"))
    """Rows that were dropped as repetitions."""
    near: int = 0
    labels: int = 0
    """Different short answers that were taken for labels."""
    overlap: int = 0
    near_of: dict[int, int] = field(default_factory=dict)
    """Row → an earlier row that is nearly the same."""

    def count(self, side: Side) -> int:
        """Rows on a side."""
        return self.sides.count(side)


def traits(row: Row) -> Traits:
    """Question, further turns and answers of a canonical row, normalised and hashed."""
    asked, said = sides_of(row)
    first, *more = [text.normal(part) for part in asked] or [""]
    ties = [part for part in (*more, *(text.normal(part) for part in said)) if part]
    return Traits(
        exact=text.hash64(exact_form(row)),
        question=text.hash64(first),
        ties=tuple(dict.fromkeys((text.hash64(part), len(part) <= LABEL_CHARS) for part in ties)),
    )


def sides_of(row: Row) -> tuple[list[str], list[str]]:
    """What is asked and what is answered in a row, as texts. A plain text counts as asked."""
    if pair := paired(row):
        return pair[:1], pair[1:]
    if "audio" in row:  # clips of one recording belong together; the same description says nothing
        return [row["origin"]], []
    if "text" in row:
        return [row["text"]], []
    if "video" in row:  # parts of one file belong together
        return [row["origin"]], []
    if "image" in row:  # the same caption says nothing of whether two pictures belong together; the name is the content's hash
        return [row["image"]], []
    if "positive" in row:
        return [row["query"]], [row["positive"]]
    if "images" in row:  # many questions are asked in the same words: what must not be on both sides is a picture
        return row["images"], []
    turns = row.get("messages") or [*row["prompt"], *row.get("chosen", ()), *row.get("rejected", ()), *row.get("completion", ())]
    asked = [turn["content"] for turn in turns if turn["role"] == "user"]
    said = [turn["content"] for turn in turns if turn["role"] == "assistant" and turn["content"].strip()]
    return asked, [*said, row["answer"]] if row.get("answer") else said


def paired(row: Row) -> list[str]:
    """The better and the worse file of a pair of recordings, pictures or videos; empty for other rows."""
    kind = next((one for one in ("audio", "image", "video") if f"chosen_{one}" in row), None)
    return [row[f"chosen_{kind}"], row[f"rejected_{kind}"]] if kind else []


def exact_form(row: Row) -> str:
    """The form in which two rows are the same row: every text with its role; white space, case and punctuation between words
    aside. Signs inside words stay, since they carry the meaning of "2+2" and of code."""
    if pair := paired(row):
        return "\x1e".join([*pair, _plain(row["text"] if "text" in row else row["caption"])])
    if "audio" in row:
        return row["audio"]
    if "text" in row:
        return _plain(row["text"])
    if "video" in row:
        return f"{row['video']}@{row['start']}+{row['seconds']}"
    if "image" in row:
        return row["image"]
    if "positive" in row:
        return "\x1e".join([_plain(row["query"]), _plain(row["positive"])])
    pieces = list(row.get("images", ()))
    for part in ("messages", "prompt", "chosen", "rejected", "completion"):
        for turn in row.get(part, ()):
            pieces.append("\x1f".join((part, turn["role"], _plain(turn["content"]), str(turn.get("tool_calls", "")))))
    return "\x1e".join([*pieces, *(str(row.get(name, "")) for name in ("label", "answer", "tests", "schema", "pattern"))])


def _plain(value: str) -> str:
    return " ".join(_BETWEEN.sub("", value.casefold()).split())


def split_rows(
    rows: Sequence[Traits],
    seed: int,
    held_out: dict[Side, int],
    similar: Callable[[], Iterable[tuple[int, int]]] | None = None,
    drop_near: bool = False,
    dropped: Collection[int] = (),
) -> Split:
    """Divides rows. `held_out`: how many rows eval and test should get, at most; `similar` yields pairs (later, earlier) that are
    nearly the same; `dropped` rows are left out from the beginning. Where everything hangs together, all of it is trained on."""
    result = Split([None] * len(rows), [0] * len(rows))
    kept = _without_repeats(rows, result, dropped)
    parents = _Union(len(rows))
    labels = _labels(rows, kept)
    result.labels = len(labels)
    for later, earlier in similar() if similar else ():
        if result.sides[later] and result.sides[earlier] and later not in result.near_of:
            result.near_of[later] = earlier
            parents.join(later, earlier)
    result.near = len(result.near_of)
    first_with: dict[int, int] = {}
    for row in kept:
        for tie in (rows[row].question, *(t for t, _ in rows[row].ties if t not in labels)):
            parents.join(row, first_with.setdefault(tie, row))
    if drop_near:
        for row in result.near_of:
            result.sides[row] = None
        kept = [row for row in kept if result.sides[row]]
    members: dict[int, list[int]] = {}
    for row in kept:
        members.setdefault(parents.find(row), []).append(row)
    keys = {root: min(rows[row].exact for row in group) for root, group in members.items()}
    for root, group in members.items():
        for row in group:
            result.groups[row] = keys[root]
    _assign(result, {keys[root]: group for root, group in members.items()}, seed, held_out)
    result.overlap = overlap(rows, result, labels)
    return result


def overlap(rows: Sequence[Traits], result: Split, labels: set[int]) -> int:
    """Held-out rows whose question, further turns or answers also occur in a training row; labels aside. Counted, not assumed."""
    trained: set[int] = set()
    for row, side in zip(rows, result.sides, strict=True):
        if side == "train":
            trained.add(row.question)
            trained.update(t for t, _ in row.ties if t not in labels)
    held = (row for row, side in zip(rows, result.sides, strict=True) if side in ("eval", "test"))
    return sum(1 for row in held if row.question in trained or any(t in trained for t, _ in row.ties if t not in labels))


def held_out_rows(rows: int, fraction: float, most: int) -> int:
    """How many of `rows` to hold out: the fraction, but up to 100 of a small set, as fewer tell little, and never above 20 %."""
    if fraction <= 0 or rows < 2:
        return 0
    return max(1, min(most, max(round(rows * fraction), min(100, rows // 5)), rows - 1))


def find_labels(rows: Sequence[Traits]) -> set[int]:
    """Hashes of short answers that so many rows share that they are labels or phrases."""
    return _labels(rows, range(len(rows)))


def _without_repeats(rows: Sequence[Traits], result: Split, dropped: Collection[int]) -> list[int]:
    seen: set[int] = set()
    kept: list[int] = []
    for number, row in enumerate(rows):
        if number in dropped:
            continue
        if row.exact in seen:
            result.duplicates += 1
            result.repeats.append(number)
        else:
            seen.add(row.exact)
            kept.append(number)
            result.sides[number] = "train"
    return kept


def _labels(rows: Sequence[Traits], kept: Sequence[int]) -> set[int]:
    counts = Counter(tie for row in kept for tie, short in rows[row].ties if short)
    enough = max(LABEL_ROWS, LABEL_SHARE * len(kept))
    return {tie for tie, count in counts.items() if count >= enough}


def _assign(result: Split, groups: dict[int, list[int]], seed: int, held_out: dict[Side, int]) -> None:
    """Groups in an order that the seed gives; each side takes those that still fit. Whatever is left is trained on."""
    order = sorted(groups, key=lambda key: (text.hash64(f"{seed}:{key:016x}"), key))
    rest, total = order, sum(len(group) for group in groups.values())
    for side in ("test", "eval"):
        wanted, left_over = held_out.get(side, 0), []
        room = wanted
        for key in rest:
            size = len(groups[key])
            if size <= room and total - size > 0:
                room, total = room - size, total - size
                for row in groups[key]:
                    result.sides[row] = side
            else:
                left_over.append(key)
        rest = left_over


class _Union:
    """Union-find with path halving; the smaller number is the root, so the result does not depend on the order of joins."""

    def __init__(self, size: int) -> None:
        self.parent = array("q", range(size))

    def find(self, item: int) -> int:
        """The root of an item's group."""
        while self.parent[item] != item:
            self.parent[item] = self.parent[self.parent[item]]
            item = self.parent[item]
        return item

    def join(self, one: int, other: int) -> None:
        """Makes two groups one."""
        a, b = self.find(one), self.find(other)
        if a != b:
            self.parent[max(a, b)] = min(a, b)
