"""The base model of a plan, asked after at the hub with the user's token, before any money is spent."""

import os
from pathlib import Path

from kriptik.catalogue.load import load_catalogue
from kriptik.data.search.http import SearchError
from kriptik.data.search.hub import Hub
from kriptik.data.search.models import NAME, check_model
from kriptik.pipeline.plan.known import Model, model_of
from kriptik.pipeline.plan.licences import forbidden
from kriptik.server.core import Core
from kriptik.spec.errors import ConflictError
from kriptik.spec.plan import TrainingImplementationPlan
from kriptik.spec.search import ModelCheck

CODES = {"gated": "model_gated", "missing": "model_not_on_hub"}


def of_plan(core: Core, plan: TrainingImplementationPlan) -> ModelCheck:
    """What the hub says of the plan's base model. Raises SearchError where it does not answer."""
    model_id = plan.choices.base_model
    if plan.choices.provider == "local" and _lies_here(core, model_id):
        return ModelCheck(id=model_id, status="here", sentence="It lies on this machine already.")
    if os.environ.get("HF_HUB_OFFLINE") == "1":
        sentence = "The hub was not asked: HF_HUB_OFFLINE is set."
        return ModelCheck(id=model_id, status="not_asked", sentence=sentence, next_step="Unset it, and start the server again.")
    if not NAME.fullmatch(model_id):
        return ModelCheck(id=model_id, status="not_asked", sentence=f"{model_id} is a folder or an address, not an id of the hub.")
    found = check_model(Hub.of(), model_id)
    return found.model_copy(update={"licence_note": _difference(model_id, found.licence)})


def must_be_had(core: Core, plan: TrainingImplementationPlan) -> None:
    """409 for a model that is not there, that this token may not have, or whose card has a licence that was ruled out.

    Where the hub does not answer, nothing is rented (502); a run on this machine may still find its weights here.
    """
    try:
        found = of_plan(core, plan)
    except SearchError:
        if plan.choices.provider == "local":
            return
        raise
    if found.status in CODES:
        raise ConflictError(CODES[found.status], found.sentence, found.next_step or "Choose another base model.")
    against = _ruled_out(plan, found.licence)
    if against is not None:
        raise ConflictError(
            "licence_ruled_out", f"The model's card has another licence now: {against}", "Choose another base model."
        )


def _lies_here(core: Core, model_id: str) -> bool:
    return (core.cache_dir / "models" / model_id.replace("/", "--")).is_dir() or Path(model_id).is_absolute()


def _difference(model_id: str, card: str) -> str:
    """Where the card states another of the licences known here than the catalogue read; empty where it does not."""
    known = load_catalogue().models.get(model_id)
    if known is None or card not in load_catalogue().licences or card == known.licence.id:
        return ""
    return f"The card says {card}; the catalogue has {known.licence.name}, read on {known.licence.read_on}."


def _ruled_out(plan: TrainingImplementationPlan, card: str) -> str | None:
    """Why the request forbids the licence on the card, where that is another than the catalogue's."""
    model = model_of(plan.choices.base_model)
    if model.entry is None or not _difference(model.id, card):
        return None
    now = model.entry.model_copy(update={"licence": load_catalogue().licences[card]})
    return forbidden(Model(model.id, model.title, model.params_b, now), plan.intent)
