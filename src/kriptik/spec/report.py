"""What a finished run says about itself: measured numbers only."""

from datetime import datetime

from pydantic import JsonValue

from kriptik.spec.base import Money, Noun
from kriptik.spec.contract import SuccessCriterion
from kriptik.spec.job import JobState


class HeldOutLoss(Noun):
    """Held-out loss per supervised token before and after, and a paired bootstrap interval of the relative change."""

    before: float
    after: float
    relative_drop: float
    interval: tuple[float, float]
    confidence: float = 0.95
    rows: int
    tokens: int
    method: str = "paired bootstrap over held-out rows"


class CriterionResult(Noun):
    """A success criterion of the contract, checked."""

    criterion: SuccessCriterion
    measured: float | None
    passed: bool | None
    sentence: str


class SideBySide(Noun):
    """A held-out prompt, answered by base and tuned; printed as they are."""

    prompt: str
    expected: str | None
    base: str
    tuned: str


class RunReport(Noun):
    """The report of a run; every number in it was measured."""

    job_id: str
    name: str
    state: JobState
    prompt: str
    base_model: str
    method: str
    data: dict[str, JsonValue]
    held_out_loss: HeldOutLoss | None
    criteria: list[CriterionResult]
    side_by_side: list[SideBySide]
    spend_usd: Money
    max_budget_usd: Money
    estimated_cost_usd: tuple[Money, Money]
    estimated_hours: tuple[float, float]
    actual_hours: float
    train_seconds: float
    tokens: int
    tokens_per_second: float
    generations: int
    freezes: int
    inexact_resumes: int
    artefacts: dict[str, str]
    notes: list[str] = []
    created_at: datetime
