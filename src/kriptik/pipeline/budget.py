"""Money, decided: what was spent, when to warn, when to freeze, what a worker may still use. Pure and exact (`Decimal`).

Meter = ∫ price dt from the accepted create to confirmed gone, plus storage while frozen. Freeze fires at
min(freeze % × cap, cap − reserve); the reserve pays for checkpoint, upload, tear-down and some days of storage. The promise
"never past the cap" holds while the provider obeys a terminate within `teardown_s`.
"""

from dataclasses import dataclass
from decimal import ROUND_UP, Decimal

from kriptik.spec.base import Noun
from kriptik.spec.budget import HOUR_S, SMALLEST, BudgetStatus
from kriptik.spec.errors import BudgetError
from kriptik.spec.job import ProbeResult

NEAR_ALERT = Decimal(10)
"""Percentage points below the alert mark at which the status already says so."""
NEAR_FREEZE = Decimal("0.95")


@dataclass(frozen=True)
class Terms:
    """What a person authorised: the cap in dollars and the two marks in percent of it."""

    cap: Decimal
    alert_percent: Decimal
    freeze_percent: Decimal


@dataclass(frozen=True)
class Overheads:
    """What stands between "stop now" and "nothing bills any more". Seconds and dollars per hour or day."""

    price_per_hour: Decimal
    checkpoint_s: float
    """Upper bound from the order to freeze to a verified checkpoint (a step and an evaluation may have to end first)."""
    teardown_s: float
    """T: the provider confirms a terminate within this time."""
    tick_s: float
    """How often the decision is taken."""
    storage_per_day: Decimal = Decimal(0)
    storage_days: int = 14

    @property
    def reserve_s(self) -> float:
        """Compute time kept back. Two ticks: one may just have passed, one to act."""
        return self.checkpoint_s + self.teardown_s + 2 * self.tick_s


class Verdict(Noun):
    """What is to be done now. `cut`: no more waiting for a checkpoint, the cap is at hand."""

    status: BudgetStatus
    alert: bool
    freeze: bool
    cut: bool


def reserve(overheads: Overheads) -> Decimal:
    """Dollars kept back so that freezing itself never passes the cap."""
    compute = overheads.price_per_hour * Decimal(str(overheads.reserve_s)) / HOUR_S
    return (compute + overheads.storage_per_day * overheads.storage_days).quantize(SMALLEST, rounding=ROUND_UP)


def freeze_point(terms: Terms, overheads: Overheads) -> Decimal:
    """Spend at which the freeze fires; 0 or less means that nothing can be trained for this cap."""
    return min(terms.cap * terms.freeze_percent / 100, terms.cap - reserve(overheads))


def hard_stop_in_s(cap: Decimal, spend: Decimal, price_per_hour: Decimal) -> float | None:
    """What the remaining budget buys, in seconds; None at price 0. The worker stops its reserve before that by itself."""
    if price_per_hour <= 0:
        return None
    return float(max(Decimal(0), cap - spend) / price_per_hour * HOUR_S)


def judge(terms: Terms, overheads: Overheads, spend: Decimal, *, alert_sent: bool, resumed: bool = False) -> Verdict:
    """The decision at this spend. Alert fires once (`alert_sent` disarms it); a freeze takes the alert's place."""
    point = freeze_point(terms, overheads)
    freeze = spend >= point
    alert_mark = terms.cap * terms.alert_percent / 100
    alert = not freeze and not alert_sent and spend >= alert_mark
    exit_cost = overheads.price_per_hour * Decimal(str(overheads.teardown_s + 2 * overheads.tick_s)) / HOUR_S
    cut = spend + exit_cost >= terms.cap
    if freeze:
        status = BudgetStatus.FROZEN
    elif spend >= point * NEAR_FREEZE:
        status = BudgetStatus.APPROACHING_FREEZE
    elif alert or alert_sent:
        status = BudgetStatus.ALERT_SENT
    elif spend >= terms.cap * (terms.alert_percent - NEAR_ALERT) / 100:
        status = BudgetStatus.APPROACHING_ALERT
    else:
        status = BudgetStatus.RESUMED if resumed else BudgetStatus.WITHIN_BUDGET
    return Verdict(status=status, alert=alert, freeze=freeze, cut=cut)


def check_cap(terms: Terms, overheads: Overheads, spend: Decimal) -> None:
    """Refuses a cap that leaves nothing to train with: at or below spend + reserve, or with its freeze mark passed."""
    floor = smallest_cap(terms, overheads, spend)
    if terms.cap < floor:
        kept = reserve(overheads)
        raise BudgetError(
            "budget_too_small",
            f"A cap of ${terms.cap} leaves nothing to train with: ${spend:.4f} is spent and ${kept:.4f} is kept back "
            "for saving and tear-down.",
            f"Allow at least ${floor}.",
            fields={"spent": float(spend), "reserve": float(kept), "minimum": float(floor)},
        )


def smallest_cap(terms: Terms, overheads: Overheads, spend: Decimal) -> Decimal:
    """The least cap, to the tenth of a cent, whose freeze point lies above what is spent already."""
    tenth = Decimal("0.001")
    by_reserve = spend + reserve(overheads)
    by_percent = spend * 100 / terms.freeze_percent
    return max(by_reserve, by_percent).quantize(tenth, rounding=ROUND_UP) + tenth


def checkpoint_bound_s(probe: ProbeResult | None, default_s: float) -> float:
    """Upper bound in seconds from the order to freeze to a verified checkpoint; `default_s` before anything was measured."""
    if probe is None:
        return default_s
    step = probe.seconds_per_step * (1 + probe.step_seconds_spread)
    return max(5.0, 1.5 * step + max(probe.eval_s, probe.sample_s) + 3 * probe.checkpoint_s)


def projected_total(spend: Decimal, price_per_hour: Decimal, remaining_s: float | None) -> Decimal:
    """What the run will have cost at its end if the price stays; the spend so far where nothing is known yet."""
    if remaining_s is None or remaining_s <= 0:
        return spend
    return (spend + price_per_hour * Decimal(str(remaining_s)) / HOUR_S).quantize(SMALLEST, rounding=ROUND_UP)


def percent_used(spend: Decimal, cap: Decimal) -> float:
    """Spend as percent of the cap."""
    return float(spend * 100 / cap) if cap > 0 else 0.0
