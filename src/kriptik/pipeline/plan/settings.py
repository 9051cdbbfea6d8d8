"""The recipe of a stage: the method's own defaults, fitted to the model's size, the amount of data and the machine.

Small data needs enough updates: one update never eats more than a fortieth of an epoch. Learning rates of adapters rise for very
small models (1e-3 at 135 M was measured, 2e-4 from 1 B is the usual value); every weight wants about a tenth of an adapter's.
"""

from dataclasses import dataclass
from math import ceil
from typing import Any

from kriptik.pipeline.plan.known import PREFERENCE, ROLLOUTS, Model, StagePoint
from kriptik.pipeline.plan.shape import kind_of
from kriptik.spec.catalogue import GpuEntry
from kriptik.spec.job import StageSettings

UPDATES_PER_EPOCH = 40
MOST_UPDATE_TOKENS = 32_768
LEAST_UPDATE_TOKENS = 512
MOST_CLIP_TOKENS = 131_072
PACKED = frozenset({"causal_lm"})


@dataclass(frozen=True)
class Volume:
    """How much there is to train on: rows, tokens per row, the longest row. `known` False: assumed from the requirement."""

    rows: int
    tokens_per_row: float
    longest: int
    known: bool = True
    held_out: int = 0
    """Rows that are only measured on."""

    @property
    def tokens(self) -> float:
        return self.rows * self.tokens_per_row


def recipe(model: Model, stage: StagePoint, gpu: GpuEntry, count: int, volume: Volume) -> StageSettings:
    """Recommended settings of one stage."""
    given, base = stage.given, stage.settings
    aim = stage.point.objective or ""
    update: dict[str, Any] = {"learning_rate": _learning_rate(base.learning_rate, given, model, stage)}
    update["epochs"] = _epochs(base.epochs, gpu, model)
    update["packing"] = base.packing and aim in PACKED
    update["max_seq_len"] = _seq_len(base, given, volume, model, stage.point.adaptation)
    batch = _batch(base, given, update, volume, gpu, count)
    settings = base.model_copy(update={**update, **batch})
    if aim not in PREFERENCE | ROLLOUTS | {"ppo"}:
        return settings
    return settings.model_copy(update={"epochs": base.epochs})


def _learning_rate(default: float, defaults: dict[str, Any], model: Model, stage: StagePoint) -> float:
    rate = default if "learning_rate" in defaults else (2e-5 if kind_of(stage.point) == "full" else 2e-4)
    low_rank = kind_of(stage.point) != "full"
    aim = stage.point.objective
    if aim in PREFERENCE and "learning_rate" not in defaults:
        rate = 1e-5
    if not low_rank and (aim in PREFERENCE or aim in ROLLOUTS or aim == "ppo"):
        rate = rate / 10
    if aim not in PACKED or rate >= 1e-3:
        return rate
    if model.params_b < 0.5:
        rate *= 5 if low_rank else 2.5
    elif model.params_b < 1:
        rate *= 2
    return float(f"{rate:.2g}")


def _epochs(default: float, gpu: GpuEntry, model: Model) -> float:
    """A small model at its high rate learns in one pass; on a CPU a second one is left to the person."""
    return 1.0 if gpu.id == "cpu" and model.params_b < 1 and default <= 3 else default


def _seq_len(base: StageSettings, given: dict[str, Any], volume: Volume, model: Model, adaptation: str | None) -> int:
    """LongLoRA alone may go beyond the model's context: it is there to stretch it."""
    context = (model.entry and model.entry.arch.context) or 8192
    if "max_seq_len" in given:
        return base.max_seq_len if adaptation == "longlora" else min(base.max_seq_len, context)
    wanted = 256
    while wanted < volume.longest:
        wanted *= 2
    if model.entry and "video_generation" in model.entry.capabilities:  # a clip is one row of tokens, however many
        return min(wanted, MOST_CLIP_TOKENS)
    return min(wanted, 4096, context)


def _batch(
    base: StageSettings, given: dict[str, Any], update: dict[str, Any], volume: Volume, gpu: GpuEntry, count: int
) -> dict[str, int]:
    """Micro-batch and accumulation. Rows for unpacked methods, tokens for packed ones."""
    most_micro = 4 if gpu.id == "cpu" else 8
    if not update["packing"]:
        wanted = base.micro_batch * base.accumulation if {"micro_batch", "accumulation"} & given.keys() else 16
        effective = max(1, min(wanted, volume.rows // UPDATES_PER_EPOCH or 1))
        micro = max(1, min(base.micro_batch, effective, 1 if gpu.id == "cpu" and base.micro_batch < 2 else base.micro_batch))
        return {"micro_batch": micro, "accumulation": max(1, round(effective / (micro * count)))}
    seq = update["max_seq_len"]
    per_update = min(max(volume.tokens / UPDATES_PER_EPOCH, LEAST_UPDATE_TOKENS), MOST_UPDATE_TOKENS)
    sequences = max(1, round(per_update / seq))
    micro = max(1, min(most_micro, max(1, 8192 // seq), sequences // count or 1))
    return {"micro_batch": micro, "accumulation": max(1, round(sequences / (micro * count)))}


def steps_of(settings: StageSettings, volume: Volume, count: int) -> int:
    """Optimizer steps of a stage."""
    total = _whole_steps(settings, volume, count)
    return min(total, settings.max_steps) if settings.max_steps else total


def _whole_steps(settings: StageSettings, volume: Volume, count: int) -> int:
    """Of all epochs."""
    if settings.packing:
        units = max(1, ceil(volume.rows * _read(settings, volume) * 1.05 / settings.max_seq_len))
    else:
        units = max(1, volume.rows)
    per_epoch = ceil(units / (settings.micro_batch * settings.accumulation * count))
    return max(1, ceil(per_epoch * settings.epochs))


def _read(settings: StageSettings, volume: Volume) -> float:
    """Tokens of a row that are read: packed rows are cut at the sequence's length."""
    return min(volume.tokens_per_row, settings.max_seq_len) if settings.packing else volume.tokens_per_row


def tokens_of(settings: StageSettings, volume: Volume, count: int) -> float:
    """Tokens (or media units) that a stage trains on, capped rows counted by their capped length."""
    total = volume.rows * _read(settings, volume) * settings.epochs
    return total * steps_of(settings, volume, count) / _whole_steps(settings, volume, count)
