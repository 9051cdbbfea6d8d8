"""Test sessions, their requests and comparisons."""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from kriptik.spec.base import new_id
from kriptik.spec.errors import NotFoundError
from kriptik.spec.testing import TestRequest
from kriptik.store.tables import Job, Stream, TrialCall, TrialRow

LIVE = ("starting", "ready", "ending")


def add(session: Session, row: TrialRow) -> None:
    """Stores a new session with its event stream."""
    session.add(Stream(id=row.id, kind="test", last_event_id=0))
    session.flush()
    session.add(row)
    session.flush()


def get(session: Session, user_id: str, session_id: str) -> TrialRow:
    """A user's session; 404 otherwise."""
    row = session.get(TrialRow, session_id)
    if row is None or row.user_id != user_id:
        raise NotFoundError("session_not_found", "There is no such test session.", "Start one with POST /api/training/test/deploy.")
    return row


def live_of(session: Session, job_id: str, checkpoint_id: str | None) -> TrialRow | None:
    """A session of this run and checkpoint that is starting or ready."""
    query = select(TrialRow).where(
        TrialRow.job_id == job_id,
        TrialRow.state.in_(("starting", "ready")),
        TrialRow.checkpoint_id.is_(None) if checkpoint_id is None else TrialRow.checkpoint_id == checkpoint_id,
    )
    return session.scalars(query).first()


def live(session: Session) -> list[str]:
    """Ids of sessions that the reconciler has to look at."""
    return list(session.scalars(select(TrialRow.id).where(TrialRow.state.in_(LIVE))))


def ask(session: Session, session_id: str, request: TestRequest, now: datetime) -> TrialCall:
    """Queues a request for the session's worker."""
    row = TrialCall(id=new_id(), session_id=session_id, request=request.wire(), created_at=now)
    session.add(row)
    session.flush()
    return row


def waiting(session: Session, session_id: str) -> list[TrialCall]:
    """Requests without an answer, oldest first."""
    query = select(TrialCall).where(TrialCall.session_id == session_id, TrialCall.answered_at.is_(None))
    return list(session.scalars(query.order_by(TrialCall.id)))


def job_of(session: Session, row: TrialRow) -> Job:
    """The run whose model is tested."""
    return session.get_one(Job, row.job_id)
