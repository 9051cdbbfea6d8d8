"""Curves made small without losing their spikes: per bucket the lowest and the highest loss stay."""

from collections.abc import Sequence
from typing import Any

MOST_POINTS = 2000


def newest_per_step(points: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One point per (stage, step): the newest generation's, in order of training. Points carry generation, stage, step."""
    best: dict[tuple[int, int], dict[str, Any]] = {}
    for point in points:
        key = (point["stage"], point["step"])
        if key not in best or point["generation"] >= best[key]["generation"]:
            best[key] = point
    return [best[key] for key in sorted(best)]


def thin(points: Sequence[dict[str, Any]], limit: int = MOST_POINTS, value: str = "loss") -> list[dict[str, Any]]:
    """At most `limit` points (≥ 4): first and last, and of each bucket between them the minimum and the maximum of `value`."""
    if len(points) <= limit:
        return list(points)
    inner = points[1:-1]
    buckets = (limit - 2) // 2
    kept = [points[0]]
    for n in range(buckets):
        bucket = range(n * len(inner) // buckets, (n + 1) * len(inner) // buckets)
        low = min(bucket, key=lambda i: _number(inner[i].get(value)))
        high = max(bucket, key=lambda i: _number(inner[i].get(value)))
        kept += [inner[i] for i in sorted({low, high})]
    return [*kept, points[-1]]


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and value == value else 0.0
