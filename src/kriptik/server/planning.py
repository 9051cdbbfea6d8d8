"""The one place where the server calls the planner: request → contract and plan → job."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kriptik.catalogue.load import find_gpu, find_model, load_catalogue
from kriptik.catalogue.proof import method_statuses, way_statuses
from kriptik.data import prepare
from kriptik.data.readers import read_records
from kriptik.data.transcripts import Transcripts
from kriptik.pipeline import edit, job
from kriptik.pipeline.contract import make_contract
from kriptik.pipeline.intent.parser import OfflineParser
from kriptik.pipeline.plan.build import build_plan
from kriptik.pipeline.plan.choose import choose
from kriptik.pipeline.plan.consent import consent_need as consent_need_of
from kriptik.pipeline.plan.known import is_known
from kriptik.pipeline.plan.site import Case, Machine, Rows, Site, rows_of
from kriptik.server import words
from kriptik.server.core import Core
from kriptik.server.datasets import SEED, settings_of
from kriptik.server.reading import parser_of
from kriptik.spec.base import new_id
from kriptik.spec.consent import ConsentNeed
from kriptik.spec.contract import TrainingContract
from kriptik.spec.data import DataReport
from kriptik.spec.errors import BadInputError, ConflictError, NotFoundError
from kriptik.spec.intent import HardwareLimit, OutputMention, TermsMention, TrainingIntent
from kriptik.spec.job import DataRef, Modality, Precision, SamplePrompt, Stage
from kriptik.spec.notices import NotificationPreferences
from kriptik.spec.plan import (
    ImplementationTile,
    PlanChange,
    PlanModification,
    TileCategory,
    TrainingImplementationPlan,
)
from kriptik.store.tables import Dataset, User

SAMPLES = 3
HELD_OUT_READ = 200
"""Held-out rows looked at for sample prompts."""
ID_LENGTH = 26
"""A ULID's."""


@dataclass(frozen=True)
class Edited:
    """A plan after an edit, what moved, and on which tiles."""

    contract: TrainingContract
    plan: TrainingImplementationPlan
    changes: list[PlanChange]
    affected: list[TileCategory]


def warm_up() -> None:
    """Reads vocabulary, catalogue and proofs once, so that the first request is as quick as the others."""
    OfflineParser().parse("Fine-tune a small model for customer support, budget $20")
    method_statuses()


def dataset_for(core: Core, user_id: str, dataset_id: str | None) -> Dataset | None:
    """The person's dataset; None where none is named. 404 for one that is not theirs."""
    if not dataset_id:
        return None
    with core.db.read() as session:
        row = session.get(Dataset, dataset_id)
        if row is None or row.user_id != user_id:
            raise NotFoundError("dataset_not_found", "There is no such dataset.", "Upload the rows, or choose a built-in sample.")
        session.expunge(row)
        return row


def from_words(
    core: Core, user_id: str, prompt: str, dataset: Dataset | None, *, existing_model: str | None
) -> tuple[TrainingContract, TrainingImplementationPlan]:
    """Reads a request and plans it. 422 `not_a_training_request` or `needs_clarification` where there is nothing to plan."""
    intent = parser_of(core.settings).parse(prompt)
    if not intent.is_training_request:
        raise BadInputError(
            "not_a_training_request",
            "This does not ask for a model to be trained.",
            'Say what the model should learn, for example: "Fine-tune a small Llama for customer support, budget $20".',
        )
    if existing_model and intent.base_model is None:
        intent = intent.model_copy(update={"base_model": existing_model})
    return _planned(core, user_id, prompt, intent, dataset)


def from_selections(
    core: Core, user_id: str, selections: dict[str, Any], dataset: Dataset | None
) -> tuple[TrainingContract, TrainingImplementationPlan]:
    """The wizard's selections, planned. Unknown names are refused with what there is."""
    _known("capability", selections["capability"], selections["capability"] in load_catalogue().capabilities)
    if (model := selections.get("base_model")) is not None:
        _known("base_model", model, find_model(model) is not None)
    if (method := selections.get("method")) is not None:
        _known("method", method, is_known(method))
    if (gpu := selections.get("gpu")) is not None:
        _known("gpu", gpu, find_gpu(gpu) is not None)
    prompt = selections.get("prompt", "").strip()
    read = OfflineParser().parse(prompt) if prompt else TrainingIntent.model_validate({"is_training_request": True})
    limit = {"cpu_only": True} if gpu == "cpu" else {"gpu": gpu}
    hardware = HardwareLimit.model_validate(limit) if gpu else None
    sale = "commercial" if selections.get("commercial") else None
    given = {
        "capability": selections["capability"],
        "base_model": model,
        "methods": [method] if method else None,
        "hardware": hardware,
        "provider": selections.get("provider"),
        "budget_max_usd": selections.get("budget_max_usd"),
        "quality_tier": selections.get("quality_tier"),
        "deadline_hours": selections.get("deadline_hours"),
        "output": _joined(read.output, license=sale, language=selections.get("language")),
        "terms": _joined(read.terms, territory=selections.get("territory"), gated=selections.get("gated")),
    }
    chosen = {name: value for name, value in given.items() if value is not None}
    body = read.model_dump() | {"is_training_request": True, "needs_clarification": False, "question": None}
    try:
        intent = TrainingIntent.model_validate(body | chosen)
    except ValueError as error:
        raise BadInputError(
            "unknown_provider", f"There is no provider {given['provider']!r}.", "See the plan's choices."
        ) from error
    return _planned(core, user_id, prompt or _words_for(intent), intent, dataset)


def _joined(read: OutputMention | TermsMention | None, **selected: object) -> dict[str, Any] | None:
    """What was read with what was selected over it; None where neither says anything."""
    chosen = {name: value for name, value in selected.items() if value is not None}
    return ({**(read.model_dump() if read else {}), **chosen}) if read or chosen else None


def again(
    core: Core, user_id: str, contract: TrainingContract, plan: TrainingImplementationPlan
) -> tuple[TrainingContract, TrainingImplementationPlan]:
    """A fresh, open plan with an earlier one's choices and authorised budget. Rows deleted since then are left out."""
    choices, allowed = plan.choices, plan.budget_authorization
    if allowed is not None:
        marks = {"notify_at_percent": allowed.notify_at_percent, "freeze_at_percent": allowed.freeze_at_percent}
        choices = choices.model_copy(update={"budget_max_usd": allowed.max_budget, **marks})
    try:
        rows = _rows(dataset_for(core, user_id, choices.dataset_id))
    except NotFoundError:
        rows, choices = None, choices.model_copy(update={"dataset_id": None, "data_rows": None})
    case = Case(plan.intent, site_of(core), rows)
    now, contract_id = core.clock(), new_id()
    fresh = build_plan(choices, case, plan_id=new_id(), contract_id=contract_id, user_id=user_id, prompt=plan.prompt, now=now)
    return make_contract(fresh, case, contract_id=contract_id, now=now, parent=contract), fresh


def edit_tile(
    core: Core,
    user_id: str,
    contract: TrainingContract,
    plan: TrainingImplementationPlan,
    tile: ImplementationTile,
    modification: PlanModification,
) -> Edited:
    """Changes one tile; what depends on it follows. A dataset's id on the data tile attaches its rows."""
    case = _case(core, user_id, plan)
    if tile.category == "data" and modification.type == "custom_value" and _is_id(modification.value):
        case = Case(plan.intent, case.site, _rows(dataset_for(core, user_id, str(modification.value))))
    result = edit.edit_tile(plan, case, tile.category, modification, now=core.clock())
    return _edited(core, contract, case, result)


def edit_words(core: Core, user_id: str, contract: TrainingContract, plan: TrainingImplementationPlan, words: str) -> Edited:
    """Changes a plan in plain English."""
    case = _case(core, user_id, plan)
    result = edit.edit_words(plan, case, words, now=core.clock())
    return _edited(core, contract, case, result)


def prepare_rows(
    core: Core, user_id: str, plan: TrainingImplementationPlan, folder: Path
) -> tuple[DataRef | None, list[SamplePrompt]]:
    """The plan's rows, checked, split and written under `folder`, and three held-out prompts. 422 `data_missing` without data, 409
    `words_missing` for a voice whose recordings nobody listened to."""
    dataset = dataset_for(core, user_id, plan.choices.dataset_id)
    if dataset is None:
        needs = ", ".join(str(need).replace("_", " ") for need in _needs(plan))
        raise BadInputError(
            "data_missing",
            f"No rows are attached to this plan; {plan.choices.method} needs {needs or 'rows to train on'}.",
            "Upload a file or choose a built-in sample, then attach it to the data tile.",
        )
    source, report = Path(dataset.path), DataReport.model_validate(dataset.report)
    known = words.known(source)
    if plan.choices.capability == prepare.VOICE and not known:
        _must_be_heard(dataset.id, report)
    prepared = prepare.prepare(
        source,
        folder,
        name=source.name,
        seed=SEED,
        settings=settings_of(report.fixes, plan.choices.capability),
        capability=plan.choices.capability,
        licence=dataset.licence,
        source_name=dataset.name,
        dataset_id=dataset.id,
        transcripts=Transcripts(known, voices=words.voices_of(source)),
    )
    rows = []
    if prepared.eval_path:
        for place, record in enumerate(read_records(Path(prepared.eval_path))):
            if place >= HELD_OUT_READ:
                break
            rows.append(record.value)
    return prepared.ref(), job.sample_prompts(rows, SAMPLES, job.plan_modality(plan))


def _must_be_heard(dataset_id: str, report: DataReport) -> None:
    """A model needs about a second a sentence, and what it writes is to be read before it is learnt: no part of an approval."""
    silent = 0 if report.speech else sum(one.count for one in report.findings if one.code == "sound_no_text")
    if silent:
        raise ConflictError(
            "words_missing",
            f"{silent} of the recordings came without words, and nobody has listened to them yet.",
            f"Have the words written down and read them, on the page /data/{dataset_id} or with "
            f"`kriptik data words {dataset_id} --write`; then approve.",
            fields={"datasetId": dataset_id},
        )


def stages(plan: TrainingImplementationPlan) -> list[Stage]:
    """The run's stages."""
    return job.plan_stages(plan)


def consent_need(plan: TrainingImplementationPlan) -> ConsentNeed | None:
    """Whose consent the plan needs, as it stands; None where nobody's."""
    return consent_need_of(plan.choices, plan.prompt)


def modality(plan: TrainingImplementationPlan) -> Modality:
    """What the run is about."""
    return job.plan_modality(plan)


def precision(core: Core, plan: TrainingImplementationPlan) -> Precision:
    """How the base weights are held."""
    return job.plan_precision(plan, site_of(core))


def run_name(plan: TrainingImplementationPlan) -> str:
    """The run's name in lists."""
    return job.plan_name(plan)


def site_of(core: Core) -> Site:
    """What is set up here: providers, this machine, its price, and what trains."""
    local = core.providers.get("local")
    machine = None
    if local is not None:
        offers = local.offers()
        best = max(offers, key=lambda o: (o.gpu != "cpu", o.gpu_count), default=None)
        if best is not None:
            gpu = find_gpu(best.gpu)
            memory = best.gpu_memory_gb if best.gpu != "cpu" else best.memory_gb
            cores = core.settings.threads or best.cpu_cores
            held = frozenset(best.packages)
            machine = Machine(gpu.id if gpu else "cpu", best.gpu_count, memory, cores, best.cpu_bf16, held)
    return Site(
        providers=frozenset(core.providers),
        machine=machine or Machine(cores=core.settings.threads or 2),
        local_price=core.settings.local_price_per_hour,
        quotes=core.quotes.of(core.providers),
        statuses={status.id: status for status in method_statuses()},
        ways=way_statuses(),
    )


def _planned(
    core: Core, user_id: str, prompt: str, intent: TrainingIntent, dataset: Dataset | None
) -> tuple[TrainingContract, TrainingImplementationPlan]:
    case = Case(intent, site_of(core), _rows(dataset))
    chosen = choose(intent, case.site, case.rows)
    choices = chosen.choices.model_copy(update={"notify_at_percent": _alert_mark(core, user_id, chosen.choices.freeze_at_percent)})
    notes = [*([intent.reader_note] if intent.reader_note else []), *chosen.assumed]
    now, contract_id = core.clock(), new_id()
    plan = build_plan(
        choices,
        case,
        plan_id=new_id(),
        contract_id=contract_id,
        user_id=user_id,
        prompt=prompt,
        now=now,
        assumed=notes,
    )
    contract = make_contract(plan, case, contract_id=contract_id, now=now, assumed=notes, thinking_tokens=intent.thinking_tokens)
    return contract, plan


def _alert_mark(core: Core, user_id: str, freeze_percent: float) -> float:
    """The person's own mark for budget alerts, in percent; below the freeze, or it would never be told."""
    with core.db.read() as session:
        wanted = NotificationPreferences.model_validate(session.get_one(User, user_id).preferences)
    return min(wanted.alert_on_budget_percent, freeze_percent - 1)


def _case(core: Core, user_id: str, plan: TrainingImplementationPlan) -> Case:
    return Case(plan.intent, site_of(core), _rows(dataset_for(core, user_id, plan.choices.dataset_id)))


def _edited(core: Core, contract: TrainingContract, case: Case, result: "edit.Edit") -> Edited:
    contract_id = new_id()
    plan = result.plan.model_copy(update={"contract_id": contract_id})
    case = Case(plan.intent, case.site, case.rows)
    fresh = make_contract(plan, case, contract_id=contract_id, now=core.clock(), parent=contract)
    return Edited(contract=fresh, plan=plan, changes=result.changes, affected=result.affected)


def _is_id(value: object) -> bool:
    return isinstance(value, str) and len(value) == ID_LENGTH and value.isalnum()


def _rows(dataset: Dataset | None) -> Rows | None:
    if dataset is None:
        return None
    return rows_of(dataset.id, dataset.name, DataReport.model_validate(dataset.report), dataset.licence)


def _needs(plan: TrainingImplementationPlan) -> list[str]:
    facts = next(tile.facts for tile in plan.tiles if tile.category == "data")
    needs = facts.get("rowNeeds")
    return [str(need) for need in needs] if isinstance(needs, list) else []


def _known(field: str, value: str, known: bool) -> None:
    if not known:
        raise BadInputError(f"unknown_{field}", f"There is no {field.replace('_', ' ')} {value!r}.", "See the catalogue's lists.")


def _words_for(intent: TrainingIntent) -> str:
    what = load_catalogue().capabilities[intent.capability or "custom"].title.lower()
    return f"Train a model for {what}" + (f" from {intent.base_model}" if intent.base_model else "")
