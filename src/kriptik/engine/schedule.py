"""The learning rate as a pure function of the step, and how many steps a stage has. No scheduler object, nothing to save."""

import math

from kriptik.engine.cursor import Cursor
from kriptik.spec.job import StageSettings


def learning_rate(settings: StageSettings, step: int, total: int) -> float:
    """Learning rate of update `step` (0-based) of `total`: linear warm-up to the peak, then the schedule down to near 0.

    The first update already moves and the last one still does: no step is spent at a rate of 0.
    """
    warmup = math.ceil(settings.warmup_ratio * total)
    peak = settings.learning_rate
    if step < warmup:
        return peak * (step + 1) / warmup
    if settings.schedule == "constant":
        return peak
    done = (step - warmup) / max(1, total - warmup)
    if settings.schedule == "linear":
        return peak * (1.0 - done)
    return peak * 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))


def steps_of(settings: StageSettings, cursor: Cursor, updates_per_refill: int) -> int:
    """Updates of a stage: `max_steps`, else all groups of all epochs."""
    return settings.max_steps or cursor.groups() * updates_per_refill


def epochs_of(settings: StageSettings, cursor: Cursor, total: int, updates_per_refill: int) -> float:
    """Epochs that `total` updates go through, with the fraction of the last one."""
    if settings.max_steps is None:
        return settings.epochs
    return math.ceil(total / updates_per_refill) / len(cursor.plan(0))
