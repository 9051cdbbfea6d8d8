"""Models that hear words and voices: reads `listening.toml`."""

import tomllib
from functools import cache
from pathlib import Path

from kriptik.spec.base import Noun


class Judge(Noun):
    """A model that judges what was made. `language`: the one it understands (ISO 639-1); empty where that does not matter."""

    id: str
    title: str
    language: str = ""
    licence: str


class ListeningFacts(Noun):
    """The whole table; of each kind the first one at hand is used."""

    recognisers: list[Judge]
    speakers: list[Judge]


@cache
def listening_facts() -> ListeningFacts:
    """The table, read once."""
    return ListeningFacts.model_validate(tomllib.loads((Path(__file__).parent / "listening.toml").read_text(encoding="utf-8")))
