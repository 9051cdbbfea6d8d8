"""Frozen and awaiting approval: nothing computes. What lies on disk is charged hourly where storage has a price."""

from kriptik.server.runs.acts import Act, MeterStorage, Terminate
from kriptik.server.runs.view import RunView

STORAGE_EVERY_S = 3600


def decide(view: RunView) -> list[Act]:
    """End what should not be there; charge storage."""
    if not view.gone:
        return [Terminate("the run rests")]
    since = view.job.storage_metered_at or view.job.state_since
    due = (view.now - since).total_seconds() >= STORAGE_EVERY_S
    return [MeterStorage()] if due and view.overheads.storage_per_day > 0 else []
