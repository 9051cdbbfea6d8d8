"""Curves made small without losing their spikes: per bucket the lowest and the highest loss and gradient norm stay."""

from collections.abc import Sequence
from typing import Any

MOST_POINTS = 2000
SPIKY = ("loss", "gradientNorm")
"""Values whose extremes a curve must not lose."""


def newest_per_step(points: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One point per (stage, step): the newest generation's, in order of training. Points carry generation, stage, step."""
    best: dict[tuple[int, int], dict[str, Any]] = {}
    for point in points:
        key = (point["stage"], point["step"])
        if key not in best or point["generation"] >= best[key]["generation"]:
            best[key] = point
    return [best[key] for key in sorted(best)]


def thin(points: Sequence[dict[str, Any]], limit: int = MOST_POINTS, values: Sequence[str] = SPIKY) -> list[dict[str, Any]]:
    """At most `limit` points: first and last, and of each bucket between them the minimum and the maximum of each of `values`.

    `limit` is at least 2 + 2 × the number of `values`.
    """
    if len(points) <= limit:
        return list(points)
    inner = points[1:-1]
    buckets = (limit - 2) // (2 * len(values))
    kept = [points[0]]
    for n in range(buckets):
        bucket = range(n * len(inner) // buckets, (n + 1) * len(inner) // buckets)
        extremes: set[int] = set()
        for name in values:
            numbers = {i: _number(inner[i].get(name)) for i in bucket}
            extremes |= {min(bucket, key=numbers.__getitem__), max(bucket, key=numbers.__getitem__)}
        kept += [inner[i] for i in sorted(extremes)]
    return [*kept, points[-1]]


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and value == value else 0.0
