"""Run → report: what was measured, nothing else. Pure; the server gathers the nouns, `report_pages` draws them."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from pydantic import JsonValue

from kriptik.spec.budget import LedgerEntry
from kriptik.spec.contract import SuccessCriterion, TrainingContract
from kriptik.spec.events import EvalResult, QualitySample
from kriptik.spec.job import DataRef
from kriptik.spec.plan import TrainingImplementationPlan
from kriptik.spec.report import CriterionResult, HeldOutLoss, RunReport, SideBySide
from kriptik.spec.run import JobDetail

RESAMPLES = 2000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Measured:
    """What the server knows of a run beside its page: the receipt, the rows, and how often it was frozen."""

    ledger: list[LedgerEntry]
    data: DataRef | None
    freezes: int
    now: datetime


@dataclass(frozen=True)
class Fact:
    """A measured figure that a criterion may ask for. `limit` wins over the contract's (a cap that was raised since)."""

    value: float
    sentence: str
    limit: float | None = None


def build_report(contract: TrainingContract, plan: TrainingImplementationPlan, job: JobDetail, measured: Measured) -> RunReport:
    """The report of a run in whatever state it is; what was not measured is None or empty."""
    result = job.result
    loss = held_out_loss(result.eval_before, result.eval_after) if result else None
    estimate = plan.estimate
    return RunReport(
        job_id=job.id,
        name=job.name,
        state=job.state,
        prompt=job.prompt,
        base_model=job.base_model,
        method=job.method,
        data=_data(measured.data),
        held_out_loss=loss,
        criteria=[check(criterion, loss, _facts(job, measured.data)) for criterion in contract.success_criteria],
        side_by_side=side_by_side(job.samples),
        spend_usd=job.current_spend,
        max_budget_usd=job.max_budget,
        estimated_cost_usd=(estimate.cost_usd.min, estimate.cost_usd.max),
        estimated_hours=(estimate.time_hours.low, estimate.time_hours.high),
        actual_hours=sum(entry.seconds or 0.0 for entry in measured.ledger if entry.kind == "compute") / 3600,
        train_seconds=result.train_seconds if result else 0.0,
        tokens=result.tokens if result else 0,
        tokens_per_second=result.tokens_per_second if result else 0.0,
        generations=job.generation,
        freezes=measured.freezes,
        inexact_resumes=job.inexact_resumes,
        artefacts=_artefacts(job),
        notes=_notes(job, loss),
        created_at=measured.now,
    )


def held_out_loss(before: EvalResult | None, after: EvalResult | None) -> HeldOutLoss | None:
    """Loss per supervised token before and after on the same rows, with an interval of the relative drop.

    Paired bootstrap over rows (Efron and Tibshirani 1993, percentile interval), seeded, so that the report never changes.
    """
    if before is None or after is None or not before.row_losses or not after.row_losses or not before.row_tokens:
        return None
    if len(before.row_losses) != len(after.row_losses) or before.row_tokens != after.row_tokens:
        return None
    rows = [(b * n, a * n, n) for b, a, n in zip(before.row_losses, after.row_losses, before.row_tokens, strict=True) if n]
    drop = _drop(rows)
    if drop is None:
        return None
    chance = random.Random(0)
    drops = sorted(d for d in (_drop(chance.choices(rows, k=len(rows))) for _ in range(RESAMPLES)) if d is not None)
    tail = (1 - CONFIDENCE) / 2
    low, high = drops[int(tail * len(drops))], drops[min(len(drops) - 1, int((1 - tail) * len(drops)))]
    return HeldOutLoss(
        before=before.loss,
        after=after.loss,
        relative_drop=drop,
        interval=(low, high),
        confidence=CONFIDENCE,
        rows=len(rows),
        tokens=sum(n for _, _, n in rows),
    )


def check(criterion: SuccessCriterion, loss: HeldOutLoss | None, facts: Mapping[str, Fact] | None = None) -> CriterionResult:
    """A criterion of the contract against what was measured; unmeasured is neither passed nor failed."""
    fact = (facts or {}).get(criterion.metric)
    if fact is not None:
        return _check_fact(criterion, fact)
    if criterion.metric != "held_out_loss" or loss is None:
        sentence = f"{criterion.sentence} Not measured in this run."
        return CriterionResult(criterion=criterion, measured=None, passed=None, sentence=sentence)
    if criterion.comparison == "relative_drop_at_least":
        measured, passed = loss.relative_drop, loss.relative_drop >= criterion.value
        shown = f"fell by {measured:.1%} ({loss.interval[0]:.1%} to {loss.interval[1]:.1%})"
    else:
        measured = loss.after
        passed = measured <= criterion.value if criterion.comparison == "at_most" else measured >= criterion.value
        shown = f"is {measured:.3f}"
    verdict = "Reached" if passed else "Not reached"
    return CriterionResult(criterion=criterion, measured=measured, passed=passed, sentence=f"{verdict}: held-out loss {shown}.")


def _check_fact(criterion: SuccessCriterion, fact: Fact) -> CriterionResult:
    limit = criterion.value if fact.limit is None else fact.limit
    passed = fact.value <= limit if criterion.comparison == "at_most" else fact.value >= limit
    sentence = f"{'Reached' if passed else 'Not reached'}: {fact.sentence}."
    return CriterionResult(criterion=criterion, measured=fact.value, passed=passed, sentence=sentence)


def _facts(job: JobDetail, data: DataRef | None) -> dict[str, Fact]:
    """What is measured beside the loss, by the metric's name in the contract."""
    spend, cap = float(job.current_spend), float(job.max_budget)
    found = {"spend_usd": Fact(spend, f"${spend:.4f} spent of ${cap:.2f} allowed", limit=cap)}
    if data is not None:
        found["overlap_rows"] = Fact(data.overlap_rows, f"{data.overlap_rows} held-out rows occur in the training rows")
    after = job.result.eval_after if job.result else None
    for name, value in (after.custom if after else {}).items():
        found.setdefault(name, Fact(value, f"{name.replace('_', ' ')} is {value:.3g} on held-out rows"))
    return found


def side_by_side(samples: Sequence[QualitySample]) -> list[SideBySide]:
    """Each held-out prompt with the untrained model's answer and the newest one."""
    base = {s.input: s for s in samples if s.base}
    tuned = {s.input: s for s in samples if not s.base}
    return [
        SideBySide(prompt=prompt, expected=base[prompt].expected, base=base[prompt].output, tuned=tuned[prompt].output)
        for prompt in base
        if prompt in tuned
    ]


def _drop(rows: Sequence[tuple[float, float, int]]) -> float | None:
    before, after = sum(b for b, _, _ in rows), sum(a for _, a, _ in rows)
    return 1 - after / before if before > 0 else None


def _data(data: DataRef | None) -> dict[str, JsonValue]:
    if data is None:
        return {}
    return {
        "source": data.source,
        "licence": data.licence,
        "trainRows": data.train_rows,
        "heldOutRows": data.eval_rows,
        "overlapRows": data.overlap_rows,
        "sha256": data.sha256,
    }


def _artefacts(job: JobDetail) -> dict[str, str]:
    if job.result is None:
        return {}
    paths = {"adapter": job.result.adapter_path, "model": job.result.model_path}
    return {name: path for name, path in paths.items() if path}


def _notes(job: JobDetail, loss: HeldOutLoss | None) -> list[str]:
    notes = []
    if loss is not None and loss.interval[0] <= 0:
        notes.append("The interval of the loss includes no change: these rows do not show that the model got better.")
    if job.inexact_resumes:
        notes.append(f"{job.inexact_resumes} resume(s) continued on another stack and are not bit-exact.")
    if job.current_spend > job.max_budget:
        notes.append(f"The spend passed the cap by ${job.current_spend - job.max_budget:.4f}.")
    if job.budget.max_budget > Decimal(0) and job.probe is not None and not job.probe.learns:
        notes.append("The smoke test did not see the model learn.")
    return notes
