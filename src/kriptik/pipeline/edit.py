"""Edits of a plan: by an alternative of a tile, by a value, or in plain English. The answer says what moved, where, and why."""

import re
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from pydantic import JsonValue

from kriptik.catalogue.load import load_catalogue
from kriptik.pipeline.edits.applying import apply_asks
from kriptik.pipeline.edits.judging import SETTABLE
from kriptik.pipeline.edits.reading import read_edit
from kriptik.pipeline.edits.terms import said_terms
from kriptik.pipeline.edits.text import Ask
from kriptik.pipeline.edits.work import Work
from kriptik.pipeline.plan.build import build_plan
from kriptik.pipeline.plan.cost import estimate
from kriptik.pipeline.plan.judging import judge_title
from kriptik.pipeline.plan.known import is_known, model_of
from kriptik.pipeline.plan.options import with_epochs
from kriptik.pipeline.plan.place import recommended
from kriptik.pipeline.plan.site import Case
from kriptik.pipeline.plan.tiles import RECIPES
from kriptik.spec.errors import BadInputError
from kriptik.spec.job import StageSettings
from kriptik.spec.plan import (
    TILE_ORDER,
    Choices,
    Estimate,
    ModificationRecord,
    PlanChange,
    PlanModification,
    PlanStatus,
    TileCategory,
    TrainingImplementationPlan,
)

TILE_OF: dict[str, TileCategory] = {
    "base_model": "model",
    "params": "model",
    "method": "method",
    "gpu": "gpu",
    "gpu_count": "gpu",
    "provider": "gpu",
    "judge": "method",
    "principles": "method",
    "rollouts": "method",
    "data_source": "data",
    "dataset_id": "data",
    "data_rows": "data",
    "resolution": "config",
    "budget_max_usd": "budget",
    "notify_at_percent": "budget",
    "freeze_at_percent": "budget",
    "cost": "budget",
}
NAMES = {"max_seq_len": "seq_len", "data_rows": "data_amount", "lora": "rank"}
QUIET = frozenset({"settings", "custom_settings", "capability"})
_TAIL = re.compile(r"[\s,;]+(?:and|but|then)?\s*$")
TELLING = 0.005
"""Estimates that move by less are not told."""
CUSTOM_FIELDS = {
    "epochs", "max_steps", "batch_size", "learning_rate", "seq_len", "rank", "alpha", "dropout", "warmup_ratio", "weight_decay",
}  # fmt: skip
CUSTOM_TEXTS = {"class_prompt", "instance_prompt"}
WIRE = {"max_seq_len": "seq_len", "learning_rate": "learning_rate", "effective_batch": "batch_size"}


@dataclass(frozen=True)
class Edit:
    """A plan after an edit."""

    plan: TrainingImplementationPlan
    changes: list[PlanChange]
    affected: list[TileCategory]
    notes: list[str]


@dataclass(frozen=True)
class Change:
    """Choices after an edit, without the plan around them."""

    choices: Choices
    case: Case
    changes: list[PlanChange]
    affected: list[TileCategory]
    notes: list[str]


def edit_words(
    plan: TrainingImplementationPlan, case: Case, words: str, *, now: datetime, tile: TileCategory | None = None
) -> Edit:
    """A change in plain English. 422 `edit_not_understood` says what was understood, and shows how to ask."""
    change = change_words(plan.choices, case, words)
    modification = PlanModification(type="nlp_modification", nlp_prompt=words)
    return _rebuilt(plan, change, modification, tile, now)


def edit_tile(
    plan: TrainingImplementationPlan, case: Case, tile: TileCategory, modification: PlanModification, *, now: datetime
) -> Edit:
    """A change of one tile. 422 for a value that the tile does not take."""
    if modification.type == "nlp_modification":
        return edit_words(plan, case, modification.nlp_prompt or "", now=now, tile=tile)
    asks = (
        _selected(plan, tile, modification.value)
        if modification.type == "select_alternative"
        else _attached(plan.choices, modification.value)
        if tile == "data" and case.rows is not None and modification.value == case.rows.dataset_id
        else _custom(tile, modification.value, case)
    )
    if isinstance(asks, Choices):
        work = _taken(plan.choices, asks, case) if tile == "budget" else _work_to(plan.choices, asks, case)
    else:
        work = apply_asks(plan.choices, asks, case)
    return _rebuilt(plan, _change(plan.choices, work, case), modification, tile, now)


def change_words(choices: Choices, case: Case, words: str) -> Change:
    """Choices changed in plain English."""
    asks = read_edit(words)
    if not asks:
        asks = said_terms(words)
    if not [ask for ask in asks if ask.axis != "keep"]:
        kept = ", ".join(ask.words for ask in asks)
        raise BadInputError(
            "edit_not_understood",
            f"It is not clear what to change{f'; understood so far: {kept}' if kept else ''}.",
            'Say what should move, for example: "a smaller model", "use 3 epochs", "cheaper", "at most $50", "on two A100".',
        )
    return _change(choices, apply_asks(choices, asks, case), case)


def _selected(plan: TrainingImplementationPlan, category: TileCategory, value: JsonValue) -> list[Ask] | Choices:
    """An alternative by its value."""
    tile = next(tile for tile in plan.tiles if tile.category == category)
    offered = [alternative.value for alternative in tile.alternatives]
    if not isinstance(value, str) or value not in [*offered, tile.value]:
        shown = ", ".join(offered[:6])
        raise BadInputError(
            "unknown_alternative", f"The {category} tile has no alternative {str(value)[:100]!r}.", f"It offers: {shown}."
        )
    choices = plan.choices
    if value == tile.value:
        return choices
    if category in ("model", "method"):
        return [Ask("base_model" if category == "model" else "method", "use", value, f"chosen on the {category} tile")]
    if category == "data":
        return [Ask("data_source", "use", value, "chosen on the data tile")]
    if category == "gpu":
        provider, gpu, count = value.split(":")
        return choices.model_copy(update={"provider": provider, "gpu": gpu, "gpu_count": int(count)})
    if category == "config":
        best = recommended(choices, None)
        if value == "recommended":
            return [Ask("settings", "reset", None, "chosen on the settings tile")]
        return with_epochs(choices, max(0.1, best.epochs * RECIPES[value]))
    return next(option.choices for option in plan.options if option.key == value)


def _attached(choices: Choices, value: JsonValue) -> Choices:
    """The choices with the case's rows attached; the rest is refitted to how many they are."""
    return choices.model_copy(update={"dataset_id": value, "data_source": "user_upload", "data_rows": None})


def _custom(tile: TileCategory, value: JsonValue, case: Case) -> list[Ask]:
    """A value typed into a tile; objects set several things at once."""
    said = f"set on the {tile} tile"
    if tile == "model" and isinstance(value, str) and value.strip():
        return [Ask("base_model", "use", model_of(value.strip()).id, said)]
    if tile == "method" and isinstance(value, str) and is_known(value):
        return [Ask("method", "use", value, said)]
    if tile == "data" and value in ("user_upload", "huggingface", "web_search", "synthetic", "hybrid"):
        return [Ask("data_source", "use", value, said)]
    if tile == "data" and (amount := _figure(value)) is not None:
        return [Ask("data_amount", "set", amount, said)]
    if tile == "budget" and (amount := _figure(value)) is not None:
        return [Ask("budget_max_usd", "set", amount, said)]
    if isinstance(value, dict) and value:
        return [ask for name, one in value.items() for ask in _field(tile, name, one, said)]
    raise BadInputError("bad_value", f"The {tile} tile does not take {str(value)[:100]!r}.", _takes(tile))


def _field(tile: TileCategory, name: str, value: JsonValue, said: str) -> list[Ask]:
    """One field of an object typed into a tile; names in snake_case or camelCase."""
    key = "".join(f"_{c.lower()}" if c.isupper() else c for c in name)
    key = {"max_seq_len": "seq_len", "effective_batch": "batch_size", "max_budget": "budget_max_usd", "count": "gpu_count"}.get(
        key, key
    )
    if tile == "gpu" and key in ("gpu", "provider") and isinstance(value, str):
        known = load_catalogue().gpus if key == "gpu" else None
        if known is None or value in known:
            return [Ask(key, "use", value, said)]
    figures = {
        "config": CUSTOM_FIELDS | {"resolution"},
        "budget": {"budget_max_usd", "notify_at_percent", "freeze_at_percent"},
        "gpu": {"gpu_count"},
        "data": {"data_amount"},
    }
    if tile == "method" and key in SETTABLE:
        return [Ask(key, "use", value, said)]
    if tile == "config" and key in CUSTOM_TEXTS and isinstance(value, str):
        return [Ask(key, "use", value, said)]
    amount = _figure(value)
    if key in figures.get(tile, set()) and amount is not None:
        return [Ask(key, "set", amount, said)]
    raise BadInputError("bad_value", f"The {tile} tile does not take {name}={str(value)[:60]!r}.", _takes(tile))


def _figure(value: JsonValue) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except ValueError:
        return None
    return found if abs(found) < 1e12 and found == found else None


def _takes(tile: TileCategory) -> str:
    return {
        "model": "Give a model's id.",
        "method": f"Give a method's id, or an object of: {', '.join(SETTABLE)}.",
        "data": "Give a source (user_upload …) or a number of rows.",
        "gpu": 'Give {"gpu", "gpuCount", "provider"}.',
        "config": f"Give an object of: {', '.join(sorted(CUSTOM_FIELDS | CUSTOM_TEXTS))}.",
        "budget": 'Give dollars, or {"budgetMaxUsd", "notifyAtPercent", "freezeAtPercent"}.',
    }[tile]


def _work_to(before: Choices, after: Choices, case: Case) -> Work:
    """A whole set of choices taken over."""
    work = Work(before, case)
    for name in _differing(before, after):
        work.asked[name] = "chosen"
    work.to(after.model_copy(update={"custom_settings": before.custom_settings}), "chosen", *work.asked)
    return work


def _taken(before: Choices, after: Choices, case: Case) -> Work:
    """A whole option taken as it stands. Nothing in it is fixed by that, so that the other options stay what they were."""
    work = Work(before, case)
    work.asked = dict.fromkeys(_differing(before, after), "chosen")
    work.picked = set(work.asked)
    work.choices = after.model_copy(update={"custom_settings": before.custom_settings})
    return work


def _change(before: Choices, work: Work, case: Case) -> Change:
    """What moved, with its reasons; the names that were asked for are marked as the person's own."""
    own = [
        name
        for name in work.asked
        if name not in ("data_source", "data_rows", "dataset_id", "notify_at_percent", "freeze_at_percent")
        and name not in work.picked
    ]
    custom = [*work.choices.custom_settings, *(n for n in own if n not in work.choices.custom_settings)]
    if work.reset:
        custom = [name for name in custom if name not in StageSettings.model_fields]
    after = work.choices.model_copy(update={"custom_settings": custom})
    old, new = estimate(before, case.rows, case.site), estimate(after, work.case.rows, work.case.site)
    changes = _choice_changes(before, after, work)
    if changes:
        first: PlanChange = next((change for change in changes if change.asked), changes[0])
        changes += _estimate_changes(before, after, old, new, first.tile)
    affected = {change.tile for change in changes}
    return Change(after, work.case, changes, [tile for tile in TILE_ORDER if tile in affected], work.notes)


def _differing(before: Choices, after: Choices) -> list[str]:
    names = [n for n in Choices.model_fields if n not in QUIET and getattr(before, n) != getattr(after, n)]
    return names + [n for n in StageSettings.model_fields if getattr(before.settings, n) != getattr(after.settings, n)]


def _choice_changes(before: Choices, after: Choices, work: Work) -> list[PlanChange]:
    found: list[PlanChange] = []
    batch_told = False
    for name in _differing(before, after):
        in_settings = name in StageSettings.model_fields
        old: Any = getattr(before.settings if in_settings else before, name)
        new: Any = getattr(after.settings if in_settings else after, name)
        asked = name in work.asked
        said = _TAIL.sub("", work.asked.get(name) or "")
        reason = f"you asked: {said}" if said else work.reasons.get(name, "it follows from the change")
        param = NAMES.get(name, name)
        if name in ("micro_batch", "accumulation"):
            if batch_told:
                continue
            batch_told = True
            param, old, new = "batch_size", _batch(before), _batch(after)
            if old == new:
                param, old, new = name, getattr(before.settings, name), getattr(after.settings, name)
        elif name == "lora":
            changed = [f for f in type(new).model_fields if getattr(old, f) != getattr(new, f)]
            param = changed[0] if len(changed) == 1 else "rank"
            old, new = getattr(old, param, old.rank), getattr(new, param, new.rank)
        elif name == "judge":
            old, new = judge_title(old), judge_title(new)
        moved = [(param, old, new)]
        if name == "objective":  # what it is told one by one, such as DreamBooth's prompts
            moved = [(key, old.get(key), new.get(key)) for key in sorted({*old, *new}) if old.get(key) != new.get(key)]
        tile = _tile_of(name, before, after)
        found += [
            PlanChange(tile=tile, param=param, before=_json(old), after=_json(new), reason=reason, asked=asked)
            for param, old, new in moved
        ]
    return found


def _estimate_changes(before: Choices, after: Choices, old: Estimate, new: Estimate, cause: TileCategory) -> list[PlanChange]:
    judged = ", and what the judge is paid" if old.judge_usd or new.judge_usd else ""
    costs = float(old.cost_usd.likely or 0), float(new.cost_usd.likely or 0)
    pairs: list[tuple[TileCategory, str, float, float, str]] = [
        (
            "model",
            "params",
            model_of(before.base_model).params_b,
            model_of(after.base_model).params_b,
            "the size of the model in billions",
        ),
        (cause, "vram", old.vram_gb.likely, new.vram_gb.likely, "the memory follows from model, method and batch"),
        (cause, "time", old.time_hours.likely, new.time_hours.likely, "the time follows from model, data and hardware"),
        ("budget", "cost", *costs, f"the cost is time times price{judged}"),
    ]
    return [
        PlanChange(tile=tile, param=param, before=was, after=now, reason=reason)
        for tile, param, was, now, reason in pairs
        if abs(now - was) > TELLING * max(abs(was), 1e-9)
    ]


def _tile_of(name: str, before: Choices, after: Choices) -> TileCategory:
    """The tile that shows a field; the tier shows where it made something move."""
    if name == "tier":
        return "method" if before.method != after.method else "model" if before.base_model != after.base_model else "config"
    return TILE_OF.get(name, "config")


def _batch(choices: Choices) -> int:
    return choices.settings.micro_batch * choices.settings.accumulation * choices.gpu_count


def _json(value: Any) -> JsonValue:
    if isinstance(value, Decimal):
        return float(value)
    return value.wire() if hasattr(value, "wire") else value


def _rebuilt(
    plan: TrainingImplementationPlan, change: Change, modification: PlanModification, tile: TileCategory | None, now: datetime
) -> Edit:
    """The whole plan anew from the changed choices; identity, history and creation time stay."""
    fresh = build_plan(
        change.choices,
        change.case,
        plan_id=plan.id,
        contract_id=plan.contract_id,
        user_id=plan.user_id,
        prompt=plan.prompt,
        now=now,
        assumed=change.notes,
    )
    touched = {one.tile for one in change.changes if one.asked}
    before = {old.category: old for old in plan.tiles}
    tiles = [
        new.model_copy(update={"status": "modified", "user_selection": modification.value if tile == new.category else new.value})
        if new.category in touched
        else new.model_copy(update={"status": before[new.category].status, "user_selection": before[new.category].user_selection})
        for new in fresh.tiles
    ]
    record = ModificationRecord(
        at=now,
        tile_id=next((t.id for t in fresh.tiles if t.category == tile), None),
        modification=modification,
        changes=change.changes,
    )
    updated = fresh.model_copy(
        update={
            "tiles": tiles,
            "created_at": plan.created_at,
            "status": PlanStatus.MODIFIED if change.changes else plan.status,
            "user_modifications": [*plan.user_modifications, record],
        }
    )
    return Edit(updated, change.changes, change.affected, change.notes)
