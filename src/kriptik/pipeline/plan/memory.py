"""Memory of a training stage in GB over all its GPUs: weights, states, activations, overhead. An interval, never a promise.

Formulas: weights P·b; states T·(gradient + master + Adam); activations about 34·s·b·h per layer with an efficient attention (more
where something widens them, `layer_bytes`), 2·s·b·h kept per layer plus one layer whole when they are recomputed. Published tables
disagree by ± 30 % (see `SPREAD`); where the catalogue states a figure, the interval is widened to hold it.
"""

from dataclasses import dataclass

from kriptik.pipeline.plan.known import PREFERENCE, ROLLOUTS, Model, StagePoint
from kriptik.pipeline.plan.shape import kind_of, trained_params
from kriptik.spec.catalogue import GpuEntry
from kriptik.spec.contract import Interval
from kriptik.spec.job import StageSettings

GB = 1e9
SPREAD = (0.85, 1.3)
CPU_SPREAD = (0.65, 1.5)
"""Wider: resident memory holds what an allocator keeps for later, too."""
CUDA_GB = 1.3
CPU_GB = 1.3
"""Libraries 0.7, and what a process grows by after its first updates."""
NF4_BYTES = 0.62
INT8_BYTES = 1.06
KEPT_GB = 4.0
HALF, WIDE_ATTENTION, WIDE_INPUTS = 34.0, 16.0, 35.0
"""Bytes per token, channel and layer: activations in half precision; queries, keys, values and answers of an attention widened to
fp32 beside them; inputs of all linear layers widened for adapters, 4·(4 + 2 + 8/3)."""
WIDENING = frozenset({"dora", "adalora", "vera", "mora", "lora_moe"})
"""Adaptations whose layers widen what comes in to the fp32 of their own weights (PEFT's do; plain LoRA here does not)."""
NOT_TWICE = frozenset({"lora_moe", "moe"})
"""Adaptations whose forward counts what it does, and so is not done again."""
SHARDED = frozenset({"fsdp", "deepspeed", "megatron", "nd", "pipeline"})


@dataclass(frozen=True)
class Need:
    """Where the memory of one stage goes, GB over all GPUs."""

    weights: float
    states: float
    activations: float
    extra: float
    overhead: float

    @property
    def total(self) -> float:
        return self.weights + self.states + self.activations + self.extra + self.overhead


def recomputes(model: Model, stage: StagePoint, settings: StageSettings, gpu: GpuEntry) -> bool:
    """Whether activations are computed again in the backward: on a GPU, where keeping all would take more than `KEPT_GB`."""
    if gpu.id == "cpu" or stage.point.adaptation in NOT_TWICE:
        return False
    shape = model.shape
    return shape.layers * HALF * settings.max_seq_len * settings.micro_batch * shape.hidden > KEPT_GB * GB


def layer_bytes(stage: StagePoint, settings: StageSettings, gpu: GpuEntry, hidden: int) -> float:
    """Activations of one layer at the training precision, with an efficient attention; in half precision some are fp32, too."""
    if not (gpu.bf16 or gpu.fp16):
        each = 2 * HALF
    else:
        each = HALF + WIDE_ATTENTION * (gpu.id == "cpu") + WIDE_INPUTS * (stage.point.adaptation in WIDENING)
    return each * settings.max_seq_len * settings.micro_batch * hidden


def stage_need(model: Model, stage: StagePoint, settings: StageSettings, gpu: GpuEntry, count: int) -> Need:
    """The parts of one stage's memory. Without sharding every GPU holds a whole copy, and all copies are counted."""
    on_cpu, kind, shape = gpu.id == "cpu", kind_of(stage.point), model.shape
    sharded = stage.point.strategy in SHARDED
    copies = 1 if sharded else count
    params, trained = model.params_b * 1e9, trained_params(model, stage.point, settings)
    wide = 2.0 if gpu.bf16 or gpu.fp16 else 4.0
    per_weight = {"fp32": 4.0, "bf16": 2.0, "int8": INT8_BYTES, "nf4": NF4_BYTES}[stage.point.base_precision or "fp32"]
    if stage.point.base_precision is None:
        per_weight = wide
    states = trained * (12.0 if wide == 4.0 else 14.0)
    if stage.point.adaptation == "galore":
        states = params * wide + params * 0.4
    elif kind == "full" and wide == 4.0:
        states = trained * 12.0
    elif kind == "full":
        states = trained * 14.0
    tokens = settings.max_seq_len * settings.micro_batch
    layer, again = layer_bytes(stage, settings, gpu, shape.hidden), recomputes(model, stage, settings, gpu)
    activations = wide * shape.layers * tokens * shape.hidden + layer if again else shape.layers * layer
    aim = stage.point.objective
    logits = 0.0 if aim == "contrastive" else 6.0 * min(tokens, 2048) * shape.vocab
    extra = params * per_weight if kind == "full" and aim in PREFERENCE else 0.0
    if aim in ROLLOUTS or aim == "ppo":
        extra += params * wide + 0.3 * params * wide
    doubled = 2.0 if aim in PREFERENCE else 1.0
    return Need(
        weights=params * per_weight * copies / GB,
        states=states * copies / GB,
        activations=(activations * doubled + logits) * count / GB,
        extra=extra * copies / GB,
        overhead=CPU_GB if on_cpu else CUDA_GB * count,
    )


def memory(model: Model, stages: list[tuple[StagePoint, StageSettings]], gpu: GpuEntry, count: int) -> Interval:
    """The most any stage takes, GB over all GPUs."""
    best: tuple[float, StagePoint] | None = None
    for stage, settings in stages:
        total = stage_need(model, stage, settings, gpu, count).total
        if best is None or total > best[0]:
            best = (total, stage)
    if best is None:
        return Interval(low=0, likely=0, high=0, unit="GB", source="guess", why="nothing is trained")
    likely, stage = best
    spread = CPU_SPREAD if gpu.id == "cpu" else SPREAD
    low, high = likely * spread[0], likely * spread[1]
    stated = getattr(model.vram, kind_of(stage.point))
    why = "weights, optimizer, activations and overhead by formula"
    if stated is not None and gpu.id != "cpu" and count == 1:
        low, high = min(low, stated.low), max(high, stated.high)
        likely = min(max(likely, stated.low), max(stated.high, likely * SPREAD[0]))
        why += f"; trainers' own figures: {stated.low:g}–{stated.high:g} GB"
    if model.guessed:
        why += "; the model's size is a guess"
    return Interval(
        low=round(low, 2),
        likely=round(min(max(likely, low), high), 2),
        high=round(high, 2),
        unit="GB",
        source="guess" if model.guessed else "analytic",
        why=why,
    )
