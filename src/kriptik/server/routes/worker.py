"""What workers say and ask. Bearer: the generation's own token. Every answer is the lease: what is stored, what is wanted."""

import hmac
import sys
import time
import zlib
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from sqlalchemy import select
from sqlalchemy.orm import Session

from kriptik.server.auth import CoreDep
from kriptik.server.core import Core
from kriptik.server.problems import checked
from kriptik.server.runs import hot, spool
from kriptik.spec.errors import BadInputError, KriptikError
from kriptik.spec.events import DesiredAck, EventBatch, Lease, Pending, StoredEvent
from kriptik.store import jobs, people, trials
from kriptik.store.tables import Generation, Job

PREFIX = "/api/worker/v1/jobs/{job_id}/generations/{generation}"
router = APIRouter(prefix=PREFIX, tags=["worker"])

MOST_BYTES = 8 << 20
POLL_S = 2.0


def worker_generation(core: CoreDep, request: Request, job_id: str, generation: int) -> int:
    """The generation whose token this is: 401 if it is not, 409 `stale_generation` if it may not speak any more."""
    with core.db.read() as session:
        _known(session, job_id, generation, _token(request))
    return generation


def _token(request: Request) -> str:
    return request.headers.get("authorization", "").removeprefix("Bearer ").strip()


def _known(session: Session, job_id: str, number: int, token: str) -> Generation:
    row = jobs.generation(session, job_id, number)
    if row is None or not hmac.compare_digest(row.token_hash, people.digest(token)):
        raise KriptikError("bad_worker_token", "This is not the token of this generation.", "End this worker.", status=401)
    return spool.current(session, job_id, number)


WorkerDep = Annotated[int, Depends(worker_generation)]


@router.post("/events", response_model=Lease)
async def post_events(core: CoreDep, request: Request, job_id: str, generation: int) -> Response:
    """Stores consecutive events (optionally gzipped) and says how far they are stored without a gap."""
    token = _token(request)
    if not hmac.compare_digest(token.encode(), core.worker_token(job_id, generation).encode()):
        await run_in_threadpool(worker_generation, core, request, job_id, generation)  # a stranger's body is not even unpacked
    batch = checked(EventBatch, _unpacked(await request.body(), request.headers.get("content-encoding", "")))

    plain = hot.plain(batch.events)

    def store(session: Session) -> tuple[Lease, list[StoredEvent]]:
        if plain and (taken := hot.take(session, core, job_id, generation, token, batch.events)) is not None:
            return taken
        _run = session.get(Job, job_id)  # held, so that it is read once: sessions forget what nobody holds
        row = _known(session, job_id, generation, token)
        spool.take(session, core, row, batch.events)
        return _contact(session, core, row), []

    lease, fresh = await core.writer.do(store)
    if fresh:
        core.bus.tell(job_id, fresh)
    elif batch.events:
        core.bus.wake(job_id)  # the server may have said something of its own
    return Response(lease.model_dump_json(by_alias=True), media_type="application/json")  # written once, and not checked again


@router.get("/desired")
async def get_desired(
    core: CoreDep, job_id: str, number: WorkerDep, since: int = 0, wait: Annotated[float, Query(ge=0, le=25)] = 0
) -> Lease:
    """What is wanted; with `wait`, holds until that is newer than `since`, so a freeze arrives at once."""
    end = time.monotonic() + wait
    with core.bus.listen(job_id, told=False) as waiter:
        lease = await _lease(core, job_id, number)
        while lease.desired.version <= since and (remaining := end - time.monotonic()) > 0 and not core.bus.closed:
            await waiter.wait(min(POLL_S, remaining))
            if await run_in_threadpool(_version, core, job_id, number) > since or time.monotonic() >= end:
                lease = await _lease(core, job_id, number)
        return lease


@router.post("/desired/ack")
def acknowledge_desired(core: CoreDep, job_id: str, number: WorkerDep, ack: DesiredAck) -> Lease:
    """The wanted state of this version was carried out, or could not be."""
    with core.db.write() as session:
        generation = spool.current(session, job_id, number)
        if ack.version > generation.desired_version:
            raise BadInputError("unknown_version", "This version was never asked for.")
        if ack.version > generation.acked_version:
            generation.acked_version, generation.acked_result = ack.version, ack.result
            generation.acked_checkpoint = ack.checkpoint_id
        return _contact(session, core, generation)


def _version(core: Core, job_id: str, number: int) -> int:
    """The newest wish; for a generation that may not speak any more one that is newer than any, so that it is told."""
    with core.db.read() as session:
        query = select(Generation.desired_version, Generation.gone_at)
        row = session.execute(query.where(Generation.stream_id == job_id, Generation.number == number)).one()
        newest = session.scalar(select(Job.generation).where(Job.id == job_id))
    return sys.maxsize if row.gone_at is not None or newest not in (None, number) else row.desired_version


async def _lease(core: Core, job_id: str, number: int) -> Lease:
    return await core.writer.do(lambda session: _contact(session, core, spool.current(session, job_id, number)))


def _contact(session: Session, core: Core, generation: Generation) -> Lease:
    """Renews the lease; the hard stop is what the remaining budget buys at this moment."""
    now = core.clock()
    generation.last_contact_at = now
    job = session.get(Job, generation.stream_id)
    hard_stop, requests = None, []
    if job is not None:
        hard_stop = core.hard_stops.of(session, job.id, job.generation, job.max_budget, now)
    elif generation.kind == "serve":
        calls = trials.waiting(session, generation.stream_id)
        requests = [Pending(request_id=call.id, request=call.request) for call in calls]
    return spool.lease(core, generation, generation.ack_seq, hard_stop, requests)


def _unpacked(body: bytes, encoding: str) -> bytes:
    if len(body) > MOST_BYTES:
        raise KriptikError("too_large", "A batch may hold 8 MiB.", "Send fewer events at a time.", status=413)
    if encoding != "gzip":
        return body
    try:
        unpacker = zlib.decompressobj(16 + zlib.MAX_WBITS)
        data = unpacker.decompress(body, MOST_BYTES)
    except zlib.error as error:
        raise BadInputError("bad_gzip", "The body is not gzip.") from error
    if unpacker.unconsumed_tail:
        raise KriptikError("too_large", "A batch may hold 8 MiB unpacked.", "Send fewer events at a time.", status=413)
    return data
