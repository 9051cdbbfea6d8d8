"""Money decisions, and the promise "never past the cap" over simulated runs billed by a meter of this file's own."""

import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import pytest

from kriptik.pipeline import budget
from kriptik.spec.budget import BudgetStatus, cost
from kriptik.spec.errors import BudgetError

START = datetime(2026, 1, 1, tzinfo=UTC)
RUNS = 300


def terms(cap="10", alert="80", freeze="95"):
    return budget.Terms(cap=Decimal(cap), alert_percent=Decimal(alert), freeze_percent=Decimal(freeze))


def over(price="3.6", checkpoint_s=20.0, teardown_s=5.0, tick_s=0.5, **more):
    return budget.Overheads(Decimal(price), checkpoint_s, teardown_s, tick_s, **more)


def test_cost_is_exact_and_never_negative():
    assert cost(Decimal("3.60"), START, START + timedelta(seconds=10)) == Decimal("0.01")
    assert cost(Decimal("1"), START, START + timedelta(microseconds=1)) == Decimal("0.00000001")  # rounded up
    assert cost(Decimal("1"), START + timedelta(seconds=1), START) == 0


def test_freeze_point_is_the_lower_of_percent_and_reserve():
    assert budget.reserve(over()) == Decimal("0.026")
    assert budget.freeze_point(terms(), over()) == Decimal("9.5")
    assert budget.freeze_point(terms(cap="0.1"), over()) == Decimal("0.074")


def test_storage_days_are_part_of_the_reserve():
    kept = budget.reserve(over(price="0", storage_per_day=Decimal("0.01"), storage_days=14))
    assert kept == Decimal("0.14")


@pytest.mark.parametrize(
    ("spend", "alert_sent", "status", "alert", "freeze", "cut"),
    [
        ("0", False, BudgetStatus.WITHIN_BUDGET, False, False, False),
        ("7", False, BudgetStatus.APPROACHING_ALERT, False, False, False),
        ("8", False, BudgetStatus.ALERT_SENT, True, False, False),
        ("8.5", True, BudgetStatus.ALERT_SENT, False, False, False),
        ("9.1", True, BudgetStatus.APPROACHING_FREEZE, False, False, False),
        ("9.5", False, BudgetStatus.FROZEN, False, True, False),
        ("9.995", True, BudgetStatus.FROZEN, False, True, True),
    ],
)
def test_decision_table(spend, alert_sent, status, alert, freeze, cut):
    verdict = budget.judge(terms(), over(), Decimal(spend), alert_sent=alert_sent)
    assert (verdict.status, verdict.alert, verdict.freeze, verdict.cut) == (status, alert, freeze, cut)


def test_free_compute_never_freezes_and_has_no_hard_stop():
    assert not budget.judge(terms(cap="0.01"), over(price="0"), Decimal(0), alert_sent=False).freeze
    assert budget.hard_stop_in_s(Decimal("1"), Decimal(0), Decimal(0)) is None
    assert budget.hard_stop_in_s(Decimal("1"), Decimal("0.5"), Decimal("1")) == 1800
    assert budget.hard_stop_in_s(Decimal("1"), Decimal("2"), Decimal("1")) == 0


def test_a_cap_below_spend_and_reserve_is_refused():
    with pytest.raises(BudgetError) as refused:
        budget.check_cap(terms(cap="5"), over(), Decimal("4.99"))
    assert refused.value.code == "budget_too_small"
    minimum = Decimal(str(refused.value.fields["minimum"]))
    budget.check_cap(terms(cap=str(minimum)), over(), Decimal("4.99"))
    assert not budget.judge(terms(cap=str(minimum)), over(), Decimal("4.99"), alert_sent=False).freeze


@dataclass
class FakeBiller:
    """The provider's own bill, in exact fractions: from accepted create to gone. Shares no code with the product."""

    price: Fraction
    periods: list[list[float]] = field(default_factory=list)

    def total(self, now: float) -> Fraction:
        seconds = sum((Fraction(str(end if end >= 0 else now)) - Fraction(str(start)) for start, end in self.periods), Fraction(0))
        return self.price * seconds / 3600


@dataclass
class FakeWorker:
    """Trains in whole steps, saves at intervals, freezes at a step's end, and has its own hard stop."""

    step: int
    step_s: float
    save_s: float
    saved: int
    next_step_at: float
    freeze_done_at: float | None = None
    hard_stop_at: float | None = None

    def advance(self, now: float) -> bool:
        """Lives up to `now`; True once it has left by itself with a checkpoint."""
        while self.freeze_done_at is None and self.next_step_at <= now:
            self.step += 1
            if self.hard_stop_at is not None and self.next_step_at >= self.hard_stop_at:
                self.ask_freeze(self.next_step_at)
                break
            if self.step % 10 == 0:
                self.saved = self.step
            self.next_step_at += self.step_s
        if self.freeze_done_at is not None and now >= self.freeze_done_at:
            self.saved = self.step
            return True
        return False

    def ask_freeze(self, now: float) -> None:
        if self.freeze_done_at is None:
            self.freeze_done_at = max(now, self.next_step_at) + self.save_s


def simulate(seed: int) -> dict[str, object]:
    """One run through all its freezes to its end; every decision by `pipeline.budget`, every bill by the fake meter."""
    dice = random.Random(seed)
    price = Decimal(str(round(dice.uniform(0.2, 40), 4)))
    step_s, save_s = dice.uniform(0.05, 6), dice.uniform(0.1, 40)
    teardown_s, tick_s = dice.uniform(0.5, 30), dice.choice([0.5, 1.0, 5.0])
    overheads = budget.Overheads(price, 2 * step_s + save_s, teardown_s, tick_s)
    total_steps = dice.randint(20, 90)
    whole = float(price) * total_steps * step_s / 3600
    kept = float(budget.reserve(overheads))
    marks = budget.Terms(
        Decimal(str(round(kept + whole * dice.uniform(0.1, 0.6) + 0.001, 4))),
        Decimal(dice.randint(30, 80)),
        Decimal(dice.randint(85, 100)),
    )
    biller = FakeBiller(Fraction(str(price)))
    now, step, saved, freezes, alerts, done_steps = 0.0, 0, 0, 0, 0, 0
    while step < total_steps:
        assert freezes < 60, "the run gets nowhere"
        server_dies_at = now + dice.uniform(0, total_steps * step_s) if dice.random() < 0.25 else None
        period = [now, -1.0]
        biller.periods.append(period)
        spent_before = biller.total(now)
        worker = FakeWorker(saved, step_s, save_s, saved, now + dice.uniform(0, 3) + step_s)
        now, alerted = _one_generation(dice, worker, biller, marks, overheads, now, total_steps, server_dies_at)
        alerts += alerted
        period[1] = now
        assert biller.total(now) > spent_before
        assert biller.total(now) <= Fraction(str(marks.cap)), f"seed {seed}: past the cap"
        assert worker.saved >= saved, "a freeze lost a checkpoint"
        done_steps += worker.step - saved
        step = saved = worker.saved if worker.step < total_steps else total_steps
        if step < total_steps:
            freezes += 1
            spend = Decimal(biller.total(now).numerator) / Decimal(biller.total(now).denominator)
            marks = budget.Terms(
                budget.smallest_cap(marks, overheads, spend) + Decimal(str(round(whole * dice.uniform(0.2, 0.8) + 0.01, 4))),
                marks.alert_percent,
                marks.freeze_percent,
            )
            budget.check_cap(marks, overheads, spend)
            now += dice.uniform(0, 86_400)  # frozen: nothing bills
    return {"freezes": freezes, "alerts": alerts}


def _one_generation(dice, worker, biller, marks, overheads, now, total_steps, server_dies_at):
    """From create to gone. Ticks come late or not at all; the dying server leaves the worker to its hard stop."""
    alert_sent, alerts, asked = False, 0, False
    while True:
        now += overheads.tick_s * (dice.uniform(0.5, 1) + (dice.random() < 0.1))  # every tenth tick is lost
        left = worker.advance(now)
        if worker.step >= total_steps and not asked:
            return now, alerts
        if left:
            return now + dice.uniform(0, overheads.teardown_s), alerts
        if server_dies_at is not None and now > server_dies_at:
            continue
        spend = sum(
            (cost(Decimal(str(float(biller.price))), _at(a), _at(now if b < 0 else b)) for a, b in biller.periods), Decimal(0)
        )
        stop = budget.hard_stop_in_s(marks.cap, spend, overheads.price_per_hour)
        worker.hard_stop_at = now + stop - overheads.reserve_s
        verdict = budget.judge(marks, overheads, spend, alert_sent=alert_sent)
        if verdict.alert:
            alert_sent, alerts = True, alerts + 1
            assert alerts == 1
        if verdict.freeze and not asked:
            asked = True
            worker.ask_freeze(now)
        if verdict.cut:
            return now + dice.uniform(0, overheads.teardown_s), alerts


def _at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def test_simulated_runs_never_pass_the_cap_and_always_resume():
    results = [simulate(seed) for seed in range(RUNS)]
    assert sum(r["freezes"] for r in results) > RUNS / 2, "the simulation hardly froze anything"
    assert sum(r["alerts"] for r in results) > RUNS / 4


def test_the_simulation_notices_a_missing_reserve(monkeypatch):
    monkeypatch.setattr(budget.Overheads, "reserve_s", property(lambda self: 0.0))
    monkeypatch.setattr(budget.Verdict, "cut", property(lambda self: False), raising=False)
    with pytest.raises(AssertionError, match="past the cap"):
        for seed in range(RUNS):
            simulate(seed)
