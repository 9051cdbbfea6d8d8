"""Finds what bills without a row that wants it: seen on two looks in a row, it is ended. Matched by our own name only."""

import logging

from sqlalchemy import select

from kriptik.server.core import Core
from kriptik.server.runs import naming
from kriptik.spec.errors import KriptikError
from kriptik.store.tables import Resource

log = logging.getLogger("kriptik.reconciler")


def sweep(core: Core, suspects: set[str]) -> set[str]:
    """One look at every provider; `suspects` were orphans at the last look. Returns those of this look."""
    found: set[str] = set()
    for provider in core.providers.values():
        try:
            mine = [r for r in provider.list_own(naming.prefix(core.install)) if r.status in ("provisioning", "running")]
        except KriptikError as error:
            log.warning("provider %s cannot be listed: %s", provider.name, error.sentence)
            continue
        with core.db.read() as session:
            wanted = set(session.scalars(select(Resource.name).where(Resource.gone_at.is_(None))))
        for resource in mine:
            if resource.name in wanted:
                continue
            found.add(resource.name)
            if resource.name in suspects:
                log.warning("ending the orphan %s", resource.name)
                provider.terminate(resource.id)
    return found
