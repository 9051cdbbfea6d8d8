"""Choices → the whole plan. Everything but the choices is recomputed each time, so that a plan never contradicts itself."""

from datetime import datetime

from kriptik.pipeline.plan import judging
from kriptik.pipeline.plan.cautions import cautions
from kriptik.pipeline.plan.choose import method_candidates
from kriptik.pipeline.plan.consent import consent_need
from kriptik.pipeline.plan.cost import asking_of, stages_of
from kriptik.pipeline.plan.cost import estimate as estimate_of
from kriptik.pipeline.plan.data import SOURCES, mismatch, sufficiency, volume_of
from kriptik.pipeline.plan.fitting import approvable_parts
from kriptik.pipeline.plan.known import (
    capability_of,
    excluded,
    is_known,
    method_title,
    model_of,
    pipeline_of,
)
from kriptik.pipeline.plan.moves import swap, why_not
from kriptik.pipeline.plan.options import menu_of, options_of
from kriptik.pipeline.plan.questions import questions_of
from kriptik.pipeline.plan.reasons import dollars, prose
from kriptik.pipeline.plan.settings import steps_of
from kriptik.pipeline.plan.site import Case
from kriptik.pipeline.plan.tiles import tiles_of
from kriptik.pipeline.plan.whatif import changes_of
from kriptik.spec.catalogue import PipelineCost, PipelineStage, TrainingPipeline
from kriptik.spec.plan import (
    Choices,
    Estimate,
    PlanStatus,
    PlanSummary,
    TrainingImplementationPlan,
)


def build_plan(
    choices: Choices,
    case: Case,
    *,
    plan_id: str,
    contract_id: str,
    user_id: str,
    prompt: str,
    now: datetime,
    assumed: list[str] | None = None,
) -> TrainingImplementationPlan:
    """A new plan from choices. Pure: ids and the time come in."""
    estimate = estimate_of(choices, case.rows, case.site)
    menu = menu_of(choices, case)
    options = options_of(choices, case, menu)
    blocked = why_not_approvable(choices, estimate, case)
    enough = sufficiency(choices, case.rows)
    need = consent_need(choices, prompt)
    return TrainingImplementationPlan(
        id=plan_id,
        contract_id=contract_id,
        user_id=user_id,
        prompt=prompt,
        intent=case.intent,
        summary=_summary(choices, estimate, case),
        prose=prose(choices, estimate, enough.have, SOURCES[choices.data_source]),
        tiles=tiles_of(plan_id, choices, estimate, options, case),
        options=options,
        would_change=changes_of(menu),
        choices=choices,
        estimate=estimate,
        pipeline=pipeline_for(choices, estimate, case),
        detailed_steps=detailed_steps(choices, estimate, case),
        pending_decisions=questions_of(choices, case),
        warnings=[*cautions(choices, estimate, case, options, need), *(assumed or [])],
        consent_need=need,
        status=PlanStatus.PENDING_APPROVAL,
        approvable=blocked is None,
        why_not_approvable=blocked,
        created_at=now,
        updated_at=now,
    )


def why_not_approvable(choices: Choices, estimate: Estimate, case: Case) -> str | None:
    """Why a plan cannot be approved as it stands, with the nearest one that can; None where it can. A provider that is not set up
    is named too. Rows that are still missing do not block here: approval asks for them."""
    reason = approvable_parts(choices, case.site)
    if reason is None and not is_known(choices.method):
        reason = f"There is no method {choices.method!r}."
    if reason is None and choices.provider not in case.site.providers:
        reason = f"The provider {choices.provider} is not set up here."
    if reason is None and not estimate.fits:
        reason = estimate.why_not
    if reason is None:
        reason = mismatch(choices, case.rows)
    if reason is None:
        return judging.why_not(choices)
    near = nearest(choices, case)
    return f"{reason} {near}" if near else reason


def nearest(choices: Choices, case: Case) -> str:
    """The nearest choice that could be approved here, as a sentence; empty where there is none."""
    named = excluded(choices.method, []) or choices.method
    for method in method_candidates(choices.capability, "consumer", case.intent, case.rows):
        trial = choices.model_copy(update={"method": method})
        if method != named and why_not(swap(trial, case, method=method), case) is None:
            return f"Nearest that can start now: {method_title(method)} on the same model."
    small = capability_of(choices.capability).small_pick
    machine = case.site.machine
    if machine is None or model_of(small).why_not:
        return _unproved(choices, case)
    for method in ("lora", "full_finetune"):
        here = {"base_model": small, "method": method, "provider": "local", "gpu": machine.gpu, "gpu_count": 1}
        if excluded(method, case.intent.excluded_methods) is None and why_not(swap(choices, case, **here), case) is None:
            return f"Nearest that can start now: {model_of(small).title} with {method_title(method)} on this machine."
    return _unproved(choices, case)


def _unproved(choices: Choices, case: Case) -> str:
    """With nothing to start here, at least the method that trains elsewhere."""
    if approvable_parts(choices, case.site) is None:
        return f"Set up {choices.provider}, or choose a model that this machine can train."
    for method in method_candidates(choices.capability, "consumer", case.intent, case.rows):
        trial = choices.model_copy(update={"method": method})
        if method != choices.method and approvable_parts(trial, case.site) is None:
            return f"{method_title(method)} would train this model once a provider with a fitting GPU is set up."
    return ""


def pipeline_for(choices: Choices, estimate: Estimate, case: Case) -> TrainingPipeline | None:
    """The stages as a pipeline, priced as the plan is; None for a single stage."""
    reference = pipeline_of(choices.method)
    cost = PipelineCost(min=estimate.cost_usd.min, max=estimate.cost_usd.max)
    if reference is not None:
        return reference.pipeline.model_copy(update={"estimated_cost": cost})
    volume = volume_of(choices, case.rows)
    stages = stages_of(choices, volume)
    if len(stages) < 2:
        return None
    steps = [max(1, steps_of(settings, volume, choices.gpu_count)) for _stage, settings in stages]
    made = [
        PipelineStage(
            name=stage.name,
            method=stage.method,
            config={"learning_rate": settings.learning_rate, "epochs": settings.epochs},
            estimated_hours=max(estimate.time_hours.likely * count / sum(steps), 1e-4),
            requires_approval=stage.requires_approval,
        )
        for (stage, settings), count in zip(stages, steps, strict=True)
    ]
    gpu = f"{choices.gpu.replace('-', '_')}_CLUSTER_{choices.gpu_count}" if choices.gpu_count > 1 else choices.gpu
    hours = sum(stage.estimated_hours for stage in made)
    return TrainingPipeline(stages=made, total_estimated_hours=hours, requiredGPU=gpu, estimated_cost=cost)


def detailed_steps(choices: Choices, estimate: Estimate, case: Case) -> list[str]:
    """What will happen, in order."""
    where = "this machine" if choices.provider == "local" else f"{choices.gpu_count} × {choices.gpu} at {choices.provider}"
    volume = volume_of(choices, case.rows)
    steps = [
        "Check the rows: format, duplicates, personal data, overlap; split off held-out rows by question and answer.",
        f"Start {where}, price ${estimate.price_per_hour:.2f} per hour.",
        f"Load {choices.base_model} and verify it.",
        "Smoke test in its own process: longest rows, one evaluation, one sample, one checkpoint; the estimate is corrected by it.",
        "Measure loss and answers of the base model on the held-out rows.",
    ]
    for index, (stage, settings) in enumerate(stages_of(choices, volume)):
        axes = " × ".join(filter(None, (stage.point.adaptation, stage.point.objective, stage.point.strategy)))
        count = steps_of(settings, volume, choices.gpu_count)
        wait = " You approve the result before the next stage." if stage.requires_approval else ""
        steps.append(
            f"Stage {index + 1}, {stage.name} ({axes}): {count:,} updates at learning rate {settings.learning_rate:g}.{wait}"
        )
    if "judge" in judging.takes(choices) and choices.judge is not None:
        asked, paid = asking_of(choices, case.rows), estimate.judge_usd
        price = f"{dollars(paid.min)}–{dollars(paid.max)}" if paid else "for nothing"
        steps.append(f"On the way {choices.judge.model} is asked about {asked.calls:,} times to judge, {price}.")
    steps += [
        f"Tell you at {choices.notify_at_percent:g} % of {dollars(choices.budget_max_usd)} and freeze with a verified checkpoint at"
        f" {choices.freeze_at_percent:g} %.",
        "Measure again on the same held-out rows, save the result, end what bills, write the report.",
    ]
    return steps


def _summary(choices: Choices, estimate: Estimate, case: Case) -> PlanSummary:
    intent = case.intent
    bar = f"{intent.benchmark_model}-level" if intent.benchmark_model else f"{choices.tier} quality"
    return PlanSummary(
        target_capability=choices.capability,
        quality_benchmark=bar,
        quality_tier=choices.tier,
        estimated_time=estimate.time_hours,
        estimated_cost=estimate.cost_usd,
        selected_method=method_title(choices.method),
        selected_model=choices.base_model,
        gpu_requirement="CPU" if choices.gpu == "cpu" else f"{choices.gpu_count} × {choices.gpu}",
    )
