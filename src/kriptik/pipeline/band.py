"""How far estimates may be off: by what finished runs took of what was expected of them, once there are enough of those."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

OUTSIDE = 0.1
"""Share of runs that may end outside a band, half of them on either side."""
ENOUGH = math.ceil(2 / OUTSIDE) - 1
"""Runs from which such a band can be told: with fewer, not even the least and the most of them are far enough out."""
KEPT = 200
"""Runs that are looked at, the newest: machines and code change."""


@dataclass(frozen=True)
class Band:
    """Factors of what is expected: `low` and `high` for nine runs in ten, `middle` where it usually comes out."""

    low: float
    middle: float
    high: float
    runs: int = 0
    """Of so many finished runs; 0 for one that is assumed."""


def band_of(ratios: Sequence[float], assumed: Band) -> Band:
    """From taken ÷ expected of finished runs: quantiles, corrected for their number, so that the next run, if it is like them, lies
    inside as often as is said (split conformal prediction; Lei et al. 2018, arXiv 1604.04173). `assumed` while there are few.
    """
    known = sorted(ratios)
    if len(known) < ENOUGH:
        return assumed
    out = math.floor((len(known) + 1) * OUTSIDE / 2)
    return Band(known[out - 1], statistics.median(known), known[-out], len(known))
