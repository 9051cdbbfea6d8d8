"""Curves made small that keep shape and spikes: MinMaxLTTB (Van Der Donckt et al. 2023) over loss and gradient norm."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from tsdownsample import MinMaxLTTBDownsampler

from kriptik.store.curves import Points

MOST_POINTS = 2000
SPIKY = ("loss", "gradient")
"""Values whose shape and extremes a curve must not lose."""


def thin(points: Points, limit: int = MOST_POINTS) -> Points:
    """At most `limit` points, at least 6: half of them for each of `SPIKY`, the lowest and the highest of all always among them."""
    if len(points) <= limit:
        return points
    each = limit // len(SPIKY) - 2
    chosen: set[int] = set()
    for name in SPIKY:
        values = np.ascontiguousarray(np.nan_to_num(points[name], posinf=0, neginf=0))
        chosen |= {int(values.argmin()), int(values.argmax())}
        chosen |= set(_lttb(values, each).tolist()) if each >= 3 else {0, len(points) - 1}
    return points[sorted(chosen)]


def _lttb(values: NDArray[Any], count: int) -> NDArray[Any]:
    return MinMaxLTTBDownsampler().downsample(values, n_out=count)
