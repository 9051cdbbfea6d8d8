"""What the budget shows: pace from the smoke test, then from the run itself; status in every state."""

from datetime import timedelta
from decimal import Decimal

import pytest
from harness import add_run

from kriptik.pipeline.band import ENOUGH
from kriptik.server.core import open_core
from kriptik.server.runs import money, projection
from kriptik.server.settings import Settings
from kriptik.spec.catalogue import Point
from kriptik.spec.events import ProbeDone, RunResult, StoredEvent
from kriptik.spec.job import ProbeResult, Stage, StageSettings
from kriptik.store import jobs
from kriptik.store.tables import Generation, Job

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


def test_on_a_cpu_memory_is_expected_to_grow():
    found = [projection.measured(PROBE, [StageSettings()], Decimal(1), on_cpu=one)["memoryGb"]["likely"] for one in (False, True)]
    assert found == pytest.approx([PROBE.peak_memory_gb, PROBE.peak_memory_gb + projection.GROWTH_GB])
    copied = projection.measured(PROBE.model_copy(update={"copy_gb": 2.0}), [StageSettings()], Decimal(1), on_cpu=True)
    assert copied["memoryGb"]["likely"] - found[1] == pytest.approx(2 * projection.COPY_SHARE), "the result is written from a copy"


def test_finished_runs_say_how_far_off_it_may_be():
    stages = [StageSettings(), SECOND.settings]
    few = [{"time": 1.2, "memory": 1.1}] * (ENOUGH - 1)
    plain, with_few = (projection.measured(PROBE, stages, Decimal(1), one) for one in ([], few))
    assert plain == with_few and plain["earlierRuns"] == 0
    known = projection.measured(PROBE, stages, Decimal(1), [*few, {"time": 1.4, "memory": 1.0}])
    expected = known["expected"]["seconds"] / 3600
    assert [known["timeHours"][name] for name in ("low", "likely", "high")] == pytest.approx(
        [1.2 * expected, 1.2 * expected, 1.4 * expected]
    )
    assert known["memoryGb"]["low"] == pytest.approx(PROBE.peak_memory_gb) and known["earlierRuns"] == ENOUGH


def test_what_a_run_took_is_kept_if_it_went_through_in_one_piece(core):
    job_id, start = add_run(core, more=(SECOND,)), core.clock()
    with core.db.write() as session:
        job = session.get_one(Job, job_id)
        probed = StoredEvent(id=1, job_id=job_id, at=start, generation=1, seq=1, body=ProbeDone(result=PROBE))
        generation = Generation(stream_id=job_id, number=1, kind="train")
        projection.apply(session, job, generation, [probed], Decimal(1), start)
        expected = job.estimate["measured"]["expected"]["seconds"]
        end = start + timedelta(seconds=1.5 * expected)
        done = RunResult(bytes=1, peak_memory_gb=2 * (PROBE.peak_memory_gb + projection.GROWTH_GB))
        ended = StoredEvent(id=2, job_id=job_id, at=end, generation=1, seq=2, body=done)
        projection.apply(session, job, generation, [ended], Decimal(1), end)
        assert job.estimate["took"] == pytest.approx({"time": 1.5, "memory": 2})
        assert jobs.taken(session, job.provider, "cpu", 10) == [], "it is not finished yet"
        job.state, job.finished_at = "completed", end
        session.flush()
        assert jobs.taken(session, job.provider, "cpu", 10) == [job.estimate["took"]]
        assert jobs.taken(session, job.provider, "A100", 10) == []
        job.resumes = [3]
        assert projection.took(job, done, end) == {}
        job.resumes, job.estimate = [], {**job.estimate, "measured": None}
        assert projection.took(job, done, end) == {}, "without a smoke test nothing was expected"
