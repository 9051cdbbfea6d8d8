"""Training: watch worker and money. A worker's last word wins, then its absence, then its silence, then the budget."""

from kriptik.server.runs import room
from kriptik.server.runs.acts import (
    Act,
    Alert,
    BudgetStands,
    Complete,
    Fail,
    Frozen,
    Move,
    Requeue,
    Terminate,
    Want,
)
from kriptik.server.runs.view import RunView
from kriptik.spec.job import JobState
from kriptik.spec.run import Failure

OUT_OF_MONEY = "hard_stop"
CUT_OFF = frozenset({"hard_stop", "lost_contact", "terminated"})
"""Codes of a worker whose own dead-man switch or machine ended it; as `failed` it was ended hard, as `frozen` in good order."""


def decide(view: RunView) -> list[Act]:
    """One tick of a run whose worker should be alive."""
    return last_word(view) or absence(view) or guard_money(view)


def last_word(view: RunView) -> list[Act]:
    """The worker said that it ended: confirm that it is gone, then follow its word."""
    if view.said not in ("completed", "failed", "frozen", "stopped", "awaiting_approval"):
        return []
    if not view.gone:
        return leave_time(view)
    message = (view.generation.worker_message if view.generation else None) or {}
    code = message.get("code") or ""
    if view.said == "completed":
        return [Complete()]
    if view.said == "failed" and code == room.REASON:
        return [Frozen(room.REASON)]
    if view.said == "failed" and code not in CUT_OFF:
        return [Fail(_failure(message))]
    if view.said == "awaiting_approval":
        return [Move(JobState.AWAITING_APPROVAL, "The next stage waits for your approval.")]
    if view.said == "stopped" and code not in CUT_OFF:
        return [Move(JobState.STOPPED, "The worker stopped.")]
    if code == OUT_OF_MONEY or view.verdict.freeze:
        return [Frozen("budget")]
    if view.said == "failed":
        return _lost(view)
    return [Requeue("The worker had to stop and saved its work; it goes on from there.")]


def cut_off(view: RunView) -> bool:
    """The worker's own switch ended it, not a fault of the training."""
    message = (view.generation.worker_message if view.generation else None) or {}
    return message.get("code") in CUT_OFF


def leave_time(view: RunView) -> list[Act]:
    """Lets a worker that said its last word leave by itself for the tear-down time, then ends it."""
    said_at = view.generation.last_contact_at if view.generation else None
    left = said_at is not None and (view.now - said_at).total_seconds() < view.limits.teardown_s
    return [] if left and not view.over else [Terminate("it has ended")]


def absence(view: RunView) -> list[Act]:
    """The worker is gone without a word, or silent beyond its lease and grace."""
    if view.gone:
        return _lost(view)
    if view.over:
        return [Terminate("it ended without a word")]
    heard = view.generation is not None and view.generation.last_contact_at is not None
    patience = view.limits.lease_s + view.limits.grace_s if heard else view.limits.boot_s
    if view.silent_s > patience:
        return [Terminate(f"no word for {view.silent_s:.0f} s")]
    return []


def guard_money(view: RunView) -> list[Act]:
    """Freeze at the freeze point or where the disk has no room for what comes next; alert once at the alert mark."""
    verdict = view.verdict
    if verdict.freeze:
        return [Want("frozen", "budget"), Move(JobState.FREEZING, "budget")]
    acts: list[Act] = [Alert()] if verdict.alert else []
    if verdict.status.value != view.job.budget_status:
        acts.append(BudgetStands(verdict.status))
    if view.short_bytes > 0:
        acts += [Want("frozen", room.REASON), Move(JobState.FREEZING, room.REASON)]
    return acts


def _lost(view: RunView) -> list[Act]:
    if view.job.fruitless_starts + 1 >= view.limits.fruitless:
        tail = view.resource.detail if view.resource else ""
        code = view.resource.exit_code if view.resource else None
        return [
            Fail(
                Failure(
                    code="worker_lost",
                    message=f"The worker ended without a word {view.limits.fruitless} times in a row without getting further"
                    + (f" (exit code {code})." if code is not None else ".")
                    + (f" {tail}" if tail else ""),
                    next_step="See the run's log, then retry: it goes on from the last checkpoint.",
                )
            )
        ]
    return [Requeue("The worker ended without a word; starting again from the last checkpoint.", fruitless=True)]


def _failure(message: dict[str, str]) -> Failure:
    return Failure(
        code=message.get("code") or "worker_failed",
        message=message.get("message") or "The worker reported a failure.",
        next_step=message.get("nextStep") or "See the run's log, then retry: it goes on from the last checkpoint.",
    )
