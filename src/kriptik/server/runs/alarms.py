"""What a person must hear of at once: a refused key, an account without balance, a machine that does not end, a price that rose.

An alarm is told once per run, generation and cause; the run goes on being looked after as well as that is possible.
"""

from datetime import datetime
from decimal import Decimal

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from kriptik.server.core import Core
from kriptik.server.runs import messages
from kriptik.spec.errors import KriptikError
from kriptik.spec.job import JobState
from kriptik.store import ledger
from kriptik.store.tables import CheckpointRow, Job, Resource

TROUBLE = frozenset({401, 402, 403})
"""Statuses that only a person can mend."""
PATIENCE_S = 60.0
"""A terminate that is not confirmed for so long is told."""


def of_error(core: Core, job_id: str, error: KriptikError) -> None:
    """A call for this run failed: told if only a person can mend it, or if something that should end does not."""
    with core.db.write() as session:
        job = session.get(Job, job_id)
        if job is None:
            return
        if error.status in TROUBLE:
            messages.alarm(session, job, error.code, f"{error.sentence} {error.next_step}", core.clock())
        overdue = _overdue(session, job, core.clock())
        if overdue is not None:
            text = f"{overdue.name} at {overdue.provider} should have ended and may still bill. It is tried again without end."
            messages.alarm(session, job, "terminate_unconfirmed", text, core.clock())
    core.bus.wake(job_id)


def checkpoint_late(core: Core) -> None:
    """Runs that train but whose checkpoints stopped arriving: a crash or the cap would cost all of that work."""
    now = core.clock()
    with core.db.write() as session:
        for job in session.scalars(select(Job).where(Job.state == JobState.TRAINING.value)):
            newest = session.scalars(select(func.max(CheckpointRow.at)).where(CheckpointRow.job_id == job.id)).one()
            since = max(filter(None, (newest, job.state_since)))
            if (now - since).total_seconds() > core.settings.checkpoint_alarm_s:
                minutes = (now - since).total_seconds() / 60
                text = f"No checkpoint has arrived for {minutes:.0f} minutes. Freeze the run to save its work, or look at its log."
                messages.alarm(session, job, "checkpoint_late", text, now)


def dearer(session: Session, job: Job, was: Decimal, now_is: Decimal, now: datetime) -> None:
    """The provider charges more than it said."""
    text = f"The machine costs ${now_is.normalize():f} an hour instead of ${was.normalize():f}. Your cap still holds."
    messages.alarm(session, job, f"dearer:{now_is}", text, now)


def _overdue(session: Session, job: Job, now: datetime) -> Resource | None:
    live = ledger.live(session, job.id)
    return next((r for r in live if r.terminate_at is not None and (now - r.terminate_at).total_seconds() > PATIENCE_S), None)
