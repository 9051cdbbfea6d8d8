"""Edits of what is trained and how: option, tier, model, method."""

from kriptik.pipeline.edits.text import Ask
from kriptik.pipeline.edits.work import Work, differing
from kriptik.pipeline.plan import moves
from kriptik.pipeline.plan.choose import allowed, choose, method_candidates, pinned
from kriptik.pipeline.plan.known import excluded, members, method_title, model_of, models_for, pipeline_of, stage_points, uses
from kriptik.pipeline.plan.models import suits
from kriptik.pipeline.plan.options import cap_of, options_of
from kriptik.pipeline.plan.shape import kind_of
from kriptik.pipeline.plan.site import Case
from kriptik.spec.catalogue import ModelEntry
from kriptik.spec.errors import BadInputError
from kriptik.spec.intent import TrainingIntent
from kriptik.spec.plan import Choices

NEAR = (0.3, 3.0)
"""A model whose size is within these shares of the tier's pick stays when the tier changes."""
SEVERAL_STAGES = ("flagship", "research")


def edit_option(work: Work, ask: Ask, _asks: list[Ask]) -> None:
    found = next((option for option in options_of(work.choices, work.case) if option.key == ask.value), None)
    if found is None:
        raise BadInputError("no_such_option", f"This plan has no {ask.value} option.", "See the options that it lists.")
    for name in differing(work.choices, found.choices):
        work.asked[name] = ask.words
        work.picked.add(name)
    work.choices = found.choices.model_copy(update={"custom_settings": work.choices.custom_settings})


def edit_capability(work: Work, ask: Ask, _asks: list[Ask]) -> None:
    """What the model is for, said at last: the whole is planned anew for it. Data and a limit on money that was named stay."""
    update = {"capability": str(ask.value), "guesses": [], "needs_clarification": False, "question": None}
    work.case = Case(work.case.intent.model_copy(update=update), work.case.site, work.case.rows)
    before = work.choices
    wish = work.case.intent.model_copy(update={"budget_max_usd": _cap(work.case.intent, before), "quality_tier": before.tier})
    fresh = choose(wish, work.case.site, work.case.rows, keep=before.model_copy(update={"custom_settings": [], "resolution": None}))
    money = [name for name in before.custom_settings if name == "budget_max_usd"]
    work.choices = fresh.choices.model_copy(update={"custom_settings": money})
    for name in differing(before, work.choices):
        work.asked[name] = ask.words
        work.picked.add(name)


def _cap(intent: TrainingIntent, choices: Choices) -> float | None:
    cap = cap_of(intent, choices)
    return None if cap is None else float(cap)


def edit_tier(work: Work, ask: Ask, _asks: list[Ask]) -> None:
    """Another tier re-chooses method, and model and place with it, unless the person fixed them. Data stays."""
    tier = str(ask.value)
    if tier == work.choices.tier:
        return
    fixed = pinned(work.case.intent, work.choices) | work.frozen
    intent = work.case.intent.model_copy(update={"capability": work.choices.capability, "quality_tier": None})
    fresh = choose(intent, work.case.site, work.case.rows, tier=tier).choices
    update: dict[str, object] = {"tier": tier}
    now, pick = model_of(work.choices.base_model), model_of(fresh.base_model)
    if "base_model" not in fixed and not NEAR[0] <= now.params_b / pick.params_b <= NEAR[1]:
        update["base_model"] = pick.id
    if "method" not in fixed and (tier in SEVERAL_STAGES or pipeline_of(work.choices.method) is not None):
        update["method"] = fresh.method
    if "method" in update and not fixed & {"gpu", "gpu_count", "provider"}:
        update |= {"gpu": fresh.gpu, "gpu_count": fresh.gpu_count, "provider": fresh.provider}
    work.reasons.update({name: f"the {tier} tier" for name in update if name != "tier"})
    before = work.choices
    work.to(before.model_copy(update=update), ask.words, "tier", why=f"the {tier} tier")
    if "budget_max_usd" not in fixed and moves.cost_of(work.choices, work.case) > work.choices.budget_max_usd:
        work.choices = work.choices.model_copy(update={"budget_max_usd": fresh.budget_max_usd})
        work.reasons["budget_max_usd"] = f"the {tier} tier costs more than the old limit"


def edit_model(work: Work, ask: Ask, asks: list[Ask]) -> None:
    if ask.op == "exclude":
        named = any(a.axis == "base_model" and a.op not in ("exclude",) for a in asks)
        if named or not _is_model(work.choices.base_model, str(ask.value)):
            return
        others = [*moves.other_models(work.choices, work.case), *moves.smaller_models(work.choices, work.case)]
        others = [m for m in others if not _is_model(m.id, str(ask.value))]
        _take_model(work, ask, others[0].id if others else None)
        return
    if ask.op == "use":
        _take_model(work, ask, str(ask.value))
        return
    now = model_of(work.choices.base_model)
    if ask.op in ("less", "lessst", "cheaper"):
        found = moves.smaller_models(work.choices, work.case)
        pick = min(found, key=lambda m: m.params_b, default=None) if ask.op == "lessst" else next(iter(found), None)
        _take_model(work, ask, pick.id if pick else None, f"{now.title} is the smallest model there is for this.")
    elif ask.op in ("more", "morest"):
        found = moves.larger_models(work.choices, work.case)
        pick = next(iter(found), None)
        if ask.op == "morest":
            pick = max((m for m in found if m.trainable_family), key=lambda m: m.params_b, default=pick)
        _take_model(work, ask, pick.id if pick else None, f"{now.title} is the largest model there is for this.")
    else:
        target = float(str(ask.value)) * (now.params_b if ask.op == "scale_b" else 1)
        _take_model(work, ask, _sized(work, target, limit=ask.op == "most_b"), f"No model of about {target:g}B is known for this.")


def _sized(work: Work, target: float, *, limit: bool) -> str | None:
    """The model nearest to a size (or the largest under it), of the same family where one is near, else one that trains."""
    now = model_of(work.choices.base_model)
    known = [m for m in models_for(work.choices.capability) if suits(model_of(m.id), work.case.intent)]
    if limit:
        fitting = [m for m in known if m.params_b <= target * 1.02]
        if not fitting:
            return None
        if now.params_b <= target * 1.02:
            return now.id
        return max(fitting, key=lambda m: (m.trainable_family is not None, m.params_b, m.recommended)).id
    near = [m for m in known if 0.6 <= m.params_b / target <= 1.6]
    brand = now.id.split("/")[-1].split("-")[0].rstrip("0123456789.").casefold()
    if not near:
        return None

    def distance(model: ModelEntry) -> tuple[bool, bool, bool, float]:
        kin = model.id.split("/")[-1].casefold().startswith(brand)
        off = abs(model.params_b - target)
        return off / target > 0.3, not kin, model.trainable_family is None, off

    return min(near, key=distance).id


def _take_model(work: Work, ask: Ask, name: str | None, otherwise: str = "No such model is known for this.") -> None:
    if name is None:
        raise BadInputError("no_such_model", otherwise, f"Nearest: {', '.join(_near_models(work))}.")
    model = model_of(name)
    if model.entry is not None and work.choices.capability not in _kin(model.entry.capabilities):
        raise BadInputError(
            "model_of_another_kind",
            f"{model.title} is no model for {work.choices.capability.replace('_', ' ')}.",
            f"Models for it: {', '.join(_near_models(work))}.",
        )
    work.set(ask.words, base_model=model.id)


def _kin(capabilities: list[str]) -> set[str]:
    kin = set(capabilities)
    return (
        kin | {"text_generation", "chat", "custom", "code_generation"}
        if kin & {"text_generation", "chat", "code_generation"}
        else kin
    )


def _is_model(model_id: str, name: str) -> bool:
    family = model_of(name).id.split("/")[-1].split("-")[0].casefold()
    return model_of(name).id == model_id or model_id.split("/")[-1].casefold().startswith(family)


def _near_models(work: Work) -> list[str]:
    now = model_of(work.choices.base_model).params_b
    known = sorted(models_for(work.choices.capability), key=lambda m: abs(m.params_b - now))
    return [m.title for m in known[:3]]


def edit_method(work: Work, ask: Ask, asks: list[Ask]) -> None:
    name = str(ask.value)
    current = members(work.choices.method)
    if ask.op == "single":
        _single(work, ask)
        return
    if ask.op == "exclude":
        _without(work, ask, asks, name)
        return
    earlier = [str(a.value) for a in asks[: asks.index(ask)] if a.axis == "method" and a.op in ("use", "append")]
    if ask.op == "append" or earlier:
        base = [m for m in current if m != name] if pipeline_of(work.choices.method) is None else []
        wanted = "+".join([*base, name])
        if wanted == "lora+dpo":
            wanted = "hybrid_lora_dpo"
    else:
        wanted = name
    _check_method(work, wanted)
    work.set(ask.words, method=wanted)


def _without(work: Work, ask: Ask, asks: list[Ask], name: str) -> None:
    """Rules a method out: its stage is dropped where others remain, else the next best method is taken."""
    if any(a.axis == "method" and a.op in ("use", "append") for a in asks):
        return
    intent = work.case.intent
    if name not in intent.excluded_methods:
        banned = [*intent.excluded_methods, name]
        work.case = Case(intent.model_copy(update={"excluded_methods": banned}), work.case.site, work.case.rows)
    if not uses(work.choices.method, name):
        return
    split = {"hybrid_lora_dpo": ["lora", "dpo"], "hybrid_full_rlhf": ["full_finetune", "rlhf_ppo"]}
    parts = split.get(work.choices.method) or members(work.choices.method)
    rest = [part for part in parts if not uses(part, name)]
    if rest and pipeline_of(work.choices.method) is None:
        work.set(ask.words, method="+".join(rest))
        return
    order = method_candidates(work.choices.capability, work.choices.tier, work.case.intent, work.case.rows)
    on_cpu = work.choices.gpu == "cpu"
    model = model_of(work.choices.base_model)
    for method in order:
        quantised = any(kind_of(p.point) == "qlora" for p in stage_points(method, work.choices.capability, 1, model))
        if not (quantised and on_cpu):
            work.set(ask.words, method=method)
            return
    raise BadInputError("no_method", "Every method that makes sense here would be ruled out.", "Allow at least one method.")


def _single(work: Work, ask: Ask) -> None:
    """Of several stages only the first; a whole pipeline is exchanged for the best single stage."""
    choices = work.choices
    if pipeline_of(choices.method) is not None:
        trial = moves.simpler(choices, work.case)
        if trial is not None:
            work.asked["method"] = ask.words
            work.reasons.update(dict.fromkeys(differing(choices, trial), "one stage needs less"))
            work.choices = trial.model_copy(update={"tier": choices.tier})
        return
    parts = {"hybrid_lora_dpo": ["lora"], "hybrid_full_rlhf": ["full_finetune"]}.get(choices.method) or members(choices.method)
    if parts[0] != choices.method:
        work.set(ask.words, method=parts[0])


def _check_method(work: Work, wanted: str) -> None:
    banned = excluded(wanted, work.case.intent.excluded_methods)
    if banned is not None:
        intent = work.case.intent
        kept = [m for m in intent.excluded_methods if not uses(wanted, m)]
        work.case = Case(intent.model_copy(update={"excluded_methods": kept}), work.case.site, work.case.rows)
    if not allowed(wanted, work.choices.capability, work.case.intent.excluded_methods):
        order = method_candidates(work.choices.capability, work.choices.tier, work.case.intent, work.case.rows)
        raise BadInputError(
            "method_of_another_kind",
            f"{method_title(wanted)} makes no sense for {work.choices.capability.replace('_', ' ')}.",
            f"Methods for it: {', '.join(order[:4])}.",
        )
