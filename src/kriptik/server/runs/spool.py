"""Taking in worker events: from its posts, and from the spool it left on a disk we can read."""

import json
from collections.abc import Iterable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from sqlalchemy import Row
from sqlalchemy.orm import Session

from kriptik.server.core import Core
from kriptik.server.runs import money, projection
from kriptik.spec.errors import BadInputError, ConflictError
from kriptik.spec.events import Desired, Event, Lease, Pending
from kriptik.store import events, jobs
from kriptik.store.tables import Generation, Job

BATCH = 500


def take(session: Session, core: Core, generation: Generation, batch: Sequence[Event]) -> int:
    """Stores a batch once and follows what is new; returns the highest contiguous seq stored."""
    if any(event.generation != generation.number for event in batch):
        raise BadInputError("wrong_generation", "An event names another generation than the address does.")
    taken = events.take(session, generation, batch)
    job = session.get(Job, generation.stream_id)
    price = money.price(core, job) if job is not None else Decimal(0)
    projection.apply(session, job, generation, taken.fresh, price, core.clock())
    return taken.ack_seq


def current(session: Session, stream_id: str, number: int) -> Generation:
    """The generation, if it may still speak: the newest of its stream and not confirmed gone. Else 409."""
    generation = jobs.generation(session, stream_id, number)
    job = session.get(Job, stream_id)
    if generation is None or generation.gone_at is not None or (job is not None and job.generation != number):
        raise ConflictError("stale_generation", "A newer generation has taken over.", "End this worker.")
    return generation


def lease(
    core: Core,
    wanted: Generation | Row[*tuple[Any, ...]],
    ack_seq: int,
    hard_stop_in_s: float | None,
    requests: Sequence[Pending] = (),
) -> Lease:
    """What a worker is answered; `wanted` holds the columns that say what is wanted of its generation."""
    desired = {"version": wanted.desired_version, "state": wanted.desired_state, "reason": wanted.desired_reason}
    return Lease(
        ack_seq=ack_seq,
        lease_s=core.settings.lease_s,
        hard_stop_in_s=hard_stop_in_s,
        desired=Desired.model_validate({**desired, "requests": requests}),
    )


def take_rest(core: Core, stream_id: str, number: int, folder: Path) -> None:
    """Takes in what a worker wrote down under `folder` but never delivered, where that is on this machine."""
    path = spool_path(folder, number)
    if not path.is_file():
        return
    with core.db.read() as session:
        generation = jobs.generation(session, stream_id, number)
        known = generation.ack_seq if generation else 0
    rest = [event for event in _read(path) if event.seq > known and event.generation == number]
    for start in range(0, len(rest), BATCH):
        with core.db.write() as session:
            generation = jobs.generation(session, stream_id, number)
            if generation is None or generation.gone_at is not None:
                return
            take(session, core, generation, rest[start : start + BATCH])
    if rest:
        core.bus.wake(stream_id)


def spool_path(run_dir: Path, number: int) -> Path:
    """Where a worker of this generation keeps its events."""
    return run_dir / "events" / f"g{number}.jsonl"


def _read(path: Path) -> Iterable[Event]:
    """Whole lines only: a torn last line ends the reading."""
    for line in path.read_bytes().split(b"\n"):
        if not line.strip():
            continue
        try:
            yield Event.model_validate(json.loads(line))
        except (ValueError, ValidationError):
            return
