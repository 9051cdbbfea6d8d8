"""Server-sent events with resume: replay from a cursor, then live. Messages are unnamed, so that `onmessage` gets them all.

Each client reads pages by its own cursor and is woken by the bus, which brings along what was just committed: a client that is up
to date needs no page. A slow one only falls behind.
"""

import time
from collections.abc import AsyncIterator, Callable, Sequence

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event

from kriptik.server.bus import Waiter
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

ALIVE_S = 15.0
"""After so long without a message a comment is sent, which browsers pass over."""

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


async def follow(core: Core, stream_id: str, after: int, types: Sequence[str] | None = None) -> AsyncIterator[bytes]:
    """Messages after an id, for as long as the client stays."""

    def read() -> list[tuple[str, Noun]]:
        return [(str(m.id), m) for m in page(core, stream_id, cursor[0], types)]

    def told(waiter: Waiter) -> list[tuple[str, Noun]] | None:
        """Only some types: what is left out would look like a gap. A new state: its message needs the run's row."""
        found = waiter.fresh(cursor[0])
        if types is not None or found is None or any(isinstance(event.body, StateChanged) for event in found):
            return None
        return [(str(event.id), message(event, None)) for event in found]

    cursor = [after]
    async for found in _pages(core, stream_id, read, PAGE, told):
        if found:
            cursor[0] = int(found[-1][0])
        yield _text(found)


async def follow_pages(core: Core, topic: str, read: Callable[[], list[tuple[str, Noun]]]) -> AsyncIterator[bytes]:
    """As `follow`, for anything that `read` returns as (id, noun) beyond its own cursor."""
    async for found in _pages(core, topic, read):
        yield _text(found)


class EventStream(StreamingResponse):
    """What `follow` gives, until the client goes. A page goes out in one piece; FastAPI's own takes several tasks per message."""

    media_type = "text/event-stream"

    def __init__(self, pages: AsyncIterator[bytes], status_code: int = 200) -> None:
        super().__init__(pages, status_code, headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})


async def _pages(
    core: Core,
    topic: str,
    read: Callable[[], list[tuple[str, Noun]]],
    whole: int = 1,
    told: Callable[[Waiter], list[tuple[str, Noun]] | None] = lambda _waiter: None,
) -> AsyncIterator[list[tuple[str, Noun]]]:
    """What came, and now and then nothing, so that nobody takes the connection for dead.

    `whole`: a page with fewer was the last one. `told`: what need not be read, if that is known to be all.
    """
    said_at = 0.0
    with core.bus.listen(topic) as waiter:
        while not core.bus.closed:
            known = told(waiter)
            found = await run_in_threadpool(read) if known is None else known
            now = time.monotonic()
            if found or now > said_at + ALIVE_S:
                said_at = now
                yield found
            if known is not None or len(found) < whole:  # what came meanwhile has set the waiter, so nothing is slept through
                await waiter.wait(POLL_S)


def _text(found: Sequence[tuple[str, Noun]]) -> bytes:
    """Unnamed messages as they go over the line; a comment for none."""
    made = [format_sse_event(data_str=noun.model_dump_json(by_alias=True, exclude_unset=True), id=name) for name, noun in found]
    return b"".join(made) or KEEPALIVE_COMMENT


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
