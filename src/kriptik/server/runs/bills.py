"""The provider's own bill against the ledger. What it charged more is added at once; what it charged less only when it has settled.

A bill comes late and in parts, so a low figure means nothing until some time after the end, while a high one is money gone. Where
the answer to a create was lost, or none ever came, a machine may have come and gone that nobody ever saw: then the ledger keeps as
much more as the account was billed for machines that nobody here knows; what was only intended costs nothing in the end.
"""

import logging
from datetime import datetime, timedelta
from decimal import Decimal

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from kriptik.providers.provider import Provider
from kriptik.server.core import Core
from kriptik.spec.errors import KriptikError
from kriptik.store import ledger
from kriptik.store.tables import LedgerRow, Resource

log = logging.getLogger("kriptik.reconciler")

UNSURE = "The answer to its creation was lost."
"""Begins the detail of such a resource: another machine may have been made and lost unseen."""
UNSEEN = ": unseen machine "
"""In the note of what is kept for one, before its id at the provider."""
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
            rows = session.scalars(select(Resource).where(Resource.intended_at > now - 4 * WATCHED)).all()
        for row in rows:
            rented = row.provider_id is not None or row.gone_at is not None
            recent = row.gone_at is None or row.gone_at > now - WATCHED
            if rented and recent and row.id not in self._done and self._due(row, now):
                self._looked[row.id] = now
                self._compare(row, now)

    def _due(self, row: Resource, now: datetime) -> bool:
        last = self._looked.get(row.id)
        return last is None or now - last >= EVERY or self._settled(row, now)

    def _settled(self, row: Resource, now: datetime) -> bool:
        return row.gone_at is not None and (now - row.gone_at).total_seconds() >= self._core.settings.bill_settle_s

    def _compare(self, row: Resource, now: datetime) -> None:
        core, settled = self._core, self._settled(row, now)
        provider = core.providers.get(row.provider)
        if provider is None:
            return
        try:
            billed = self._billed(provider, row, settled=settled)
        except KriptikError as error:
            log.warning("the bill of %s cannot be read: %s", row.name, error.sentence)
            return
        if billed is not None:
            with core.db.write() as session:
                _adjust(session, row, *billed, now, settled=settled)
        if billed is None or settled:
            self._done.add(row.id)

    def _billed(self, provider: Provider, row: Resource, *, settled: bool) -> tuple[Decimal, dict[str, Decimal]] | None:
        """(what was charged for it, what for each machine that may be an unseen one of its name); None where there is no bill."""
        since = row.intended_at - WATCHED  # the id says which machine; clocks may differ
        billed = provider.billed(row.provider_id, since) if row.provider_id is not None else Decimal(0)
        if billed is None:
            return None
        if not (settled and (unsure(row) or row.provider_id is None)):
            return billed, {}
        with self._core.db.read() as session:
            ids = session.scalars(select(Resource.provider_id).where(Resource.provider_id.is_not(None))).all()
        beside = provider.billed_beside({one for one in ids if one}, row.intended_at)
        return None if beside is None else (billed, beside)


def unsure(row: Resource) -> bool:
    """Whether an answer to its creation was lost."""
    return row.detail.startswith(UNSURE)


def _adjust(session: Session, row: Resource, billed: Decimal, beside: dict[str, Decimal], now: datetime, *, settled: bool) -> None:
    note = f"{row.name}: as {row.provider} billed it"
    own = LedgerRow.stream_id == row.stream_id
    held = _posted(session, own, LedgerRow.note.in_([row.name, note]))
    fresh = session.get_one(Resource, row.id)
    if fresh.gone_at is None:
        held += ledger.running_of(fresh, now)
    kept_so_far = _posted(session, own, LedgerRow.note.startswith(f"{row.name}{UNSEEN}", autoescape=True))
    entries, over = {note: billed - held}, max(Decimal(0), held + kept_so_far - billed)
    for machine, charged in beside.items():  # of two that may have left it, one pays for it
        unseen = f"{row.name}{UNSEEN}{machine}"
        mine = _posted(session, own, LedgerRow.note == unseen)
        others = _posted(session, LedgerRow.note.endswith(f"{UNSEEN}{machine}", autoescape=True)) - mine
        kept = min(max(Decimal(0), charged - others), over)
        entries[unseen], over = kept - mine, over - kept
    for told, difference in entries.items():
        if difference > SMALLEST or (settled and difference != 0):
            ledger.post(session, row.stream_id, "adjustment", difference, now, told, f"provider:{row.provider}")


def _posted(session: Session, *which: ColumnElement[bool]) -> Decimal:
    return sum(session.scalars(select(LedgerRow.amount).where(*which)).all(), Decimal(0))
