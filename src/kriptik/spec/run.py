"""A run as the API shows it: the row of the job list and the whole job page."""

from datetime import datetime
from typing import Literal

from pydantic import Field, JsonValue

from kriptik.spec.base import Money, Noun
from kriptik.spec.budget import BudgetState, FreezeState
from kriptik.spec.environment import EnvironmentSetup
from kriptik.spec.events import Alarm, CheckpointCommitted, CurrentSample, EvalResult, Metrics, QualitySample, RunResult
from kriptik.spec.job import JobState, ProbeResult, Stage


class Checkpoint(CheckpointCommitted):
    """A committed checkpoint as listed: which generation made it, when, and whether it still exists."""

    generation: int
    at: datetime
    kept: bool = True


class StageView(Noun):
    """A stage of the pipeline and how far it is."""

    index: int
    name: str
    method: str
    status: Literal["pending", "running", "completed", "awaiting_approval", "failed"]
    progress: float = Field(0, ge=0, le=1)
    requires_approval: bool = False


class Failure(Noun):
    """Why a run failed, what was kept, and what to do next."""

    code: str
    message: str
    next_step: str
    kept: str = ""


class PlaceChoice(Noun):
    """Where a run is to go on. `price_per_hour`: the price that the person saw, all GPUs; nothing dearer is rented."""

    provider: str = Field(min_length=1, max_length=40)
    gpu: str = Field(min_length=1, max_length=100)
    gpu_count: int = Field(default=1, ge=1, le=64)
    price_per_hour: Money


class Place(PlaceChoice):
    """A place that can be had now."""

    detail: str = ""
    present: bool = False
    """Where the run was until now."""
    note: str = ""


class JobSummary(Noun):
    """A run in the list."""

    id: str
    user_id: str
    plan_id: str
    name: str
    notes: str = ""
    prompt: str
    capability: str
    base_model: str
    method: str
    state: JobState
    reason: str = ""
    percent_complete: float = 0
    current_spend: Money
    max_budget: Money
    queue_position: int | None = None
    created_at: datetime
    updated_at: datetime
    finished_at: datetime | None = None
    disk_bytes: int = 0


class JobDetail(JobSummary):
    """Everything the run page needs at once; the rest comes by the event stream."""

    generation: int
    stages: list[StageView]
    stage_specs: list[Stage] = []
    setup: EnvironmentSetup | None = None
    budget: BudgetState
    metrics: Metrics | None = None
    current_sample: CurrentSample | None = None
    checkpoints: list[Checkpoint] = []
    samples: list[QualitySample] = []
    alarms: list[Alarm] = []
    evals: list[EvalResult] = []
    probe: ProbeResult | None = None
    freeze_state: FreezeState | None = None
    failure: Failure | None = None
    result: RunResult | None = None
    estimate: dict[str, JsonValue] = {}
    resumes: list[int] = []
    """Steps at which a later generation took over (marked on the curves)."""
    inexact_resumes: int = 0
    eta_seconds: float | None = None
    last_contact_at: datetime | None = None
    last_event_id: int = 0
    run_dir: str
