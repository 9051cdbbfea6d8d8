"""The six tiles of a plan: what is chosen, why, and what else there is with its effect on price and time.

A tile's `value` is what `select_alternative` takes back: a model or method id, a data source, "provider:gpu:count", the name of
a recipe ("quick", "recommended", "thorough", "custom"), or for the budget the key of a whole option.
"""

from decimal import Decimal

from kriptik.catalogue import constitution
from kriptik.catalogue.advice import load_advice
from kriptik.pipeline.plan import judging
from kriptik.pipeline.plan.choose import method_candidates, named_method
from kriptik.pipeline.plan.cost import capacity_gb, gpu_of, price
from kriptik.pipeline.plan.data import SOURCES, requirements, row_needs, sufficiency
from kriptik.pipeline.plan.known import entries, method_title, model_of, pipeline_of, stage_points
from kriptik.pipeline.plan.moves import (
    cost_of,
    hours_of,
    larger_models,
    moved,
    other_models,
    places,
    smaller_models,
    swap,
    why_not,
)
from kriptik.pipeline.plan.options import with_epochs
from kriptik.pipeline.plan.place import recommended
from kriptik.pipeline.plan.reasons import dollars, gpu_reason, method_reason, model_reason
from kriptik.pipeline.plan.site import Case
from kriptik.spec.plan import Alternative, Choices, Estimate, ImplementationTile, PlanOption, TileCategory

CENT = Decimal("0.0001")
MOST = 3
RECIPES = {"quick": 0.5, "thorough": 2.0}
READY_SOURCES = frozenset({"user_upload"})


def place_value(provider: str, gpu: str, count: int) -> str:
    """A place as a tile's value."""
    return f"{provider}:{gpu}:{count}"


def tiles_of(plan_id: str, choices: Choices, estimate: Estimate, options: list[PlanOption], case: Case) -> list[ImplementationTile]:
    """All six, in their order."""
    now = Now(choices, case)
    made = [
        _model(now),
        _method(now),
        _data(now),
        _gpu(now, estimate),
        _config(now),
        _budget(now, estimate, options),
    ]
    return [tile.model_copy(update={"id": f"{plan_id}-{tile.category}"}) for tile in made]


class Now:
    """The present choices with their likely cost and time, to compare alternatives with."""

    def __init__(self, choices: Choices, case: Case) -> None:
        self.choices, self.case = choices, case
        self.cost, self.hours = cost_of(choices, case), hours_of(choices, case)

    def alternative(
        self, value: str, title: str, trial: Choices, pros: list[str], cons: list[str], *, recommended: bool = False
    ) -> Alternative:
        """`trial` as an alternative: its effects against now, and whether it could be approved."""
        reason = why_not(trial, self.case)
        price_effect = (cost_of(trial, self.case) - self.cost).quantize(CENT)
        time_effect = round(hours_of(trial, self.case) - self.hours, 4)
        if time_effect > 0.01:
            cons = [*cons, "takes longer"]
        elif time_effect < -0.01:
            pros = [*pros, "takes less time"]
        return Alternative(
            value=value,
            title=title,
            pros=[p for p in pros if p][:4],
            cons=[c for c in cons if c][:4],
            price_effect_usd=price_effect,
            time_effect_hours=time_effect,
            is_recommended=recommended,
            available=reason is None,
            why_not=reason,
        )


def _tile(
    category: TileCategory, title: str, value: str, recommendation: str, description: str, **rest: object
) -> ImplementationTile:
    return ImplementationTile.model_validate(
        {
            "id": category,
            "category": category,
            "title": title,
            "value": value,
            "recommendation": recommendation,
            "description": description,
            **rest,
        }
    )


def _model(now: Now) -> ImplementationTile:
    choices, case = now.choices, now.case
    model = model_of(choices.base_model)
    picks = [*smaller_models(choices, case)[:1], *larger_models(choices, case)[:1], *other_models(choices, case)[:2]]
    picks += [m for m in smaller_models(choices, case)[1:3] + larger_models(choices, case)[1:3] if m not in picks]
    others = []
    for entry in picks[:MOST]:
        size = (
            "smaller"
            if entry.params_b < model.params_b * 0.75
            else "larger"
            if entry.params_b > model.params_b * 1.3
            else "as large"
        )
        pros = [f"{size}: {entry.params_b:g}B", *entry.strengths[:2]]
        trial = swap(choices, case, base_model=entry.id)
        others.append(now.alternative(entry.id, entry.title, trial, pros, [*entry.weaknesses[:2], _licence_note(entry.id)]))
    licence = model.licence
    facts = {
        "paramsB": model.params_b,
        "licence": model.licence_name,
        "commercial": licence.commercial if licence else "unknown",
        "gated": bool(licence and licence.gated),
        "strengths": model.entry.strengths if model.entry else [],
        "weaknesses": model.entry.weaknesses if model.entry else [],
        "trainable": model.why_not is None,
        "whyNot": model.why_not,
    }
    title = f"{model.title}, {model.params_b:g}B, {model.licence_name}"
    return _tile(
        "model", "Base model", model.id, title, model_reason(choices, case), facts=facts, alternatives=others,
        is_recommended="base_model" not in choices.custom_settings,
    )  # fmt: skip


def _licence_note(model_id: str) -> str:
    licence = model_of(model_id).licence
    if licence is None or licence.commercial == "yes":
        return ""
    return "no commercial use" if licence.commercial == "no" else f"{licence.name}: conditions apply"


def _method(now: Now) -> ImplementationTile:
    choices, case = now.choices, now.case
    order = method_candidates(choices.capability, choices.tier, case.intent, case.rows)
    below = method_candidates(choices.capability, "consumer", case.intent, case.rows)
    picks = [m for m in dict.fromkeys([*order[:3], *below[:3], *order[3:]]) if m != choices.method]
    trials = [(m, swap(choices, case, method=m)) for m in picks[:6]]
    trials.sort(key=lambda t: why_not(t[1], case) is not None)
    others = []
    for method, trial in trials[:MOST]:
        summary = " ".join(entry.summary.split(". ")[0].rstrip(".") + "." for entry in entries(method)[:1])
        cons = [f"needs {need.replace('_', ' ')}" for need in row_needs(method) if need not in row_needs(choices.method)]
        others.append(now.alternative(method, method_title(method), trial, [summary], cons))
    points = stage_points(choices.method, choices.capability, choices.gpu_count, model_of(choices.base_model))
    facts = {
        "stages": [
            {
                "name": p.name,
                "method": p.method,
                "adaptation": p.point.adaptation,
                "objective": p.point.objective,
                "strategy": p.point.strategy,
                "hours": p.hours,
            }
            for p in points
        ],
        "named": named_method(case.intent) == choices.method,
        "excluded": list(case.intent.excluded_methods),
        "pipeline": pipeline_of(choices.method) is not None,
        "takes": list(judging.takes(choices)),
        "constitutions": constitution.names(),
        "judges": sorted(name for name, one in load_advice().token_prices.items() if one.provider in load_advice().endpoints),
    }
    return _tile(
        "method",
        "Method",
        choices.method,
        method_title(choices.method),
        method_reason(choices, case),
        facts=facts,
        alternatives=others,
        is_recommended="method" not in choices.custom_settings,
    )


def _data(now: Now) -> ImplementationTile:
    choices, case = now.choices, now.case
    enough = sufficiency(choices, case.rows)
    needs = requirements(choices.capability, choices.method)
    others = []
    for source, words in SOURCES.items():
        if source == choices.data_source:
            continue
        ready = source in READY_SOURCES
        others.append(
            Alternative(
                value=source,
                title=words[0].upper() + words[1:],
                pros=_source_pros(source),
                cons=[] if ready else ["attach the rows as a file until then"],
                price_effect_usd=Decimal(0),
                time_effect_hours=0.0,
                available=ready,
                why_not=None if ready else "Not set up here: upload the rows instead.",
            )
        )
    attached = case.rows if case.rows and case.rows.dataset_id == choices.dataset_id else None
    facts = {
        "have": enough.have,
        "need": enough.need,
        "recommended": enough.recommended,
        "flagship": enough.flagship,
        "verdict": enough.tier,
        "formats": needs[0].format if needs else [],
        "quality": needs[0].quality_requirements if needs else [],
        "example": needs[0].example_schema if needs else None,
        "rowNeeds": list(row_needs(choices.method)),
        "datasetId": choices.dataset_id,
        "dataset": attached.name if attached else None,
        "licence": attached.licence if attached else None,
    }
    what = f"{attached.name}: {attached.rows:,} rows" if attached else SOURCES[choices.data_source]
    return _tile("data", "Data", choices.data_source, what[0].upper() + what[1:], enough.sentence, facts=facts, alternatives=others)


def _source_pros(source: str) -> list[str]:
    return {
        "user_upload": ["your own words and facts"],
        "huggingface": ["ready at once, licence shown"],
        "web_search": ["finds what is in no public set"],
        "synthetic": ["fills gaps, above all preference pairs"],
        "hybrid": ["the most data"],
    }[source]


def _gpu(now: Now, estimate: Estimate) -> ImplementationTile:
    choices, case = now.choices, now.case
    gpu = gpu_of(choices.gpu)
    value = place_value(choices.provider, choices.gpu, choices.gpu_count)
    found = places(choices, case)
    by_time = sorted(found, key=lambda w: hours_of(moved(choices, w, case), case))
    picks = list(dict.fromkeys([*found[:2], *by_time[:1], *found[2:]]))[:MOST]
    others = []
    for where in picks:
        entry = gpu_of(where.gpu)
        quoted = price(where.provider, where.gpu, where.count, case.site)
        pros = [f"{entry.vram_gb:g} GB" if entry.vram_gb else "no GPU needed", f"${quoted.per_hour:.2f}/h"]
        title = f"{where.count} × {entry.title} at {where.provider}" if where.gpu != "cpu" else "This machine's CPU"
        others.append(
            now.alternative(place_value(where.provider, where.gpu, where.count), title, moved(choices, where, case), pros, [])
        )
    room = capacity_gb(choices, gpu, case.site)
    facts = {
        "gpu": choices.gpu,
        "count": choices.gpu_count,
        "provider": choices.provider,
        "vramGb": gpu.vram_gb * choices.gpu_count or room,
        "needGb": estimate.vram_gb.likely,
        "fits": estimate.fits,
        "pricePerHour": float(estimate.price_per_hour),
        "priceSource": estimate.price_source,
        "hours": estimate.time_hours.likely,
    }
    title = f"{choices.gpu_count} × {gpu.title} at {choices.provider}" if choices.gpu != "cpu" else "The CPU of this machine"
    description = gpu_reason(choices, estimate, case) + (f" {estimate.why_not}" if estimate.why_not else "")
    return _tile(
        "gpu", "Compute", value, title, description, facts=facts, alternatives=others,
        is_recommended=not {"gpu", "gpu_count", "provider"} & set(choices.custom_settings),
    )  # fmt: skip


def _config(now: Now) -> ImplementationTile:
    choices, case = now.choices, now.case
    settings, best = choices.settings, recommended(choices, case.rows)
    custom = settings != best
    others = []
    for name, factor in RECIPES.items():
        trial = with_epochs(choices.model_copy(update={"settings": best}), max(0.1, best.epochs * factor))
        pros, cons = (["a first look for less"], ["learns less"]) if factor < 1 else (["learns more"], ["may overfit few rows"])
        others.append(now.alternative(name, f"{name.capitalize()}: {_passes(trial)}", trial, pros, cons))
    if custom:
        trial = choices.model_copy(update={"settings": best, "custom_settings": _not_settings(choices)})
        others.insert(
            0, now.alternative("recommended", "Recommended settings", trial, ["fitted to model and data"], [], recommended=True)
        )
    facts = settings.wire() | {"effectiveBatch": settings.micro_batch * settings.accumulation * choices.gpu_count}
    facts |= {"custom": [n for n in choices.custom_settings if n in type(settings).model_fields], "resolution": choices.resolution}
    title = f"{_passes(choices)}, learning rate {settings.learning_rate:g}, batch {settings.micro_batch * settings.accumulation}"
    why = "Fitted to the method, the model's size and the amount of data." if not custom else "Changed by hand; the rest is fitted."
    return _tile(
        "config",
        "Settings",
        "custom" if custom else "recommended",
        title,
        why,
        facts=facts,
        alternatives=others,
        is_recommended=not custom,
    )


def _passes(choices: Choices) -> str:
    settings = choices.settings
    if settings.max_steps is not None:
        return f"{settings.max_steps:,} steps"
    return f"{settings.epochs:g} epoch{'s' if settings.epochs != 1 else ''}"


def _not_settings(choices: Choices) -> list[str]:
    return [name for name in choices.custom_settings if name not in type(choices.settings).model_fields]


def _budget(now: Now, estimate: Estimate, options: list[PlanOption]) -> ImplementationTile:
    choices = now.choices
    cost = estimate.cost_usd
    others = [
        now.alternative(
            option.key, f"{option.key.capitalize()}: {option.title}", option.choices, [option.expected_quality], [option.limits]
        )
        for option in options
        if not option.in_plan
    ]
    facts = {
        "maxBudget": float(choices.budget_max_usd),
        "notifyAtPercent": choices.notify_at_percent,
        "freezeAtPercent": choices.freeze_at_percent,
        "estimateMin": float(cost.min),
        "estimateMax": float(cost.max),
        "channels": ["in_app"],
        "pricesAsOf": cost.prices_as_of,
    }
    named = now.case.intent.budget_max_usd is not None or "budget_max_usd" in choices.custom_settings
    title = f"At most {dollars(choices.budget_max_usd)}; estimate {dollars(cost.min)}–{dollars(cost.max)}"
    why = (
        f"{'Your limit' if named else 'Proposed from the estimate'}. You are told at {choices.notify_at_percent:g} %, the run is"
        f" frozen at {choices.freeze_at_percent:g} % with everything kept, and nothing is spent before you authorize it."
    )
    return _tile(
        "budget", "Budget", f"{choices.budget_max_usd}", title, why, facts=facts, alternatives=others, is_recommended=not named
    )
