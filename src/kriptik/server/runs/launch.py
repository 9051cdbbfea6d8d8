"""An approved plan becomes a run: the job row with everything its generations will be handed."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from pydantic import Field, JsonValue
from sqlalchemy.orm import Session

from kriptik.pipeline import budget
from kriptik.server.core import Core
from kriptik.server.runs import effects, money
from kriptik.spec.base import Money, Noun, new_id
from kriptik.spec.budget import BudgetAuthorization, BudgetStatus
from kriptik.spec.consent import Consent
from kriptik.spec.job import DataRef, JobState, Modality, Precision, SamplePrompt, Stage
from kriptik.store import jobs
from kriptik.store.tables import Job


class RunFacts(Noun):
    """What the plan fixed about a run; kept as the row's `estimate` and shown with it."""

    prompt: str
    capability: str
    modality: Modality
    method: str
    precision: Precision = "fp32"
    seed: int = 0
    gpu: str = "cpu"
    gpu_count: int = Field(default=1, ge=1)
    price_per_hour: Money = Decimal(0)
    time_hours: dict[str, JsonValue] = {}
    cost_usd: dict[str, JsonValue] = {}
    samples: list[SamplePrompt] = []
    measured: dict[str, JsonValue] | None = None
    consent: Consent | None = None


def launch(
    session: Session,
    core: Core,
    *,
    user_id: str,
    plan_id: str,
    name: str,
    provider: str,
    base_model: str,
    stages: list[Stage],
    data: DataRef | None,
    authorization: BudgetAuthorization,
    facts: RunFacts,
    now: datetime,
) -> Job:
    """Stores the run, queued. Refuses a cap that leaves nothing to train with."""
    document: dict[str, Any] = facts.document()
    job = Job(
        id=new_id(),
        user_id=user_id,
        plan_id=plan_id,
        name=name,
        notes="",
        state=JobState.QUEUED.value,
        reason="",
        provider=provider,
        generation=0,
        stages=[stage.document() for stage in stages],
        base_model=base_model,
        data=data.document() if data else None,
        authorization=authorization.document(),
        max_budget=authorization.max_budget,
        budget_status=BudgetStatus.WITHIN_BUDGET.value,
        alert_sent=False,
        estimate=document,
        fruitless_starts=0,
        start_step=0,
        resumes=[],
        inexact_resumes=0,
        disk_bytes=0,
        state_since=now,
        created_at=now,
        updated_at=now,
    )
    job.estimate = {**job.estimate, "pricePerHour": float(money.price(core, job))}
    budget.check_cap(money.terms(job), money.overheads(core, job), Decimal(0))
    jobs.add(session, job)
    effects.change_state(session, job, JobState.QUEUED, "Approved.", now)
    return job
