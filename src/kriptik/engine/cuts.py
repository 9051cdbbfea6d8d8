"""Ways to do the same update: how many sequences go through the model at once, and whether activations are kept.

Each gives the same gradient but for rounding; what differs is time and memory. The smoke test tries them on the real machine.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import psutil
import torch

from kriptik.engine import recompute
from kriptik.engine.interfaces import Session
from kriptik.spec.job import StageSettings

WORTH = 0.97
"""Another cut than the one asked for is taken where it needs at most this share of the time."""
TRIES = 2
"""Updates by each cut; the first warms it up."""
FULL = 0.45
"""On a CPU what does not fit ends the process: no cut that may double memory is tried while this share of it is in use."""


@dataclass(frozen=True)
class Cut:
    """Sequences per forward, forwards per update and rank, activations computed again or kept."""

    micro_batch: int
    accumulation: int
    recompute: bool = False

    @classmethod
    def of(cls, settings: StageSettings) -> "Cut":
        """What was asked for."""
        return cls(settings.micro_batch, settings.accumulation, settings.recompute)

    def document(self) -> dict[str, Any]:
        """For the result."""
        return {"microBatch": self.micro_batch, "accumulation": self.accumulation, "recompute": self.recompute}

    def halved(self) -> "Cut":
        """Half as many at once, twice as often; itself where one is left."""
        if self.micro_batch == 1:
            return self
        return replace(self, micro_batch=self.micro_batch // 2, accumulation=self.accumulation * 2)


@dataclass
class Timed:
    """One update on the clock."""

    seconds: float
    tokens: int
    loss: float


def compared(
    asked: Cut, session: Session, update: Callable[[Cut], Timed], limit: Callable[[Timed], float]
) -> dict[Cut, Timed]:
    """Cut → its update, first the one asked for or, where that does not fit, the next that does; others only if clearly faster.

    `limit` says from the first update until when the trying of others must end. Raises torch.OutOfMemoryError where nothing fits.
    """
    base, first = _first_that_fits(asked, session, update)
    found, until = {base: first}, limit(first)
    for cut in _others(base, session):
        if not session.runtime.share(time.perf_counter() + TRIES * first.seconds <= until and _room(cut, base)):
            continue
        tried = _tried(cut, session, update)
        if tried and session.runtime.share(tried.seconds < WORTH * first.seconds):
            found[cut] = tried
    return found


def _first_that_fits(asked: Cut, session: Session, update: Callable[[Cut], Timed]) -> tuple[Cut, Timed]:
    """Half first, which costs little; then all halves with activations computed again, where that can be."""
    able = recompute.able(session.bundle.trainee, session.adaptation)
    halves = [asked]
    while halves[-1].micro_batch > 1 and session.modality.recuts:
        halves.append(halves[-1].halved())
    ladder = halves if asked.recompute or not able else [*halves[:2], *(replace(one, recompute=True) for one in halves)]
    for cut in ladder:
        if tried := _tried(cut, session, update):
            return cut, tried
    raise torch.OutOfMemoryError(f"Not even one sequence of {session.settings.max_seq_len} tokens fits.")


def _others(base: Cut, session: Session) -> list[Cut]:
    """Half, double, and the other way to treat activations where they were computed again."""
    double = replace(base, micro_batch=base.micro_batch * 2, accumulation=base.accumulation // 2)
    cuts = [base.halved(), double] if session.modality.recuts else []
    if base.recompute:
        cuts.append(replace(base, recompute=False))
    return [cut for cut in cuts if cut != base and cut.accumulation >= 1 and cut.micro_batch * cut.accumulation == _size(base)]


def _size(cut: Cut) -> int:
    return cut.micro_batch * cut.accumulation


def _tried(cut: Cut, session: Session, update: Callable[[Cut], Timed]) -> Timed | None:
    """The fastest of `TRIES` updates; None where memory ran out. Of several ranks one alone cannot go back: there it is raised."""
    recompute.settle(session.bundle.trainee, session.adaptation, cut.recompute)
    try:
        return min((update(cut) for _ in range(TRIES)), key=lambda one: one.seconds)
    except torch.OutOfMemoryError:
        if session.runtime.world > 1:
            raise
        session.runtime.clear_gradients()
        torch.cuda.empty_cache()
        return None


def _room(cut: Cut, base: Cut) -> bool:
    """Whether a cut that may need more memory than the first may be tried at all."""
    more = cut.micro_batch > base.micro_batch or (base.recompute and not cut.recompute)
    if torch.cuda.is_available() or not more:
        return True
    memory = psutil.virtual_memory()
    return memory.used / memory.total < FULL
