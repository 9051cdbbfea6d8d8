"""Freezing: the worker saves a checkpoint and acknowledges; then what bills is ended; frozen only once that is confirmed."""

from typing import Literal

from kriptik.server.runs import room, training
from kriptik.server.runs.acts import Act, Frozen, Terminate, Want
from kriptik.server.runs.view import RunView

REASONS: dict[str, Literal["user", "disk_full"]] = {"user": "user", room.REASON: "disk_full"}
"""Why a run is freezing → why it is frozen; anything else is the budget."""


def decide(view: RunView) -> list[Act]:
    """Wait for the acknowledgement, but never past the cap and not for ever."""
    if view.said == "completed" or (view.said == "failed" and not training.cut_off(view)):
        return training.last_word(view)
    if view.gone:
        return [Frozen(REASONS.get(view.job.reason, "budget"))]
    if view.resource is not None and view.resource.status == "intended":
        return [Terminate("frozen before it was created")]
    if view.said in ("failed", "frozen", "stopped", "awaiting_approval") or acknowledged(view):
        return training.leave_time(view)
    if view.over:
        return [Terminate("it ended")]
    if view.verdict.cut:
        return [Terminate("the cap is at hand; the last checkpoint counts")]
    if view.in_state_s > view.limits.freeze_s:
        return [Terminate(f"it did not freeze in {view.limits.freeze_s:.0f} s; the last checkpoint counts")]
    if view.generation is not None and view.generation.desired_state == "running":
        return [Want("frozen", view.job.reason)]
    return []


def acknowledged(view: RunView) -> bool:
    """The worker carried out what is wanted now."""
    g = view.generation
    return g is not None and g.acked_version >= g.desired_version and g.acked_result is not None
