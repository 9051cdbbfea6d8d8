"""Taking a model away: what can be had, start an export, see how far it is, cancel it. Its files are files of the run."""

from datetime import timedelta

from fastapi import APIRouter
from sqlalchemy.orm import Session

from kriptik.server.auth import CoreDep, PersonDep
from kriptik.server.runs import exporting, sessions
from kriptik.spec.base import Noun, new_id
from kriptik.spec.errors import ConflictError, NotFoundError
from kriptik.spec.export import ExportOffers, ExportRequest, ExportView
from kriptik.spec.job import JobState
from kriptik.store import exports, jobs, trials
from kriptik.store.tables import CheckpointRow, ExportRow, Job

router = APIRouter(prefix="/jobs/{job_id}/exports", tags=["exports"])

LONGEST = timedelta(hours=12)
"""An export that is not done by then is ended."""


class ExportList(Noun):
    """The exports of a run, newest first."""

    exports: list[ExportView]


@router.get("/offers")
def get_export_offers(core: CoreDep, person: PersonDep, job_id: str) -> ExportOffers:
    """Which forms this run can be exported in, and how large they will be."""
    with core.db.read() as session:
        job = jobs.get(session, person.id, job_id)
    return exporting.offers(core, job)


@router.get("")
def list_exports(core: CoreDep, person: PersonDep, job_id: str) -> ExportList:
    """Every export of this run."""
    with core.db.read() as session:
        jobs.get(session, person.id, job_id)
        return ExportList(exports=[exporting.view(row) for row in exports.of_job(session, job_id)])


@router.post("", status_code=201)
def start_export(core: CoreDep, person: PersonDep, job_id: str, body: ExportRequest) -> ExportView:
    """Starts a worker that writes the model out, reads it back and compares; one at a time per run."""
    now = core.clock()
    with core.db.read() as session:
        job = jobs.get(session, person.id, job_id)
    exporting.refuse(core, job, body)
    with core.db.write() as session:
        job = jobs.get(session, person.id, job_id)
        if any(row.state in trials.LIVE for row in exports.of_job(session, job_id)):
            raise ConflictError("export_running", "This run is being exported.", "Cancel that export or wait for its end.")
        row = ExportRow(
            id=new_id(),
            job_id=job_id,
            user_id=person.id,
            checkpoint_id=_checkpoint(session, job, body.checkpoint_id),
            provider="local",
            state="starting",
            request=body.document(),
            progress=0,
            message="",
            expires_at=now + LONGEST,
            allowance=core.settings.test_allowance_usd,
            created_at=now,
        )
        exports.add(session, row)
        return exporting.view(row)


@router.get("/{export_id}")
def get_export(core: CoreDep, person: PersonDep, job_id: str, export_id: str) -> ExportView:
    """An export as it is now."""
    with core.db.read() as session:
        return exporting.view(exports.get(session, person.id, job_id, export_id))


@router.delete("/{export_id}")
def cancel_export(core: CoreDep, person: PersonDep, job_id: str, export_id: str) -> ExportView:
    """Ends an export that is under way; one that has ended stays as it is."""
    with core.db.write() as session:
        row = exports.get(session, person.id, job_id, export_id)
        sessions.end(session, row, core.clock())
        shown = exporting.view(row)
    core.bus.wake(export_id)
    return shown


def _checkpoint(session: Session, job: Job, asked: str | None) -> str | None:
    """The checkpoint to export; the newest where none is named. None only for a finished run without rows of its checkpoints."""
    if asked is not None:
        row = session.get(CheckpointRow, (job.id, asked))
        if row is None or not row.kept:
            raise NotFoundError("checkpoint_not_found", "This run has no such checkpoint.", "See the run's list of checkpoints.")
        return asked
    rows = [row for row in jobs.checkpoints(session, job.id) if row.kept]
    if not rows and job.state != JobState.COMPLETED:
        raise ConflictError("nothing_to_export", "This run has no checkpoint yet.", "Wait for its first checkpoint.")
    return rows[-1].checkpoint_id if rows and job.state != JobState.COMPLETED else None
