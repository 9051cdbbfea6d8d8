"""Machines of a run that nobody wants: a second one that a lost answer left behind, one made when its generation had ended.

Each becomes a row of its own before it is ended. So it is metered from its creation, is on the run's receipt, is compared with the
provider's bill, and is ended by the next server if this one dies.
"""

import logging

from sqlalchemy import select
from sqlalchemy.orm import Session

from kriptik.providers.provider import Resource as Found
from kriptik.server.core import Core
from kriptik.server.runs import naming
from kriptik.spec.base import new_id
from kriptik.spec.errors import KriptikError
from kriptik.store import jobs, ledger
from kriptik.store.tables import Job, Resource

log = logging.getLogger("kriptik.reconciler")


def wanted(session: Session, found: Found) -> bool:
    """Whether a generation's row that is not gone stands for this very machine: by its id, or by its name while no id is known."""
    live = select(Resource).where(Resource.gone_at.is_(None), Resource.status != jobs.DOUBLE)
    rows = session.scalars(live).all()
    if any(row.provider_id == found.id for row in rows):
        return True
    return any(row.name == found.name and row.provider_id is None for row in rows)


def note(session: Session, core: Core, provider: str, found: Found, *, end: bool) -> bool:
    """Makes the row of a machine that nobody wants, to be ended or only watched; False where it belongs to no run that is known."""
    now = core.clock()
    row = _row(session, found.id)
    if row is None:
        owner = _owner(session, core, found.name)
        if owner is None:
            return False
        since = min(now, found.created_at)
        row = Resource(
            id=new_id(),
            name=naming.double(found.name, found.id),
            stream_id=owner[0],
            number=owner[1],
            provider=provider,
            provider_id=found.id,
            status=jobs.DOUBLE,
            price_per_hour=found.price_per_hour,
            intended_at=since,
            metered_at=since,
            detail=found.detail,
        )
        session.add(row)
    if end and row.terminate_at is None:
        row.terminate_at = now
    return True


def now_wanted(session: Session, resource_id: str) -> None:
    """A generation has taken the machine: it is no double any more."""
    row = _row(session, resource_id)
    if row is not None and row.gone_at is None:
        session.delete(row)


def of_name(core: Core, provider: str, name: str) -> None:
    """Notes every machine of that name that is not wanted, to be ended."""
    same = [found for found in core.providers[provider].list_own(name) if found.name == name]
    with core.db.read() as session:
        unwanted = [found for found in same if not wanted(session, found)]
    if unwanted:
        with core.db.write() as session:
            for found in unwanted:
                note(session, core, provider, found, end=True)


def tick(core: Core) -> None:
    """Ends those that are to be ended; what cannot be ended now is tried again at the next tick."""
    for row in _live(core):
        if row.terminate_at is not None:
            try:
                _end(core, row)
            except KriptikError as error:
                log.warning("the second machine %s: %s", row.name, error.sentence)


def missing(core: Core, provider: str, there: set[str]) -> None:
    """Of the machines of a provider only these are there: the others have ended by themselves."""
    for row in _live(core):
        if row.provider == provider and row.provider_id not in there:
            _close(core, row)


def _live(core: Core) -> list[Resource]:
    with core.db.read() as session:
        return list(session.scalars(select(Resource).where(Resource.status == jobs.DOUBLE, Resource.gone_at.is_(None))))


def _row(session: Session, resource_id: str) -> Resource | None:
    return session.scalars(select(Resource).where(Resource.status == jobs.DOUBLE, Resource.provider_id == resource_id)).first()


def _end(core: Core, row: Resource) -> None:
    provider = core.providers.get(row.provider)
    if provider is None or row.provider_id is None:
        return
    log.warning("ending %s, which no run wants", row.name)
    provider.terminate(row.provider_id)
    left = provider.get(row.provider_id)
    if left is None or left.status in ("exited", "gone"):
        _close(core, row)


def _close(core: Core, row: Resource) -> None:
    with core.db.write() as session:
        fresh = session.get(Resource, row.id)
        if fresh is not None and fresh.gone_at is None:
            now = core.clock()
            ledger.meter(session, fresh, now, final=True)
            fresh.gone_at = now
    core.bus.wake(row.stream_id)


def _owner(session: Session, core: Core, name: str) -> tuple[str, int] | None:
    """(run, generation) of a name; the run's newest generation where the rows are older than the machine."""
    row = session.scalars(select(Resource).where(Resource.name == name)).first()
    if row is not None:
        return row.stream_id, row.number
    part = name.removeprefix(naming.prefix(core.install)).split("-")[0]
    newest = select(Job).where(Job.generation > 0).order_by(Job.id.desc())
    job = next((job for job in session.scalars(newest) if job.id[-8:].lower() == part), None)
    return (job.id, job.generation) if job is not None else None
