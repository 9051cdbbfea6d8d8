"""The contract: what the person asked for, written down, then locked. A changed mind is a new version that names its parent."""

import hashlib
import json
from datetime import datetime
from typing import Literal

from pydantic import Field, JsonValue

from kriptik.spec.base import Money, Noun
from kriptik.spec.catalogue import DataRequirement, TrainingPipeline
from kriptik.spec.intent import TrainingIntent

Tier = Literal["consumer", "professional", "flagship", "research"]
DataStrategy = Literal["user_upload", "web_search", "huggingface", "synthetic", "hybrid"]
NumberSource = Literal["measured", "calibrated", "analytic", "guess"]


class Interval(Noun):
    """A number we do not know exactly: low ≤ likely ≤ high, and where it comes from."""

    low: float
    likely: float
    high: float
    unit: str
    source: NumberSource = "analytic"
    why: str = ""


class MoneyRange(Noun):
    """What it will probably cost, in dollars."""

    min: Money
    max: Money
    likely: Money | None = None
    currency: Literal["USD"] = "USD"
    source: NumberSource = "analytic"
    prices_as_of: str | None = None


class ModelChoice(Noun):
    """A base model as offered to a person."""

    id: str
    title: str
    params_b: float
    licence: str
    strengths: list[str] = []
    weaknesses: list[str] = []
    why: str = ""
    trainable: bool = True
    why_not: str | None = None


class MethodChoice(Noun):
    """A method or pipeline as offered to a person."""

    id: str
    title: str
    why: str = ""
    trainable: bool = True
    why_not: str | None = None
    pipeline: TrainingPipeline | None = None


class GpuRequirement(Noun):
    """What the training needs to run on."""

    gpu: str
    count: int = Field(1, ge=1)
    vram_gb: float
    provider: str
    price_per_hour: Money
    why: str = ""


class SuccessCriterion(Noun):
    """A measurable promise, checked at the end of the run."""

    metric: str
    comparison: Literal["at_most", "at_least", "relative_drop_at_least"]
    value: float
    sentence: str


class TrainingContract(Noun):
    """What is promised to whom. Once locked it is immutable; `hash` covers everything but lock fields."""

    id: str
    user_id: str
    prompt: str
    version: int = 1
    parent_id: str | None = None
    intent: TrainingIntent
    target_capability: str
    quality_tier: Tier
    quality_benchmark: str | None = None
    benchmark_model: str | None = None
    recommended_base_models: list[ModelChoice]
    selected_base_model: str | None = None
    recommended_methods: list[MethodChoice]
    selected_method: str | TrainingPipeline | None = None
    data_requirements: list[DataRequirement]
    estimated_data_volume: str
    data_source_strategy: DataStrategy
    technical_requirements: list[str]
    gpu_requirements: GpuRequirement
    estimated_training_time: Interval
    estimated_cost: MoneyRange
    success_criteria: list[SuccessCriterion]
    evaluation_strategy: str
    implementation_plan: list[str]
    assumptions: list[str] = []
    locked: bool = False
    locked_at: datetime | None = None
    hash: str | None = None
    thinking_tokens_used: int = 0
    created_at: datetime

    def content_hash(self) -> str:
        """SHA-256 over the canonical JSON of all fields but the lock itself."""
        body: dict[str, JsonValue] = self.model_dump(mode="json", exclude={"locked", "locked_at", "hash"})
        return hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
