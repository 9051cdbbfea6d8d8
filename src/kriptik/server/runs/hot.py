"""Posts that bring nothing but metrics, lines and samples, which are nearly all: what `spool.take` and a renewed lease do, in five
statements on tables. Two hundred workers post two hundred times a second, and making objects of rows would be most of the work.
"""

import hmac
from collections.abc import Sequence
from functools import cache

from sqlalchemy import Update, bindparam, select, update
from sqlalchemy.orm import Session

from kriptik.server.core import Core
from kriptik.server.runs import projection, spool
from kriptik.spec.events import CurrentSample, Event, Lease, Log, Metrics, StoredEvent
from kriptik.store import events, people
from kriptik.store.tables import Base, Generation, Job

PLAIN = (Metrics, Log, CurrentSample)
"""Events to which the server adds none of its own, and which move nothing but what is shown of a run."""
_GENERATIONS, _JOBS = Base.metadata.tables[Generation.__tablename__], Base.metadata.tables[Job.__tablename__]
_G, _J = _GENERATIONS.c, _JOBS.c
_THIS = (_G.stream_id == bindparam("run"), _G.number == bindparam("generation_number"))
_FACTS = (
    select(
        _G.token_hash, _G.gone_at, _G.ack_seq, _G.desired_version, _G.desired_state, _G.desired_reason, _J.generation, _J.max_budget
    )
    .join_from(_GENERATIONS, _JOBS, _J.id == _G.stream_id)
    .where(*_THIS)
)  # fmt: skip
_SEEN = update(_GENERATIONS).where(*_THIS).values(ack_seq=bindparam("ack"), last_contact_at=bindparam("now"))


@cache
def _moved(columns: tuple[str, ...]) -> Update:
    """A run's newest documents of these columns; built once, since building costs more than doing."""
    newest = {name: bindparam(f"new_{name}") for name in columns}
    return update(_JOBS).where(_J.id == bindparam("run")).values({"updated_at": bindparam("now"), **newest})


def plain(batch: Sequence[Event]) -> bool:
    """Whether these events may be taken here."""
    return all(isinstance(event.body, PLAIN) for event in batch)


def take(
    session: Session, core: Core, job_id: str, number: int, token: str, batch: Sequence[Event]
) -> tuple[Lease, list[StoredEvent]] | None:
    """The lease, and what was new. None, and nothing done, where anything is not as usual: the slow way says what."""
    if any(event.generation != number for event in batch):
        return None
    session.flush()  # other posts of this transaction may have left something to write
    row = session.execute(_FACTS, {"run": job_id, "generation_number": number}).one_or_none()
    if row is None or row.gone_at is not None or row.generation != number:
        return None
    if not hmac.compare_digest(row.token_hash, people.digest(token)):
        return None
    now = core.clock()
    taken = events.append(session, job_id, number, row.ack_seq, batch)
    session.execute(_SEEN, {"run": job_id, "generation_number": number, "ack": taken.ack_seq, "now": now})
    if taken.fresh:
        newest = {name: document for event in taken.fresh for name, document in projection.shown(event).items()}
        told = {f"new_{name}": document for name, document in newest.items()}
        session.execute(_moved(tuple(newest)), {"run": job_id, "now": now, **told})
    session.expire_all()
    hard_stop = core.hard_stops.of(session, job_id, number, row.max_budget, now)
    return spool.lease(core, row, taken.ack_seq, hard_stop), taken.fresh
