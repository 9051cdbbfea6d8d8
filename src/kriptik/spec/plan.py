"""The implementation plan: six tiles to look at, change and approve; edits and what they moved."""

from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Literal

from pydantic import AliasChoices, Field, JsonValue

from kriptik.spec.base import Money, Noun
from kriptik.spec.budget import BudgetAuthorization
from kriptik.spec.catalogue import TrainingPipeline
from kriptik.spec.consent import Consent, ConsentNeed
from kriptik.spec.contract import Interval, MoneyRange
from kriptik.spec.intent import TrainingIntent
from kriptik.spec.job import StageSettings

TileCategory = Literal["model", "method", "data", "gpu", "config", "budget"]
TILE_ORDER: tuple[TileCategory, ...] = ("model", "method", "data", "gpu", "config", "budget")


class PlanStatus(StrEnum):
    """Where a plan is. `modified` still waits for approval."""

    DRAFT = "draft"
    PENDING_APPROVAL = "pending_approval"
    MODIFIED = "modified"
    APPROVED = "approved"
    REJECTED = "rejected"


class Judge(Noun):
    """A model behind an OpenAI-compatible endpoint that judges answers. Of its key only the variable's name is kept."""

    model: str
    url: str
    """Ends before "/chat/completions"."""
    key_env: str | None = None
    max_tokens: int = 256
    """The most that one answer may hold, thinking included."""
    input_usd_per_million: Money = Decimal(0)
    output_usd_per_million: Money = Decimal(0)
    price_source: str = ""

    @property
    def paid(self) -> bool:
        """Whether asking costs anything."""
        return self.input_usd_per_million > 0 or self.output_usd_per_million > 0


class Choices(Noun):
    """The few decisions from which everything else in a plan follows (`pipeline.plan.build` recomputes the rest)."""

    capability: str
    tier: str
    base_model: str
    method: str
    gpu: str
    gpu_count: int = Field(1, ge=1)
    provider: str
    data_source: str
    dataset_id: str | None = None
    data_rows: int | None = None
    settings: StageSettings = StageSettings()
    custom_settings: list[str] = []
    """Names of settings the person set by hand: a recomputation leaves these alone."""
    budget_max_usd: Money
    notify_at_percent: float = 80
    freeze_at_percent: float = 95
    resolution: int | None = None
    judge: Judge | None = None
    """Who judges answers, in a method that has them judged; None: the model itself, as it was before it learns."""
    principles: list[str] = []
    """By which they are judged: sentences, and names of the catalogue's (`constitution.toml`); none: all of the catalogue's."""
    rollouts: Literal["transformers", "vllm"] = "transformers"
    """What samples answers, in a method that learns from its own."""


class Estimate(Noun):
    """What a plan is expected to take. Every number has a source."""

    time_hours: Interval
    cost_usd: MoneyRange
    """The judge's part included."""
    judge_usd: MoneyRange | None = None
    vram_gb: Interval
    tokens: int
    total_steps: int
    disk_gb: Interval
    price_per_hour: Money
    price_source: str
    fits: bool
    why_not: str | None = None


class Alternative(Noun):
    """Another choice for a tile, with what it would change."""

    value: str
    title: str
    pros: list[str] = []
    cons: list[str] = []
    price_effect_usd: Money | None = None
    time_effect_hours: float | None = None
    is_recommended: bool = False
    available: bool = True
    why_not: str | None = None


class ImplementationTile(Noun):
    """One decision, shown on one tile."""

    id: str
    category: TileCategory
    title: str
    description: str
    recommendation: str
    value: str
    facts: dict[str, JsonValue] = {}
    alternatives: list[Alternative] = []
    is_recommended: bool = True
    requires_approval: bool = True
    status: Literal["pending", "approved", "modified", "skipped"] = "pending"
    user_selection: JsonValue = None


class PlanSummary(Noun):
    """The plan in one glance."""

    target_capability: str
    quality_benchmark: str
    quality_tier: str
    estimated_time: Interval
    estimated_cost: MoneyRange
    selected_method: str
    selected_model: str
    gpu_requirement: str


Axis = Literal["capability", "tier", "hardware", "budget", "data", "licence", "territory", "language", "deadline"]


class AxisReason(Noun):
    """What one axis of the request did to a choice."""

    axis: Axis
    asked: bool
    """Whether the person said it; False where it was left open."""
    sentence: str
    source: str | None = None
    """Where a fact in it is written."""
    as_of: date | None = None
    """When that was read."""


class PlanOption(Noun):
    """One of the 2–3 whole plans at different prices. None of them passes a limit that the person set."""

    key: Literal["economy", "recommended", "best"]
    title: str
    choices: Choices
    expected_quality: str
    limits: str
    """What it will not do."""
    reasons: list[AxisReason] = []
    in_plan: bool = False
    """Whether the plan, as it stands, is this one."""
    available: bool = True
    why_not: str | None = None
    """Why it cannot start here."""
    cost_usd: MoneyRange
    time_hours: Interval


class PendingDecision(Noun):
    """A question whose answer would change the plan; the default is already in it."""

    field: str
    question: str
    default: str
    choices: list[str] = []


class PlanModification(Noun):
    """How a tile is changed. PUT …/tiles/:tileId {modification}."""

    type: Literal["select_alternative", "custom_value", "nlp_modification"]
    value: JsonValue = None
    nlp_prompt: str | None = Field(None, max_length=20_000)


class PlanChange(Noun):
    """One thing an edit moved, and why."""

    tile: TileCategory
    param: str
    before: JsonValue
    after: JsonValue
    reason: str
    asked: bool = False
    """True for what the person asked for; False for what followed from it."""


class ModificationRecord(Noun):
    """An edit as it was made, kept with the plan."""

    at: datetime
    tile_id: str | None = None
    modification: PlanModification
    changes: list[PlanChange]


class TrainingImplementationPlan(Noun):
    """Everything a person approves before a cent is spent."""

    id: str
    contract_id: str
    user_id: str
    prompt: str
    intent: TrainingIntent
    summary: PlanSummary
    prose: str
    tiles: list[ImplementationTile]
    options: list[PlanOption]
    would_change: list[str] = []
    """What would change the choice, and to what."""
    choices: Choices
    estimate: Estimate
    pipeline: TrainingPipeline | None = None
    detailed_steps: list[str]
    pending_decisions: list[PendingDecision] = []
    warnings: list[str] = []
    status: PlanStatus = PlanStatus.PENDING_APPROVAL
    approvable: bool = True
    why_not_approvable: str | None = None
    user_modifications: list[ModificationRecord] = []
    budget_authorization: BudgetAuthorization | None = None
    consent_need: ConsentNeed | None = None
    consent: Consent | None = Field(default=None, validation_alias=AliasChoices("consent", "voiceConsent", "voice_consent"))
    job_id: str | None = None
    created_at: datetime
    updated_at: datetime
    approved_at: datetime | None = None
