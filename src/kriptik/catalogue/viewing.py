"""Models that see pictures and read words: reads `viewing.toml`."""

import tomllib
from functools import cache
from pathlib import Path

from kriptik.catalogue.listening import Judge
from kriptik.spec.base import Noun


class ViewingFacts(Noun):
    """The whole table; the first one at hand is used."""

    viewers: list[Judge]


@cache
def viewing_facts() -> ViewingFacts:
    """The table, read once."""
    return ViewingFacts.model_validate(tomllib.loads((Path(__file__).parent / "viewing.toml").read_text(encoding="utf-8")))
