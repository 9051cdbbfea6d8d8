"""A run's money as the server knows it: its marks, its overheads, and the budget to show."""

from datetime import datetime
from decimal import Decimal

from sqlalchemy.orm import Session

from kriptik.pipeline import budget
from kriptik.pipeline.looks import looks_of
from kriptik.pipeline.plan.judging import is_paid
from kriptik.server.core import Core
from kriptik.spec.budget import HOUR_S, BudgetAuthorization, BudgetState, BudgetStatus
from kriptik.spec.job import TERMINAL_STATES, JobState, ProbeResult, Stage
from kriptik.store import ledger
from kriptik.store.tables import Job

GB = Decimal(2**30)
DAYS_A_MONTH = 30
SLOWER = 1.5
"""A checkpoint may take so much longer than the slowest one seen, sending it included."""
STILL = {JobState.FREEZING.value, JobState.FROZEN.value}


def budget_state(session: Session, core: Core, job: Job, now: datetime) -> BudgetState:
    """The budget as it is now."""
    spend = ledger.spend(session, job.id, now)
    ours, over = terms(job), overheads(core, job)
    authorization = BudgetAuthorization.model_validate(job.authorization)
    sent = (["training_alert"] if job.alert_sent else []) + (["training_freeze"] if job.state == JobState.FROZEN else [])
    left = remaining_s(job)
    ended = job.state in TERMINAL_STATES
    expected = spend if ended else spend + judge_left(session, job)
    return BudgetState(
        job_id=job.id,
        user_id=job.user_id,
        max_budget=job.max_budget,
        alert_threshold=authorization.notify_at_percent,
        freeze_threshold=authorization.freeze_at_percent,
        current_spend=spend,
        estimated_total_spend=spend if ended else budget.projected_total(expected, over.price_per_hour, left),
        spend_rate=ledger.rate(session, job.id),
        status=status(job, ours, over, spend),
        channels=authorization.notification_channels,
        notifications_sent=sent,
        reserve=budget.reserve(over),
        freeze_at=budget.freeze_point(ours, over),
        percent_used=budget.percent_used(spend, job.max_budget),
    )


def status(job: Job, ours: budget.Terms, over: budget.Overheads, spend: Decimal) -> BudgetStatus:
    """The status to show in the run's present state."""
    if job.state in STILL:
        return BudgetStatus.FROZEN
    if job.state in TERMINAL_STATES:
        return BudgetStatus.COMPLETED
    return budget.judge(ours, over, spend, alert_sent=job.alert_sent, resumed=job.generation > 1).status


def terms(job: Job, cap: Decimal | None = None) -> budget.Terms:
    """The run's marks under its cap, or under `cap`."""
    authorization = BudgetAuthorization.model_validate(job.authorization)
    return budget.Terms(
        cap=job.max_budget if cap is None else cap,
        alert_percent=Decimal(str(authorization.notify_at_percent)),
        freeze_percent=Decimal(str(authorization.freeze_at_percent)),
    )


def overheads(core: Core, job: Job) -> budget.Overheads:
    """What freezing this run takes, as far as it is known."""
    probe = ProbeResult.model_validate(job.probe) if job.probe else None
    return budget.Overheads(
        price_per_hour=price(core, job),
        checkpoint_s=max(budget.checkpoint_bound_s(probe, core.settings.checkpoint_s), SLOWER * (job.checkpoint_seconds or 0.0)),
        teardown_s=core.settings.teardown_s,
        tick_s=max(core.settings.tick_s, core.look_s),
        storage_per_day=core.settings.storage_price_per_gb_month * Decimal(job.disk_bytes) / GB / DAYS_A_MONTH,
    )


def price(core: Core, job: Job) -> Decimal:
    """Dollars per hour this run's compute costs while it lives: the operator's for this machine, else the plan's quote."""
    if job.provider == "local":
        return core.settings.local_price_per_hour
    return Decimal(str(job.estimate.get("pricePerHour", 0)))


def remaining_s(job: Job) -> float | None:
    """Seconds of training left at the measured pace; None before a pace is known."""
    probe = ProbeResult.model_validate(job.probe) if job.probe else None
    if probe is None:
        return None
    stages = [Stage.model_validate(stage).settings for stage in job.stages]
    if not job.metrics:
        return looks_of(stages, probe.total_steps, probe).seconds(probe)
    stage, step = int(job.metrics["stage"]), int(job.metrics["step"])
    totals = [int(job.metrics["totalSteps"]) if index == stage else n for index, n in enumerate(probe.total_steps)]
    return looks_of(stages, totals, probe, stage, step).seconds(probe, _pace(job, probe))


def _pace(job: Job, probe: ProbeResult) -> float:
    """Seconds per step: this generation's own once it has made some, else the smoke test's."""
    assert job.metrics is not None
    made = int(job.metrics["step"]) - (job.start_step if int(job.metrics["stage"]) == 0 else 0)
    elapsed = float(job.metrics.get("elapsedS") or 0)
    return elapsed / made if made >= 5 and elapsed > 0 and int(job.metrics["stage"]) == 0 else probe.seconds_per_step


def judge_left(session: Session, job: Job) -> Decimal:
    """What a judge that marks every answer will still be paid if it goes on so; nothing before the first update."""
    if not job.metrics or int(job.metrics["step"]) < 1:
        return Decimal(0)
    stage = Stage.model_validate(job.stages[int(job.metrics["stage"])]).settings
    if stage.objective.get("reward") != "judge" or not is_paid(stage):
        return Decimal(0)
    step, total = int(job.metrics["step"]), int(job.metrics["totalSteps"])
    return ledger.paid_judges(session, job.id) * max(0, total - step) / step


def asking(core: Core, job: Job, spend: Decimal) -> Decimal | None:
    """What the next generation may cost at most where its judge is paid; None where none is. A rented machine bills before its
    worker can count."""
    if not any(is_paid(Stage.model_validate(stage).settings) for stage in job.stages):
        return None
    over = overheads(core, job)
    booting = Decimal(0) if job.provider == "local" else over.price_per_hour * Decimal(str(core.settings.boot_s)) / HOUR_S
    return max(Decimal(0), job.max_budget - budget.reserve(over) - spend - booting)


def smallest_cap(session: Session, core: Core, job: Job, now: datetime) -> Decimal:
    """The least cap with which the run could go on."""
    return budget.smallest_cap(terms(job), overheads(core, job), ledger.spend(session, job.id, now))
