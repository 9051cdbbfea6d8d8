"""The provider's own bill against the ledger. What it charged more is added at once; what it charged less only when it has settled.

A bill comes late and in parts, so a low figure means nothing until some time after the end, while a high one is money gone.
"""

import logging
from datetime import datetime, timedelta
from decimal import Decimal

from sqlalchemy import select
from sqlalchemy.orm import Session

from kriptik.server.core import Core
from kriptik.spec.errors import KriptikError
from kriptik.store import ledger
from kriptik.store.tables import LedgerRow, Resource

log = logging.getLogger("kriptik.reconciler")

UNSURE = "The answer to its creation was lost."
"""Begins the detail of such a resource: another machine may have been made and lost unseen, so its spend is never lowered."""
WATCHED = timedelta(days=2)
SMALLEST = Decimal("0.0001")
EVERY = timedelta(minutes=10)


class Bills:
    """Compares from time to time; remembers only when it looked last, so that a new server just looks once more."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._looked: dict[str, datetime] = {}
        self._done: set[str] = set()

    def look(self) -> None:
        """One round over everything that was rented lately."""
        core, now = self._core, self._core.clock()
        with core.db.read() as session:
            query = select(Resource).where(Resource.provider_id.is_not(None), Resource.intended_at > now - 4 * WATCHED)
            rows = [row for row in session.scalars(query) if row.gone_at is None or row.gone_at > now - WATCHED]
        for row in rows:
            if row.id not in self._done and self._due(row, now):
                self._looked[row.id] = now
                self._compare(row, now)

    def _due(self, row: Resource, now: datetime) -> bool:
        last = self._looked.get(row.id)
        return last is None or now - last >= EVERY or self._settled(row, now)

    def _settled(self, row: Resource, now: datetime) -> bool:
        return row.gone_at is not None and (now - row.gone_at).total_seconds() >= self._core.settings.bill_settle_s

    def _compare(self, row: Resource, now: datetime) -> None:
        core = self._core
        provider = core.providers.get(row.provider)
        if provider is None or row.provider_id is None:
            return
        try:
            billed = provider.billed(row.provider_id, row.intended_at)
        except KriptikError as error:
            log.warning("the bill of %s cannot be read: %s", row.name, error.sentence)
            return
        settled = self._settled(row, now)
        if billed is not None:
            with core.db.write() as session:
                _adjust(session, row, billed, now, settled=settled)
        if billed is None or settled:
            self._done.add(row.id)


def _adjust(session: Session, row: Resource, billed: Decimal, now: datetime, *, settled: bool) -> None:
    note = f"{row.name}: as {row.provider} billed it"
    same = select(LedgerRow.amount).where(LedgerRow.stream_id == row.stream_id, LedgerRow.note.in_([row.name, note]))
    held = sum(session.scalars(same).all(), Decimal(0))
    fresh = session.get_one(Resource, row.id)
    if fresh.gone_at is None:
        held += ledger.running_of(fresh, now)
    difference = billed - held
    if difference > SMALLEST or (settled and difference != 0 and (difference > 0 or not row.detail.startswith(UNSURE))):
        ledger.post(session, row.stream_id, "adjustment", difference, now, note, f"provider:{row.provider}")
