"""What the budget shows: pace from the smoke test, then from the run itself; status in every state."""

from decimal import Decimal

import pytest
from harness import add_run

from kriptik.server.core import open_core
from kriptik.server.runs import money, projection
from kriptik.server.settings import Settings
from kriptik.spec.catalogue import Point
from kriptik.spec.job import ProbeResult, Stage, StageSettings
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

SECOND = Stage(
    index=1, name="Align", method="dpo", settings=StageSettings(),
    point=Point(adaptation="lora", objective="dpo", strategy="single"),
)


def metrics(step, stage=0, elapsed=0.0):
    return {"stage": stage, "step": step, "totalSteps": [100, 50][stage], "elapsedS": elapsed}


@pytest.fixture
def core(tmp_path):
    made = open_core(Settings.from_env(home=tmp_path, local_price_per_hour="3.6"), {})
    yield made
    made.db.close()


def test_remaining_time(core):
    """Beside the updates: held-out rows at both ends of both stages, prompts at the run's start and each stage's end, saving."""
    job_id = add_run(core, more=(SECOND,))
    with core.db.read() as session:
        job = session.get_one(Job, job_id)
        assert money.remaining_s(job) is None, "nothing measured, nothing claimed"
        job.probe = PROBE.document()
        assert money.remaining_s(job) == 150 * 2 + 4 * 3 + 3 * 2 + 2
        job.metrics = metrics(2, elapsed=2)
        assert money.remaining_s(job) == 148 * 2 + 3 * 3 + 2 * 2 + 2, "two steps are no pace yet"
        job.metrics = metrics(50, elapsed=50)
        assert money.remaining_s(job) == 100 * 1 + 3 * 3 + 2 * 2 + 2, "the run's own pace"
        job.start_step = 40
        assert money.remaining_s(job) == 100 * 5 + 3 * 3 + 2 * 2 + 2, "only this generation's steps count"
        job.metrics = metrics(50, stage=1, elapsed=500)
        assert money.remaining_s(job) == 3 + 2 + 1, "the end of the last stage is still to come"


def test_budget_state_adds_up(core):
    job_id = add_run(core, cap="10", more=(SECOND,))
    with core.db.read() as session:
        job = session.get_one(Job, job_id)
        job.probe = PROBE.document()
        state = money.budget_state(session, core, job, core.clock())
    assert state.status == "within_budget" and state.current_spend == 0 and state.spend_rate == 0
    assert state.estimated_total_spend == Decimal("0.32")
    assert state.freeze_at == min(Decimal("9.5"), 10 - state.reserve)


def test_the_smoke_test_reprices_the_plan():
    found = projection.measured(PROBE, [StageSettings(eval_every=30, sample_every=50), SECOND.settings], Decimal("3.6"))
    hours, dollars = found["timeHours"], found["costUsd"]
    assert hours["low"] < hours["likely"] < hours["high"] and hours["source"] == "calibrated"
    assert dollars["likely"] == pytest.approx(hours["likely"] * 3.6)
    assert hours["likely"] * 3600 == pytest.approx(5 + 150 * 2 + (5 + 2) * 3 + (3 + 1) * 2 + 2), "every look counts"
