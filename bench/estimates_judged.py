"""The table of what `estimates.py` measured, beside what was asked for. A run that failed counts as missed by any band."""

import math
import statistics
from collections import defaultdict
from typing import Any

ASKED = {"runs": 40, "least_s": 60.0, "time": 0.10, "memory": 0.08, "inside_after": 0.90, "ratio_after": 1.35,
         "inside_before": 0.80, "ratio_before": 4.0}  # fmt: skip
Found = dict[str, Any]


def summary(lines: list[Found]) -> str:
    """Markdown: the figures that are asked for, then the errors by method."""
    if not lines:
        return "No run is there yet."
    return "\n".join([*_asked_for(lines), "", *_by_method(lines)])


def _asked_for(lines: list[Found]) -> list[str]:
    enough = sum(_whole(one) for one in lines)
    dead = sum(_fitting(one) and _died_of_memory(one) for one in lines)
    rows = [
        ("runs of ≥ 60 s of updates, with evaluation, sample and checkpoint", f"{enough} of {len(lines)}", f"≥ {ASKED['runs']}",
         enough >= ASKED["runs"]),
        ("runs that failed", str(sum(one["failure"] is not None for one in lines)), "", None),
        ("plans called fitting that died of memory", str(dead), "0", dead == 0),
    ]  # fmt: skip
    for what, stage, title in (("time_s", "after", "time"), ("memory_gb", "after", "memory")):
        error = statistics.median(_errors(lines, stage, what))
        held = error <= ASKED[title]
        rows.append((f"after the smoke test, {title}: median error", f"{error:.1%}", f"≤ {ASKED[title]:.0%}", held))
    for stage in ("after", "before"):
        for what, title in (("time_s", "time"), ("memory_gb", "memory")):
            rows += _band(lines, stage, what, f"{stage} the smoke test, {title}")
    words = {None: "", True: "yes", False: "**no**"}
    told = [f"| {name} | {value} | {limit} | {words[held]} |" for name, value, limit, held in rows]
    return ["| measured | value | asked | held |", "|---|---|---|---|", *told]


def _band(lines: list[Found], stage: str, what: str, title: str) -> list[tuple[str, str, str, bool | None]]:
    """Share inside the band, and how wide that is."""
    bands = [(one[stage][what], _took(one, stage, what)) for one in lines if one[stage] and one[stage][what].get("high")]
    if not bands:
        return [(f"{title}: inside its band", "it has none", "", None)]
    inside = sum(took is not None and band["low"] <= took <= band["high"] for band, took in bands) / len(lines)
    ratio = statistics.median(band["high"] / max(band["low"], 1e-9) for band, _ in bands)
    least, most = ASKED[f"inside_{stage}"], ASKED[f"ratio_{stage}"]
    return [
        (f"{title}: inside its band", f"{inside:.0%}", f"≥ {least:.0%}", inside >= least),
        (f"{title}: median high ÷ low", f"{ratio:.2f}", f"≤ {most:g}", ratio <= most),
    ]


def _by_method(lines: list[Found]) -> list[str]:
    groups: dict[str, list[Found]] = defaultdict(list)
    for one in lines:
        groups[f"{one['setting']['method']} ({one['setting']['capability']})"].append(one)
    told = ["| method | runs | failed | time before | time after | memory before | memory after |", "|---|---|---|---|---|---|---|"]
    for name, group in sorted(groups.items()):
        cells = [_signed(group, stage, what) for what in ("time_s", "memory_gb") for stage in ("before", "after")]
        told.append(f"| {name} | {len(group)} | {sum(one['failure'] is not None for one in group)} | {' | '.join(cells)} |")
    return ["Median of likely ÷ taken − 1, by method:", "", *told]


def _signed(lines: list[Found], stage: str, what: str) -> str:
    found = [one[stage][what]["likely"] / took - 1 for one in lines if one[stage] and (took := _took(one, stage, what))]
    return f"{statistics.median(found):+.0%}" if found else "–"


def _errors(lines: list[Found], stage: str, what: str) -> list[float]:
    """Relative errors; without an end or an estimate, infinite."""
    found = []
    for one in lines:
        took = _took(one, stage, what)
        found.append(abs(one[stage][what]["likely"] / took - 1) if one[stage] and took else math.inf)
    return found


def _took(one: Found, stage: str, what: str) -> float | None:
    """What the run took of what was estimated; None where it did not end well."""
    if one["failure"] or not one["actual"]:
        return None
    return one["actual"]["after_s" if what == "time_s" and stage == "after" else what]


def _whole(one: Found) -> bool:
    """A run as it is asked for."""
    actual = one["actual"]
    if one["failure"] or not actual or actual["train_s"] < ASKED["least_s"]:
        return False
    return all(actual[name] for name in ("evaluations", "samples", "checkpoints"))


def _fitting(one: Found) -> bool:
    return bool(one["before"] and one["before"]["fits"])


def _died_of_memory(one: Found) -> bool:
    """By its word, or without one: killed by the system, started again perhaps. A worker is never lost for nothing."""
    restarted = bool(one["actual"]) and one["actual"]["starts"] > 1
    return restarted or (one["failure"] or {}).get("code") in ("out_of_memory", "worker_lost")
