"""Intent and choices → the contract: what is promised, measurably. A changed mind is a new version that names its parent."""

from datetime import datetime

from kriptik.pipeline.plan.choose import method_candidates
from kriptik.pipeline.plan.cost import gpu_of
from kriptik.pipeline.plan.data import SOURCES, requirements, sufficiency, volume_of
from kriptik.pipeline.plan.known import (
    TEXT_CAPABILITIES,
    capability_of,
    entries,
    method_title,
    model_of,
    other_way,
    pipeline_of,
    unfit,
)
from kriptik.pipeline.plan.reasons import dollars, gpu_reason, method_reason, model_reason
from kriptik.pipeline.plan.settings import Volume
from kriptik.pipeline.plan.site import Case
from kriptik.spec.catalogue import TrainingPipeline
from kriptik.spec.contract import GpuRequirement, MethodChoice, ModelChoice, SuccessCriterion, TrainingContract
from kriptik.spec.plan import Choices, TrainingImplementationPlan

LEAST_DROP = 0.05
"""A held-out loss that falls by less than this share is no result worth paying for."""
TIMES = 3


def make_contract(
    plan: TrainingImplementationPlan,
    case: Case,
    *,
    contract_id: str,
    now: datetime,
    assumed: list[str] | None = None,
    parent: TrainingContract | None = None,
    thinking_tokens: int = 0,
) -> TrainingContract:
    """The contract behind a plan. With `parent`, its next version. Pure: id and time come in."""
    choices, intent = plan.choices, case.intent
    volume = volume_of(choices, case.rows)
    return TrainingContract(
        id=contract_id,
        user_id=plan.user_id,
        prompt=plan.prompt,
        version=parent.version + 1 if parent else 1,
        parent_id=parent.id if parent else None,
        intent=intent,
        target_capability=choices.capability,
        quality_tier=choices.tier,  # type: ignore[arg-type]
        quality_benchmark=f"{intent.benchmark_model}-level" if intent.benchmark_model else None,
        benchmark_model=intent.benchmark_model,
        recommended_base_models=_models(plan, case),
        selected_base_model=choices.base_model,
        recommended_methods=_methods(plan, case),
        selected_method=plan.pipeline or choices.method,
        data_requirements=requirements(choices.capability, choices.method),
        estimated_data_volume=_volume_words(volume, choices, case),
        data_source_strategy=choices.data_source,  # type: ignore[arg-type]
        technical_requirements=_technical(choices, plan),
        gpu_requirements=GpuRequirement(
            gpu=choices.gpu,
            count=choices.gpu_count,
            vram_gb=plan.estimate.vram_gb.likely,
            provider=choices.provider,
            price_per_hour=plan.estimate.price_per_hour,
            why=gpu_reason(choices, plan.estimate, case),
        ),
        estimated_training_time=plan.estimate.time_hours,
        estimated_cost=plan.estimate.cost_usd,
        success_criteria=success_criteria(choices),
        evaluation_strategy=_evaluation(choices),
        implementation_plan=plan.detailed_steps,
        assumptions=assumed if assumed is not None else (parent.assumptions if parent else []),
        thinking_tokens_used=parent.thinking_tokens_used if parent else thinking_tokens,
        created_at=now,
    )


def success_criteria(choices: Choices) -> list[SuccessCriterion]:
    """What the run must show on rows it never saw. The metric names are those that the report checks."""
    found = [
        SuccessCriterion(
            metric="held_out_loss",
            comparison="relative_drop_at_least",
            value=LEAST_DROP,
            sentence=f"The loss on held-out rows falls by at least {LEAST_DROP:.0%} against the base model.",
        ),
        SuccessCriterion(
            metric="overlap_rows",
            comparison="at_most",
            value=0,
            sentence="No held-out row's question or answer occurs in the training rows.",
        ),
        SuccessCriterion(
            metric="spend_usd",
            comparison="at_most",
            value=float(choices.budget_max_usd),
            sentence=f"The run costs at most {dollars(choices.budget_max_usd)}, or what you raise the limit to.",
        ),
    ]
    if any(entry.category in ("alignment", "beyond") and "preferences" in entry.data_types for entry in entries(choices.method)):
        found.append(
            SuccessCriterion(
                metric="preference_accuracy",
                comparison="at_least",
                value=0.6,
                sentence="Of held-out pairs, the better side is the likelier one in at least 60 %.",
            )
        )
    return found


def _models(plan: TrainingImplementationPlan, case: Case) -> list[ModelChoice]:
    tile = next(tile for tile in plan.tiles if tile.category == "model")
    ids = [plan.choices.base_model, *(alternative.value for alternative in tile.alternatives)]
    found = []
    for place, name in enumerate(ids[: 1 + TIMES]):
        model = model_of(name)
        found.append(
            ModelChoice(
                id=model.id,
                title=model.title,
                params_b=model.params_b,
                licence=model.licence_name,
                strengths=model.entry.strengths if model.entry else [],
                weaknesses=model.entry.weaknesses if model.entry else [],
                why=model_reason(plan.choices, case) if place == 0 else "An alternative at another size or price.",
                trainable=model.why_not is None,
                why_not=model.why_not,
            )
        )
    return found


def _methods(plan: TrainingImplementationPlan, case: Case) -> list[MethodChoice]:
    choices = plan.choices
    others = [m for m in method_candidates(choices.capability, choices.tier, case.intent, case.rows) if m != choices.method]
    found = []
    for place, name in enumerate([choices.method, *others[:TIMES]]):
        why_not = _method_why_not(name, choices, case)
        reference = pipeline_of(name)
        pipeline: TrainingPipeline | None = plan.pipeline if place == 0 else reference.pipeline if reference else None
        found.append(
            MethodChoice(
                id=name,
                title=method_title(name),
                why=method_reason(choices, case) if place == 0 else "An alternative at another price.",
                trainable=why_not is None,
                why_not=why_not,
                pipeline=pipeline,
            )
        )
    return found


def _method_why_not(method: str, choices: Choices, case: Case) -> str | None:
    if (why := unfit(method, model_of(choices.base_model))) is not None:
        return why
    way = other_way(choices.base_model, choices.capability)
    for entry in entries(method):
        status = case.site.status(entry.id, way)
        here = status is not None and status.status == "trainable" and choices.capability in status.capabilities
        if case.site.statuses and not here:
            return (status and status.reason) or f"{entry.title} is planned."
    return None


def _volume_words(volume: Volume, choices: Choices, case: Case) -> str:
    enough = sufficiency(choices, case.rows)
    if volume.known:
        return f"{enough.have or volume.rows:,} rows; {enough.sentence}"
    return f"about {volume.rows:,} training rows assumed. {enough.sentence}"


def _technical(choices: Choices, plan: TrainingImplementationPlan) -> list[str]:
    gpu = gpu_of(choices.gpu)
    hardware = "a CPU" if gpu.id == "cpu" else f"{choices.gpu_count} × {gpu.title} ({gpu.vram_gb:g} GB each)"
    found = [
        f"{hardware} at {choices.provider}",
        f"{plan.estimate.vram_gb.low:.1f}–{plan.estimate.vram_gb.high:.1f} GB of memory",
        f"{plan.estimate.disk_gb.likely:.1f} GB of disk",
        f"data: {SOURCES[choices.data_source]}",
    ]
    output = plan.intent.output
    if output and output.export:
        found.append(f"result exported as {output.export}")
    if output and output.language:
        found.append(f"result answers in {output.language}")
    if output and output.max_latency_ms:
        found.append(f"an answer within {output.max_latency_ms:g} ms")
    return found


def _evaluation(choices: Choices) -> str:
    home = other_way(choices.base_model, choices.capability) or capability_of(choices.capability)
    text = (
        "Before and after training the same held-out rows are measured, grouped so that no question or answer is on both sides; the"
        " relative change gets a 95 % interval by paired bootstrap over rows. Three held-out prompts are answered by base and tuned"
        " model, side by side."
    )
    if choices.capability in TEXT_CAPABILITIES:
        return text
    return f"{text} Measured besides: {home.metric} ({home.metric_unit})."
