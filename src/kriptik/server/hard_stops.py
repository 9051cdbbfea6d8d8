"""Until when the rest of a run's budget lasts: counted at every contact, asked of the ledger only now and then.

While cap and price stay as they are the moment does not move: what is spent grows as fast as time passes.
"""

from datetime import datetime, timedelta
from decimal import Decimal

from sqlalchemy.orm import Session

from kriptik.pipeline import budget
from kriptik.store import ledger

FRESH = timedelta(seconds=5)
"""Longer is too long: at 15 s a price that rose on a bad day passed a cap by a tenth of a cent (the chaos suite, seed ebb4b5f7)."""
MOST = 10_000


class HardStops:
    """Remembers per run, generation and cap. A price that moved, or a bill that was added, is seen within `FRESH`."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int, Decimal], tuple[datetime, datetime | None]] = {}

    def of(self, session: Session, job_id: str, generation: int, cap: Decimal, now: datetime) -> float | None:
        """Seconds that the rest of the budget buys; None at price 0."""
        key = (job_id, generation, cap)
        asked, until = self._known.get(key, (None, None))
        if asked is None or not asked <= now < asked + FRESH:
            seconds = self._ask(session, job_id, cap, now)
            until = None if seconds is None else now + timedelta(seconds=seconds)
            if len(self._known) >= MOST:
                self._known.clear()
            self._known[key] = (now, until)
        return None if until is None else max(0.0, (until - now).total_seconds())

    @staticmethod
    def _ask(session: Session, job_id: str, cap: Decimal, now: datetime) -> float | None:
        session.flush()  # statements on tables do not see what waits to be written
        rate, spent = ledger.pace(session, job_id, now)
        return budget.hard_stop_in_s(cap, spent, rate) if rate > 0 else None
