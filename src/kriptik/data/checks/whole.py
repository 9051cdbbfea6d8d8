"""Checks that need all rows: a few numbers are kept of each (about 60 bytes), and looked at together at the end."""

import re
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from kriptik.data import text
from kriptik.data.checks.rows import Part
from kriptik.data.checks.texts import cut_off, ends
from kriptik.spec.data import Row

Rows = npt.NDArray[np.int64]
LEAST = 20
"""Rows from which a set has habits that a row can break."""
BOILERPLATE_CHARS, BOILERPLATE_ROWS = 25, 3
MAIN_SHARE, FOREIGN_SHARE, SURE = 0.1, 0.05, 0.8
LONGER_THAN, LONG_FROM = 10, 2_000
LONGER_SHARE, LONGER_BY = 0.8, 1.5
_ASKED, _ASKS_BACK, _PLAIN, _LONG, _ENDS, _CUT = 1, 2, 4, 8, 16, 32
USUALLY_ENDS = 0.92
NO_LANGUAGE = 255
_TRAIN, _TEST = 1, 2
_TRANSLATES = re.compile(r"translat|übersetz|traduc|tradu[iz]|översätt|vertaal|przetłumacz|перевед|language|翻译", re.IGNORECASE)
"""Words of a question that asks for another language."""


class Survey:
    """What is remembered of every row that was taken in, by its number there."""

    def __init__(self) -> None:
        self.context, self.answer, self.other = array("Q"), array("Q"), array("Q")
        """Hashes: what comes before the answer, the answer, the rejected answer or (1, 2) the mark."""
        self.length, self.other_length = array("L"), array("L")
        self.habits, self.language, self.part = array("B"), array("B"), array("B")
        self.codes: list[str] = []
        self.columns: dict[str, object] = {}
        self.kind = ""

    def add(self, row: Row, parts: list[Part], language: tuple[str, float], part: str) -> None:
        """Takes a row in. `part`: which of the file's own parts it stands in ("train", "test", or empty)."""
        last = next((one for one in reversed(parts) if one.learnt), None)
        before = [
            f"{one.role}\x1f{one.text}" for one in parts if one is not last and one.role != "text" and not _rejected(one, row)
        ]
        said = last.text if last and last.role != "text" else ""
        asked = next((one.text for one in reversed(parts) if one.role == "user"), "")
        self.context.append(text.hash64("\x1e".join(map(_plain, before))) if before else 0)
        self.answer.append(text.hash64(_plain(said)) if said.strip() else 0)
        rejected = " ".join(turn["content"] for turn in row.get("rejected", ()))
        self.other.append(text.hash64(_plain(rejected)) if rejected else 1 + bool(row["label"]) if "label" in row else 0)
        self.length.append(len(said) or (len(last.text) if last else 0))
        self.other_length.append(len(rejected))
        plain = "messages" in row and [turn["role"] for turn in row["messages"]][-2:] == ["user", "assistant"]
        one_turn = plain and sum(turn["role"] != "system" for turn in row["messages"]) == 2
        whole = ends(said) if said else None
        marks = _ASKED * asked.rstrip().endswith("?") | _ASKS_BACK * said.rstrip().endswith("?") | _PLAIN * one_turn
        cut = bool(said) and cut_off(said) is not None
        self.habits.append(marks | _LONG * (whole is not None) | _ENDS * (whole is True) | _CUT * cut)
        code, score = language
        sure = score >= SURE and not _TRANSLATES.search("\n".join(one.text for one in parts if one.role != "assistant"))
        self.language.append(self._code(code) if sure else NO_LANGUAGE)
        self.part.append({"train": _TRAIN, "test": _TEST}.get(part, 0))

    def see(self, name: str, value: object) -> None:
        """Remembers of a column whether it ever changes."""
        first = self.columns.setdefault(name, value)
        if first is not _CHANGES and first != value:
            self.columns[name] = _CHANGES

    def constant(self, names: Iterable[str]) -> list[str]:
        """Those of the columns that said the same in every row."""
        if len(self.context) < LEAST:
            return []
        return [name for name in names if name in self.columns and self.columns[name] is not _CHANGES]

    def found(self, labels: set[int]) -> Iterator[tuple[str, Rows, str]]:
        """(code, numbers of rows, detail) of every finding. `labels`: hashes of answers that are labels."""
        context, answer, other = (np.frombuffer(one, dtype=np.uint64) for one in (self.context, self.answer, self.other))
        if not len(context):
            return
        pairs = "preferences" in self.kind
        if self.kind == "messages":
            yield "conflicting_answers", _conflicts(context, answer), ""
        if self.kind in ("messages", "feedback"):
            yield "boilerplate", self._boilerplate(context, answer, labels), ""
        if pairs:
            yield "contradicting_pairs", _contradicting(context, answer, other), ""
        if self.kind == "feedback":
            yield "contradicting_marks", _conflicts(_mixed(context, answer), other), ""
        yield "swapped_sides", self._swapped_sides(), ""
        yield "cut_off", self._cut_off(), ""
        yield "outlier_length", self._outliers(), ""
        yield from self._foreign()

    def leaks(self, exact: array, question: array) -> Rows:
        """Rows of the file's own test part whose question, or all of which, also stands in its training part."""
        part = np.frombuffer(self.part, dtype=np.uint8)
        found = np.zeros(len(part), dtype=bool)
        for hashes in (exact, question):
            values = np.frombuffer(hashes, dtype=np.uint64)
            found |= np.isin(values, values[part == _TRAIN])
        return np.flatnonzero(found & (part == _TEST))

    def length_bias(self) -> str:
        """How much longer the better answers are, in words; empty where they are not."""
        chosen, rejected = (np.frombuffer(one, dtype=np.uint64).astype(float) for one in (self.length, self.other_length))
        if self.kind != "preferences" or len(chosen) < LEAST:
            return ""
        longer, times = float(np.mean(chosen > rejected)), float(np.median((chosen + 1) / (rejected + 1)))
        return f"in {longer:.0%} of the rows, {times:.1f} times as long" if longer >= LONGER_SHARE and times >= LONGER_BY else ""

    def one_sided(self) -> str:
        """Which mark all rows bear; empty where there are both."""
        marks = set(self.other)
        return ("good" if 2 in marks else "bad") if self.kind == "feedback" and len(marks) == 1 else ""

    def _boilerplate(self, context: npt.NDArray[np.uint64], answer: npt.NDArray[np.uint64], labels: set[int]) -> Rows:
        long = np.frombuffer(self.length, dtype=np.uint64) >= BOILERPLATE_CHARS
        values, inverse, counts = np.unique(answer, return_inverse=True, return_counts=True)
        often = (
            (counts >= BOILERPLATE_ROWS) & (values != 0) & ~np.isin(values, np.fromiter(labels, dtype=np.uint64, count=len(labels)))
        )
        rows = np.flatnonzero(often[inverse] & long)
        asked: dict[int, set[int]] = defaultdict(set)
        for row in rows:
            asked[int(inverse[row])].add(int(context[row]))
        return np.array([row for row in rows if len(asked[int(inverse[row])]) >= BOILERPLATE_ROWS], dtype=np.int64)

    def _swapped_sides(self) -> Rows:
        habits = np.frombuffer(self.habits, dtype=np.uint8)
        if self.kind != "messages" or len(habits) < LEAST:
            return np.array([], dtype=np.int64)
        asked, back, plain = ((habits & mark) > 0 for mark in (_ASKED, _ASKS_BACK, _PLAIN))
        usual = plain.mean() > 0.9 and asked.mean() >= 0.8 and back.mean() <= 0.1
        return np.flatnonzero(plain & back & ~asked) if usual else np.array([], dtype=np.int64)

    def _cut_off(self) -> Rows:
        """Answers that stop in a sentence; where nearly all long ones have an end, every long one without."""
        habits = np.frombuffer(self.habits, dtype=np.uint8)
        long, whole, cut = ((habits & mark) > 0 for mark in (_LONG, _ENDS, _CUT))
        usual = long.sum() >= LEAST and whole.sum() >= USUALLY_ENDS * long.sum()
        return np.flatnonzero(cut | (long & ~whole) if usual else cut)

    def _outliers(self) -> Rows:
        length = np.frombuffer(self.length, dtype=np.uint64)
        if len(length) < LEAST:
            return np.array([], dtype=np.int64)
        usual = float(np.percentile(length, 95))
        return np.flatnonzero(length > max(LONG_FROM, LONGER_THAN * usual))

    def _foreign(self) -> Iterator[tuple[str, Rows, str]]:
        language = np.frombuffer(self.language, dtype=np.uint8)
        sure = language[language != NO_LANGUAGE]
        if len(sure) < LEAST:
            return
        counts = Counter(sure.tolist())
        main = [code for code, count in counts.items() if count >= MAIN_SHARE * len(sure)]
        few = [code for code, count in counts.items() if count <= FOREIGN_SHARE * len(sure)]
        rows = np.flatnonzero(np.isin(language, few))
        if main and len(rows):
            named = sorted(few, key=lambda code: -counts[code])[:4]
            yield "other_language", rows, ", ".join(f"{self.codes[code]} {counts[code]}" for code in named)

    def _code(self, name: str) -> int:
        if name not in self.codes:
            if len(self.codes) >= NO_LANGUAGE:
                return NO_LANGUAGE
            self.codes.append(name)
        return self.codes.index(name)


_CHANGES = object()


def _rejected(part: Part, row: Row) -> bool:
    return (
        "rejected" in row
        and part.role == "assistant"
        and not part.learnt
        and any(part.text == turn["content"] for turn in row["rejected"])
    )


def _plain(said: str) -> str:
    return " ".join(said.casefold().split())


def _mixed(one: npt.NDArray[np.uint64], two: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    return one * np.uint64(0x9E3779B97F4A7C15) + two


def _conflicts(context: npt.NDArray[np.uint64], answer: npt.NDArray[np.uint64]) -> Rows:
    """Later rows of the same context whose answer is another one than the first."""
    _values, first, inverse = np.unique(context, return_index=True, return_inverse=True)
    return np.flatnonzero((answer != answer[first][inverse]) & (context != 0) & (answer != 0))


def _contradicting(context: npt.NDArray[np.uint64], chosen: npt.NDArray[np.uint64], rejected: npt.NDArray[np.uint64]) -> Rows:
    """Rows whose pair also stands the other way round."""
    this, turned = _mixed(_mixed(context, chosen), rejected), _mixed(_mixed(context, rejected), chosen)
    return np.flatnonzero(np.isin(this, turned))
