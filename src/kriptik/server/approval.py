"""Approval: the contract is locked, the rows are prepared and checked, the run is made. All of it, or nothing."""

import shutil
from datetime import datetime

from sqlalchemy.orm import Session

from kriptik.catalogue.load import load_catalogue
from kriptik.catalogue.proof import status_of
from kriptik.server import judges, modelcheck, planning, scores
from kriptik.server.core import Core
from kriptik.server.runs.launch import RunFacts, launch
from kriptik.server.wiring import missing_for_runpod
from kriptik.spec.budget import BudgetAuthorization
from kriptik.spec.consent import Consent, Subject
from kriptik.spec.contract import TrainingContract
from kriptik.spec.errors import BadInputError, ConflictError, KriptikError
from kriptik.spec.job import DataRef, SamplePrompt, Stage
from kriptik.spec.plan import PlanStatus, TrainingImplementationPlan
from kriptik.store import plans
from kriptik.store.tables import TrainingPlan

WITHOUT: dict[Subject, tuple[str, str]] = {
    "voice": (
        "A voice is learnt only with the recorded consent of the person it belongs to.",
        "Send consent: the speaker's name (person), and in the speaker's own words what the voice may be used for (statement).",
    ),
    "likeness": (
        "Pictures of a person are learnt only with the recorded consent of the person they show.",
        "Send consent: the person's name (person), and in their own words what pictures of them may be used for (statement).",
    ),
}
"""What is said where consent is missing: what is the matter, and what to do."""


def must_be_open(plan: TrainingImplementationPlan) -> None:
    """409 for a plan that was decided on already."""
    if plan.status is PlanStatus.APPROVED:
        raise ConflictError("already_approved", "This plan was approved already.", "See its run.", fields={"jobId": plan.job_id})
    if plan.status is PlanStatus.REJECTED:
        raise ConflictError("plan_rejected", "This plan was rejected.", "Make a new plan.")


def approve(
    core: Core, user_id: str, plan_id: str, authorization: BudgetAuthorization, consent: Consent | None = None
) -> tuple[TrainingImplementationPlan, str]:
    """The approved plan and the id of its run. Rows are prepared before anything is decided: bad data costs nothing.

    422 `consent_missing` for a voice, or pictures of a person, without `consent`.
    """
    with core.db.read() as session:
        _contract, plan = plans.get(session, user_id, plan_id)
    must_be_open(plan)
    must_be_trainable(core, plan)
    judges.must_be_there(plan)
    with core.db.read() as session:
        _stages(session, core, user_id, plan)
    consent = consent_for(core, plan, consent)
    modelcheck.must_be_had(core, plan)
    folder = core.data_dir / "prepared" / plan.id
    data, samples = planning.prepare_rows(core, user_id, plan, folder)
    try:
        with core.db.write() as session:
            return _decide(session, core, user_id, plan.model_copy(update={"consent": consent}), authorization, data, samples)
    except KriptikError:
        if plan.job_id is None and not _approved_meanwhile(core, plan.id):
            shutil.rmtree(folder, ignore_errors=True)
        raise


def consent_for(core: Core, plan: TrainingImplementationPlan, consent: Consent | None) -> Consent | None:
    """The consent as it is recorded now; None where nobody's is needed. 422 `consent_missing` where it is, and there is none."""
    need = planning.consent_need(plan)
    if need is None:
        return None
    if consent is None:
        fields = {"consent": "is missing", **({"who": need.who} if need.who else {})}
        raise BadInputError("consent_missing", *WITHOUT[need.subject], fields=fields)
    return consent.model_copy(update={"subject": need.subject, "recorded_at": core.clock()})


def must_be_trainable(core: Core, plan: TrainingImplementationPlan) -> None:
    """409 `method_not_available` for what does not train yet, `provider_not_available` for a place that is not set up here."""
    choices = plan.choices
    set_up = choices.provider in core.providers
    if plan.approvable and set_up:
        return
    trains = choices.method in load_catalogue().methods and status_of(choices.method, choices.capability).status == "trainable"
    if not set_up and (plan.approvable or trains):
        raise ConflictError(
            "provider_not_available",
            f"The provider {choices.provider} is not set up here.",
            f"{_how_to_set_up(core, choices.provider)}Choose one of: {', '.join(sorted(core.providers))}.",
        )
    raise ConflictError(
        "method_not_available", plan.why_not_approvable or "This plan does not train yet.", "Choose another method or model."
    )


def _how_to_set_up(core: Core, provider: str) -> str:
    if provider != "runpod":
        return ""
    return f"Set {', '.join(missing_for_runpod(core.settings))} for RunPod and restart. "


def _decide(
    session: Session,
    core: Core,
    user_id: str,
    plan: TrainingImplementationPlan,
    authorization: BudgetAuthorization,
    data: DataRef | None,
    samples: list[SamplePrompt],
) -> tuple[TrainingImplementationPlan, str]:
    now = core.clock()
    contract, fresh = plans.get(session, user_id, plan.id)
    must_be_open(fresh)
    if fresh.updated_at != plan.updated_at:
        raise ConflictError("plan_changed", "The plan was changed meanwhile.", "Look at it again, then approve.")
    locked = lock(contract, now)
    row = session.get_one(TrainingPlan, plan.id)
    row.status = PlanStatus.APPROVED.value
    session.flush()
    job = launch(
        session,
        core,
        user_id=user_id,
        plan_id=plan.id,
        name=planning.run_name(plan),
        provider=plan.choices.provider,
        base_model=plan.choices.base_model,
        stages=_stages(session, core, user_id, plan),
        data=data,
        authorization=authorization,
        facts=facts(core, plan, samples),
        now=now,
    )
    approved = fresh.model_copy(
        update={
            "status": PlanStatus.APPROVED,
            "budget_authorization": authorization,
            "consent": plan.consent,
            "job_id": job.id,
            "approved_at": now,
            "updated_at": now,
            "tiles": [tile.model_copy(update={"status": "approved"}) for tile in fresh.tiles],
        }
    )
    plans.save(session, locked, approved)
    return approved, job.id


def _stages(session: Session, core: Core, user_id: str, plan: TrainingImplementationPlan) -> list[Stage]:
    choices = plan.choices
    return scores.with_reward_model(session, core, user_id, choices.provider, choices.base_model, planning.stages(plan))


def lock(contract: TrainingContract, now: datetime) -> TrainingContract:
    """The contract, immutable from here on."""
    return contract.model_copy(update={"locked": True, "locked_at": now, "hash": contract.content_hash()})


def facts(core: Core, plan: TrainingImplementationPlan, samples: list[SamplePrompt]) -> RunFacts:
    """What the plan fixed about its run."""
    return RunFacts(
        prompt=plan.prompt,
        capability=plan.choices.capability,
        modality=planning.modality(plan),
        method=plan.choices.method,
        precision=planning.precision(core, plan),
        gpu=plan.choices.gpu,
        gpu_count=plan.choices.gpu_count,
        price_per_hour=plan.estimate.price_per_hour,
        time_hours=plan.estimate.time_hours.document(),
        cost_usd=plan.estimate.cost_usd.document(),
        samples=samples,
        consent=plan.consent,
    )


def _approved_meanwhile(core: Core, plan_id: str) -> bool:
    with core.db.read() as session:
        return session.get_one(TrainingPlan, plan_id).status == PlanStatus.APPROVED.value
