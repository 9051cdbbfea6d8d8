"""Time, money and disk of a plan, as intervals with their source named.

Work: k·N FLOP per token (N active parameters; k = 6 for training every weight, 4 for an adapter, a third more where activations are
recomputed), over the GPU's dense peak times the share of it that training reaches. Shares are priors from published runs:
LoRA 15–45 %, full 28–45 %, quantised bases 0.65–1.0 of LoRA, rollouts five to ten times the work. On a CPU attention and what an
adapter does beside its base are counted by themselves (profiles of 2026-12-01, docs/estimates.md). Then one pass of the optimizer
over what is trained, looks, checkpoints, the smoke test. Everything here is replaced by what the smoke test measures.
"""

from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

from kriptik.catalogue.load import load_catalogue, price_of
from kriptik.pipeline.plan.data import volume_of
from kriptik.pipeline.plan.judging import Asking, asking
from kriptik.pipeline.plan.known import (
    FP16,
    PREFERENCE,
    ROLLOUTS,
    TEXT_CAPABILITIES,
    Model,
    StagePoint,
    capability_of,
    model_of,
    pipeline_of,
    stage_points,
)
from kriptik.pipeline.plan.memory import memory
from kriptik.pipeline.plan.settings import Volume, recipe, steps_of, tokens_of
from kriptik.pipeline.plan.shape import kind_of, trained_params
from kriptik.pipeline.plan.site import Machine, Rows, Site
from kriptik.spec.catalogue import GpuEntry, Point, PriceEntry
from kriptik.spec.contract import Interval, MoneyRange, NumberSource
from kriptik.spec.job import StageSettings
from kriptik.spec.plan import Choices, Estimate

CENT = Decimal("0.01")
SMALL = Decimal("0.0001")
FILLS_GPU = 0.95
"""Largest share of the memory that a plan counts on."""
PRICED_CORES = 2
"""The catalogue's figures for the CPU were measured on two cores."""
CLOUD_SETUP_H = 0.2
LOCAL_SETUP_H = 0.006
"""Start of the worker, loading twice, writing the result."""
SMOKE_S, SMOKE_SHARE = 15.0, 0.05
"""The smoke test takes the larger of this and this share of the training (`engine/probe.py`), and a checkpoint."""
DOWNLOAD_GB_S = 0.2
DISK_GB_S = 0.4
"""At which a checkpoint is written and hashed: 0.3 to 0.7 where it was measured."""
CHECKPOINTS, LEAST_EVERY_S = 30, 60.0
"""A stage keeps its state so many times, but not more often than this and not more seldom than its settings say."""
WRITING, MOST_EVERY_S = 0.1, 1200.0
"""Writing takes no larger share of the training, unless the state would be older than that (an alarm comes at 1,800 s)."""
CHECKPOINT_BYTES = 14.0
"""Per trained number: half-precision weights, master, two moments."""
OPTIMIZER_BYTES = 28.0
"""Read and written per trained number at each update, by half of the memory's bandwidth."""
PASSES = {"galore": 6.0}
"""Such passes where an optimizer does more than AdamW."""
CPU_SHARE = 0.6
CPU_LOOK_SHARE = 0.36
"""Of the same peak, where rows are only measured: forwards of few rows, with all their predictions."""
CPU_ATTENTION = 0.3
"""Of the peak in fp32, which attention is in; 7·s·h FLOP per token and layer, forward and backward."""
FACTOR = {"full": 6.0, "lora": 4.0}
"""FLOP per token and parameter: every weight trained, or an adapter alone."""
BESIDE_S = {"full": 20e-9, "lora": 70e-9}
"""Seconds on a CPU's two cores per token, layer and channel for everything that is no large matrix product."""
GPU_SHARE = {"lora": 0.36, "qlora": 0.30, "full": 0.38}
MEDIA_SHARE = 0.15
MOE_SHARE = 0.06
SIDE_WORK = 1.05
"""Checkpoints, logging and waiting along the way."""
LOOKS = 3
"""Times the held-out rows are measured and the sample prompts answered: before, half way, after."""
DEAR = 0.25
"""Share of the training from which on a look is dear: that half way is left out then."""
PROMPTS = 3
SAMPLE_TOKENS = PROMPTS * 64
LAYER_S = {"cpu": 1.9e-3, "gpu": 0.8e-3}
"""What a layer takes per token of an answer, however small it is: Python, and many small kernels."""
MADE = {"image_generation": 4, "video_generation": 1}
"""Held-out captions for which a picture or a clip is made and measured at each look, beside the prompts' own."""
MADE_PASSES = 20 * 2
"""Forward passes per picture or clip: steps, with guidance two each."""
SPREAD = (0.6, 1.75)
GUESS_SPREAD = (0.5, 2.2)
UNPRICED = Decimal(3)
"""Dollars per GPU-hour where no provider's price is on record: said to be a guess."""
SCALING = {1: 1.0, 2: 0.95, 4: 0.87, 8: 0.82}


@dataclass(frozen=True)
class Price:
    """Dollars per hour of the whole machine, and where the figure comes from."""

    per_hour: Decimal
    source: str
    as_of: str | None
    known: bool = True


def gpu_of(name: str) -> GpuEntry:
    """The GPU of that id; unknown ones count as an A100."""
    gpus = load_catalogue().gpus
    return gpus.get(name) or gpus["A100-80GB"]


def price(provider: str, gpu: str, count: int, site: Site) -> Price:
    """What the machine costs per hour. `local` costs what the operator set, whatever is in it."""
    if provider == "local":
        return Price(site.local_price, "your own machine, at the price set for it", None)
    live = site.quotes.get((provider, gpu, count))
    if live is not None:
        return Price(live, f"{provider} {gpu}, its own price now", None)
    entry = price_of(provider, gpu)
    if entry is None:
        return _stand_in(provider, gpu, count)
    per_hour = entry.usd_per_hour * count + _beside(provider, count)
    return Price(
        per_hour, f"{provider} {gpu} {entry.kind}, seen {entry.observed_on}: {entry.source}", entry.observed_on.isoformat()
    )


def _beside(provider: str, count: int) -> Decimal:
    """What a provider bills for processor cores and memory beside each GPU (8 cores, 64 GiB)."""
    rate = {c.unit: c.usd for c in load_catalogue().charges if c.provider == provider and c.unit in ("core_hour", "gib_hour")}
    return (rate.get("core_hour", Decimal(0)) * 8 + rate.get("gib_hour", Decimal(0)) * 64) * count


def _stand_in(provider: str, gpu: str, count: int) -> Price:
    """A price where the provider's own is not on record: the dearest seen elsewhere for this GPU."""
    seen: list[PriceEntry] = [p for (_who, what), p in load_catalogue().prices.items() if what == gpu]
    if not seen:
        return Price(UNPRICED * count, f"no price on record for {gpu}: a guess", None, known=False)
    dearest = max(seen, key=lambda p: p.usd_per_hour)
    source = f"no price on record for {gpu} at {provider}: the dearest elsewhere, {dearest.provider} on {dearest.observed_on}"
    return Price(dearest.usd_per_hour * count, source, dearest.observed_on.isoformat(), known=False)


def card_of(choices: Choices, site: Site) -> GpuEntry:
    """The GPU of a plan, or the CPU as this machine has it: language models train in bf16 where it does that by itself.

    PPO stays in fp32 there: with a tiny model its rewards did not rise in bf16 (`test_method_in_half_precision`). On a GPU without
    bf16, what is trained beside a base in fp16 needs a loss scale, which one copy per GPU has.
    """
    gpu = gpu_of(choices.gpu)
    if gpu.bf16 and any(_in_fp32(stage.point) for stage in _stages(choices)):
        return gpu.model_copy(update={"bf16": False})
    if gpu.tflops_fp16 and not gpu.bf16 and capability_of(choices.capability).modality == "text":
        return gpu.model_copy(update={"fp16": all(fits_fp16(stage.point) for stage in _stages(choices))})
    native = site.machine is not None and site.machine.cpu_bf16 and choices.provider == "local" and choices.gpu_count == 1
    if gpu.id != "cpu" or not native or capability_of(choices.capability).modality != "text":
        return gpu
    aims = {stage.point.objective for stage in stage_points(choices.method, choices.capability)}
    return gpu if "ppo" in aims else gpu.model_copy(update={"bf16": True})


def _stages(choices: Choices) -> list[StagePoint]:
    return stage_points(choices.method, choices.capability, choices.gpu_count, model_of(choices.base_model))


def _in_fp32(point: Point) -> bool:
    """Whether a stage moves the base's own weights by DeepSpeed, which takes none but fp32 here (`engine/strategies/zero.py`)."""
    return point.strategy == "deepspeed" and kind_of(point) == "full"


def fits_fp16(point: Point) -> bool:
    """Whether a stage trains adapters alone, one copy of the model per GPU, and no head of its own."""
    alone = (point.strategy or "single") in ("single", "ddp")
    return point.adaptation in FP16 and alone and point.objective not in ("ppo", "reward")


def stages_of(choices: Choices, volume: Volume) -> list[tuple[StagePoint, StageSettings]]:
    """Every stage with its settings. The plan's own settings are the first stage's; those set by hand reach all stages but for
    the learning rate, which belongs to one objective."""
    model, gpu = model_of(choices.base_model), gpu_of(choices.gpu)
    found: list[tuple[StagePoint, StageSettings]] = []
    for index, stage in enumerate(stage_points(choices.method, choices.capability, choices.gpu_count, model)):
        if index == 0:
            found.append((stage, choices.settings))
            continue
        shared = [name for name in choices.custom_settings if name in StageSettings.model_fields and name != "learning_rate"]
        settings = recipe(model, stage, gpu, choices.gpu_count, volume)
        found.append((stage, settings.model_copy(update={name: getattr(choices.settings, name) for name in shared})))
    return found


def estimate(choices: Choices, rows: Rows | None, site: Site) -> Estimate:
    """Everything a plan is expected to take."""
    volume = volume_of(choices, rows)
    model, gpu, stages = model_of(choices.base_model), card_of(choices, site), stages_of(choices, volume)
    need = need_of(choices, model, gpu, stages)
    quoted = price(choices.provider, choices.gpu, choices.gpu_count, site)
    time, source = hours(choices, model, gpu, stages, volume, site)
    asked = asking_of(choices, rows)
    cost = _money(time, quoted, source, asked)
    fits, why_not = fit(need, choices, gpu, site)
    disk = disk_gb(model, stages)
    return Estimate(
        time_hours=time,
        cost_usd=cost,
        judge_usd=MoneyRange(min=_round(asked.low), likely=_round(asked.likely), max=_round(asked.most)) if asked.most else None,
        vram_gb=need,
        tokens=int(sum(tokens_of(settings, volume, choices.gpu_count) for _stage, settings in stages)),
        total_steps=sum(steps_of(settings, volume, choices.gpu_count) for _stage, settings in stages),
        disk_gb=disk,
        price_per_hour=quoted.per_hour,
        price_source=quoted.source,
        fits=fits,
        why_not=why_not,
    )


def asking_of(choices: Choices, rows: Rows | None) -> Asking:
    """What the plan's judge is expected to cost."""
    if choices.judge is None:
        return Asking()
    volume = volume_of(choices, rows)
    stages = stages_of(choices, volume)
    return asking(choices, stages, volume, looks(choices, stages, volume))


def need_of(choices: Choices, model: Model, gpu: GpuEntry, stages: list[tuple[StagePoint, StageSettings]]) -> Interval:
    """Memory over all GPUs. A reference pipeline is taken at the word of its own hardware, scaled by the model's size."""
    pipeline = pipeline_of(choices.method)
    if pipeline is None:
        return memory(model, stages, gpu, choices.gpu_count)
    whole = gpu_of(pipeline.gpu).vram_gb * pipeline.gpu_count * model.params_b / model_of(pipeline.base_model).params_b
    why = f"the reference pipeline is made for {pipeline.gpu_count} × {pipeline.gpu}"
    return Interval(low=whole * 0.5, likely=whole * 0.8, high=whole * 0.95, unit="GB", source="guess", why=why)


def hours(
    choices: Choices, model: Model, gpu: GpuEntry, stages: list[tuple[StagePoint, StageSettings]], volume: Volume, site: Site
) -> tuple[Interval, NumberSource]:
    """Wall time from the start of the machine to the result."""
    pipeline = pipeline_of(choices.method)
    scaling = _scaling(choices.gpu_count)
    if pipeline is not None:
        reference = gpu_of(pipeline.gpu)
        power = reference.tflops_bf16 * pipeline.gpu_count * _scaling(pipeline.gpu_count)
        mine = max(peak(gpu_of(choices.gpu), site.machine), 0.1) * choices.gpu_count * scaling
        likely = pipeline.pipeline.total_estimated_hours * power / mine
        why = f"the reference pipeline's {pipeline.pipeline.total_estimated_hours:g} h, scaled by the hardware's peak"
        return _interval(likely, SPREAD, "guess", why), "guess"
    training = [stage_seconds(choices, model, gpu, stage, settings, volume, site) for stage, settings in stages]
    setup = LOCAL_SETUP_H if choices.provider == "local" else CLOUD_SETUP_H + _load_gb(model) / DOWNLOAD_GB_S / 3600
    seconds = sum(training) + looks(choices, stages, volume) * look_seconds(choices, model, gpu, volume, site)
    seconds += _saving(model, stages, training)
    likely = (seconds * SIDE_WORK + max(SMOKE_S, SMOKE_SHARE * sum(training))) / 3600 + setup
    sure = volume.known and not model.guessed
    why = "work per token over the hardware's usual speed, plus set-up, smoke test, evaluations and checkpoints"
    if not volume.known:
        why += f"; the amount of data is assumed ({volume.rows:,} rows)"
    source: NumberSource = "analytic" if sure else "guess"
    return _interval(likely, SPREAD if sure else GUESS_SPREAD, source, why), source


def stage_seconds(
    choices: Choices, model: Model, gpu: GpuEntry, stage: StagePoint, settings: StageSettings, volume: Volume, site: Site
) -> float:
    """Seconds of pure training of one stage."""
    kind, aim = kind_of(stage.point), stage.point.objective
    trained = trained_params(model, stage.point, settings)
    way = "full" if trained >= model.params_b * 1e9 else "lora"
    factor = FACTOR[way]
    if gpu.id != "cpu" and model.params_b > 3:
        factor *= 1.33
    if aim == "diffusion_dpo":  # a pair is one row: two pictures forward and backward, two forward through the reference
        factor = 2 * factor + 4.0
    elif aim in PREFERENCE:
        factor *= 2.3
    if aim in ROLLOUTS or aim == "ppo":
        factor *= 8.0
    share = CPU_SHARE if gpu.id == "cpu" else GPU_SHARE[kind]
    if gpu.id != "cpu" and choices.capability in ("image_generation", "video_generation", "music_generation", "voice_cloning"):
        share = MEDIA_SHARE
    if gpu.id != "cpu" and model.active_b < model.params_b * 0.6:
        share = MOE_SHARE
    tokens = tokens_of(settings, volume, choices.gpu_count)
    flops = factor * model.active_b * 1e9 * tokens
    power = max(peak(gpu, site.machine), 1e-3) * 1e12 * share * choices.gpu_count * _scaling(choices.gpu_count)
    rewritten = trained * OPTIMIZER_BYTES * PASSES.get(stage.point.adaptation or "", 1.0)
    updates = steps_of(settings, volume, choices.gpu_count)
    seconds = flops / power + updates * rewritten / (gpu.bandwidth_gb_s / 2 * 1e9) / choices.gpu_count
    if gpu.id != "cpu" or choices.capability not in TEXT_CAPABILITIES:
        return seconds
    shape, cores = model.shape, (site.machine.cores if site.machine else PRICED_CORES) / PRICED_CORES
    attention = 7.0 * min(volume.tokens_per_row, settings.max_seq_len) * shape.hidden / (gpu.tflops_fp32 * 1e12 * CPU_ATTENTION)
    return seconds + tokens * shape.layers * (attention + BESIDE_S[way] * shape.hidden) * factor / FACTOR[way] / cores


def checkpoint_every_s(writing_s: float, settings: StageSettings, training_s: float) -> float:
    """Seconds between two checkpoints of a stage that trains for so long: small ones often, large ones not at all costs."""
    every = min(max(training_s / CHECKPOINTS, LEAST_EVERY_S), settings.checkpoint_every_s)
    return float(round(max(every, min(writing_s / WRITING, MOST_EVERY_S))))


def checkpoint_s(model: Model, stage: StagePoint, settings: StageSettings) -> float:
    """Seconds for writing a checkpoint of a stage."""
    return trained_params(model, stage.point, settings) * CHECKPOINT_BYTES / (DISK_GB_S * 1e9)


def _saving(model: Model, stages: list[tuple[StagePoint, StageSettings]], training: list[float]) -> float:
    """Seconds for the smoke test's checkpoint, those on the way, and that at the end of each stage."""
    seconds = 0.0
    for (stage, settings), lasts in zip(stages, training, strict=True):
        writing = checkpoint_s(model, stage, settings)
        seconds += writing * (2 + lasts / checkpoint_every_s(writing, settings, lasts))
    return seconds


def looks(choices: Choices, stages: list[tuple[StagePoint, StageSettings]], volume: Volume) -> int:
    """How often a run looks at what it has learnt. The same for every machine, so that plan and run agree."""
    model, gpu, anywhere = model_of(choices.base_model), gpu_of(choices.gpu), Site()
    training = sum(stage_seconds(choices, model, gpu, stage, settings, volume, anywhere) for stage, settings in stages)
    return LOOKS if look_seconds(choices, model, gpu, volume, anywhere) <= DEAR * training else LOOKS - 1


def look_seconds(choices: Choices, model: Model, gpu: GpuEntry, volume: Volume, site: Site) -> float:
    """Seconds of one look: forward passes over held-out rows and prompts, and answers, each token of which reads all weights.

    What pictures and clips take is forward passes too: those of the prompts, and those that are measured.
    """
    share = CPU_LOOK_SHARE if gpu.id == "cpu" else GPU_SHARE["lora"]
    power = max(peak(gpu, site.machine), 1e-3) * 1e12 * share * choices.gpu_count
    forward = 2.0 * model.active_b * 1e9 * volume.tokens_per_row / power
    measure = volume.held_out * forward
    if choices.capability in MADE:
        files = min(MADE[choices.capability], volume.held_out) + min(PROMPTS, volume.held_out)
        alone = choices.gpu_count * share / (CPU_SHARE if gpu.id == "cpu" else MEDIA_SHARE)  # one rank makes them
        return measure + files * MADE_PASSES * forward * alone
    layer = LAYER_S["cpu" if gpu.id == "cpu" else "gpu"]
    answers = SAMPLE_TOKENS * (2.0 * model.active_b / gpu.bandwidth_gb_s + model.shape.layers * layer)
    return measure + PROMPTS * forward + (answers if choices.capability != "embeddings" else 0.0)


def peak(gpu: GpuEntry, machine: Machine | None) -> float:
    """TFLOP/s that the training precision can reach; a CPU's grow with its cores."""
    power = (gpu.tflops_bf16 if gpu.bf16 else gpu.tflops_fp16 if gpu.fp16 else 0) or gpu.tflops_fp32
    return power * (machine.cores if machine else PRICED_CORES) / PRICED_CORES if gpu.id == "cpu" else power


def capacity_gb(choices: Choices, gpu: GpuEntry, site: Site) -> float | None:
    """Memory the plan may use, GB over all GPUs; None where the machine is not known."""
    if gpu.id == "cpu":
        return site.machine.usable_gb if site.machine and site.machine.gpu == "cpu" else None
    if choices.provider == "local" and site.machine is not None and site.machine.gpu == choices.gpu:
        return site.machine.memory_gb * choices.gpu_count * FILLS_GPU
    return gpu.vram_gb * choices.gpu_count * FILLS_GPU


def fit(need: Interval, choices: Choices, gpu: GpuEntry, site: Site) -> tuple[bool, str | None]:
    """Whether the likely need fits, and why not."""
    machine = site.machine
    if (
        choices.provider == "local"
        and machine is not None
        and (machine.gpu != choices.gpu or machine.gpu_count < choices.gpu_count)
    ):
        mine = "no GPU" if machine.gpu == "cpu" else f"{machine.gpu_count} × {machine.gpu}"
        return False, f"This machine has {mine}, not {choices.gpu_count} × {gpu.title}."
    room = capacity_gb(choices, gpu, site)
    if room is None or need.likely <= room:
        return True, None
    have = f"{choices.gpu_count} × {gpu.title}" if gpu.id != "cpu" else "this machine"
    return False, f"It needs about {need.likely:.0f} GB, and {have} can give {room:.0f} GB."


def disk_gb(model: Model, stages: list[tuple[StagePoint, StageSettings]]) -> Interval:
    """Weights in the cache, two checkpoints with optimizer state, and the result."""
    trained = max((trained_params(model, stage.point, settings) for stage, settings in stages), default=0.0)
    likely = _load_gb(model) + 2 * trained * 12 / 1e9 + max(trained * 4 / 1e9, 0.01) + _load_gb(model)
    return _interval(likely, (0.7, 1.6), "analytic", "base weights, two checkpoints, adapter and merged model", unit="GB")


def _load_gb(model: Model) -> float:
    return model.params_b * 2.0


def _scaling(count: int) -> float:
    return next((share for most, share in SCALING.items() if count <= most), 0.75)


def _interval(likely: float, spread: tuple[float, float], source: NumberSource, why: str, unit: str = "h") -> Interval:
    low, high = likely * spread[0], likely * spread[1]
    return Interval(
        low=float(f"{low:.4g}"), likely=float(f"{likely:.4g}"), high=float(f"{high:.4g}"), unit=unit, source=source, why=why
    )


def _money(time: Interval, quoted: Price, source: NumberSource, asked: Asking) -> MoneyRange:
    parts = ((time.low, asked.low), (time.likely, asked.likely), (time.high, asked.most))
    low, likely, high = (_round(quoted.per_hour * Decimal(str(value)) + judged) for value, judged in parts)
    return MoneyRange(min=low, likely=likely, max=high, source=source if quoted.known else "guess", prices_as_of=quoted.as_of)


def _round(amount: Decimal) -> Decimal:
    return amount.quantize(SMALL if amount < 1 else CENT, rounding=ROUND_HALF_UP)
