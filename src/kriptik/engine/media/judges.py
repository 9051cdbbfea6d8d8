"""Models that judge a voice, where their weights are at hand: one that hears who speaks, one that hears words.

Neither is part of a run: nothing is trained on what they say, and a run goes on without them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from kriptik.catalogue.listening import Judge, listening_facts
from kriptik.engine.base import Base, find
from kriptik.engine.media import speakers
from kriptik.engine.media.words import Recogniser, error_rate
from kriptik.spec.errors import WorkerError
from kriptik.spec.job import ModelRef

RATE = speakers.RATE
"""Hz, what both kinds hear."""
AWAY = frozenset({"model_not_found", "model_gated", "model_damaged", "model_not_loadable"})
"""Why a model is not at hand; a full disk is no such reason."""
COUNTING = ("jiwer", "fasttext")
"""Modules without which words cannot be compared."""


@dataclass(frozen=True)
class Found:
    """A model of the catalogue that is at hand."""

    entry: Judge
    base: Base

    def __str__(self) -> str:
        return f"{self.entry.title} ({self.base.sha256[:8]})"


class Judges:
    """Those that are at hand, looked for once; loaded when they are first asked."""

    def __init__(self, cache: Path) -> None:
        facts = listening_facts()
        self.speaker = at_hand(facts.speakers, cache)
        self.recogniser = at_hand(facts.recognisers, cache) if all(map(find_spec, COUNTING)) else None

    @cached_property
    def encoder(self) -> speakers.SpeakerEncoder | None:
        """Who speaks."""
        return speakers.load(self.speaker.base.folder) if self.speaker else None

    @cached_property
    def ears(self) -> Recogniser | None:
        """Which words."""
        return Recogniser(self.recogniser.base.folder) if self.recogniser else None

    def named(self) -> dict[str, str]:
        """Which models judge, by what they measure."""
        found = {"speaker_similarity": self.speaker, "word_error_rate": self.recogniser}
        return {measure: str(one) for measure, one in found.items() if one is not None}

    def judged(self, made: Sequence[Tensor], real: Sequence[Tensor], said: Sequence[str]) -> dict[str, float]:
        """speaker_similarity and word_error_rate, as far as they can be told, of [samples] at `RATE` Hz.

        `made`: speech of the sentences `said`; `real`: recordings of the person.
        """
        found: dict[str, float] = {}
        with torch.random.fork_rng(devices=[]):  # what is trained next must not depend on who judges
            if self.encoder is not None:
                voices = [[self.encoder.voice(one) for one in several] for several in (made, real)]
                found["speaker_similarity"] = speakers.similarity(*voices)
            if self.ears is not None and self._understands(said):
                heard = [self.ears.words(one).text for one in made]
                found["word_error_rate"] = error_rate(said, heard)
        return found

    def _understands(self, sentences: Sequence[str]) -> bool:
        """Whether the sentences together are of the recogniser's language."""
        from kriptik.data.language import guess

        return self.recogniser is not None and guess(" ".join(sentences))[0] == self.recogniser.entry.language


def at_hand(entries: Sequence[Judge], cache: Path) -> Found | None:
    """The first of these models that can be had."""
    for entry in entries:
        try:
            return Found(entry, find(ModelRef(id=entry.id), cache))
        except WorkerError as error:
            if error.code not in AWAY:
                raise
    return None
