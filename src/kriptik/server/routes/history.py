"""What a run has said so far, and what it says now: logs, curves, checkpoints, samples, events, streams."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from kriptik.server import downsample, stream
from kriptik.server.auth import CoreDep, PersonDep
from kriptik.spec.base import Noun
from kriptik.spec.events import EvalResult, Log, Metrics, QualitySample, Severity
from kriptik.spec.run import Checkpoint
from kriptik.spec.stream import StreamMessage
from kriptik.store import curves, events, jobs

router = APIRouter(tags=["history"])

SEVERITIES: tuple[Severity, ...] = ("debug", "info", "warning", "error")
SETUP_TYPES = ("setup", "state", "log", "worker", "probe")
Limit = Annotated[int, Query(ge=1, le=1000)]


class LogLine(Log):
    """A log line with its event id and time."""

    id: int
    generation: int
    at: str


class LogPage(Noun):
    """Log lines, oldest first; pass `before` to go further back."""

    logs: list[LogLine]
    before: int | None = None


class MetricsPoint(Metrics):
    """A point of the curves, and the generation that made it."""

    generation: int
    at: str


class MetricsHistory(Noun):
    """The curves, thinned so that spikes stay; `total` is the number of points before thinning."""

    points: list[MetricsPoint]
    total: int
    evals: list[EvalResult]
    resumes: list[int]
    last_event_id: int


class SampleList(Noun):
    """Held-out prompts answered along the way, oldest first."""

    samples: list[QualitySample]


class CheckpointList(Noun):
    """Committed checkpoints, oldest first."""

    checkpoints: list[Checkpoint]


class EventPage(Noun):
    """Stream messages by page, for clients that cannot hold a stream open."""

    messages: list[StreamMessage]
    last_event_id: int


@router.get("/jobs/{job_id}/logs")
def list_logs(
    core: CoreDep, person: PersonDep, job_id: str, severity: Severity = "info", limit: Limit = 200, before: int | None = None
) -> LogPage:
    """Log lines of at least this severity."""
    wanted = SEVERITIES[SEVERITIES.index(severity) :]
    with core.db.read() as session:
        jobs.get(session, person.id, job_id)
        found = events.logs(session, job_id, wanted, limit, before)
    lines = [
        LogLine.model_validate({**e.body.model_dump(), "id": e.id, "generation": e.generation, "at": e.at.isoformat()})
        for e in found
    ]
    return LogPage(logs=lines, before=found[0].id if len(found) == limit else None)


@router.get("/jobs/{job_id}/metrics", response_model=MetricsHistory)
def list_metrics(
    core: CoreDep,
    person: PersonDep,
    job_id: str,
    points: Annotated[int, Query(ge=6, le=2000)] = 2000,
    from_step: Annotated[int, Query(ge=0, alias="fromStep")] = 0,
    to_step: Annotated[int | None, Query(ge=0, alias="toStep")] = None,
) -> Response:
    """The curves of a run: per step the newest generation's point, at most `points` of them."""
    with core.db.read() as session:
        job = jobs.get(session, person.id, job_id)
        last = events.last_id(session, job_id)
        curve = curves.points(session, job_id, from_step, to_step)
        shown = curves.whole(session, job_id, downsample.thin(curve, points)["id"].tolist())
        evals = [e.body for e in events.newest(session, job_id, ["eval"], 500)]
    history = MetricsHistory(
        points=[],
        total=len(curve),
        evals=[e.model_copy(update={"row_losses": None, "row_tokens": None}) for e in evals if isinstance(e, EvalResult)],
        resumes=job.resumes,
        last_event_id=last,
    )
    # The points were checked when they came in: they go out as they are stored.
    rest = history.model_dump_json(by_alias=True).removeprefix('{"points":[]')
    return Response(f'{{"points":[{",".join(shown)}]{rest}', media_type="application/json")


@router.get("/jobs/{job_id}/checkpoints")
def list_checkpoints(core: CoreDep, person: PersonDep, job_id: str) -> CheckpointList:
    """Committed checkpoints."""
    with core.db.read() as session:
        jobs.get(session, person.id, job_id)
        return CheckpointList(checkpoints=[jobs.checkpoint_noun(row) for row in jobs.checkpoints(session, job_id)])


@router.get("/jobs/{job_id}/samples")
def list_samples(core: CoreDep, person: PersonDep, job_id: str, limit: Limit = 200) -> SampleList:
    """Answers along the way."""
    with core.db.read() as session:
        jobs.get(session, person.id, job_id)
        found = events.newest(session, job_id, ["sample"], limit)
    return SampleList(samples=[e.body for e in found if isinstance(e.body, QualitySample)])


@router.get("/jobs/{job_id}/events")
def list_events(
    core: CoreDep, person: PersonDep, job_id: str, after: Annotated[int, Query(ge=0)] = 0, limit: Limit = 200
) -> EventPage:
    """The stream by pages."""
    with core.db.read() as session:
        jobs.get(session, person.id, job_id)
        last = events.last_id(session, job_id)
    return EventPage(messages=stream.page(core, job_id, after, None, limit), last_event_id=last)


@router.get("/events/schema", response_model=StreamMessage | None)
def get_event_schema(person: PersonDep) -> None:
    """Answers null: it is here so that generated clients know the type of a stream message."""
    return None


def owned_job(core: CoreDep, person: PersonDep, job_id: str) -> str:
    """The id of a run of yours; 404 before a stream begins."""
    with core.db.read() as session:
        return jobs.get(session, person.id, job_id).id


OwnedJob = Annotated[str, Depends(owned_job)]
After = Annotated[int, Query(ge=0)]


@router.get("/jobs/{job_id}/stream", response_class=stream.EventStream)
async def stream_job(core: CoreDep, request: Request, job: OwnedJob, after: After = 0) -> stream.EventStream:
    """Everything a run says, from `after` or Last-Event-ID on. Data: StreamMessage."""
    return stream.EventStream(stream.follow(core, job, stream.cursor_of(request, after)))


@router.get("/jobs/{job_id}/setup/stream", response_class=stream.EventStream)
async def stream_setup(core: CoreDep, request: Request, job: OwnedJob, after: After = 0) -> stream.EventStream:
    """Set-up progress only. Data: StreamMessage."""
    return stream.EventStream(stream.follow(core, job, stream.cursor_of(request, after), SETUP_TYPES))
