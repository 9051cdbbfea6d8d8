"""Two or three whole plans at different prices, for the request as it stands, and what would change the choice.

They follow from the request, from what a person fixed by hand, and from what is set up here; not from which of them was picked: so
picking one leaves the others as they were. None passes a limit on money, and none has a licence that was ruled out.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal

from kriptik.pipeline.plan.axes import reasons_of
from kriptik.pipeline.plan.choose import choose, default_budget, pinned
from kriptik.pipeline.plan.cost import estimate
from kriptik.pipeline.plan.data import mismatch
from kriptik.pipeline.plan.expect import expected_quality, limits_of
from kriptik.pipeline.plan.fitting import WITHIN, Limits, grade
from kriptik.pipeline.plan.known import capability_of, excluded, method_title, model_of, unfit
from kriptik.pipeline.plan.ladder import TIERS, tier_above, tiers_down
from kriptik.pipeline.plan.licences import forbidden
from kriptik.pipeline.plan.models import language_rank
from kriptik.pipeline.plan.moves import cheaper, cost_of, faster, larger_models, smaller_models, swap, why_not
from kriptik.pipeline.plan.site import Case
from kriptik.spec.errors import BadInputError
from kriptik.spec.intent import HardwareLimit, TrainingIntent
from kriptik.spec.job import StageSettings
from kriptik.spec.plan import Choices, PlanOption

CLEARLY_LESS, CLEARLY_MORE, MORE = Decimal("0.75"), Decimal("1.3"), Decimal("1.02")
AXES = ("base_model", "method", "gpu", "gpu_count", "provider")
FREED: tuple[dict[str, object], ...] = (
    {},
    {"methods": []},
    {"base_model": None},
    {"base_model": None, "methods": []},
    {"base_model": None, "methods": [], "hardware": None, "provider": None},
    {"base_model": None, "methods": [], "hardware": None, "provider": None, "deadline_hours": None},
)
"""What is given up, step by step, where the request as a whole cannot be met. Limits on money and licences never are."""


Priced = Callable[[Decimal], bool]


@dataclass(frozen=True)
class Menu:
    """The wish that was planned for, and the plans by key."""

    wish: TrainingIntent
    case: Case
    plans: dict[str, Choices]


def menu_of(choices: Choices, case: Case) -> Menu:
    """The plans to choose from, cheapest first; none where nothing stays within the limits."""
    wish = wish_of(case.intent, choices)
    for freed in FREED:
        trial = wish.model_copy(update=freed)
        named = trial.base_model and model_of(trial.base_model)
        if named and (named.entry is None or forbidden(named, trial) is not None):
            continue
        with suppress(BadInputError):
            found = choose(trial, case.site, case.rows, keep=choices)
            fits = unfit(found.choices.method, model_of(found.choices.base_model)) is None
            if found.grade == WITHIN and fits:
                return _menu(trial, found.choices, choices, Case(trial, case.site, case.rows))
    return Menu(wish, case, {})


def options_of(choices: Choices, case: Case, menu: Menu | None = None) -> list[PlanOption]:
    """The menu with everything that is worth telling of each plan."""
    menu = menu or menu_of(choices, case)
    cap = cap_of(case.intent, choices)
    return [_option(key, plan, choices, Case(case.intent, case.site, case.rows), cap) for key, plan in menu.plans.items()]


def wish_of(intent: TrainingIntent, choices: Choices) -> TrainingIntent:
    """The request with what a person fixed by hand since: an edit counts as if it had been asked for at once."""
    fixed, update = set(choices.custom_settings), {}
    if "base_model" in fixed:
        update["base_model"] = choices.base_model
    if "method" in fixed:
        update["methods"] = [choices.method]
    if "tier" in fixed:
        update["quality_tier"] = choices.tier
    if "provider" in fixed:
        update["provider"] = choices.provider
    if fixed & {"gpu", "gpu_count"}:
        limit = {"gpu": choices.gpu if choices.gpu != "cpu" else None, "count": choices.gpu_count, "cpu_only": choices.gpu == "cpu"}
        update["hardware"] = HardwareLimit.model_validate(limit)
    cap = cap_of(intent, choices)
    update["budget_max_usd"] = None if cap is None else float(cap)
    return intent.model_copy(update=update)


def cap_of(intent: TrainingIntent, choices: Choices) -> Decimal | None:
    """The limit that the person set; None where the plan only proposes one."""
    named = intent.budget_max_usd is not None or "budget_max_usd" in choices.custom_settings
    return choices.budget_max_usd if named else None


def same_plan(one: Choices, other: Choices) -> bool:
    """Whether two sets of choices are the same plan, its limits and data aside."""
    return all(getattr(one, axis) == getattr(other, axis) for axis in AXES) and one.settings == other.settings


def with_epochs(choices: Choices, value: float) -> Choices:
    """The choices with another number of passes (or of steps, where the method counts those)."""
    settings = StageSettings.model_validate({**choices.settings.model_dump(), "epochs": value})
    if choices.settings.max_steps is not None:
        steps = max(1, round(choices.settings.max_steps * value / choices.settings.epochs))
        settings = settings.model_copy(update={"max_steps": steps, "epochs": choices.settings.epochs})
    return choices.model_copy(update={"settings": settings})


def _menu(wish: TrainingIntent, middle: Choices, present: Choices, case: Case) -> Menu:
    now = cost_of(middle, case)
    lower = _first(_lower(wish, middle, case), wish, case, lambda cost: cost <= now * CLEARLY_LESS, lambda cost: cost < now)
    upper = _first(
        _upper(wish, middle, case), wish, case, lambda cost: cost >= now * CLEARLY_MORE, lambda cost: cost > now * MORE or now == 0
    )
    cap = cap_of(wish, present) if wish.budget_max_usd is None else Decimal(str(wish.budget_max_usd))
    plans: dict[str, Choices] = {}
    for key, plan in (("economy", lower), ("recommended", middle), ("best", upper)):
        if plan is not None and not any(same_plan(plan, other) for other in plans.values()):
            budget = cap if cap is not None else default_budget(plan, case.rows, case.site)
            made = plan.model_copy(update={"budget_max_usd": budget, "custom_settings": present.custom_settings})
            plans[key] = present if same_plan(made, present) else made
    return Menu(wish, case, plans)


def _first(trials: Iterator[Choices], wish: TrainingIntent, case: Case, clearly: Priced, barely: Priced) -> Choices | None:
    """The first trial whose price differs clearly and that keeps to every limit; else the first that differs at all."""
    spare: Choices | None = None
    for trial in trials:
        if grade(trial, Limits.of(wish), case.rows, case.site) != WITHIN or forbidden(model_of(trial.base_model), wish):
            continue
        cost = cost_of(trial, case)
        if clearly(cost):
            return trial
        if spare is None and barely(cost):
            spare = trial
    return spare


def _lower(wish: TrainingIntent, middle: Choices, case: Case) -> Iterator[Choices]:
    """Cheaper plans, the mildest change first: the tier below, a cheaper place, a smaller model, half the epochs."""
    fixed = pinned(wish, middle)
    if why_not(middle, case) is not None:
        yield from _startable(wish, middle, case)
    if "method" not in fixed and "tier" not in middle.custom_settings:
        for tier in tiers_down(middle.tier)[1:2]:
            with suppress(BadInputError):
                yield choose(wish, case.site, case.rows, tier=tier, keep=middle).choices
    step = cheaper(middle, case)
    if step is not None:
        yield step[0]
    if "base_model" not in fixed:
        yield from (swap(middle, case, base_model=model.id) for model in smaller_models(middle, case)[:2])
    if "epochs" not in fixed:
        yield with_epochs(middle, middle.settings.epochs / 2)
    step = faster(middle, case)
    if step is not None:
        yield step[0]


def _startable(wish: TrainingIntent, middle: Choices, case: Case) -> Iterator[Choices]:
    """What can start here at once, where the recommended plan cannot: the smallest model worth it, on this machine."""
    machine, small = case.site.machine, capability_of(middle.capability).small_pick
    held = {"base_model", "method", "gpu", "provider"} & pinned(wish, middle)
    if machine is None or held or language_rank(small, wish) == 2:
        return
    here = {"base_model": small, "provider": "local", "gpu": machine.gpu, "gpu_count": 1, "tier": TIERS[0]}
    for method in ("lora", "full_finetune"):
        if excluded(method, wish.excluded_methods) is None:
            trial = swap(middle, case, method=method, **here)
            if why_not(trial, case) is None and mismatch(trial, case.rows) is None:
                yield trial
                return


def _upper(wish: TrainingIntent, middle: Choices, case: Case) -> Iterator[Choices]:
    """Dearer plans that promise more: the tier above, a larger model, twice the epochs."""
    fixed = pinned(wish, middle)
    above = tier_above(middle.tier)
    research = above == "research" and wish.quality_tier is not None
    if "method" not in fixed and "tier" not in middle.custom_settings and above and not research:
        with suppress(BadInputError):
            yield choose(wish, case.site, case.rows, tier=above, keep=middle).choices
    if "base_model" not in fixed:
        yield from (swap(middle, case, base_model=model.id) for model in larger_models(middle, case)[:2])
    if "epochs" not in fixed:
        yield with_epochs(middle, middle.settings.epochs * 2)


def _option(key: str, choices: Choices, present: Choices, case: Case, cap: Decimal | None) -> PlanOption:
    taken = estimate(choices, case.rows, case.site)
    where = "this machine" if choices.provider == "local" else f"{choices.gpu_count} × {choices.gpu} at {choices.provider}"
    missing = why_not(choices, case) or mismatch(choices, case.rows)
    return PlanOption.model_validate(
        {
            "key": key,
            "title": f"{model_of(choices.base_model).title} · {method_title(choices.method)} · {where}",
            "choices": choices,
            "expected_quality": expected_quality(choices),
            "limits": limits_of(choices, case, cap),
            "reasons": reasons_of(choices, case, taken, cap),
            "in_plan": same_plan(choices, present),
            "available": missing is None,
            "why_not": missing,
            "cost_usd": taken.cost_usd,
            "time_hours": taken.time_hours,
        }
    )
