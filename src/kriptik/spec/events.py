"""What a worker says back. One line of `events.jsonl` is one `Event`; its key is (job, generation, seq).

The server stores each key once, adds its own events (state, budget, notice) and numbers all of them per job for the UI.
"""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, JsonValue

from kriptik.spec.base import Money, Noun
from kriptik.spec.export import ExportResult
from kriptik.spec.job import JobState, ProbeResult

Severity = Literal["debug", "info", "warning", "error"]
SetupName = Literal["provisioning", "storage", "framework", "data", "monitoring", "verification"]
StepStatus = Literal["pending", "running", "completed", "failed"]


class SetupProgress(Noun):
    """One of the six set-up stages moved."""

    type: Literal["setup"] = "setup"
    stage: SetupName
    status: StepStatus
    progress: float = Field(ge=0, le=1)
    message: str = ""


class Metrics(Noun):
    """One optimizer step, or a coalesced second of them. Loss is the mean over supervised tokens since the last event."""

    type: Literal["metrics"] = "metrics"
    stage: int
    step: int
    total_steps: int
    epoch: float
    total_epochs: float
    loss: float
    learning_rate: float
    gradient_norm: float
    tokens: int
    """Real (non-padding) tokens since the last event."""
    tokens_per_second: float
    samples_processed: int
    total_samples: int
    elapsed_s: float
    """Training seconds of this generation, set-up excluded."""
    cpu_utilization: float | None = None
    ram_used_gb: float | None = None
    gpu_utilization: list[float] = []
    gpu_memory_used_gb: list[float] = []
    gpu_memory_total_gb: list[float] = []
    reward_score: float | None = None
    preference_accuracy: float | None = None
    kl_divergence: float | None = None
    custom: dict[str, float] = {}


class CurrentSample(Noun):
    """A row that is being trained on now."""

    type: Literal["current_sample"] = "current_sample"
    index: int
    content: str
    source: str
    file: str | None = None
    """Where the row is a picture: a small copy of it in the run's folder."""


class EvalResult(Noun):
    """Loss on the held-out rows: mean over supervised tokens, with the per-row means for intervals at start and end."""

    type: Literal["eval"] = "eval"
    stage: int
    step: int
    loss: float
    rows: int
    tokens: int
    row_losses: list[float] | None = None
    row_tokens: list[int] | None = None
    custom: dict[str, float] = {}


class QualitySample(Noun):
    """A held-out prompt answered by the model as it is now (greedy, fixed seed)."""

    type: Literal["sample"] = "sample"
    stage: int
    step: int
    input: str
    output: str
    expected: str | None = None
    base: bool = False
    """True for the untrained model's answer."""
    file: str | None = None
    """Where the answer is a picture or a sound: its file in the run's folder, which the server hands out."""


class CheckpointCommitted(Noun):
    """A checkpoint whose shards, manifest and `_COMPLETE` are on disk and verified."""

    type: Literal["checkpoint"] = "checkpoint"
    checkpoint_id: str
    stage: int
    step: int
    bytes: int
    manifest_sha256: str
    seconds: float
    loss: float | None = None
    reason: Literal["interval", "freeze", "stage_end", "stop"] = "interval"


class StageProgress(Noun):
    """A stage of the pipeline started or ended."""

    type: Literal["stage"] = "stage"
    index: int
    name: str
    status: Literal["started", "completed", "awaiting_approval"]


class ProbeDone(Noun):
    """The smoke test's measurements; the server re-prices the plan with them."""

    type: Literal["probe"] = "probe"
    result: ProbeResult


class Alarm(Noun):
    """An update that was far out of what is usual, or had no finite gradient; its rows are kept in `file`."""

    type: Literal["alarm"] = "alarm"
    kind: Literal["spike", "not_finite"]
    """`spike`: it was made all the same, clipped; `not_finite`: it was dropped."""
    stage: int
    step: int
    loss: float | None = None
    usual_loss: float | None = None
    """Median of the updates before it."""
    gradient_norm: float | None = None
    rows: list[int] = []
    """At most 100 of them."""
    shown: list[str] = []
    """The first rows as people read them."""
    file: str | None = None
    """Relative to the run's folder; None where the disk took nothing."""


class Asked(Noun):
    """What this generation has paid its judge so far."""

    type: Literal["asked"] = "asked"
    usd: Money


class Log(Noun):
    """A line for people."""

    type: Literal["log"] = "log"
    severity: Severity = "info"
    message: str


class WorkerState(Noun):
    """Where the worker process is in its life. `failed` carries what happened, what is safe and what to do."""

    type: Literal["worker"] = "worker"
    state: Literal["started", "restored", "ready", "freezing", "frozen", "stopped", "completed", "failed", "awaiting_approval"]
    checkpoint_id: str | None = None
    exact: bool | None = None
    """On `restored`: whether the stack equals `run.lock`, so that the resume is bit-exact."""
    code: str | None = None
    message: str | None = None
    next_step: str | None = None
    cause: str | None = None


class RunResult(Noun):
    """What the run left behind, paths relative to the run folder, and the measured before and after."""

    type: Literal["result"] = "result"
    adapter_path: str | None = None
    model_path: str | None = None
    bytes: int = 0
    eval_before: EvalResult | None = None
    eval_after: EvalResult | None = None
    train_seconds: float = 0
    tokens: int = 0
    tokens_per_second: float = 0
    peak_memory_gb: float = 0
    """The most that the processes of this generation held, all together."""


class TestAnswered(Noun):
    """A serve worker answered a test request; `result` is a `spec.testing.TestResult` on the wire."""

    type: Literal["test_result"] = "test_result"
    request_id: str
    result: dict[str, JsonValue] | None = None
    error: str | None = None


class ExportMoved(Noun):
    """An export worker is at another part of its work."""

    type: Literal["export_progress"] = "export_progress"
    progress: float = Field(ge=0, le=1)
    message: str


class ExportDone(Noun):
    """An export is written, checked and, where asked for, on the hub."""

    type: Literal["export"] = "export"
    result: ExportResult


class StateChanged(Noun):
    """Server: the job moved to another state."""

    type: Literal["state"] = "state"
    state: JobState
    reason: str = ""
    checkpoint_id: str | None = None


class BudgetMoved(Noun):
    """Server: the budget as it is now (see `spec.budget.BudgetState`)."""

    type: Literal["budget"] = "budget"
    status: str
    current_spend: Money
    max_budget: Money
    estimated_total_spend: Money
    spend_rate: Money
    percent: float


class Notice(Noun):
    """Server: an in-app notice was made."""

    type: Literal["notice"] = "notice"
    notification_id: str
    kind: str
    title: str
    message: str


WorkerBody = Annotated[
    SetupProgress
    | Metrics
    | CurrentSample
    | EvalResult
    | QualitySample
    | CheckpointCommitted
    | StageProgress
    | ProbeDone
    | Alarm
    | Asked
    | Log
    | WorkerState
    | RunResult
    | TestAnswered
    | ExportMoved
    | ExportDone,
    Field(discriminator="type"),
]
EventBody = Annotated[
    SetupProgress
    | Metrics
    | CurrentSample
    | EvalResult
    | QualitySample
    | CheckpointCommitted
    | StageProgress
    | ProbeDone
    | Alarm
    | Asked
    | Log
    | WorkerState
    | RunResult
    | TestAnswered
    | ExportMoved
    | ExportDone
    | StateChanged
    | BudgetMoved
    | Notice,
    Field(discriminator="type"),
]


class Event(Noun):
    """One line of the spool: `seq` counts from 1 inside a generation, without gaps."""

    generation: int = Field(ge=0)
    seq: int = Field(ge=1)
    at: datetime
    body: WorkerBody


class StoredEvent(Noun):
    """An event as the server keeps and streams it; `id` counts per job over worker and server events (generation 0 = server)."""

    id: int
    job_id: str
    generation: int
    seq: int
    at: datetime
    body: EventBody


class EventBatch(Noun):
    """Worker → server: consecutive events of one generation."""

    events: list[Event] = Field(max_length=500)


class Pending(Noun):
    """A test request waiting for a serve worker; `request` is a `spec.testing.TestRequest` on the wire."""

    request_id: str
    request: dict[str, JsonValue]


class Desired(Noun):
    """What the server wants of a generation. State, not a message: the newest version says it all."""

    version: int
    state: Literal["running", "frozen", "stopped"] = "running"
    reason: str = ""
    requests: list[Pending] = []


class Lease(Noun):
    """Server's answer to every contact. `hard_stop_in_s` is a duration from the sending of the request; None = no limit."""

    ack_seq: int
    lease_s: float
    hard_stop_in_s: float | None = None
    desired: Desired


class DesiredAck(Noun):
    """Worker → server: the desired version was carried out."""

    version: int
    result: Literal["done", "failed"]
    checkpoint_id: str | None = None
