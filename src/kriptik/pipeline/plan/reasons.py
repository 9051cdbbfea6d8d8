"""Why each axis is what it is, and a plan in prose. Derived from request and choices, so that they never drift apart."""

from decimal import Decimal

from kriptik.catalogue.load import correction
from kriptik.pipeline.plan.choose import named_method, pinned
from kriptik.pipeline.plan.cost import gpu_of
from kriptik.pipeline.plan.judging import said
from kriptik.pipeline.plan.known import capability_of, entries, method_title, model_of, pipeline_of, unfit
from kriptik.pipeline.plan.site import Case
from kriptik.spec.plan import Choices, Estimate


def model_reason(choices: Choices, case: Case) -> str:
    """Why this base model."""
    model, intent = model_of(choices.base_model), case.intent
    if "base_model" in choices.custom_settings:
        return f"You chose {model.title}."
    if intent.base_model and model_of(intent.base_model).id == model.id:
        note = correction(intent.base_model)
        return note or f"You named it. {_strength(choices)}".strip()
    home = capability_of(choices.capability)
    if model.id == home.small_pick and choices.provider == "local":
        return f"It is small enough to train on this machine now. {_strength(choices)}".strip()
    whole = pipeline_of(choices.method)
    if whole is not None and whole.base_model == model.id != home.picks.get(choices.tier):  # type: ignore[call-overload]
        return f"The pipeline {whole.title} is made for it. {_strength(choices)}".strip()
    usual = home.picks.get(choices.tier)  # type: ignore[call-overload]
    if usual and (why := unfit(choices.method, model_of(usual))) is not None:
        return f"{why} {_strength(choices)}".strip()
    return f"It is the pick for {home.title.lower()} at the {choices.tier} tier. {_strength(choices)}".strip()


def method_reason(choices: Choices, case: Case) -> str:
    """Why this method."""
    if "method" in choices.custom_settings:
        start = "You chose it."
    elif named_method(case.intent) == choices.method:
        start = "You named it."
    elif pipeline_of(choices.method):
        start = f"The {choices.tier} tier takes several stages."
    else:
        start = f"It suits the {choices.tier} tier, this model and this hardware."
    pipeline = pipeline_of(choices.method)
    summary = pipeline.summary if pipeline else " Then: ".join(entry.summary for entry in entries(choices.method))
    banned = ", ".join(case.intent.excluded_methods)
    return " ".join(filter(None, (start, summary, said(choices), f"Ruled out by you: {banned}." if banned else "")))


def gpu_reason(choices: Choices, estimate: Estimate, case: Case) -> str:
    """Why this place."""
    need = f"The run needs about {estimate.vram_gb.likely:.1f} GB ({estimate.vram_gb.low:.1f}–{estimate.vram_gb.high:.1f})."
    fixed = pinned(case.intent, choices)
    if "gpu" in fixed or "provider" in fixed:
        return f"You fixed where it runs. {need}"
    if choices.provider == "local":
        return f"This machine can do it. {need}"
    if pipeline_of(choices.method):
        return f"The pipeline is made for it. {need}"
    return f"The cheapest that fits and ends in good time. {need}"


def dollars(amount: Decimal | float) -> str:
    """ "$0.0599", "$12.50", "$8,000": as many places as the sum needs."""
    value = Decimal(str(amount))
    places = 4 if 0 < value < Decimal("0.1") else 0 if value == value.to_integral_value() or value >= 1000 else 2
    return f"${value:,.{places}f}"


def prose(choices: Choices, estimate: Estimate, rows: int, source: str) -> str:
    """The plan in one paragraph."""
    gpu = gpu_of(choices.gpu)
    where = "this machine" if choices.provider == "local" else choices.provider
    count = f"{choices.gpu_count} × {gpu.title}" if choices.gpu != "cpu" else "the CPU"
    data = f"{rows:,} rows" if rows else "rows still to be attached"
    return (
        f"{model_of(choices.base_model).title} is trained by {method_title(choices.method)} on {data} ({source}),"
        f" on {count} of {where}."
        f" It takes about {_hours(estimate.time_hours.likely)} and"
        f" {dollars(estimate.cost_usd.min)}–{dollars(estimate.cost_usd.max)};"
        f" the run freezes before {dollars(choices.budget_max_usd)} is passed."
        " Held-out rows, before and after, decide whether it worked."
    )


def _strength(choices: Choices) -> str:
    model = model_of(choices.base_model)
    if model.entry is None or not model.entry.strengths:
        return ""
    first = model.entry.strengths[0].rstrip(".")
    return f"{first[0].upper()}{first[1:]}."


def _hours(value: float) -> str:
    if value < 1.5:
        minutes = max(1, round(value * 60))
        return f"{minutes} minute{'s' if minutes > 1 else ''}"
    return f"{value:.1f} hours" if value < 48 else f"{value / 24:.1f} days"
