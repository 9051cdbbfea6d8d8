"""Server-sent events with resume: replay from a cursor, then live. Messages are unnamed, so that `onmessage` gets them all.

Nothing is buffered per client: each reads pages by its own cursor and is woken by the bus, so a slow client only falls behind.
"""

from collections.abc import AsyncIterator, Callable, Sequence

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from fastapi.sse import ServerSentEvent

from kriptik.server.core import Core
from kriptik.spec.base import Noun
from kriptik.spec.budget import FreezeState
from kriptik.spec.events import (
    Alarm,
    BudgetMoved,
    CheckpointCommitted,
    CurrentSample,
    EvalResult,
    Log,
    Metrics,
    Notice,
    QualitySample,
    RunResult,
    SetupProgress,
    StageProgress,
    StateChanged,
    StoredEvent,
)
from kriptik.spec.job import JobState
from kriptik.spec.run import Failure
from kriptik.spec.stream import StreamMessage
from kriptik.store import events
from kriptik.store.tables import Job

PAGE = 200
POLL_S = 2.0
"""Even without a wake-up the database is read this often: another process may have written."""

_FIELDS: dict[type[Noun], str] = {
    Metrics: "metrics",
    CurrentSample: "current_sample",
    BudgetMoved: "budget",
    StageProgress: "stage",
    SetupProgress: "setup",
    QualitySample: "sample",
    EvalResult: "eval",
    Notice: "notice",
    RunResult: "result",
    Alarm: "alarm",
}
_STATE_TYPES = {JobState.FROZEN: "frozen", JobState.COMPLETED: "complete", JobState.FAILED: "error"}


def message(event: StoredEvent, job: Job | None) -> StreamMessage:
    """The message of an event; `job` supplies freeze state, result and failure where the event is the run's newest state."""
    body = event.body
    extra: dict[str, object] = {"type": body.type}
    field = _FIELDS.get(type(body))
    if field:
        extra[field] = body
    elif isinstance(body, CheckpointCommitted):
        extra["checkpoints"] = [body]
    elif isinstance(body, Log):
        extra["logs"] = [body]
    elif isinstance(body, StateChanged):
        extra |= {"state": body.state, "type": _STATE_TYPES.get(body.state, "state")}
        if job is not None and job.state == body.state:
            extra |= _last_words(job)
    return StreamMessage.model_validate({**event.__dict__, **extra})


def page(core: Core, stream_id: str, after: int, types: Sequence[str] | None, limit: int = PAGE) -> list[StreamMessage]:
    """The next messages after an id."""
    with core.db.read() as session:
        found = events.after(session, stream_id, after, limit, types)
        job = session.get(Job, stream_id) if any(isinstance(e.body, StateChanged) for e in found) else None
    return [message(event, job) for event in found]


async def follow(
    core: Core, request: Request, stream_id: str, after: int, types: Sequence[str] | None = None
) -> AsyncIterator[ServerSentEvent]:
    """Messages after an id, for as long as the client stays."""

    def read() -> list[tuple[str, Noun]]:
        return [(str(m.id), m) for m in page(core, stream_id, cursor[0], types)]

    cursor = [after]
    async for event_id, noun in _pages(core, request, stream_id, read, PAGE):
        cursor[0] = int(event_id)
        yield sse(event_id, noun)


async def _pages(
    core: Core, request: Request, topic: str, read: Callable[[], list[tuple[str, Noun]]], whole: int = 1
) -> AsyncIterator[tuple[str, Noun]]:
    """`whole`: a page with fewer was the last one."""
    with core.bus.listen(topic) as waiter:
        while not core.bus.closed:
            found = await run_in_threadpool(read)
            for item in found:
                yield item
            if len(found) < whole:  # what came meanwhile has set the waiter, so nothing is slept through
                await waiter.wait(POLL_S)
            if await request.is_disconnected():
                return


async def follow_pages(
    core: Core, request: Request, topic: str, read: Callable[[], list[tuple[str, Noun]]]
) -> AsyncIterator[ServerSentEvent]:
    """As `follow`, for anything that `read` returns as (id, noun) beyond its own cursor."""
    async for event_id, noun in _pages(core, request, topic, read):
        yield sse(event_id, noun)


def sse(event_id: str, noun: Noun) -> ServerSentEvent:
    """One unnamed message."""
    return ServerSentEvent(id=event_id, raw_data=noun.model_dump_json(by_alias=True, exclude_unset=True))


def cursor_of(request: Request, after: int) -> int:
    """Where to go on: the browser's Last-Event-ID wins over the query."""
    header = request.headers.get("last-event-id", "")
    return int(header) if header.isascii() and header.isdigit() and len(header) < 16 else after


def _last_words(job: Job) -> dict[str, object]:
    words: dict[str, object] = {}
    if job.state == JobState.FROZEN and job.freeze_state:
        words["freeze_state"] = FreezeState.model_validate(job.freeze_state)
    elif job.state == JobState.COMPLETED and job.result:
        words["result"] = RunResult.model_validate(job.result)
    elif job.state == JobState.FAILED and job.failure:
        words["error"] = Failure.model_validate(job.failure)
    return words
