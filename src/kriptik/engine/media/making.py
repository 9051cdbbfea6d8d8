"""What is made for the first held-out rows at an evaluation, and measured by the modality: once, however the rows are scored.

An objective says whether there is such a thing (`Objective.makes`), the table below who does it and for how many rows.
"""

from dataclasses import dataclass
from typing import Any

from kriptik.engine.interfaces import Session
from kriptik.spec.job import StageSettings


@dataclass(frozen=True)
class Made:
    """Files that a modality makes and measures."""

    method: str
    """The modality's: (bundle, all held-out rows, for how many of the first of them, settings) → what was measured, by name."""
    setting: str
    """Of the objective's settings, the one that says for how many rows; 0: none."""
    usual: int


MADE = {
    "image": Made("watched", "watched_pictures", 4),
    "video": Made("watched", "watched_clips", 1),
    "music": Made("heard", "heard_clips", 4),
    "sound": Made("heard", "heard_clips", 4),
    "voice": Made("heard", "heard_clips", 3),
}
"""By the modality's name."""


def count(session: Session) -> int:
    """For how many held-out rows something is made at each evaluation of this stage."""
    made, rows = MADE.get(session.job.modality), session.eval_rows
    if made is None or rows is None or not session.objective.makes:
        return 0
    return min(len(rows), wanted(made, session.settings))


def wanted(made: Made, settings: StageSettings) -> int:
    """What the settings ask for."""
    return max(0, int(settings.objective.get(made.setting, made.usual)))  # type: ignore[arg-type]


def measured(session: Session, settings: StageSettings | None = None, most: int | None = None) -> dict[str, float]:
    """What the modality measures of what it makes, the same on every rank; called in eval mode, on every rank.

    `settings`: other than the stage's; `most`: rows at most.
    """
    number, rows = count(session), session.eval_rows
    number = number if most is None else min(number, most)
    if rows is None or not number:
        return {}
    modality: Any = session.modality
    found: dict[str, float] = {}
    with session.runtime.gather():
        if session.runtime.rank == 0:
            measure = getattr(modality, MADE[session.job.modality].method)
            found = measure(session.bundle, rows.encoded, number, settings or session.settings)
    return session.runtime.share(found)
