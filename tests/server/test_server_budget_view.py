"""What the budget shows: pace from the smoke test, then from the run itself; status in every state."""

from decimal import Decimal

import pytest
from harness import add_run

from kriptik.server.core import open_core
from kriptik.server.runs import money, projection
from kriptik.server.settings import Settings
from kriptik.spec.job import ProbeResult
from kriptik.store.tables import Job

PROBE = ProbeResult(
    seconds_per_step=2.0,
    step_seconds_spread=0.1,
    tokens_per_second=100,
    peak_memory_gb=1,
    load_s=5,
    eval_s=3,
    sample_s=2,
    checkpoint_s=1,
    checkpoint_bytes=10,
    total_steps=[100, 50],
    loss_first=3,
    loss_last=2,
    learns=True,
    supervised_fraction=0.5,
    eos_supervised=True,
)


def metrics(step, stage=0, elapsed=0.0):
    return {"stage": stage, "step": step, "totalSteps": [100, 50][stage], "elapsedS": elapsed}


@pytest.fixture
def core(tmp_path):
    made = open_core(Settings.from_env(home=tmp_path, local_price_per_hour="3.6"), {})
    yield made
    made.db.close()


def test_remaining_time(core):
    job_id = add_run(core)
    with core.db.read() as session:
        job = session.get_one(Job, job_id)
        assert money.remaining_s(job) is None, "nothing measured, nothing claimed"
        job.probe = PROBE.document()
        assert money.remaining_s(job) == 150 * 2 + 6
        job.metrics = metrics(2, elapsed=2)
        assert money.remaining_s(job) == 148 * 2 + 6, "two steps are no pace yet"
        job.metrics = metrics(50, elapsed=50)
        assert money.remaining_s(job) == 100 * 1 + 6, "the run's own pace"
        job.start_step = 40
        assert money.remaining_s(job) == 100 * 5 + 6, "only this generation's steps count"
        job.metrics = metrics(50, stage=1, elapsed=500)
        assert money.remaining_s(job) == 6


def test_budget_state_adds_up(core):
    job_id = add_run(core, cap="10")
    with core.db.read() as session:
        job = session.get_one(Job, job_id)
        job.probe = PROBE.document()
        state = money.budget_state(session, core, job, core.clock())
    assert state.status == "within_budget" and state.current_spend == 0 and state.spend_rate == 0
    assert state.estimated_total_spend == Decimal("0.306")
    assert state.freeze_at == min(Decimal("9.5"), 10 - state.reserve)


def test_the_smoke_test_reprices_the_plan():
    found = projection.measured(PROBE, Decimal("3.6"))
    hours, dollars = found["timeHours"], found["costUsd"]
    assert hours["low"] < hours["likely"] < hours["high"] and hours["source"] == "calibrated"
    assert dollars["likely"] == pytest.approx(hours["likely"] * 3.6)
    assert hours["likely"] * 3600 == pytest.approx(5 + 150 * 2 + 2 * 3 + 2 * 2 + 1)
