"""Model, method and place together: the first combination that fits the memory, ends in time and stays within the budget."""

from dataclasses import dataclass
from decimal import Decimal

from kriptik.pipeline.plan.cost import gpu_of
from kriptik.pipeline.plan.data import mismatch
from kriptik.pipeline.plan.known import (
    NO_REFERENCE,
    capability_of,
    entries,
    method_title,
    model_of,
    other_way,
    stage_points,
    unfit,
)
from kriptik.pipeline.plan.place import CPU_MOST_B, at, costs, forecast, least_gpus, place
from kriptik.pipeline.plan.shape import kind_of
from kriptik.pipeline.plan.site import Rows, Site
from kriptik.spec.catalogue import Point
from kriptik.spec.errors import BadInputError
from kriptik.spec.intent import TrainingIntent
from kriptik.spec.plan import Choices

WITHIN, LIKELY, FITS, TOO_LARGE = range(4)
"""How far choices keep to the limits: even the most they may cost; likely; they only fit the memory; not even that."""
MOST_MODELS, MOST_METHODS = 12, 8


@dataclass(frozen=True)
class Limits:
    """What a run may not pass. `cap` in dollars, `deadline` in hours; None: not limited."""

    cap: Decimal | None = None
    deadline: float | None = None

    @classmethod
    def of(cls, intent: TrainingIntent) -> "Limits":
        cap = intent.budget_max_usd
        return cls(Decimal(str(cap)) if cap is not None else None, intent.deadline_hours)

    @property
    def any(self) -> bool:
        return self.cap is not None or self.deadline is not None


@dataclass(frozen=True)
class Fitted:
    """Choices, how far they keep to the limits, and their likely cost."""

    choices: Choices
    grade: int
    cost: Decimal


def grade(choices: Choices, limits: Limits, rows: Rows | None, site: Site) -> int:
    """How far the choices keep to the limits."""
    taken = forecast(choices, rows, site)
    if not fits_place(choices, taken.need_gb, site) or choices.gpu_count < least_gpus(choices.method):
        return TOO_LARGE
    if limits.deadline is not None and taken.hours > limits.deadline:
        return FITS
    if limits.cap is None:
        return WITHIN
    likely, most = costs(choices, rows, site)
    return WITHIN if most <= limits.cap else LIKELY if likely <= limits.cap else FITS


def fits_place(choices: Choices, need: float, site: Site) -> bool:
    """Whether memory suffices where the plan would run."""
    if choices.provider == "local" and site.machine is not None:
        mine = site.machine
        return mine.gpu == choices.gpu and mine.gpu_count >= choices.gpu_count and need <= mine.usable_gb
    gpu = gpu_of(choices.gpu)
    return gpu.vram_gb == 0 or need <= gpu.vram_gb * choices.gpu_count * 0.95


def approvable_parts(choices: Choices, site: Site) -> str | None:
    """Why model or method does not train; None where both do. Of where it would run, only what it lacks for them counts here."""
    model = model_of(choices.base_model)
    if model.why_not:
        return f"{model.title} does not train yet: {model.why_not}"
    if (why := unfit(choices.method, model)) is not None:
        return why
    if lacking := site.lacking(model.needs, choices.provider):
        here = f"its processor needs {' and '.join(lacking)}, in a build that goes with the PyTorch here"
        return f"{model.title} does not train on this machine: {here}."
    points = stage_points(choices.method, choices.capability, choices.gpu_count, model)
    if choices.gpu == "cpu" and any(kind_of(stage.point) == "qlora" for stage in points):
        return f"{method_title(choices.method)} holds its base in four bits, which needs a GPU."
    if not site.statuses:
        return None
    way = other_way(choices.base_model, choices.capability)
    for entry in entries(choices.method):
        status = site.status(entry.id, way)
        if status is None or status.status != "trainable":
            return f"{entry.title} does not train yet: {(status and status.reason) or 'it is planned.'}"
        if capability_of(choices.capability).id not in status.capabilities:
            return f"{entry.title} is not proved for {capability_of(choices.capability).title.lower()} yet."
    return next((why for stage in points if (why := _unfit(stage.point))), None)


def _unfit(point: Point) -> str | None:
    """Why a stage's pieces do not go together though each of them trains: Diffusion DPO asks the model before it all along."""
    if point.objective != "diffusion_dpo":
        return None
    if point.adaptation in NO_REFERENCE:
        kept = "experts" if point.adaptation == "moe" else f"a {point.adaptation} stage"
        return f"Diffusion DPO compares with the model before it, which {kept} cannot show: align LoRA, DoRA or all weights."
    if point.strategy == "fsdp":
        return "Diffusion DPO does not train on weights that are cut over several GPUs: choose one GPU, or a smaller model."
    return None


def best_of_models(
    intent: TrainingIntent, bare: Choices, names: list[str], methods: list[str], named: bool, rows: Rows | None, site: Site
) -> Fitted:
    """The first model that keeps to the limits with one of the methods; else the one that comes nearest.

    `named`: the only method was named by the person.
    """
    limits = Limits.of(intent)
    small = capability_of(bare.capability).small_pick
    best: tuple[tuple[int, Decimal], Fitted] | None = None
    for name in names[:MOST_MODELS]:
        found = best_of_methods(intent, bare.model_copy(update={"base_model": name}), methods, named, rows, site)
        elsewhere = found.choices.provider != "local"
        if name == small and elsewhere and name != names[-1] and not intent.base_model:
            continue
        key = (found.grade, found.cost if found.grade == FITS and limits.cap is not None else Decimal(0))
        if best is None or key < best[0]:
            best = (key, found)
        if found.grade == WITHIN:
            break
    if best is None:
        raise BadInputError("no_model", "No base model fits what was asked.", "Loosen a limit on size or licence.")
    return best[1]


def best_of_methods(
    intent: TrainingIntent, choices: Choices, methods: list[str], named: bool, rows: Rows | None, site: Site
) -> Fitted:
    """Method and place for a model. Of the methods that fit its family, keep to the limits and suit the rows, the first that trains
    wins."""
    if not methods:
        raise BadInputError("no_method", "Every method that makes sense here was ruled out.", "Allow at least one method.")
    model = model_of(choices.base_model)
    methods = [one for one in methods if unfit(one, model) is None] or methods
    limits = Limits.of(intent)
    best: tuple[tuple[int, bool, bool], Choices] | None = None
    for method in methods[:MOST_METHODS]:
        made = placed(intent, choices.model_copy(update={"method": method}), rows, site, limits, named)
        if made is None:
            continue
        reached = grade(made, limits, rows, site)
        ready = made.provider in site.providers
        key = (reached, mismatch(made, rows) is not None, ready and approvable_parts(made, site) is not None)
        if best is None or key < best[0]:
            best = (key, made)
        if best[0] == (WITHIN, False, False):
            break
    made = best[1] if best else placed(intent, choices.model_copy(update={"method": methods[0]}), rows, site, limits, True)
    if made is None:
        raise BadInputError("no_place", "There is nowhere to train this.", "Loosen a limit on hardware or provider.")
    return Fitted(made, grade(made, limits, rows, site), costs(made, rows, site)[0])


def placed(
    intent: TrainingIntent, choices: Choices, rows: Rows | None, site: Site, limits: Limits, force: bool = False
) -> Choices | None:
    """The choices in their place; None for four bits on a CPU or of a tiny model where nobody asked for them."""
    model = model_of(choices.base_model)
    points = stage_points(choices.method, choices.capability, 1, model)
    quantised = any(kind_of(p.point) == "qlora" for p in points)
    where = place(choices, intent.hardware, intent.provider, limits.deadline, rows, site, limits.cap)
    if quantised and not force and (where.gpu == "cpu" or model.params_b < CPU_MOST_B):
        return None
    return at(choices, where, rows)
