"""Test sessions, their requests and comparisons."""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from kriptik.spec.base import new_id
from kriptik.spec.errors import NotFoundError
from kriptik.spec.testing import TestRequest
from kriptik.store.tables import Job, Stream, TestCall, TestSessionRow

LIVE = ("starting", "ready", "ending")


def add(session: Session, row: TestSessionRow) -> None:
    """Stores a new session with its event stream."""
    session.add(Stream(id=row.id, kind="test", last_event_id=0))
    session.flush()
    session.add(row)
    session.flush()


def get(session: Session, user_id: str, session_id: str) -> TestSessionRow:
    """A user's session; 404 otherwise."""
    row = session.get(TestSessionRow, session_id)
    if row is None or row.user_id != user_id:
        raise NotFoundError("session_not_found", "There is no such test session.", "Start one with POST /api/training/test/deploy.")
    return row


def live_of(session: Session, job_id: str, checkpoint_id: str | None) -> TestSessionRow | None:
    """A session of this run and checkpoint that is starting or ready."""
    query = select(TestSessionRow).where(
        TestSessionRow.job_id == job_id,
        TestSessionRow.state.in_(("starting", "ready")),
        TestSessionRow.checkpoint_id.is_(None) if checkpoint_id is None else TestSessionRow.checkpoint_id == checkpoint_id,
    )
    return session.scalars(query).first()


def live(session: Session) -> list[str]:
    """Ids of sessions that the reconciler has to look at."""
    return list(session.scalars(select(TestSessionRow.id).where(TestSessionRow.state.in_(LIVE))))


def ask(session: Session, session_id: str, request: TestRequest, now: datetime) -> TestCall:
    """Queues a request for the session's worker."""
    row = TestCall(id=new_id(), session_id=session_id, request=request.wire(), created_at=now)
    session.add(row)
    session.flush()
    return row


def waiting(session: Session, session_id: str) -> list[TestCall]:
    """Requests without an answer, oldest first."""
    query = select(TestCall).where(TestCall.session_id == session_id, TestCall.answered_at.is_(None))
    return list(session.scalars(query.order_by(TestCall.id)))


def job_of(session: Session, row: TestSessionRow) -> Job:
    """The run whose model is tested."""
    return session.get_one(Job, row.job_id)
