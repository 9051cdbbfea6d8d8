"""Times to be done in, in languages of which the parser knows no more: "inom två dygn", "két napon belül", "trong 5 ngày".

Numbers, units and the frames they stand in are in `words/clock.toml`. Only asked where the languages it
reads as a whole set no time.
"""

import re
from dataclasses import dataclass
from functools import cache
from typing import Any

from kriptik.pipeline.intent.quantities import to_value
from kriptik.pipeline.intent.vocabulary import plain, tables

_DIGITS = r"\d{1,3}(?:[.,]\d)?"
_EDGE = r"a-z\u00c0-\u024f\u0370-\u03ff"


@dataclass(frozen=True)
class _Tongue:
    """One language: where a time stands, what its figure and its unit come to."""

    pattern: re.Pattern[str]
    numbers: tuple[tuple[re.Pattern[str], float], ...]
    units: tuple[tuple[re.Pattern[str], float], ...]


def hours_elsewhere(text: str) -> tuple[int, int, float] | None:
    """(start, end, hours) of the last time to be done in; `text` is folded."""
    found = [(m.start(), m.end(), _hours(tongue, m)) for tongue in _tongues() for m in tongue.pattern.finditer(text)]
    return max((one for one in found if one[2]), default=None)


def _hours(tongue: _Tongue, match: re.Match[str]) -> float:
    groups = match.groupdict()
    figure = next((v for k, v in groups.items() if k.startswith("n") and v), None)
    unit = next((v for k, v in groups.items() if k.startswith("u") and v), "")
    each = next((hours for pattern, hours in tongue.units if pattern.fullmatch(unit)), 0.0)
    if figure is None:
        return each
    if figure[0].isdigit():
        return to_value(figure) * each
    return next((value for pattern, value in tongue.numbers if pattern.fullmatch(figure)), 0.0) * each


@cache
def _tongues() -> tuple[_Tongue, ...]:
    return tuple(_tongue(table) for table in tables("clock").values())


def _tongue(table: dict[str, Any]) -> _Tongue:
    factor = float(table.get("factor", 1))
    numbers = [(plain(words), factor * (place + 1)) for place, words in enumerate(table["numbers"])]
    units = [(plain(words), float(hours)) for words, hours in table["units"].items()]
    figure, unit = "|".join([_DIGITS, *(w for w, _ in numbers)]), "|".join(w for w, _ in units)
    parts = [
        plain(frame).replace("{}", rf"(?:(?P<n{at}>{figure})[\s-]*)?(?P<u{at}>{unit})") for at, frame in enumerate(table["frames"])
    ]
    days = "|".join(w for w, hours in units if hours >= 24)
    parts.append(rf"(?<=, )(?:bara |just |jen |klidne )?(?P<na>{figure})[\s-]*(?P<ua>{days})(?=\s*(?:[,.;]|$))")
    pattern = re.compile(rf"(?<![{_EDGE}0-9])(?:{'|'.join(parts)})(?![{_EDGE}])")
    return _Tongue(
        pattern,
        tuple((re.compile(w), value) for w, value in numbers),
        tuple((re.compile(w), hours) for w, hours in units),
    )
