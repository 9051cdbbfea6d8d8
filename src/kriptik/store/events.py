"""Events of a stream: stored once by (stream, generation, seq), numbered per stream under the stream row's lock."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import bindparam, func, insert, select, update
from sqlalchemy.orm import Session

from kriptik.spec.events import Event, EventBody, StoredEvent
from kriptik.store.tables import Base, EventRow, Generation, Stream

SERVER_GENERATION = 0
_BODY: TypeAdapter[EventBody] = TypeAdapter(EventBody)
_EVENTS, _STREAMS = Base.metadata.tables[EventRow.__tablename__], Base.metadata.tables[Stream.__tablename__]
"""Written to as tables: the session keeps no objects of them, and a run that posts every second needs no more."""
_INSERT = insert(_EVENTS)
_LAST = _STREAMS.c.last_event_id
_RESERVE = (
    update(_STREAMS).where(_STREAMS.c.id == bindparam("stream")).values(last_event_id=_LAST + bindparam("count")).returning(_LAST)
)


@dataclass(frozen=True)
class Taken:
    """What became of a batch: `ack_seq` is the highest contiguous seq stored, `fresh` the events that were new."""

    ack_seq: int
    fresh: list[StoredEvent]


def take(session: Session, generation: Generation, events: Sequence[Event]) -> Taken:
    """Stores what continues the generation without a gap; repeats are skipped, what lies past a gap is left to a resend."""
    taken = append(session, generation.stream_id, generation.number, generation.ack_seq, events)
    generation.ack_seq = taken.ack_seq
    return taken


def append(session: Session, stream_id: str, number: int, ack_seq: int, events: Sequence[Event]) -> Taken:
    """As `take`, of a generation whose events are stored up to `ack_seq`, which the caller then moves."""
    expected = ack_seq + 1
    fitting: list[Event] = []
    for event in sorted(events, key=lambda e: e.seq):
        if event.seq == expected:
            fitting.append(event)
            expected += 1
    if not fitting:
        return Taken(ack_seq, [])
    first = _reserve_ids(session, stream_id, len(fitting))
    fresh = [
        StoredEvent(id=first + n, job_id=stream_id, generation=number, seq=e.seq, at=e.at, body=e.body)
        for n, e in enumerate(fitting)
    ]
    session.execute(_INSERT, [_values(event) for event in fresh])
    return Taken(expected - 1, fresh)


def say(session: Session, stream_id: str, body: EventBody, at: datetime) -> StoredEvent:
    """Adds an event of the server's own."""
    event_id = _reserve_ids(session, stream_id, 1)
    event = StoredEvent(id=event_id, job_id=stream_id, generation=SERVER_GENERATION, seq=event_id, at=at, body=body)
    session.execute(_INSERT, [_values(event)])
    return event


def after(session: Session, stream_id: str, last_id: int, limit: int, types: Collection[str] | None = None) -> list[StoredEvent]:
    """Events with an id above `last_id`, in order."""
    query = select(EventRow).where(EventRow.stream_id == stream_id, EventRow.id > last_id)
    if types is not None:
        query = query.where(EventRow.type.in_(types))
    return [stored(row) for row in session.scalars(query.order_by(EventRow.id).limit(limit))]


def newest(session: Session, stream_id: str, types: Collection[str], limit: int, before: int | None = None) -> list[StoredEvent]:
    """The last `limit` events of these types (below id `before`), oldest first."""
    query = select(EventRow).where(EventRow.stream_id == stream_id, EventRow.type.in_(types))
    if before is not None:
        query = query.where(EventRow.id < before)
    rows = session.scalars(query.order_by(EventRow.id.desc()).limit(limit)).all()
    return [stored(row) for row in reversed(rows)]


def logs(session: Session, stream_id: str, severities: Collection[str], limit: int, before: int | None) -> list[StoredEvent]:
    """The last `limit` log lines of these severities (below id `before`), oldest first."""
    query = select(EventRow).where(EventRow.stream_id == stream_id, EventRow.type == "log", EventRow.severity.in_(severities))
    if before is not None:
        query = query.where(EventRow.id < before)
    rows = session.scalars(query.order_by(EventRow.id.desc()).limit(limit)).all()
    return [stored(row) for row in reversed(rows)]


def last_id(session: Session, stream_id: str) -> int:
    """The id of the newest event; 0 before the first."""
    return session.scalar(select(Stream.last_event_id).where(Stream.id == stream_id)) or 0


def count(session: Session, stream_id: str) -> int:
    """How many events are stored."""
    return session.scalar(select(func.count()).select_from(EventRow).where(EventRow.stream_id == stream_id)) or 0


def stored(row: EventRow) -> StoredEvent:
    """The noun of a row."""
    return StoredEvent(
        id=row.id, job_id=row.stream_id, generation=row.generation, seq=row.seq, at=row.at, body=_BODY.validate_python(row.body)
    )


def _reserve_ids(session: Session, stream_id: str, count: int) -> int:
    """First of `count` new ids; the UPDATE locks the stream's row until the end of the transaction."""
    return session.execute(_RESERVE, {"stream": stream_id, "count": count}).scalar_one() - count + 1


def _values(event: StoredEvent) -> dict[str, Any]:
    body = event.body
    return {
        "stream_id": event.job_id,
        "id": event.id,
        "generation": event.generation,
        "seq": event.seq,
        "at": event.at,
        "type": body.type,
        "severity": getattr(body, "severity", None),
        "stage": getattr(body, "stage", None) if body.type != "setup" else None,
        "step": getattr(body, "step", None),
        "body": body.wire(),
    }
