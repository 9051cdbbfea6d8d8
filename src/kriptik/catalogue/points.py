"""Fills the axes that a method leaves open from the capability, and gathers the recipe of every stage."""

from copy import deepcopy
from typing import Any

from pydantic import JsonValue

from kriptik.catalogue.load import load_catalogue
from kriptik.spec.catalogue import CapabilityEntry, MethodEntry, ModelEntry, Point, Way

LISTED = ("peft", "full", "alignment", "distributed", "specialised", "hybrid")
"""Categories of the listed method ids, in order; `beyond` follows."""


def ordered_methods() -> list[MethodEntry]:
    """Every method: the listed ids first, by category and in the order of their file."""
    order = {category: place for place, category in enumerate((*LISTED, "beyond"))}
    return sorted(load_catalogue().methods.values(), key=lambda m: order[m.category])


def way_of(model: ModelEntry | None, capability: str) -> Way | None:
    """The other way in which a model is trained for a capability; None where it is the capability's own."""
    ways = load_catalogue().ways.values() if model else ()
    return next((way for way in ways if way.capability == capability and model and model.family in way.families), None)


def ways_of(capability: CapabilityEntry) -> list[Way | None]:
    """The capability's own way (None), and the others in which what it makes can be made."""
    return [None, *(way for way in load_catalogue().ways.values() if way.capability == capability.id)]


def belongs(method: MethodEntry, capability: CapabilityEntry, way: Way | None) -> bool:
    """Whether a method makes sense in a way: one that fixes its objective to that of one way belongs to that way alone."""
    each = {one.objective if one else capability.objective for one in ways_of(capability)}
    fixed = {stage.objective for stage in method.stages} & each
    return fixed <= {way.objective if way else capability.objective}


def fill_points(
    method: MethodEntry,
    capability: CapabilityEntry,
    strategy: str | None = None,
    model: ModelEntry | None = None,
    way: Way | None = None,
) -> list[Point]:
    """The method's stages with every axis set.

    `strategy` fills an open strategy (else "single"). A model with an objective of its own (a codec language model, say)
    is trained by that objective, and the capability's other names for objectives do not apply to it. `way`: another than the
    capability's own, else the model's.
    """
    way = way or way_of(model, capability.id)
    own = way.objective if way else model.objective if model else None
    swaps = way.swaps if way else {} if own else capability.swaps
    filled = []
    for stage in method.stages:
        objective = stage.objective or own or capability.objective
        axes = {
            "adaptation": stage.adaptation or capability.adaptation,
            "objective": swaps.get(objective, objective),
            "strategy": stage.strategy or strategy or "single",
        }
        filled.append(stage.model_copy(update=axes))
    return filled


def stage_defaults(
    method: MethodEntry, capability: CapabilityEntry, way: Way | None = None
) -> list[dict[str, JsonValue]]:
    """Per stage, the recipe in the words of `StageSettings`.

    A stage of several takes the recipe of the methods that fix its adaptation, then of those that fix its objective; the
    method's own defaults win over both, and all of them over the capability's. An objective that has another name here takes the
    recipe of that name instead: a β of DPO for text is on another scale than one for noise. Options of a point are settings of its
    objective where it fixes that, else of its strategy.
    """
    points = fill_points(method, capability, way=way)
    several = len(points) > 1
    found = []
    for stage, point in zip(method.stages, points, strict=True):
        told: dict[str, JsonValue] = {}
        if stage.options and (stage.objective or stage.strategy):
            told = {"objective" if stage.objective else "strategy": dict(stage.options)}
        aims = _recipe("objective", point) if stage.objective else {}
        recipes = (_recipe("adaptation", point), aims) if several else ()
        other = [_recipe("objective", point)] if renamed(stage, point) else []
        found.append(_merged(capability.defaults, *recipes, method.defaults, *other, told))
    return found


def renamed(stage: Point, filled: Point) -> bool:
    """Whether the objective that a method fixes has another name for the capability (dpo for images)."""
    return stage.objective is not None and filled.objective != stage.objective


def _recipe(axis: str, point: Point) -> dict[str, JsonValue]:
    """Defaults of the method that fixes this one axis alone, with the same options; empty if none does."""
    for method in ordered_methods():
        only = method.stages[0]
        fixed = [a for a in ("adaptation", "objective", "strategy", "base_precision") if getattr(only, a)]
        if len(method.stages) == 1 and fixed == [axis] and getattr(only, axis) == getattr(point, axis):
            return method.defaults
    return {}


def _merged(*several: dict[str, JsonValue]) -> dict[str, JsonValue]:
    merged: dict[str, Any] = {}
    for one in several:
        for key, value in one.items():
            old = merged.get(key)
            merged[key] = {**old, **value} if isinstance(old, dict) and isinstance(value, dict) else deepcopy(value)
    return merged
