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
from kriptik.server.runs import doubles, messages, naming
from kriptik.spec.budget import cost
from kriptik.spec.errors import KriptikError
from kriptik.store import ledger
from kriptik.store.tables import Stream

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
            orphans = of_provider(core, provider)
            doubles.missing(core, provider.name, {orphan.resource.id for orphan in orphans})
            for orphan in orphans:
                found.add(orphan.resource.id)
                if orphan.resource.id in suspects:
                    end(core, orphan)
                else:  # it may be wanted yet, but it bills already
                    with core.db.write() as session:
                        doubles.note(session, core, orphan.provider, orphan.resource, end=False)
        except KriptikError as error:
            log.warning("provider %s: %s", provider.name, error.sentence)
    return found


def of_provider(core: Core, provider: Provider) -> list[Orphan]:
    """The orphans at a provider now."""
    rented = provider.self_end is not None  # there, what has exited is a thing of its own; here, it is a trace that is kept
    mine = [r for r in provider.list_own(naming.prefix(core.install)) if rented or r.status in ("provisioning", "running")]
    with core.db.read() as session:
        return [Orphan(provider.name, resource) for resource in mine if not doubles.wanted(session, resource)]


def end(core: Core, orphan: Orphan) -> None:
    """Notes it as a machine of its run, from where it is metered and ended; else it is ended here. Tells the owner."""
    with core.db.write() as session:
        if doubles.wanted(session, orphan.resource):
            return
        noted = doubles.note(session, core, orphan.provider, orphan.resource, end=True)
    if noted:
        doubles.tick(core)
    else:
        log.warning("ending the orphan %s at %s", orphan.resource.name, orphan.provider)
        core.providers[orphan.provider].terminate(orphan.resource.id)
    now = core.clock()
    with core.db.write() as session:
        told = messages.orphan(session, core.owner_id, orphan.provider, orphan.resource.name, orphan.resource.id, now)
        if told and not noted:
            _book(session, core, orphan, now)
    core.bus.wake(f"user:{core.owner_id}")


def _book(session: Session, core: Core, orphan: Orphan, now: datetime) -> None:
    """The whole life of a machine that no row can stand for goes to the run that its name speaks of, as far as that is known."""
    found = orphan.resource
    said = naming.parts(core.install, found.name)
    stream = session.scalars(select(Stream.id).where(Stream.id.ilike(f"%{said[0]}"))).first() if said else None
    amount = cost(found.price_per_hour, found.created_at, now)
    if stream is None or amount <= 0:
        return
    note = f"{found.name}: found at {orphan.provider} without a run that wanted it ({found.id})"
    ledger.post(session, stream, "compute", amount, now, note, f"provider:{orphan.provider}")
