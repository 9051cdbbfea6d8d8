"""Wording of notices, and making them: stored once per occasion, announced on the run's stream."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy.orm import Session

from kriptik.spec.events import Notice
from kriptik.spec.notices import NotificationPreferences
from kriptik.store import events, notices
from kriptik.store.tables import Job, User


def alert(session: Session, job: Job, spend: Decimal, now: datetime) -> None:
    """The alert mark was passed; once per cap."""
    percent = spend * 100 / job.max_budget
    _tell(
        session,
        job,
        "training_alert",
        f"{job.name}: {percent:.0f} % of the budget is used",
        f"${spend:.4f} of ${job.max_budget} is spent. Training goes on until the freeze mark.",
        (f"/jobs/{job.id}?panel=budget", "View Training"),
        now,
        key=f"alert:{job.id}:{job.max_budget}",
        spend=float(spend),
        cap=float(job.max_budget),
    )


def freeze(session: Session, job: Job, spend: Decimal, reason: str, link: str, now: datetime) -> None:
    """Frozen: never silenced. `link` is the signed resume link."""
    percent = spend * 100 / job.max_budget
    why = "The budget's freeze mark was reached." if reason == "budget" else "You paused it."
    _tell(
        session,
        job,
        "training_freeze",
        f"{job.name}: training frozen at {percent:.0f} % budget",
        f"{why} ${spend:.4f} of ${job.max_budget} is spent. The work is saved; nothing bills. Resume where it stopped.",
        (link, "Adjust Budget & Resume" if reason == "budget" else "Resume"),
        now,
        key=f"freeze:{job.id}:{job.generation}",
        forced=True,
        spend=float(spend),
        cap=float(job.max_budget),
        resumeUrl=link,
    )


def stage_complete(session: Session, job: Job, stage: str, index: int, now: datetime) -> None:
    """A stage ended and the next waits for approval."""
    _tell(
        session,
        job,
        "training_stage_complete",
        f"{job.name}: stage {index} is next and waits for you",
        f"“{stage}” starts when you approve it. Nothing bills until then.",
        (f"/jobs/{job.id}", "View Training"),
        now,
        key=f"stage:{job.id}:{job.generation}",
        stage=index,
    )


def complete(session: Session, job: Job, spend: Decimal, now: datetime) -> None:
    """The run is done."""
    _tell(
        session,
        job,
        "training_complete",
        f"{job.name}: training complete",
        f"It took ${spend:.4f} of ${job.max_budget}.",
        (f"/jobs/{job.id}/test", "Test Model"),
        now,
        key=f"complete:{job.id}:{job.generation}",
        spend=float(spend),
    )


def error(session: Session, job: Job, message: str, now: datetime) -> None:
    """The run failed."""
    _tell(
        session,
        job,
        "training_error",
        f"{job.name}: training failed",
        message,
        (f"/jobs/{job.id}?panel=error", "Retry"),
        now,
        key=f"error:{job.id}:{job.generation}",
    )


_SWITCH = {
    "training_stage_complete": "alert_on_stage_complete",
    "training_complete": "alert_on_complete",
    "training_error": "alert_on_error",
}


def _tell(
    session: Session,
    job: Job,
    kind: str,
    title: str,
    message: str,
    action: tuple[str, str],
    now: datetime,
    *,
    key: str,
    forced: bool = False,
    **metadata: Any,
) -> None:
    preferences = NotificationPreferences.model_validate(session.get_one(User, job.user_id).preferences)
    wanted = preferences.in_app_enabled and getattr(preferences, _SWITCH.get(kind, "in_app_enabled"))
    if not (wanted or forced):
        return
    notice = notices.make(job.user_id, job.id, kind, title, message, action, now, **metadata)
    if notices.add(session, notice, key):
        events.say(session, job.id, Notice(notification_id=notice.id, kind=kind, title=title, message=message), now)
