"""Queued: wait for a free place and for the former generation to be confirmed gone, then begin the next."""

from kriptik.server.runs.acts import Act, Begin, Frozen, Terminate
from kriptik.server.runs.view import RunView


def decide(view: RunView) -> list[Act]:
    """Begin when it is this run's turn; freeze at once if its money or the disk would not reach anything."""
    if not view.gone:
        return [Terminate("the next generation waits for it")]
    if not view.my_turn:
        return []
    if view.verdict.freeze:
        return [Frozen("budget")]
    if view.short_bytes > 0:
        return [Frozen("disk_full")]
    return [Begin()]
