"""Runs, their generations, resources and checkpoints."""

import itertools
from datetime import datetime
from decimal import Decimal

from sqlalchemy import select
from sqlalchemy.orm import Session

from kriptik.spec.base import new_id
from kriptik.spec.errors import NotFoundError
from kriptik.spec.events import CheckpointCommitted
from kriptik.spec.job import TERMINAL_STATES, JobState
from kriptik.spec.run import Checkpoint
from kriptik.store.tables import CheckpointRow, Generation, Job, Resource, Stream

DOUBLE = "double"
"""Status of the row of a machine that nobody wants; it is metered until it is gone, and stands for no generation."""
RESTING = {JobState.FROZEN.value, JobState.AWAITING_APPROVAL.value}
FIND_BATCH = 100
"""Rows read at a time while looking for words."""


def add(session: Session, job: Job) -> None:
    """Stores a new run with its event stream."""
    session.add(Stream(id=job.id, kind="job", last_event_id=0))
    session.flush()
    session.add(job)
    session.flush()


def get(session: Session, user_id: str, job_id: str) -> Job:
    """A user's run; 404 otherwise."""
    job = session.get(Job, job_id)
    if job is None or job.user_id != user_id:
        raise NotFoundError("job_not_found", "There is no such run.", "List your runs with GET /api/training/jobs.")
    return job


def of_plan(session: Session, plan_id: str) -> Job | None:
    """The run a plan was approved into."""
    return session.scalars(select(Job).where(Job.plan_id == plan_id)).first()


def page(session: Session, user_id: str, limit: int, before: str | None, state: str | None = None, find: str = "") -> list[Job]:
    """Newest runs first, from below id `before`; with `find`, those that hold all of its words in what a person sees of them."""
    query = select(Job).where(Job.user_id == user_id).order_by(Job.id.desc())
    if before:
        query = query.where(Job.id < before)
    if state:
        query = query.where(Job.state == state)
    words = find.casefold().split()
    if not words:
        return list(session.scalars(query.limit(limit)))
    rows = session.scalars(query.execution_options(yield_per=FIND_BATCH))
    return list(itertools.islice((job for job in rows if all(word in _seen(job) for word in words)), limit))


def _seen(job: Job) -> str:
    """What a person may remember of a run: JSON columns hold escaped text, so this is not left to the database."""
    told = (job.name, job.notes, job.base_model, job.state, job.estimate.get("prompt", ""), job.estimate.get("method", ""))
    return " ".join(told).replace("_", " ").casefold()


def taken(session: Session, provider: str, gpu: str, limit: int) -> list[dict[str, float]]:
    """What the newest finished runs on such a machine took of what their smoke tests expected (`projection.took`)."""
    query = select(Job.estimate).where(Job.provider == provider, Job.state == JobState.COMPLETED.value)
    rows = session.scalars(query.order_by(Job.finished_at.desc()).limit(limit))
    return [row["took"] for row in rows if "took" in row and row.get("gpu", "cpu") == gpu]


def unfinished(session: Session, *, resting: bool) -> list[str]:
    """Ids of runs the reconciler has to look at, longest in their state first; with `resting`, frozen and waiting ones too."""
    left_out = {state.value for state in TERMINAL_STATES} | (set() if resting else RESTING)
    return list(session.scalars(select(Job.id).where(Job.state.not_in(left_out)).order_by(Job.state_since, Job.id)))


def queue(session: Session, provider: str) -> list[str]:
    """Ids of waiting runs of a provider, in their order."""
    query = select(Job.id).where(Job.state == JobState.QUEUED.value, Job.provider == provider)
    return list(session.scalars(query.order_by(Job.state_since, Job.id)))


def busy(session: Session, provider: str) -> int:
    """How many training resources of a provider are alive or may be."""
    query = (
        select(Resource.id)
        .join(Generation, (Generation.stream_id == Resource.stream_id) & (Generation.number == Resource.number))
        .where(Resource.provider == provider, Resource.gone_at.is_(None), Generation.kind == "train")
    )
    return len(session.scalars(query).all())


def add_generation(
    session: Session, stream_id: str, number: int, kind: str, token_hash: str, resume_from: str | None, now: datetime
) -> Generation:
    """A new life of a worker, wanted running."""
    row = Generation(stream_id=stream_id, number=number, kind=kind, token_hash=token_hash, resume_from=resume_from, created_at=now)
    session.add(row)
    session.flush()
    return row


def generation(session: Session, stream_id: str, number: int) -> Generation | None:
    """One generation."""
    return session.get(Generation, (stream_id, number))


def want(generation: Generation, state: str, reason: str, now: datetime) -> None:
    """Changes what is wanted of a generation; saying the same again changes nothing. `stopped` is never taken back."""
    if generation.desired_state == state or generation.desired_state == "stopped":
        return
    generation.desired_state, generation.desired_reason = state, reason
    generation.desired_version += 1
    generation.desired_at = now


def add_resource(session: Session, generation: Generation, name: str, provider: str, price: Decimal, now: datetime) -> Resource:
    """The intent row: written before the create call, the meter starts here."""
    row = Resource(
        id=new_id(),
        name=name,
        stream_id=generation.stream_id,
        number=generation.number,
        provider=provider,
        status="intended",
        price_per_hour=price,
        intended_at=now,
        metered_at=now,
    )
    session.add(row)
    session.flush()
    return row


def resource(session: Session, stream_id: str, number: int) -> Resource | None:
    """The resource of a generation."""
    of_it = (Resource.stream_id == stream_id, Resource.number == number, Resource.status != DOUBLE)
    return session.scalars(select(Resource).where(*of_it)).first()


def add_checkpoint(session: Session, job_id: str, generation: int, body: CheckpointCommitted, at: datetime) -> CheckpointRow:
    """Notes a committed checkpoint; the same id again changes nothing."""
    row = session.get(CheckpointRow, (job_id, body.checkpoint_id))
    if row is None:
        row = CheckpointRow(
            job_id=job_id,
            generation=generation,
            at=at,
            **body.model_dump(include=set(CheckpointCommitted.model_fields) - {"type"}),
        )
        session.add(row)
        session.flush()
    return row


def checkpoints(session: Session, job_id: str) -> list[CheckpointRow]:
    """Committed checkpoints, oldest first."""
    return list(session.scalars(select(CheckpointRow).where(CheckpointRow.job_id == job_id).order_by(CheckpointRow.at)))


def checkpoint_noun(row: CheckpointRow) -> Checkpoint:
    """The noun of a row."""
    fields = {name: getattr(row, name) for name in CheckpointCommitted.model_fields if name != "type"}
    return Checkpoint(**fields, generation=row.generation, at=row.at, kept=row.kept)
