"""Principles as data: those of `constitution.toml`, or a run's own."""

import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from kriptik.spec.base import Noun
from kriptik.spec.errors import KriptikError

FILE = Path(__file__).parent / "constitution.toml"


class Principle(Noun):
    """What a judge is asked by one principle: to criticise an answer, to revise it, to compare two."""

    id: str
    critique: str
    revision: str
    comparison: str


def constitution(own: Any = None) -> list[Principle]:
    """The principles: `own`, a list of such entries or of plain sentences, else the catalogue's. Raises KriptikError."""
    if not own:
        return list(_shipped())
    try:
        return [_principle(number, one) for number, one in enumerate(own)]
    except (ValidationError, TypeError) as error:
        raise KriptikError(
            "bad_principles", f"The principles cannot be read: {str(error)[:200]}", "Give a list of sentences."
        ) from error


def names() -> list[str]:
    """What may stand for principles: sets of them, then single ones."""
    return [*_read()[1], *(one.id for one in _shipped())]


def named(line: str) -> list[Principle]:
    """The principles that go by this name; none where it is a sentence."""
    known = {one.id: one for one in _shipped()}
    return [known[one] for one in _read()[1].get(line, [line] if line in known else [])]


def _principle(number: int, one: Any) -> Principle:
    if not isinstance(one, str):
        return Principle.model_validate(one)
    rule = one.strip()
    return Principle(
        id=f"own-{number + 1}",
        critique=f"Name every way in which the last answer breaks this rule: {rule}",
        revision=f"Rewrite the answer so that it keeps this rule: {rule}",
        comparison=f"Which answer keeps this rule better: {rule}",
    )


@cache
def _read() -> tuple[tuple[Principle, ...], dict[str, list[str]]]:
    """Every principle, and sets of them by name."""
    found = tomllib.loads(FILE.read_text(encoding="utf-8"))
    return tuple(Principle.model_validate(one) for one in found["principles"]), found["constitutions"]


def _shipped() -> tuple[Principle, ...]:
    return _read()[0]
