"""Making notices: stored once per occasion, announced on the run's stream, left out where a person does not want them."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy.orm import Session

from kriptik.notify import wording
from kriptik.spec.events import Notice
from kriptik.spec.notices import NotificationPreferences
from kriptik.store import events, notices
from kriptik.store.tables import Job, User

_SWITCH = {
    "training_stage_complete": "alert_on_stage_complete",
    "training_complete": "alert_on_complete",
    "training_error": "alert_on_error",
}


def alert(session: Session, job: Job, spend: Decimal, now: datetime) -> None:
    """The alert mark was passed; once per cap."""
    words = wording.alert(job.name, job.id, spend, job.max_budget)
    _tell(session, job, "training_alert", words, now, f"alert:{job.id}:{job.max_budget}", metadata=_money(job, spend))


def freeze(session: Session, job: Job, spend: Decimal, reason: str, link: str, now: datetime, why: str = "") -> None:
    """Frozen: never silenced. `why`: in words, where it is neither the budget nor a person."""
    words = wording.freeze(job.name, spend, job.max_budget, by_budget=reason != "user", link=link, why=why)
    key = f"freeze:{job.id}:{job.generation}"
    _tell(session, job, "training_freeze", words, now, key, forced=True, metadata={"resumeUrl": link, **_money(job, spend)})


def stage_complete(session: Session, job: Job, stage: str, index: int, now: datetime) -> None:
    """A stage ended and the next waits for approval."""
    words = wording.stage_complete(job.name, job.id, stage)
    _tell(session, job, "training_stage_complete", words, now, f"stage:{job.id}:{job.generation}", metadata={"stage": index})


def complete(session: Session, job: Job, spend: Decimal, now: datetime) -> None:
    """The run is done."""
    words = wording.complete(job.name, job.id, spend, job.max_budget)
    _tell(session, job, "training_complete", words, now, f"complete:{job.id}:{job.generation}", metadata=_money(job, spend))


def error(session: Session, job: Job, message: str, now: datetime) -> None:
    """The run failed."""
    _tell(session, job, "training_error", wording.error(job.name, job.id, message), now, f"error:{job.id}:{job.generation}")


def alarm(session: Session, job: Job, code: str, message: str, now: datetime) -> None:
    """Something that costs money or work unless a person acts: never silenced, once per generation and cause."""
    _tell(session, job, "training_error", wording.alarm(job.name, job.id, message), now, f"alarm:{job.id}:{job.generation}:{code}",
          forced=True, metadata={"code": code})  # fmt: skip


def orphan(session: Session, user_id: str, provider: str, name: str, resource_id: str, now: datetime) -> bool:
    """A machine that no run wanted was ended; False where that was said already."""
    words = wording.orphan(provider, name)
    notice = notices.make(user_id, None, "training_error", words.title, words.message, (words.path, words.label), now)
    return notices.add(session, notice, f"orphan:{provider}:{resource_id}")


def _money(job: Job, spend: Decimal) -> dict[str, Any]:
    return {"spend": float(spend), "cap": float(job.max_budget)}


def _tell(
    session: Session,
    job: Job,
    kind: str,
    words: wording.Wording,
    now: datetime,
    key: str,
    *,
    forced: bool = False,
    metadata: dict[str, Any] | None = None,
) -> None:
    preferences = NotificationPreferences.model_validate(session.get_one(User, job.user_id).preferences)
    wanted = preferences.in_app_enabled and getattr(preferences, _SWITCH.get(kind, "in_app_enabled"))
    if not (wanted or forced):
        return
    action = (words.path, words.label)
    notice = notices.make(job.user_id, job.id, kind, words.title, words.message, action, now, **(metadata or {}))
    if notices.add(session, notice, key):
        events.say(session, job.id, Notice(notification_id=notice.id, kind=kind, title=notice.title, message=notice.message), now)
