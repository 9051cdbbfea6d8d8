"""Money of a run: what was authorised, what was spent, what stops it. All amounts are decimal US dollars."""

from datetime import datetime, timedelta
from decimal import ROUND_UP, Decimal
from enum import StrEnum
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from kriptik.spec.base import Money, Noun

Channel = Literal["email", "sms", "in_app"]
HOUR_S = Decimal(3600)
SMALLEST = Decimal("0.00000001")


class BudgetAuthorization(Noun):
    """What a person allows. Refused unless terms are accepted, 0 < budget, and alert < freeze ≤ 100."""

    max_budget: Money = Field(gt=Decimal(0))
    notify_at_percent: float = Field(80, gt=0, lt=100)
    freeze_at_percent: float = Field(95, gt=0, le=100)
    notification_channels: list[Channel] = ["in_app"]
    terms_accepted: bool = False

    @model_validator(mode="after")
    def _thresholds(self) -> "BudgetAuthorization":
        if self.notify_at_percent >= self.freeze_at_percent:
            raise ValueError("notifyAtPercent must be below freezeAtPercent")
        return self


class BudgetStatus(StrEnum):
    """Where the spend stands."""

    WITHIN_BUDGET = "within_budget"
    APPROACHING_ALERT = "approaching_alert"
    ALERT_SENT = "alert_sent"
    APPROACHING_FREEZE = "approaching_freeze"
    FROZEN = "frozen"
    RESUMED = "resumed"
    COMPLETED = "completed"


class BudgetState(Noun):
    """The budget of a run as it is now."""

    job_id: str
    user_id: str
    max_budget: Money
    alert_threshold: float
    freeze_threshold: float
    current_spend: Money
    estimated_total_spend: Money
    spend_rate: Money
    """Dollars per hour right now; 0 while nothing bills."""
    status: BudgetStatus
    channels: list[Channel]
    notifications_sent: list[str] = []
    reserve: Money = Decimal(0)
    """Kept back for checkpoint, upload and tear-down; freeze fires at min(freeze % × cap, cap − reserve)."""
    freeze_at: Money = Decimal(0)
    percent_used: float = 0


class FreezeState(Noun):
    """What is kept while a run is frozen."""

    job_id: str
    checkpoint: str | None
    frozen_at: datetime
    current_spend: Money
    can_resume: bool
    resume_url: str
    reason: Literal["budget", "user", "lost_contact", "disk_full"] = "budget"
    sentence: str = ""
    """Why, where the reason alone does not say it all."""
    next_step: str = ""
    percent_used: float = 0


class LedgerEntry(Noun):
    """One row of the double-entry ledger: `amount` moves from `credit` to `debit`."""

    id: str
    job_id: str
    at: datetime
    kind: Literal["compute", "storage", "adjustment", "judge"]
    debit: str
    credit: str
    amount: Money
    generation: int | None = None
    seconds: float | None = None
    price_per_hour: Money | None = None
    note: str = ""


def cost(price_per_hour: Decimal, start: datetime, end: datetime) -> Decimal:
    """Dollars for a resource from `start` to `end`, rounded up at the eighth place; 0 if the clock ran backwards."""
    seconds = Decimal(max(end - start, timedelta(0)) // timedelta(microseconds=1)) / 1_000_000
    return (price_per_hour * seconds / HOUR_S).quantize(SMALLEST, rounding=ROUND_UP)


def asked_file(run_dir: Path, generation: int) -> Path:
    """Where a generation keeps what its judge was paid; it goes along with the judge's answers."""
    return run_dir / "asked" / f"paid-g{generation}.jsonl"
