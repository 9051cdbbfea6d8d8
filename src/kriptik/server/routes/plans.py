"""From a sentence to an approved plan: read, show, change, approve or reject. Nothing is spent before the approval."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import AliasChoices, Field

from kriptik.server import approval, importing, modelcheck, planning
from kriptik.server.auth import CoreDep, PersonDep
from kriptik.server.core import Core
from kriptik.server.problems import checked
from kriptik.spec.base import Noun
from kriptik.spec.budget import BudgetAuthorization
from kriptik.spec.consent import Consent
from kriptik.spec.contract import TrainingContract
from kriptik.spec.errors import BudgetError, ConflictError, NotFoundError
from kriptik.spec.intent import QualityTier
from kriptik.spec.plan import (
    PlanChange,
    PlanModification,
    PlanStatus,
    TileCategory,
    TrainingImplementationPlan,
)
from kriptik.spec.search import ModelCheck
from kriptik.store import plans

router = APIRouter(tags=["plans"])

MOST_PROMPT = 20_000
Prompt = Annotated[str, Field(min_length=1, max_length=MOST_PROMPT, pattern=r"\S")]


class IntentContext(Noun):
    """What the person has already: a run or model to start from, a dataset's id."""

    existing_model: str | None = Field(default=None, max_length=300)
    existing_data: str | None = Field(default=None, max_length=300)


class IntentRequest(Noun):
    """A request in plain words."""

    prompt: Prompt
    context: IntentContext = IntentContext()


class Planned(Noun):
    """What the request became."""

    contract: TrainingContract
    plan: TrainingImplementationPlan


class PlanList(Noun):
    """A page of plans, newest first; `next` is the id to pass as `before`."""

    plans: list[TrainingImplementationPlan]
    next: str | None = None


class WizardSelections(Noun):
    """The six steps of the wizard; what is left out is recommended."""

    prompt: Annotated[str, Field(max_length=MOST_PROMPT)] = ""
    capability: str = Field(min_length=1, max_length=100)
    base_model: str | None = Field(default=None, max_length=300)
    method: str | None = Field(default=None, max_length=100)
    dataset_id: str | None = Field(default=None, max_length=26)
    gpu: str | None = Field(default=None, max_length=100)
    provider: str | None = Field(default=None, max_length=100)
    budget_max_usd: float | None = Field(default=None, gt=0, le=1e9, allow_inf_nan=False)
    quality_tier: QualityTier | None = None
    commercial: bool = False
    """Whether the result will be used commercially."""
    territory: str | None = Field(default=None, pattern=r"^[A-Z]{2}$")
    """Where it will be used: ISO 3166-1, or EU."""
    language: str | None = Field(default=None, pattern=r"^[a-z]{2}$")
    """What it must speak: ISO 639-1."""
    deadline_hours: float | None = Field(default=None, gt=0, le=1e5, allow_inf_nan=False)
    gated: bool | None = None
    """False: no model whose terms must be accepted first."""


class JobImport(Noun):
    """A job of OpenAI's fine-tuning API, as it is sent there or answered by it, and the rows to train on."""

    job: dict[str, Any]
    dataset_id: str | None = Field(default=None, max_length=26)
    budget_max_usd: float | None = Field(default=None, gt=0, le=1e9, allow_inf_nan=False)


class ImportedJob(Planned):
    """A plan out of another service's job."""

    notes: list[str]


class TileEdit(Noun):
    """How to change a tile."""

    modification: PlanModification


class TileEdited(Noun):
    """The plan after the change, and which tiles moved with it and why."""

    plan: TrainingImplementationPlan
    affected_tiles: list[TileCategory]
    changes: list[PlanChange]


class WordsEdit(Noun):
    """A change in plain words."""

    nlp_modification: Prompt


class WordsEdited(Noun):
    """The plan after the change; `changes` says what moved and why."""

    plan: TrainingImplementationPlan
    changes: list[PlanChange]


class ApproveRequest(Noun):
    """The authorisation; checked here so that each refusal has its own sentence."""

    budget_authorization: dict[str, Any]
    consent: dict[str, Any] | None = Field(default=None, validation_alias=AliasChoices("consent", "voiceConsent"))
    """Of the person whose voice is learnt or whom the pictures show: person, statement, givenBy. Plans with a `consentNeed` ask for
    it; the run keeps it."""


class Approved(Noun):
    """The plan, approved and locked, and its run."""

    approved_plan: TrainingImplementationPlan
    job_id: str


@router.post("/parse-intent")
def parse_intent(core: CoreDep, person: PersonDep, body: IntentRequest) -> Planned:
    """Reads a request into a contract and a plan."""
    dataset = planning.dataset_for(core, person.id, body.context.existing_data)
    contract, plan = planning.from_words(core, person.id, body.prompt, dataset, existing_model=body.context.existing_model)
    return _store(core, contract, plan)


@router.get("/plans")
def list_plans(
    core: CoreDep, person: PersonDep, limit: Annotated[int, Query(ge=1, le=100)] = 20, before: str | None = None
) -> PlanList:
    """Your plans, newest first."""
    with core.db.read() as session:
        found = plans.page(session, person.id, limit, before)
    return PlanList(plans=found, next=found[-1].id if len(found) == limit else None)


@router.post("/plans")
def make_plan(core: CoreDep, person: PersonDep, body: WizardSelections) -> Planned:
    """The wizard's selections as contract and plan."""
    dataset = planning.dataset_for(core, person.id, body.dataset_id)
    contract, plan = planning.from_selections(core, person.id, body.model_dump(exclude_none=True), dataset)
    return _store(core, contract, plan)


@router.post("/plans/import")
def import_plan(core: CoreDep, person: PersonDep, body: JobImport) -> ImportedJob:
    """An OpenAI fine-tuning job as contract and plan; `notes` says what became of its fields."""
    made = importing.from_openai(core, person.id, body.job, body.dataset_id, body.budget_max_usd)
    stored = _store(core, made.contract, made.plan)
    if made.edit is not None:
        _save(core, made.edit, made.plan)
        stored = Planned(contract=made.edit.contract, plan=made.edit.plan)
    return ImportedJob(contract=stored.contract, plan=stored.plan, notes=made.notes)


@router.get("/plans/{plan_id}")
def get_plan(core: CoreDep, person: PersonDep, plan_id: str) -> Planned:
    """A plan with its tiles, and its contract."""
    with core.db.read() as session:
        contract, plan = plans.get(session, person.id, plan_id)
    return Planned(contract=contract, plan=plan)


@router.get("/plans/{plan_id}/model-check")
def check_plan_model(core: CoreDep, person: PersonDep, plan_id: str) -> ModelCheck:
    """Asks the hub about the plan's base model with your token: whether it is there, its licence now, and whether you may have it.
    An approval asks the same, and refuses what cannot be had."""
    with core.db.read() as session:
        _contract, plan = plans.get(session, person.id, plan_id)
    return modelcheck.of_plan(core, plan)


@router.post("/plans/{plan_id}/again")
def plan_again(core: CoreDep, person: PersonDep, plan_id: str) -> Planned:
    """A new open plan with the same choices, to change and approve anew; the earlier one stays as it is."""
    with core.db.read() as session:
        contract, plan = plans.get(session, person.id, plan_id)
    return _store(core, *planning.again(core, person.id, contract, plan))


@router.put("/plans/{plan_id}/tiles/{tile_id}")
def change_tile(core: CoreDep, person: PersonDep, plan_id: str, tile_id: str, body: TileEdit) -> TileEdited:
    """Changes one tile; whatever depends on it is recalculated."""
    contract, plan = _open_plan(core, person.id, plan_id)
    tile = next((t for t in plan.tiles if tile_id in (t.id, t.category)), None)
    if tile is None:
        raise NotFoundError(
            "unknown_tile", f"This plan has no tile {tile_id[:100]!r}.", "Tiles: " + ", ".join(t.category for t in plan.tiles) + "."
        )
    edit = planning.edit_tile(core, person.id, contract, plan, tile, body.modification)
    _save(core, edit, plan)
    return TileEdited(plan=edit.plan, affected_tiles=edit.affected, changes=edit.changes)


@router.post("/plans/{plan_id}/modify-with-ai")
def modify_plan(core: CoreDep, person: PersonDep, plan_id: str, body: WordsEdit) -> WordsEdited:
    """Changes the plan in plain words."""
    contract, plan = _open_plan(core, person.id, plan_id)
    edit = planning.edit_words(core, person.id, contract, plan, body.nlp_modification)
    _save(core, edit, plan)
    return WordsEdited(plan=edit.plan, changes=edit.changes)


@router.post("/plans/{plan_id}/approve")
def approve_plan(core: CoreDep, person: PersonDep, plan_id: str, body: ApproveRequest) -> Approved:
    """Locks the contract, makes the run and starts its set-up. Terms must be accepted."""
    authorization = checked(BudgetAuthorization, body.budget_authorization)
    if not authorization.terms_accepted:
        raise BudgetError("terms_not_accepted", "The terms were not accepted.", "Set termsAccepted to true to authorize charges.")
    consent = checked(Consent, body.consent) if body.consent is not None else None
    plan, job_id = approval.approve(core, person.id, plan_id, authorization, consent)
    core.bus.wake(job_id)
    return Approved(approved_plan=plan, job_id=job_id)


@router.post("/plans/{plan_id}/reject")
def reject_plan(core: CoreDep, person: PersonDep, plan_id: str) -> TrainingImplementationPlan:
    """Puts a plan aside."""
    contract, plan = _open_plan(core, person.id, plan_id)
    rejected = plan.model_copy(update={"status": PlanStatus.REJECTED, "updated_at": core.clock()})
    with core.db.write() as session:
        plans.save(session, contract, rejected)
    return rejected


def _store(core: Core, contract: TrainingContract, plan: TrainingImplementationPlan) -> Planned:
    with core.db.write() as session:
        plans.add(session, contract, plan)
    return Planned(contract=contract, plan=plan)


def _open_plan(core: Core, user_id: str, plan_id: str) -> tuple[TrainingContract, TrainingImplementationPlan]:
    with core.db.read() as session:
        contract, plan = plans.get(session, user_id, plan_id)
    approval.must_be_open(plan)
    return contract, plan


def _save(core: Core, edit: planning.Edited, before: TrainingImplementationPlan) -> None:
    """Keeps an edit, unless the plan changed meanwhile."""
    with core.db.write() as session:
        if not plans.save(session, edit.contract, edit.plan, seen=before.updated_at):
            raise ConflictError("plan_changed", "The plan was changed by somebody else meanwhile.", "Load it and try again.")
