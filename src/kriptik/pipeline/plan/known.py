"""Names into facts: a model (also one the catalogue does not hold), the stages of a method, what excludes what."""

import re
from dataclasses import dataclass, replace
from functools import cache, cached_property, lru_cache
from typing import Any

from kriptik.catalogue.load import find_model, load_catalogue
from kriptik.catalogue.points import fill_points, renamed, stage_defaults, way_of
from kriptik.spec.catalogue import CapabilityEntry, Licence, MethodEntry, ModelEntry, Point, ReferencePipeline, VramNeed, Way
from kriptik.spec.job import StageSettings

TEXT_CAPABILITIES = frozenset({"text_generation", "chat", "code_generation", "custom"})
LOW_RANK = frozenset({"lora", "dora", "adalora", "vera", "mora", "relora", "longlora", "lora_moe"})
FIRST = frozenset({"cross_modal_alignment"})
"""Methods that prepare a model for those named beside them."""
FP16 = frozenset({"lora", "dora", "mora", "vera", "relora", "lora_moe"})
"""Adaptations that are held in fp32 beside a base in fp16: each was tried (`test_method_in_half_precision`)."""
TINY = frozenset({"vera", "textual_inversion"})
"""Adaptations that train next to nothing: thousands of numbers, not millions."""
ROLLOUTS = frozenset({"grpo", "ppo", "rlhf_ppo", "rlvr"})
PREFERENCE = frozenset({"dpo", "orpo", "kto", "simpo", "diffusion_dpo", "reward"})
NO_REFERENCE = frozenset({"longlora", "moe", "projector", "relora", "textual_inversion"})
"""Adaptations that cannot show the model as it was before their stage."""
_SIZE = re.compile(r"(?<![\d.])(\d+(?:\.\d+)?)\s*-?([bm])(?![a-z])", re.IGNORECASE)
GUESSED_PARAMS_B = 7.0
SHARD_FROM_B = 20.0
"""From this size on, several GPUs share one copy of the model; below, each holds its own."""


@dataclass(frozen=True)
class Shape:
    """Architecture of a language-model-like network. Counts, no units."""

    layers: int
    hidden: int
    kv: int
    """Width of keys and values (kv heads × head size)."""
    intermediate: int
    vocab: int


@dataclass(frozen=True)
class Model:
    """What the planner needs of a base model; `entry` is None for one the catalogue does not hold."""

    id: str
    title: str
    params_b: float
    entry: ModelEntry | None
    guessed: bool = False

    @cached_property
    def shape(self) -> Shape:
        """Known numbers where the catalogue has them; else hidden ≈ 2048·∛P and layers from P = 12·L·h² (P in billions)."""
        arch = self.entry.arch if self.entry else None
        hidden = (arch and arch.hidden) or max(64, int(2048 * self.params_b ** (1 / 3)) // 64 * 64)
        layers = (arch and arch.layers) or max(2, round(self.params_b * 1e9 / (12 * hidden * hidden)))
        heads = (arch and arch.heads) or max(1, hidden // 128)
        head_dim = (arch and arch.head_dim) or hidden // heads
        kv = ((arch and arch.kv_heads) or heads) * head_dim
        return Shape(layers, hidden, kv, (arch and arch.intermediate) or 4 * hidden, (arch and arch.vocab) or 65_536)

    @property
    def active_b(self) -> float:
        """Billions of parameters that work on one token."""
        return (self.entry and self.entry.active_params_b) or self.params_b

    @property
    def needs(self) -> list[str]:
        """Packages that its family needs beside those every worker holds."""
        needed = load_catalogue().needs.get(self.entry.family) if self.entry else None
        return list(needed.packages) if needed else []

    @property
    def licence(self) -> Licence | None:
        return self.entry.licence if self.entry else None

    @property
    def vram(self) -> VramNeed:
        return self.entry.vram_gb if self.entry else VramNeed()

    @property
    def licence_name(self) -> str:
        return self.entry.licence.name if self.entry else "unknown licence"

    @property
    def why_not(self) -> str | None:
        """Why it does not train here; None where it does."""
        if self.entry is None:
            return f"{self.id} is not in the catalogue, so nothing is known about how to load and train it."
        return None if self.entry.trainable_family else self.entry.why_not


@dataclass(frozen=True)
class StagePoint:
    """One stage of a method: which method id it came from, and its point with every axis filled."""

    name: str
    method: str
    point: Point
    config: dict[str, Any]
    """The recipe: the catalogue's defaults for this stage, a pipeline's own settings over them."""
    hours: float | None = None
    requires_approval: bool = False

    @cached_property
    def given(self) -> dict[str, Any]:
        """What of the recipe is a setting of the stage."""
        return {name: value for name, value in self.config.items() if name in StageSettings.model_fields}

    @cached_property
    def settings(self) -> StageSettings:
        """The recipe as settings, before it is fitted to model and data. Shared: copied, never changed."""
        return StageSettings.model_validate(self.given)


@lru_cache(maxsize=512)
def model_of(name: str) -> Model:
    """The model of that id or name; a path or unknown name is taken as it is, its size guessed from the name."""
    entry = load_catalogue().models.get(name) or find_model(name)
    if entry is not None:
        return Model(entry.id, entry.title, entry.params_b, entry)
    size = size_in(name)
    return Model(name, name, size or GUESSED_PARAMS_B, None, guessed=True)


def size_in(name: str) -> float | None:
    """Billions of parameters as written in a name ("…-7B", "135M"); None where it says nothing."""
    found = _SIZE.search(name)
    if found is None:
        return None
    return float(found[1]) / (1000 if found[2].lower() == "m" else 1)


def capability_of(name: str) -> CapabilityEntry:
    """The catalogue's entry of a capability; unknown ones count as custom."""
    known = load_catalogue().capabilities
    return known.get(name) or known["custom"]


def other_way(model: str, capability: str) -> Way | None:
    """The way in which a model is trained for a capability, where that is not the capability's own."""
    return way_of(model_of(model).entry, capability_of(capability).id)


def models_for(capability: str) -> list[ModelEntry]:
    """The catalogue's models for a capability, smallest first."""
    kin = {"chat": "text_generation", "text_generation": "chat"}.get(capability)
    found = [m for m in load_catalogue().models.values() if capability in m.capabilities or (kin and kin in m.capabilities)]
    return sorted(found, key=lambda m: (m.params_b, m.id))


@cache
def pipeline_of(method: str) -> ReferencePipeline | None:
    """The reference pipeline of that id."""
    return load_catalogue().pipelines.get(method)


def members(method: str) -> list[str]:
    """The method ids behind a choice: one, those of a pipeline, or those joined by "+"."""
    pipeline = pipeline_of(method)
    if pipeline is not None:
        return [stage.method for stage in pipeline.pipeline.stages]
    return [part for part in method.split("+") if part]


def entries(method: str) -> list[MethodEntry]:
    """The catalogue entries behind a choice; unknown ids are left out."""
    known = load_catalogue().methods
    return [known[one] for one in members(method) if one in known]


def unfit(method: str, model: Model) -> str | None:
    """Why a choice does not train a model's family; None where it does, or where no method does."""
    if model.entry is None or not (family := model.entry.trainable_family):
        return None
    way = next((way for one in model.entry.capabilities if (way := way_of(model.entry, one))), None)
    for entry in entries(method):
        if entry.families and family not in entry.families:
            return f"{entry.title} does not train {model.title}: {entry.families_why}."
        if way is not None and real_id(entry) in way.unclaimed:
            return f"{entry.title} does not train {model.title}. {way.unclaimed[real_id(entry)]}"
    return None


def trained_by(method: str, models: list[str]) -> list[str]:
    """Those of some models whose family a method trains; where it does not train all, those that no method trains are out too."""
    fit = [name for name in models if unfit(method, model_of(name)) is None]
    return [name for name in fit if len(fit) == len(models) or model_of(name).why_not is None]


def is_known(method: str) -> bool:
    """Whether every part of a choice is a method id or the whole a pipeline."""
    return bool(members(method)) and all(one in load_catalogue().methods for one in members(method))


def method_title(method: str) -> str:
    """ "QLoRA", "DoRA → DPO", "Flagship music"."""
    pipeline = pipeline_of(method)
    if pipeline is not None:
        return pipeline.title
    return " → ".join(entry.title for entry in entries(method)) or method


def real_id(entry: MethodEntry) -> str:
    """The id an alias stands for."""
    return entry.alias_of or entry.id


def stage_points(method: str, capability: str, gpu_count: int = 1, model: Model | None = None) -> list[StagePoint]:
    """The stages of a choice, every axis set. A stage that leaves its adaptation open goes on with that of the one before."""
    return list(_stage_points(method, capability, gpu_count, model.id if model else None))


@lru_cache(maxsize=2048)
def _stage_points(method: str, capability: str, gpu_count: int, model_id: str | None) -> tuple[StagePoint, ...]:
    model = model_of(model_id) if model_id else None
    home = capability_of(capability)
    pipeline = pipeline_of(method)
    found: list[StagePoint] = []
    strategy = "single" if gpu_count == 1 else "fsdp" if model and model.params_b >= SHARD_FROM_B else "ddp"
    for place, one in enumerate(members(method)):
        entry = load_catalogue().methods.get(one)
        if entry is None:
            continue
        step = pipeline.pipeline.stages[place] if pipeline else None
        points = fill_points(entry, home, strategy, model.entry if model else None)
        recipes = stage_defaults(entry, home, way_of(model.entry, home.id) if model else None)
        for number, (point, config) in enumerate(zip(points, recipes, strict=True)):
            if entry.stages[number].adaptation is None and found:
                point = point.model_copy(update={"adaptation": found[-1].point.adaptation})
            own = dict(step.config) if step else {}
            if renamed(entry.stages[number], point):  # what the pipeline says of the objective is on the scale of the other one
                own.pop("objective", None)
            found.append(
                StagePoint(
                    name=step.name if step else _stage_name(entry, point, number),
                    method=one,
                    point=point,
                    config={**config, **own},
                    hours=step.estimated_hours if step else None,
                    requires_approval=bool(step and step.requires_approval),
                )
            )
    return tuple(_held_alike(found))


def _held_alike(stages: list[StagePoint]) -> list[StagePoint]:
    """The base is loaded once: what comes before a stage on a quantised base stands on the same bits."""
    last = max((at for at, one in enumerate(stages) if one.point.base_precision is not None), default=-1)
    if last < 1:
        return stages
    held = {"base_precision": stages[last].point.base_precision}
    before = [replace(one, point=one.point.model_copy(update=held)) for one in stages[:last]]
    return [*before, *stages[last:]]


def uses(method: str, other: str) -> bool:
    """Whether a choice contains method `other`: some stage equals it on every axis that `other` fixes."""
    if other in members(method):
        return True
    known = load_catalogue().methods.get(other)
    if known is None:
        return False
    mine = [point for entry in entries(method) for point in entry.stages]
    return all(any(_within(theirs, point) for point in mine) for theirs in known.stages)


def excluded(method: str, banned: list[str]) -> str | None:
    """The banned method that a choice contains; None where it is clean."""
    return next((one for one in banned if uses(method, one)), None)


def _within(theirs: Point, mine: Point) -> bool:
    axes = ("adaptation", "objective", "strategy", "base_precision")
    fixed = [axis for axis in axes if getattr(theirs, axis) is not None]
    if not fixed or any(getattr(mine, axis) != getattr(theirs, axis) for axis in fixed):
        return False
    return all(mine.options.get(key) == value for key, value in theirs.options.items())


def _stage_name(entry: MethodEntry, point: Point, place: int) -> str:
    if len(entry.stages) == 1:
        return entry.title
    return f"{entry.title}, part {place + 1}: {(point.objective or point.adaptation or 'train').replace('_', ' ')}"
