"""Runs: the list, the page, and what a person may do to them."""

import shutil
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from kriptik.server import places, present
from kriptik.server.auth import CoreDep, PersonDep
from kriptik.server.core import Core
from kriptik.server.runs import commands, effects
from kriptik.spec.base import Money, Noun
from kriptik.spec.errors import ConflictError
from kriptik.spec.job import TERMINAL_STATES, JobState
from kriptik.spec.run import JobDetail, JobSummary, Place, PlaceChoice
from kriptik.store import jobs, ledger, trials
from kriptik.store.tables import ExportRow, Stream, TrainingPlan, TrialRow

router = APIRouter(prefix="/jobs", tags=["runs"])


class JobList(Noun):
    """A page of runs, newest first; `next` is the id to pass as `before`."""

    jobs: list[JobSummary]
    next: str | None = None


class ResumeRequest(Noun):
    """How to go on. `newBudget` is the new total cap."""

    new_budget: Money | None = Field(default=None, gt=0)


class Resumed(Noun):
    """The run goes on."""

    success: bool
    resumed_at: str
    job: JobDetail


class ResumeBody(ResumeRequest):
    """The new total cap if any, and where to go on if not where it was."""

    place: PlaceChoice | None = None


class PlaceList(Noun):
    """The present place first, then by price."""

    places: list[Place]


class RollbackRequest(Noun):
    """Which checkpoint to go back to."""

    checkpoint_id: str = Field(min_length=1, max_length=200)


class JobPatch(Noun):
    """What a person may rename or note."""

    name: str | None = Field(default=None, min_length=1, max_length=200)
    notes: str | None = Field(default=None, max_length=20_000)


@router.get("")
def list_jobs(
    core: CoreDep,
    person: PersonDep,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    before: str | None = None,
    state: JobState | None = None,
    find: Annotated[str, Query(max_length=300)] = "",
) -> JobList:
    """Your runs, newest first; `find` keeps those with all of its words in name, notes, prompt, model, method or state."""
    with core.db.read() as session:
        rows = jobs.page(session, person.id, limit, before, state, find)
        now = core.clock()
        return JobList(jobs=[present.summary(session, row, now) for row in rows], next=rows[-1].id if len(rows) == limit else None)


@router.get("/{job_id}")
def get_job(core: CoreDep, person: PersonDep, job_id: str) -> JobDetail:
    """A run with everything its page needs; go on from `lastEventId` with the stream."""
    with core.db.read() as session:
        return present.detail(session, core, jobs.get(session, person.id, job_id), core.clock())


@router.patch("/{job_id}")
def change_job(core: CoreDep, person: PersonDep, job_id: str, patch: JobPatch) -> JobDetail:
    """Renames a run or changes its notes."""
    with core.db.write() as session:
        job = jobs.get(session, person.id, job_id)
        job.name, job.notes = patch.name or job.name, job.notes if patch.notes is None else patch.notes
        job.updated_at = core.clock()
    return _shown(core, person.id, job_id)


@router.delete("/{job_id}", status_code=204)
def delete_job(core: CoreDep, person: PersonDep, job_id: str) -> None:
    """Deletes a run that has ended or is frozen, with all its files."""
    with core.db.write() as session:
        job = jobs.get(session, person.id, job_id)
        if job.state not in TERMINAL_STATES | {JobState.FROZEN} or ledger.live(session, job_id):
            raise ConflictError("run_alive", f"This run is {job.state.replace('_', ' ')}.", "Stop it first.")
        sessions = session.query(TrialRow).filter_by(job_id=job_id).all()
        if any(row.state in trials.LIVE for row in sessions):
            raise ConflictError("run_in_test", "A test session uses this run.", "End the session first.")
        written = session.query(ExportRow).filter_by(job_id=job_id).all()
        if any(row.state in trials.LIVE for row in written):
            raise ConflictError("run_in_export", "This run is being exported.", "Cancel the export or wait for its end.")
        plan = session.get_one(TrainingPlan, job.plan_id)
        plan.plan = {**plan.plan, "jobId": None}
        for row in (*sessions, *written):
            session.delete(session.get_one(Stream, row.id))
        session.delete(session.get_one(Stream, job_id))
    shutil.rmtree(core.run_dir(job_id), ignore_errors=True)


@router.post("/{job_id}/freeze")
def freeze_job(core: CoreDep, person: PersonDep, job_id: str) -> JobDetail:
    """Saves a verified checkpoint, then ends what bills."""
    with core.db.write() as session:
        commands.freeze(session, jobs.get(session, person.id, job_id), core.clock())
    return _shown(core, person.id, job_id)


@router.post("/{job_id}/pause")
def pause_job(core: CoreDep, person: PersonDep, job_id: str) -> JobDetail:
    """A freeze that you ask for."""
    return freeze_job(core, person, job_id)


@router.post("/{job_id}/stop")
def stop_job(core: CoreDep, person: PersonDep, job_id: str) -> JobDetail:
    """Ends a run for good; its checkpoints stay."""
    with core.db.write() as session:
        commands.stop(session, jobs.get(session, person.id, job_id), core.clock())
    return _shown(core, person.id, job_id)


@router.get("/{job_id}/places")
def list_places(core: CoreDep, person: PersonDep, job_id: str) -> PlaceList:
    """Where a frozen run may go on, at live prices."""
    with core.db.read() as session:
        job = jobs.get(session, person.id, job_id)
    return PlaceList(places=places.of_run(core, job))


@router.post("/{job_id}/resume")
def resume_job(core: CoreDep, person: PersonDep, job_id: str, body: ResumeBody | None = None) -> Resumed:
    """Goes on exactly where it was frozen, or on other hardware at a price that was seen."""
    now = core.clock()
    choice = body.place if body else None
    if choice is not None:
        with core.db.read() as session:
            job = jobs.get(session, person.id, job_id)
        places.chosen(core, job, choice)  # asks a provider: outside of the transaction
    with core.db.write() as session:
        job = jobs.get(session, person.id, job_id)
        commands.resume(session, core, job, body.new_budget if body else None, now, choice)
    return Resumed(success=True, resumed_at=now.isoformat(), job=_shown(core, person.id, job_id))


@router.post("/{job_id}/retry")
def retry_job(core: CoreDep, person: PersonDep, job_id: str) -> JobDetail:
    """Starts a failed or stopped run again from its newest sound checkpoint."""
    with core.db.read() as session:
        job = jobs.get(session, person.id, job_id)
    checkpoint = effects.to_resume(core, job)
    with core.db.write() as session:
        commands.retry(session, core, jobs.get(session, person.id, job_id), checkpoint, core.clock())
    return _shown(core, person.id, job_id)


@router.post("/{job_id}/rollback")
def rollback_job(core: CoreDep, person: PersonDep, job_id: str, body: RollbackRequest) -> JobDetail:
    """Goes back to an earlier checkpoint and trains on from there; what was spent stays spent."""
    with core.db.write() as session:
        commands.rollback(session, core, jobs.get(session, person.id, job_id), body.checkpoint_id, core.clock())
    return _shown(core, person.id, job_id)


@router.post("/{job_id}/stages/{index}/approve")
def approve_stage(core: CoreDep, person: PersonDep, job_id: str, index: int) -> JobDetail:
    """Lets a waiting stage begin."""
    with core.db.write() as session:
        commands.approve_stage(session, core, jobs.get(session, person.id, job_id), index, core.clock())
    return _shown(core, person.id, job_id)


def _shown(core: Core, user_id: str, job_id: str) -> JobDetail:
    core.bus.wake(job_id)
    with core.db.read() as session:
        return present.detail(session, core, jobs.get(session, user_id, job_id), core.clock())
