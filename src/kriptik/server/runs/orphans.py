"""Finds what bills without a row that wants it: seen on two looks in a row, it is ended and told. Only our own names are seen.

A resource is wanted by its id, or by its name while no id is known of it (the create's answer was lost). So a second one of the
same name is an orphan too.
"""

import logging
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from kriptik.providers.provider import Provider
from kriptik.providers.provider import Resource as Found
from kriptik.server.core import Core
from kriptik.server.runs import messages, naming
from kriptik.spec.budget import cost
from kriptik.spec.errors import KriptikError
from kriptik.store import ledger
from kriptik.store.tables import Resource, Stream

log = logging.getLogger("kriptik.reconciler")


@dataclass(frozen=True)
class Orphan:
    """Something of this installation that bills and that no run wants."""

    provider: str
    resource: Found


def sweep(core: Core, suspects: set[str]) -> set[str]:
    """One look at every provider; `suspects` were orphans at the last look. Returns the ids of this look."""
    found: set[str] = set()
    for provider in core.providers.values():
        try:
            for orphan in of_provider(core, provider):
                found.add(orphan.resource.id)
                if orphan.resource.id in suspects:
                    end(core, orphan)
        except KriptikError as error:
            log.warning("provider %s: %s", provider.name, error.sentence)
    return found


def of_provider(core: Core, provider: Provider) -> list[Orphan]:
    """The orphans at a provider now."""
    rented = provider.self_end is not None  # there, what has exited is a thing of its own; here, it is a trace that is kept
    mine = [r for r in provider.list_own(naming.prefix(core.install)) if rented or r.status in ("provisioning", "running")]
    with core.db.read() as session:
        return [Orphan(provider.name, resource) for resource in mine if not wanted(session, resource)]


def wanted(session: Session, resource: Found) -> bool:
    """Whether a row that is not gone stands for this very resource."""
    rows = session.scalars(select(Resource).where(Resource.gone_at.is_(None))).all()
    if any(row.provider_id == resource.id for row in rows):
        return True
    return any(row.name == resource.name and row.provider_id is None for row in rows)


def end(core: Core, orphan: Orphan) -> None:
    """Ends it, after one more look at the rows, and tells the owner."""
    with core.db.read() as session:
        if wanted(session, orphan.resource):
            return
    log.warning("ending the orphan %s at %s", orphan.resource.name, orphan.provider)
    core.providers[orphan.provider].terminate(orphan.resource.id)
    now = core.clock()
    with core.db.write() as session:
        if messages.orphan(session, core.owner_id, orphan.provider, orphan.resource.name, orphan.resource.id, now):
            _book(session, core, orphan, now)
    core.bus.wake(f"user:{core.owner_id}")


def _book(session: Session, core: Core, orphan: Orphan, now: datetime) -> None:
    """Its whole life goes to the run that its name speaks of, as far as that run is still known."""
    found = orphan.resource
    said = naming.parts(core.install, found.name)
    stream = session.scalars(select(Stream.id).where(Stream.id.ilike(f"%{said[0]}"))).first() if said else None
    amount = cost(found.price_per_hour, found.created_at, now)
    if stream is None or said is None or amount <= 0:
        return
    note = f"{found.name}: found at {orphan.provider} without a run that wanted it ({found.id})"
    ledger.post(session, stream, "compute", amount, now, note, f"provider:{orphan.provider}")
