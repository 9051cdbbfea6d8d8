"""Which figure of a request is the amount of data, weighed: what the rules say of each, and what the encoder sees where it stands.

The rules of `amounts` know what a figure counts by the words around it; the encoder has read the whole sentence. A linear head
(`heads`, made by `scripts/train_heads.py`) gives each figure its odds against "none of them", and the likeliest is taken.
"""

from dataclasses import dataclass
from math import log10

import numpy as np

from kriptik.pipeline.intent import amounts, heads
from kriptik.pipeline.intent.amounts import MANY, Amount
from kriptik.pipeline.intent.asides import is_time_limit
from kriptik.pipeline.intent.learned import Pieces
from kriptik.pipeline.intent.names import Named
from kriptik.pipeline.intent.quantities import Duration, Number, durations, numbers
from kriptik.pipeline.intent.text import Reading

MOST = 6.0
"""Beyond it the strength of a rule says nothing more."""
UNITS = (("minute", "hour"), ("second",), ("day", "week"), ("month", "year"))


@dataclass(frozen=True)
class Figure:
    """One that may be the amount: as it would be told, and what speaks for it."""

    amount: Amount
    span: tuple[int, int]
    """Where the figure itself stands."""
    strength: float
    named: bool = False
    """Whether something that is data is counted by name."""
    unit: str | None = None
    """Of a time."""
    year: bool = False
    worded: bool = False
    corrects: bool = False
    picked: bool = False
    """Whether it is what the rules took."""


def amount(reading: Reading, named: Named, pieces: Pieces | None) -> Amount | None:
    """How much data the text speaks of; by the rules alone where it is not known what the encoder saw."""
    picked = amounts.amount(reading, named)
    found = figures(reading, named, picked)
    if pieces is None or not found:
        return picked
    arrays = heads.heads()
    odds = heads.odds("amount", features(found), views(found, pieces, len(arrays["amount.middle"])), arrays)
    best = found[int(odds.argmax())]
    if odds.max() < 0:
        return None
    return picked if best.picked else best.amount


def figures(reading: Reading, named: Named, picked: Amount | None) -> list[Figure]:
    """Every figure that is not plainly something else, in the order of the text."""
    taken = amounts.meant_otherwise(reading, named)
    found = [
        _number(reading, n, picked)
        for n in numbers(reading.text, reading.language)[:MANY]
        if n.value >= 1 and not any(a <= n.start < b for a, b in taken)
    ]
    found += [
        _time(reading, d, picked)
        for d in durations(reading.text, reading.language)[:MANY]
        if amounts.recorded(reading, d) or not is_time_limit(reading, d)
    ]
    if picked and not any(one.picked for one in found):
        found.append(Figure(picked, (picked.start, picked.end), MOST / 2, named=True, picked=True))
    return sorted(found, key=lambda one: one.span)


def _number(reading: Reading, n: Number, picked: Amount | None) -> Figure:
    known = amounts.counted_by_name(reading, n) or amounts.held_before(reading, n)
    return Figure(
        known or Amount(n.value, n.start, n.end, None, amounts.made_kind(reading, n.start)),
        (n.start, n.end),
        amounts.strength_of(reading, n, known),
        named=known is not None,
        year=amounts.is_year(reading, n),
        worded=n.worded,
        corrects=amounts.takes_back(reading, n.start),
        picked=picked is not None and picked.start == n.start,
    )


def _time(reading: Reading, d: Duration, picked: Amount | None) -> Figure:
    told = Amount(d.amount, d.start, d.end, f"{d.unit}s", amounts.heard_kind(reading, d))
    same = picked is not None and picked.start == d.start
    return Figure(told, (d.start, d.end), MOST / 2 * amounts.recorded(reading, d), unit=d.unit, picked=same)


def features(found: list[Figure]) -> np.ndarray:
    """[figures, features]: what the rules say of each."""
    rows = [_row(one, place, found) for place, one in enumerate(found)]
    return np.array(rows, np.float32)


def _row(one: Figure, place: int, among: list[Figure]) -> list[float]:
    value, kind = one.amount.value, one.amount.kind if one.named or one.unit else None
    said = [
        one.picked,
        min(one.strength, MOST) / 3,
        max(min(one.strength, 0.0), -4.0) / 3,
        one.named,
        kind is not None,
        kind == "text",
        kind in ("audio", "video"),
        kind in ("pairs", "preferences"),
        one.year,
        one.worded,
        one.corrects,
        log10(value + 1) / 3,
        value < 5,
        value < 20,
        value >= 50,
        value >= 1000,
        one.unit is None,
        *(one.unit in units for units in UNITS),
        place == 0,
        place == len(among) - 1,
        len(among) == 1,
        any(other.picked for other in among),
    ]
    return [float(each) for each in said]


def views(found: list[Figure], pieces: Pieces, width: int) -> np.ndarray:
    """[figures, width]: what the encoder sees where each stands; nothing for one that it did not read."""
    seen = [pieces.at(*one.span) for one in found]
    return np.stack([np.zeros(width, np.float32) if one is None else one for one in seen])
