"""What a worker is handed: `job.json`. It holds no secrets; the worker's token comes by its environment.

A job is trained in one or several stages by a chain of *generations*: one generation is one life of one worker process.
"""

from enum import StrEnum
from typing import Any, Literal

from pydantic import Field, JsonValue

from kriptik.spec.base import Money, Noun
from kriptik.spec.catalogue import Point
from kriptik.spec.consent import Consent
from kriptik.spec.export import ExportOrder

Precision = Literal["fp32", "bf16", "fp16", "int8", "nf4"]
Modality = Literal["text", "image", "video", "music", "sound", "voice", "embedding", "vision_language"]
"""music: a language model over the codes of a codec; sound: diffusion."""


class JobState(StrEnum):
    """Every state a run can be in. `server/runs/` has one file per state that has work to do."""

    QUEUED = "queued"
    SETTING_UP = "setting_up"
    TRAINING = "training"
    FREEZING = "freezing"
    FROZEN = "frozen"
    AWAITING_APPROVAL = "awaiting_approval"
    STOPPING = "stopping"
    STOPPED = "stopped"
    COMPLETED = "completed"
    FAILED = "failed"


TERMINAL_STATES = frozenset({JobState.STOPPED, JobState.COMPLETED, JobState.FAILED})
BILLING_STATES = frozenset({JobState.SETTING_UP, JobState.TRAINING, JobState.FREEZING, JobState.STOPPING})
"""States in which a compute resource may be alive; the meter itself runs on resources, not on states."""


class WorkKind(StrEnum):
    """What a worker is started for."""

    TRAIN = "train"
    SERVE = "serve"
    EXPORT = "export"


class ModelRef(Noun):
    """Which base model: a catalogue or hub id, or a folder on the worker's machine (`path` wins)."""

    id: str
    revision: str | None = None
    path: str | None = None


class DataRef(Noun):
    """Prepared rows: canonical JSONL made by `kriptik.data`, checked before any money is spent.

    A text row is {"messages": [{"role", "content"}, …]} or {"text": …}; `key` groups rows that must stay together.
    """

    train_path: str
    eval_path: str | None = None
    train_rows: int
    eval_rows: int = 0
    sha256: str
    overlap_rows: int = 0
    source: str = ""
    licence: str = ""


class LoraSettings(Noun):
    """Low-rank settings shared by the LoRA family. Source: Hu et al. 2021; alpha / rank scales the update."""

    rank: int = Field(default=16, ge=1, le=1024)
    alpha: float = Field(default=32, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    targets: str | list[str] = "all-linear"


class StageSettings(Noun):
    """How one stage trains. Defaults are the recipe for a small supervised fine-tune.

    One update sees `micro_batch × accumulation` rows (packed: sequences of `max_seq_len` tokens) per data rank.
    """

    epochs: float = Field(default=1.0, gt=0, le=1000)
    max_steps: int | None = Field(default=None, ge=1)
    micro_batch: int = Field(default=4, ge=1)
    accumulation: int = Field(default=1, ge=1)
    learning_rate: float = Field(default=2e-4, gt=0, lt=10)
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup_ratio: float = Field(default=0.03, ge=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0)
    max_grad_norm: float = Field(default=1.0, gt=0)
    max_seq_len: int = Field(default=1024, ge=8)
    packing: bool = True
    recompute: bool = False
    """Activations are computed again in the backward instead of kept: far less memory, about a third more time."""
    ema: float | None = Field(default=None, gt=0, lt=1)
    """Decay of a running average of what is trained, which is then what is measured, shown and left; None: no average."""
    lora: LoraSettings = LoraSettings()
    adaptation: dict[str, JsonValue] = {}
    """Settings only this adaptation knows (relora: resets; galore: rank …)."""
    objective: dict[str, JsonValue] = {}
    """Settings only this objective knows (dpo: beta; grpo: group size …)."""
    strategy: dict[str, JsonValue] = {}
    """Settings only this strategy knows (zero: stage …)."""
    eval_every: int | None = Field(default=None, ge=1)
    sample_every: int | None = Field(default=None, ge=1)
    checkpoint_every: int | None = Field(default=None, ge=1)
    checkpoint_every_s: float = Field(default=300, gt=0)

    def with_objective(self, **settings: JsonValue) -> "StageSettings":
        """The same with these settings of the objective."""
        return self.model_copy(update={"objective": {**self.objective, **settings}})


class Stage(Noun):
    """One stage of a run: a method's point and its settings."""

    index: int
    name: str
    method: str
    point: Point
    settings: StageSettings = StageSettings()
    requires_approval: bool = False


class SamplePrompt(Noun):
    """A held-out prompt that is answered along the way, always with the same seed."""

    messages: list[dict[str, Any]]
    """As in a prepared row: role and content, and calls where a tool was called."""
    tools: list[dict[str, JsonValue]] = []
    """What may be called, as JSON of tools."""
    expected: str | None = None
    images: list[str] = []
    """Pictures that it asks about: files beside the rows', in the order of `<image>` in its turns."""

    @property
    def asked(self) -> str:
        """The words of its turns."""
        return "\n".join(str(turn.get("content") or "") for turn in self.messages)


class SelfEnd(Noun):
    """How a worker ends the machine it runs on: one request. `{NAME}` in `url` stands for an environment variable there."""

    url: str
    method: Literal["DELETE", "POST"] = "DELETE"
    token_variable: str
    """Environment variable that holds the bearer token; the token itself is never written down."""


class ControlLink(Noun):
    """Where the worker dials out to. Token: environment variable KRIPTIK_WORKER_TOKEN."""

    server_url: str
    lease_s: float = 60
    """Each contact renews the lease for this long; `grace_s` past it the dead-man switch acts."""
    grace_s: float = 900
    hard_stop_in_s: float | None = None
    """What the remaining budget buys, counted from the start of this process; None at price 0."""
    reserve_s: float = 30
    """Time kept back for checkpoint and tear-down."""
    self_end: SelfEnd | None = None


class TrainJob(Noun):
    """The one file a worker is handed."""

    job_id: str
    generation: int = Field(ge=1)
    kind: WorkKind = WorkKind.TRAIN
    run_dir: str
    """All artefacts of the run live under this folder; checkpoints in `checkpoints/`, the result in `result/`."""
    cache_dir: str
    modality: Modality = "text"
    capability: str
    base_model: ModelRef
    precision: Precision = "fp32"
    seed: int = 0
    threads: int | None = None
    """Of each process."""
    world: int = Field(default=1, ge=1, le=64)
    """Processes on the worker's machine that train together, one per GPU; more than one needs a strategy for several."""
    stages: list[Stage]
    data: DataRef | None = None
    samples: list[SamplePrompt] = []
    resume_from: str | None = None
    """Checkpoint id to restore (a committed folder under `checkpoints/`); None starts from the base model."""
    allow_inexact: bool = False
    probe: bool = True
    """Run the smoke test (own process, once) before the first step unless `run.lock` exists."""
    control: ControlLink | None = None
    serve_idle_s: float = 600
    export: ExportOrder | None = None
    """What an export worker is to write."""
    price_per_hour: Money | None = None
    asking_usd: Money | None = None
    """What this generation may cost at most where its judge is paid, the machine included; None: nobody is paid for answers."""
    consent: Consent | None = None
    """Of the person whose voice is learnt or whom pictures show; no voice is trained without it."""
    carry: bool = False
    """The worker runs elsewhere: files are fetched and put by the server's routes, `run_dir` is the worker's own."""


class RunLock(Noun):
    """What must not change inside a run for a resume to be bit-exact; written once, by the smoke test, as `run.lock`."""

    torch: str
    transformers: str
    peft: str
    python: str
    machine: str
    threads: int
    precision: Precision
    micro_batch: int
    accumulation: int
    recompute: bool = False
    bitsandbytes: str = ""
    """Where the base is quantised."""
    library: str = ""
    """What holds the model besides transformers, and its version."""
    compile: bool = False
    attention: str = "sdpa"
    total_steps: list[int]
    """Optimizer steps per stage."""
    data_sha256: str


class ProbeResult(Noun):
    """What the smoke test measured on the very machine: longest rows, one eval, one sample, one checkpoint."""

    seconds_per_step: float
    step_seconds_spread: float
    """Relative half-width (about 90 %) over the measured steps."""
    tokens_per_second: float
    peak_memory_gb: float
    copy_gb: float = 0
    """Of the second copy of the model into which an adapter is folded when the result is written; 0 where none is made."""
    load_s: float
    """Loading, and what a run's first update takes beyond a later one: memory, kernels, a first subspace."""
    eval_s: float
    sample_s: float
    checkpoint_s: float
    checkpoint_bytes: int
    total_steps: list[int]
    loss_first: float | None
    loss_last: float | None
    """Loss of the same few rows before the first and before the last of several updates on them; None: no finite number."""
    learns: bool
    """That loss fell, and weights moved."""
    fitted: Literal["rows", "answers"] = "rows"
    """What was learnt: rows, or the model's own answers where it is trained by rewards for them."""
    fitted_rows: int = 0
    """How many of those (0: not told)."""
    fitted_updates: int = 0
    """Updates between the two losses."""
    moved_fraction: float = 1.0
    """Share of the trained tensors that moved; a value head does not count."""
    supervised_fraction: float | None = None
    """Share of tokens that are learnt; None where rows are no text with answers."""
    supervised_rows: float | None = None
    """Share of rows with any such token."""
    eos_supervised: bool | None = None
    """Whether the end of a turn is learnt; None where rows are no chat."""
    tried: list[dict[str, JsonValue]] = []
    chosen: dict[str, JsonValue] = {}
