"""The five pieces of a training run and what passes between them. `train.py` is the loop that joins them.

A piece subclasses the base class of its kind and overrides what it answers; the defaults here are the common case.
Construction: `Modality(job)`; `Adaptation(settings)`, `Objective(settings)`, `Strategy(settings)` for the stage.
Compatibility is `needs ⊆ provides` (see `pieces.missing`), never a typed table. Words in use:
generation      the runtime can generate with current weights         (strategy)
own_backward    the objective may drive forward and backward itself    (strategy)
whole_weights   every rank sees and may rewrite whole weights in place (strategy)
reset_optimizer optimizer state of named parameters can be zeroed      (strategy)
penalty         a term on the weights can be added to the loss         (strategy)
gradients       an update's gradients can be looked at in `after_step` (strategy)
uneven_micros   micro-batches of one update may differ in shape        (strategy)
alone           a rank may run a forward that others do not run        (strategy)
reference       the adaptation can show the model before this stage    (adaptation)
tokens          `generate` and `token_log_probs` exist                 (modality)
noise           `add_noise` and prediction targets exist               (modality)
motion          samples are clips, some layers see several frames      (modality)
pairs           rows encode to (anchor, positive) embeddings           (modality)
projector       `Bundle.projector` names what lies between encoder and language model (modality)
layers          `layers` can cut the trainee into pipeline stages      (modality)
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from kriptik.engine.average import Average
from kriptik.engine.cursor import plan_rows
from kriptik.spec.job import SamplePrompt, StageSettings, TrainJob

if TYPE_CHECKING:
    from kriptik.engine.rows import Rows

Bins = Sequence[Sequence[int]]
"""One micro-batch as planned: bins (sequences), each the row numbers packed into it; unpacked: one row per bin."""
UpdatePlan = Sequence[Bins]
"""One optimizer update over all data ranks: rank r of n takes micro-batches r, r + n, r + 2n …"""
Metrics = dict[str, Any]
"""Name → sum over the micro-batch (number or scalar tensor); the loop divides by the update's total weight."""
LossFn = Callable[[Any, "MicroBatch"], tuple[Tensor, Metrics]]
Penalty = Callable[[], Tensor | None]


@dataclass
class Bundle:
    """What a modality loaded. `trainee` is the one module that is trained; adaptations may replace it (PEFT wraps).

    An adaptation that trains a part takes it out of `parts` into the trainee: what is left in `parts` is frozen, and what it makes
    of a row may be kept (`Modality.encode`, `collate`); for what was taken out, `collate` hands over the raw inputs.
    `parts` names other modules the modality needs (VAE, frozen encoders), REFERENCE the model before the stage. `info` goes into
    run.lock and reports (attention, compile, base sha256). Parameter names are those of `trainee.named_parameters()` after `apply`.
    """

    trainee: nn.Module
    tokenizer: Any = None
    REFERENCE: ClassVar[str] = "reference"
    parts: dict[str, nn.Module] = field(default_factory=dict)
    info: dict[str, Any] = field(default_factory=dict)
    words: dict[str, str] = field(default_factory=dict)
    """Placeholder → the text that stands for it once an adaptation has added tokens to the tokenizer (textual inversion)."""
    modified: dict[int, Tensor] = field(default_factory=dict)
    pipeline: Any = None
    """The library's own object around trainee and parts, where there is one (diffusers)."""
    targets: str | None = None
    """The layers that 'all-linear' means here, as a regular expression; None: all of them."""
    projector: tuple[str, ...] = ()
    """Names of the modules that turn what an encoder sees into what the language model reads."""
    unquantised: Callable[[], nn.Module] | None = None
    """Where the base is held in few bits: makes it once more in plain weights, with the very numbers that those bits stand for."""
    scorer: Any = None
    """How a reward model for what this model makes is loaded and asked (`engine/scorer.py`); None where there is no way."""

    def touch(self, *tensors: Tensor) -> None:
        """Say that a frozen tensor no longer equals the pinned base (a merge): it then goes into every checkpoint.

        Remembered by identity, since wrapping renames parameters but keeps the objects.
        """
        for tensor in tensors:
            self.modified[id(tensor)] = tensor


@dataclass
class Encoded:
    """A row made ready by `Modality.encode`: plain lists and numbers, no tensors of the device."""

    row: int
    length: int
    """What packing counts (tokens, frames); 1 where rows are not packed."""
    weight: float
    """What the row adds to the denominator of the gradient law (supervised tokens; 1 per pair or image)."""
    fields: dict[str, Any] = field(default_factory=dict)


@dataclass
class MicroBatch:
    """One forward's worth of rows. `inputs`: the trainee's arguments; `extra`: for the loss; `tokens`: real ones, no padding."""

    inputs: dict[str, Any]
    extra: dict[str, Any] = field(default_factory=dict)
    weight: float = 0.0
    rows: list[int] = field(default_factory=list)
    tokens: int = 0


@dataclass
class Update:
    """This rank's share of one optimizer step. Values are tensors or JSON: an unused one goes into the checkpoint."""

    micros: list[MicroBatch]
    state: dict[str, Any] = field(default_factory=dict)
    fresh: bool = True
    """False once the rows were already counted as seen (second minibatch epoch over one rollout)."""

    @property
    def weight(self) -> float:
        return sum(micro.weight for micro in self.micros)

    @property
    def rows(self) -> list[int]:
        return [row for micro in self.micros for row in micro.rows]


@dataclass
class StepStats:
    """What one update measured, over all ranks: mean loss per unit of weight, mean metrics, total weight, tokens."""

    loss: float
    weight: float
    tokens: int = 0
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass
class ParamGroup:
    """Parameters by name. `lr_scale` multiplies the run's learning rate; `options` are one optimizer's own (galore: rank)."""

    names: list[str]
    lr_scale: float = 1.0
    weight_decay: float = 0.0
    options: dict[str, Any] = field(default_factory=dict)


@dataclass
class OptimizerSpec:
    """An optimizer by description, never an object: the strategy builds it after it has wrapped or sharded the model.

    `kind` names an entry of `strategies.optim.OPTIMIZERS`; `options` are its keyword arguments (betas, eps).
    """

    groups: list[ParamGroup]
    kind: str = "adamw"
    options: dict[str, Any] = field(default_factory=dict)
    keep_gradients: bool = False
    """`gradients`: those of an update, clipped, stay behind `step` until `Runtime.clear_gradients`."""


@dataclass
class RowScores:
    """Held-out result: loss sum and weight per row in row order, and means of other metrics."""

    sums: list[float]
    weights: list[float]
    custom: dict[str, float] = field(default_factory=dict)


@dataclass
class Exported:
    """Paths relative to the run folder."""

    adapter_path: str | None = None
    model_path: str | None = None
    bytes: int = 0


@dataclass
class RunOutcome:
    """How a call of `train` ended; a failure is raised as `WorkerError` instead."""

    state: Literal["completed", "frozen", "stopped", "awaiting_approval"]
    checkpoint_id: str | None
    stage: int
    step: int


class Modality:
    """What the model is about. Keeps nothing: whatever it needs it takes from the bundle."""

    provides: ClassVar[frozenset[str]] = frozenset()
    sample_suffix: ClassVar[str] = ""
    """Of the files that `sample` makes (".png"); empty where it answers in text."""
    recuts: ClassVar[bool] = True
    """Whether any rows may be put into one micro-batch together; not where pictures of differing sizes would meet."""
    answer_tokens: ClassVar[int] = 64
    """Longest answer that is sampled to learn from, where the objective's setting `max_new_tokens` names none."""

    def __init__(self, job: TrainJob) -> None:
        self.job = job

    def load(self) -> Bundle:
        """The base model at `job.precision`, all parameters on the device, none of them changed."""
        raise NotImplementedError

    def encode(self, bundle: Bundle, row: dict[str, Any], index: int, form: str, settings: StageSettings) -> Encoded:
        """A row in the form the objective asks for (`Objective.form`). Raises DataError naming the row."""
        raise NotImplementedError

    def plan_epoch(
        self, encoded: Sequence[Encoded], seed: int, epoch: int, settings: StageSettings, ranks: int
    ) -> list[UpdatePlan]:
        """All updates of one epoch: a pure function of (lengths, seed, epoch, settings, ranks), each row exactly once.

        An update has up to `accumulation × ranks` micro-batches of up to `micro_batch` bins. The default shuffles rows,
        one row per bin. The last update may be smaller.
        """
        return plan_rows(len(encoded), seed, epoch, settings.micro_batch, settings.accumulation * ranks)

    def collate(self, bundle: Bundle, bins: Sequence[Sequence[Encoded]], seed: int, epoch: int) -> MicroBatch:
        """Rows to tensors. Randomness of a row (noise, crop) is drawn from `rng.row_generator(seed, epoch, row)`."""
        raise NotImplementedError

    def forward(self, module: nn.Module, micro: MicroBatch) -> Any:
        """One forward. `module` is the trainee or what the strategy wrapped it in."""
        return module(**micro.inputs)

    def sample(self, bundle: Bundle, prompt: SamplePrompt, settings: StageSettings) -> str | bytes:
        """The model's answer now, greedy, fixed seed, in eval mode: text, or the bytes of a file as `sample_suffix` names it."""
        raise NotImplementedError

    def brief(self, settings: StageSettings, share: float) -> StageSettings:
        """Settings by which a sample is about this part of a whole one (steps, tokens, seconds); the same if it has no parts."""
        return settings

    def preview(self, row: dict[str, Any]) -> str:
        """A row as people read it, for the live 'current sample'."""
        return str(row)[:2000]

    def thumbnail(self, row: dict[str, Any]) -> bytes | None:
        """A small file of a row that is a picture, of the kind that `sample_suffix` names; None for what `preview` says whole."""
        return None

    def export(self, bundle: Bundle, adaptation: "Adaptation", run_dir: Path) -> Exported:
        """Leave the result in `run_dir/result` in the ecosystem's format. Must leave the trainee bit-unchanged."""
        raise NotImplementedError

    def generate(self, bundle: Bundle, prompts: Sequence[Encoded], settings: dict[str, Any]) -> list[Encoded]:
        """`tokens`: sampled completions (settings: count, max_new_tokens, temperature), rows of form 'completion'."""
        raise NotImplementedError

    def token_log_probs(self, output: Any, micro: MicroBatch) -> tuple[Tensor, Tensor]:
        """`tokens`: log-probabilities of the supervised tokens and their mask, both [rows, length].

        At the temperature `extra['temperature']` (1): that of the policy that sampled them.
        """
        raise NotImplementedError

    def decode(self, bundle: Bundle, encoded: Encoded) -> str:
        """`tokens`: the supervised part of a row as text."""
        raise NotImplementedError

    def row_maker(self, session: "Session") -> Callable[[dict[str, Any], int], dict[str, Any]]:
        """`tokens`: (row, number) → the row that the model at the stage's start makes of it (setting `rows`; `engine/made.py`)."""
        raise NotImplementedError

    def add_noise(self, bundle: Bundle, micro: MicroBatch, noise: Tensor, times: Tensor) -> MicroBatch:
        """`noise`: `extra['clean']` [rows, …] mixed with `noise` at `times` [rows] (0 clean, 1 noise) into the inputs.

        `extra['target']` becomes what this model is to predict; `engine/noise.py` has the usual ones.
        """
        raise NotImplementedError

    def noise_times(self, bundle: Bundle) -> str:
        """`noise`: how this model's times are drawn unless the objective says: "uniform" or "logit_normal"."""
        return "uniform"

    def imagine(self, bundle: Bundle, prompt: str, seed: int, settings: StageSettings) -> bytes:
        """`noise`: what the model makes of a prompt, as a file's bytes; the same for the same seed."""
        raise NotImplementedError

    def layers(self, bundle: Bundle, stages: int) -> list[nn.Module]:
        """`layers`: the trainee as `stages` modules in a row; each trained weight is in one of them, frozen ones may be in several.

        The first is called with `**micro.inputs`, the others with the one tensor of the module before them and `**micro.inputs`
        (masks, positions). The last gives a tensor too; where `forward` gives something else, its `result(tensor)` is that.
        """
        raise NotImplementedError


class Adaptation:
    """What is trained. `settings.adaptation` holds what only this adaptation knows."""

    needs: ClassVar[frozenset[str]] = frozenset()
    provides: ClassVar[frozenset[str]] = frozenset()
    adapter: ClassVar[bool] = False
    """What is learnt stands beside frozen weights, and `save` writes an adapter for them. Else it is in the weights themselves."""
    repeatable: ClassVar[bool] = True
    """Whether a forward leaves no trace, so that it may be done again in the backward (`engine/recompute.py`)."""
    merges: ClassVar[bool] = True
    """Whether what is learnt can be folded into plain weights; where it cannot, the adapter is all that a run leaves."""

    keep_reference = False
    """Set before `apply` where the objective asks for the reference of text that is not known beforehand."""

    def __init__(self, settings: StageSettings) -> None:
        self.settings = settings

    def apply(self, bundle: Bundle) -> None:
        """Add adapters or tokens, set `requires_grad` everywhere. Generators are seeded before: same every time."""
        raise NotImplementedError

    def optimizer(self, bundle: Bundle) -> OptimizerSpec:
        """Default: AdamW over everything trainable; weight decay on matrices only."""
        decayed, plain = [], []
        for name, parameter in bundle.trainee.named_parameters():
            if parameter.requires_grad:
                (decayed if parameter.dim() >= 2 else plain).append(name)
        groups = [ParamGroup(decayed, weight_decay=self.settings.weight_decay), ParamGroup(plain)]
        return OptimizerSpec([group for group in groups if group.names])

    def penalty(self, bundle: Bundle) -> Tensor | None:
        """A term on the weights, added once per update (AdaLoRA orthogonality, MoE balance). Needs 'penalty'."""
        return None

    def lr_scale(self, step: int, total: int) -> float:
        """Factor on the learning rate of update `step` (0-based); a pure function (ReLoRA's jag)."""
        return 1.0

    def after_step(self, step: int, total: int, session: "Session") -> None:
        """Called after update `step` (0-based) is in the weights, before its checkpoint."""

    def reference(self, bundle: Bundle) -> AbstractContextManager[Any]:
        """Inside, the trainee is the model as it was before this stage. Provides 'reference'."""
        raise NotImplementedError

    def has_reference(self, bundle: Bundle) -> bool:
        """Whether `reference` can be used in this very stage (a frozen copy may not have been kept)."""
        return "reference" in self.provides

    def finish(self, bundle: Bundle) -> None:
        """End of a stage that another follows: fold what was learnt into the plain trainee; `bundle.touch` it."""

    def save(self, bundle: Bundle, folder: Path) -> None:
        """What was trained, in the ecosystem's format (PEFT adapter, whole model)."""
        raise NotImplementedError

    def measured(self) -> dict[str, float]:
        """Numbers about the last update that belong on the curve (how evenly experts are used)."""
        return {}

    def merged(self, bundle: Bundle) -> nn.Module:
        """The whole model without adapters: the trainee, or a copy with the adapters folded in. The trainee stays as it is."""
        return bundle.trainee

    def state(self) -> dict[str, Any]:
        """Small state (JSON and tensors) that a checkpoint must hold: ranks, resets."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Inverse of `state`; called after `apply`, before the strategy starts."""


class Objective:
    """What is minimised. Split into preparation without gradients and a pure loss of one forward's output."""

    needs: ClassVar[frozenset[str]] = frozenset()
    form: ClassVar[str] = "completion"
    """How rows are encoded: completion · prompt · preference · pair · image …"""
    overfits: ClassVar[bool] = True
    """Whether the loss of the same rows falls when they are trained on again; not where a model's own answers are."""
    whole_evaluation: ClassVar[bool] = False
    """Whether `evaluate` must see all held-out rows at once: what is measured is a row among the others."""
    makes: ClassVar[bool] = False
    """Whether an evaluation also measures what the modality makes for the first held-out rows (`media/making.py`)."""

    def __init__(self, settings: StageSettings) -> None:
        self.settings = settings

    @property
    def updates_per_refill(self) -> int:
        """Optimizer steps that one planned group of rows yields. Constant, so that the LR depends on the step alone."""
        return 1

    @property
    def live_reference(self) -> bool:
        """Whether the model before the stage is asked all along (`Adaptation.reference`): then the adaptation keeps it."""
        return False

    def dress(self, bundle: Bundle) -> None:
        """Before the adaptation is applied: put aside what is wanted of the model as it is."""

    def equip(self, bundle: Bundle) -> None:
        """Before the optimizer: add what is needed besides (a value head), seeded; trained where it requires gradients."""

    def retire(self, bundle: Bundle) -> None:
        """End of a stage that another follows, after `Adaptation.finish`: undo `dress` and `equip`."""

    def leave(self) -> None:
        """This process is done with the stage, however it ended: what was started besides (a server) goes."""

    def start(self, session: "Session") -> None:
        """Once per stage and process, after the strategy has started and before state is restored."""

    def begin(self, session: "Session", obey: Callable[[], None]) -> None:
        """Once per stage and process, after state was restored: work that must be done before anything is scored or updated.

        Long work calls `obey` on every rank alike, which may raise to end it; what is done by then must be in `state`.
        """

    def refill(self, plan: UpdatePlan, session: "Session") -> list[Update]:
        """Planned rows → updates, no gradients. Supervised: one. GRPO: generate, score → epochs × minibatches."""
        return [Update([session.collate(bins) for bins in session.mine(plan)])]

    def prepare(self, update: Update, session: "Session") -> Update:
        """With current weights, no gradients: fix noise, timesteps, reference log-probabilities, weights."""
        return update

    def loss(self, output: Any, micro: MicroBatch) -> tuple[Tensor, Metrics]:
        """Pure: loss SUM over the micro-batch (never a mean) and metric sums."""
        raise NotImplementedError

    def run(self, update: Update, session: "Session", total_weight: float) -> StepStats:
        """Forward and backward of one update. Override only with need 'own_backward' (cached gradients)."""
        penalty = lambda: session.adaptation.penalty(session.bundle)  # noqa: E731
        return session.runtime.forward_backward(update.micros, self.loss, total_weight, penalty)

    def evaluate(self, encoded: Sequence[Encoded], session: "Session") -> RowScores:
        """Loss per held-out row, in eval mode without gradients. Default: one row per forward; override to batch."""
        scores = RowScores([], [])
        for row in encoded:
            micro = session.modality.collate(session.bundle, [[row]], session.job.seed, 0)
            for loss, _, weight in session.runtime.score(self.prepare(Update([micro]), session).micros, self.loss):
                scores.sums.append(loss)
                scores.weights.append(weight)
        return scores

    def state(self) -> dict[str, Any]:
        """Small state (JSON and tensors): adaptive KL, reward normaliser."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Inverse of `state`."""


class Runtime:
    """A started strategy: owns optimizer, loss scale, wrapping. Every method is called on every rank.

    `rank`/`world` count processes; `data_rank`/`data_world` those that see different rows (a pipeline's share theirs).
    """

    rank, world = 0, 1
    data_rank, data_world = 0, 1
    lockstep = False
    """A forward takes all ranks (weights are gathered for it): every rank must run as many as the others, `score` included."""
    rescaled = False
    """The last step was dropped for a loss scale that was too large, and is smaller now."""

    def forward(self, micro: MicroBatch) -> Any:
        """One forward with whatever grad mode is on."""
        raise NotImplementedError

    def forward_backward(
        self, micros: list[MicroBatch], loss: LossFn, total_weight: float, penalty: Penalty | None = None
    ) -> StepStats:
        """Add the gradient of Σ loss sums ÷ total_weight (ranks and micro-batches) + penalty; undo the engine's means.

        `total_weight` is over all data ranks. A rank may come with no micro-batch.
        """
        raise NotImplementedError

    def backward(self, value: Tensor) -> None:
        """`own_backward`: accumulate the gradient of `value`; over ranks, gradients of these are summed at `step`."""
        raise NotImplementedError

    def score(self, micros: list[MicroBatch], loss: LossFn) -> list[tuple[float, dict[str, float], float]]:
        """(loss sum, metric sums, weight) per micro-batch, no gradients; the same list on every rank of a pipeline."""
        raise NotImplementedError

    def step(self, lr: float, max_norm: float) -> float:
        """Clip to the global norm, update at `lr`, clear gradients. Returns the norm before clipping.

        Not finite: gradients are dropped, weights and optimizer stay as they were, and the number is returned as it is.
        """
        raise NotImplementedError

    def clear_gradients(self) -> None:
        """`gradients`: those that were kept go."""
        raise NotImplementedError

    def reset_optimizer(self, names: Sequence[str]) -> None:
        """`reset_optimizer`: state of these parameters back to the first step."""
        raise NotImplementedError

    def generation(self) -> AbstractContextManager[Any]:
        """`generation`: inside, `bundle.trainee` may generate with current weights."""
        return nullcontext()

    def gather(self) -> AbstractContextManager[Any]:
        """Inside, rank 0's `bundle.trainee` holds whole current weights (export, samples)."""
        return nullcontext()

    def all_sum(self, values: Sequence[float]) -> list[float]:
        """Sums over data ranks, the same on every rank."""
        return list(values)

    def share(self, value: Any) -> Any:
        """Rank 0's JSON value, on every rank."""
        return value

    def barrier(self) -> None:
        """All ranks meet."""

    def owns(self, name: str) -> bool:
        """Whether this rank writes the tensor `name` into the checkpoint (rank 0; in a pipeline its stage's rank)."""
        return self.rank == 0

    def own_part(self, tensor: Tensor) -> Tensor | None:
        """This rank's numbers of a tensor that is cut over ranks, flat and in the order of ranks; None where it is whole."""
        return None

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Rank-local: optimizer state by parameter name ('<name>/<key>'), and JSON (loss scale, layout). Collective."""
        raise NotImplementedError

    def load_state(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Inverse of `state`, after the trainee's tensors were restored (engines copy master weights from them)."""
        raise NotImplementedError

    def close(self) -> None:
        """End of the stage: hand the plain trainee back, whole on every rank. Its parameters may be other objects than before."""


class Strategy:
    """How the work is spread. `needs` is asked of modality and adaptation."""

    needs: ClassVar[frozenset[str]] = frozenset()
    provides: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, settings: StageSettings) -> None:
        self.settings = settings

    @classmethod
    def provided(cls, settings: StageSettings) -> frozenset[str]:
        """What it provides with these settings: `provides`, unless a setting takes something away."""
        return cls.provides

    def start(self, bundle: Bundle, modality: Modality, spec: OptimizerSpec) -> Runtime:
        """Wrap or shard the trainee, build the optimizer. Weights are already those to continue from."""
        raise NotImplementedError


@dataclass
class Session:
    """One stage at work: the pieces, the rows, and where the loop is."""

    job: TrainJob
    stage: int
    settings: StageSettings
    bundle: Bundle
    modality: Modality
    adaptation: Adaptation
    objective: Objective
    rows: "Rows"
    eval_rows: "Rows | None" = None
    runtime: Runtime = field(default_factory=Runtime)
    step: int = 0
    """Updates done in this stage, of `total`."""
    epoch: int = 0
    """Epoch of the rows now being used, 0-based."""
    total: int = 0
    average: Average | None = None
    """Of what is trained, where the stage asks for one (`settings.ema`)."""

    def shown(self) -> AbstractContextManager[Any]:
        """Inside, the trainee is what the run would leave now: the averaged weights, where there are any."""
        return self.average.shown(self.bundle.trainee) if self.average else nullcontext()

    def mine(self, plan: UpdatePlan) -> list[Bins]:
        """This data rank's micro-batches of a planned update."""
        return list(plan[self.runtime.data_rank :: self.runtime.data_world])

    def collate(self, bins: Bins) -> MicroBatch:
        """Planned bins → micro-batch, randomness per row from (seed, epoch, row)."""
        rows = [[self.rows.encoded[row] for row in one] for one in bins]
        return self.modality.collate(self.bundle, rows, self.job.seed, self.epoch)

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Eval mode, no gradients; training mode comes back as it was, module by module."""
        modes = [(module, module.training) for module in self.bundle.trainee.modules()]
        self.bundle.trainee.eval()
        try:
            with torch.no_grad():
                yield
        finally:
            for module, training in modes:
                module.training = training
