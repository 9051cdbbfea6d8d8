"""Exports of runs."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from kriptik.spec.errors import NotFoundError
from kriptik.store.tables import ExportRow, Stream
from kriptik.store.trials import LIVE


def add(session: Session, row: ExportRow) -> None:
    """Stores a new export with its event stream."""
    session.add(Stream(id=row.id, kind="export", last_event_id=0))
    session.flush()
    session.add(row)
    session.flush()


def get(session: Session, user_id: str, job_id: str, export_id: str) -> ExportRow:
    """An export of a user's run; 404 otherwise."""
    row = session.get(ExportRow, export_id)
    if row is None or (row.user_id, row.job_id) != (user_id, job_id):
        raise NotFoundError("export_not_found", "This run has no such export.", "See the run's list of exports.")
    return row


def of_job(session: Session, job_id: str) -> list[ExportRow]:
    """The exports of a run, newest first."""
    return list(session.scalars(select(ExportRow).where(ExportRow.job_id == job_id).order_by(ExportRow.id.desc())))


def live(session: Session) -> list[str]:
    """Ids of exports that the reconciler has to look at."""
    return list(session.scalars(select(ExportRow.id).where(ExportRow.state.in_(LIVE))))
