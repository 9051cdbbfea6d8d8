"""Two or three whole plans at different prices: cheaper than the present one, the present one, better than it."""

from contextlib import suppress
from decimal import Decimal

from kriptik.pipeline.plan.choose import choose, default_budget, pinned
from kriptik.pipeline.plan.cost import estimate
from kriptik.pipeline.plan.known import method_title, model_of
from kriptik.pipeline.plan.moves import cheaper, cost_of, faster, larger_models, swap
from kriptik.pipeline.plan.reasons import expected_quality, limits_of
from kriptik.pipeline.plan.site import Case
from kriptik.spec.errors import BadInputError
from kriptik.spec.job import StageSettings
from kriptik.spec.plan import Choices, PlanOption

NEXT_TIER = {"consumer": "professional", "professional": "flagship", "flagship": "research"}


def options_of(choices: Choices, case: Case) -> list[PlanOption]:
    """Cheapest first. The middle one is the plan as it stands; what a person fixed is the same in all of them."""
    now = cost_of(choices, case)
    found = [_option("recommended", choices, case)]
    lower = _cheaper(choices, case, now)
    if lower is not None:
        found.insert(0, _option("economy", lower, case))
    upper = _better(choices, case, now)
    if upper is not None:
        found.append(_option("best", upper, case))
    return found


def _cheaper(choices: Choices, case: Case, now: Decimal) -> Choices | None:
    step = cheaper(choices, case)
    if step is None and choices.settings.epochs > 0.5:
        step = (with_epochs(choices, choices.settings.epochs / 2), "")
    if step is None:
        step = faster(choices, case)
    return step[0] if step is not None and cost_of(step[0], case) < now else None


def _better(choices: Choices, case: Case, now: Decimal) -> Choices | None:
    """The tier above, a larger model, or twice the epochs: the first that costs more than the present plan."""
    fixed = pinned(case.intent, choices)
    trials: list[Choices] = []
    if "base_model" not in fixed:
        trials += [swap(choices, case, base_model=model.id) for model in larger_models(choices, case)[:2]]
    if "method" not in fixed and "tier" not in fixed and (above := NEXT_TIER.get(choices.tier)):
        with suppress(BadInputError):
            trials.insert(0, _with_data(choose(case.intent, case.site, case.rows, tier=above).choices, choices))
    trials.append(with_epochs(choices, choices.settings.epochs * 2))
    for trial in trials:
        if cost_of(trial, case) > now * Decimal("1.02") or (now == 0 and trial != choices and cost_of(trial, case) >= now):
            return trial.model_copy(
                update={"budget_max_usd": max(choices.budget_max_usd, default_budget(trial, case.rows, case.site))}
            )
    return None


def _with_data(trial: Choices, choices: Choices) -> Choices:
    return trial.model_copy(
        update={
            "data_source": choices.data_source,
            "dataset_id": choices.dataset_id,
            "data_rows": choices.data_rows,
            "notify_at_percent": choices.notify_at_percent,
            "freeze_at_percent": choices.freeze_at_percent,
        }
    )


def with_epochs(choices: Choices, value: float) -> Choices:
    """The choices with another number of passes (or of steps, where the method counts those)."""
    settings = StageSettings.model_validate({**choices.settings.model_dump(), "epochs": value})
    if choices.settings.max_steps is not None:
        steps = max(1, round(choices.settings.max_steps * value / choices.settings.epochs))
        settings = settings.model_copy(update={"max_steps": steps, "epochs": choices.settings.epochs})
    return choices.model_copy(update={"settings": settings})


def _option(key: str, choices: Choices, case: Case) -> PlanOption:
    taken = estimate(choices, case.rows, case.site)
    where = "this machine" if choices.provider == "local" else f"{choices.gpu_count} × {choices.gpu} at {choices.provider}"
    return PlanOption.model_validate(
        {
            "key": key,
            "title": f"{model_of(choices.base_model).title} · {method_title(choices.method)} · {where}",
            "choices": choices,
            "expected_quality": expected_quality(choices),
            "limits": limits_of(choices),
            "cost_usd": taken.cost_usd,
            "time_hours": taken.time_hours,
        }
    )
