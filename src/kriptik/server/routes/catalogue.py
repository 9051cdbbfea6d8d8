"""What can be chosen: base models, methods with their computed status, GPUs with dated prices, capabilities."""

from typing import Annotated

from fastapi import APIRouter, Query

from kriptik.catalogue.load import find_model, load_catalogue
from kriptik.catalogue.proof import method_statuses
from kriptik.server.auth import CoreDep, PersonDep
from kriptik.spec.base import Noun
from kriptik.spec.catalogue import CapabilityEntry, GpuEntry, MethodEntry, MethodStatus, ModelEntry, PriceEntry
from kriptik.spec.errors import NotFoundError

router = APIRouter(tags=["catalogue"])


class ModelList(Noun):
    """Base models, best match first."""

    models: list[ModelEntry]


class MethodView(Noun):
    """A method: what it is, and whether it trains, as the proofs say."""

    entry: MethodEntry
    status: MethodStatus


class MethodList(Noun):
    """Every method id."""

    methods: list[MethodView]


class GpuOffer(Noun):
    """A GPU and what it costs where."""

    gpu: GpuEntry
    prices: list[PriceEntry]


class GpuList(Noun):
    """GPUs and the prices last seen."""

    gpus: list[GpuOffer]


class CapabilityList(Noun):
    """What a person can ask for."""

    capabilities: list[CapabilityEntry]


@router.get("/models")
def list_models(person: PersonDep, capability: str | None = None) -> ModelList:
    """All base models of the catalogue, recommended ones first."""
    found = [m for m in load_catalogue().models.values() if capability is None or capability in m.capabilities]
    return ModelList(models=sorted(found, key=lambda m: (m.trainable_family is None, not m.recommended, m.params_b)))


@router.get("/search-models")
def search_models(person: PersonDep, query: Annotated[str, Query(max_length=300)] = "", capability: str | None = None) -> ModelList:
    """Base models whose name, title, family or strengths hold every word of the query."""
    words = query.casefold().split()
    listed = list_models(person, capability).models
    found = [m for m in listed if all(word in _text(m) for word in words)]
    exact = find_model(query) if query.strip() else None
    if exact is not None and (capability is None or capability in exact.capabilities):
        found = [exact, *(m for m in found if m.id != exact.id)]
    return ModelList(models=found[:100])


@router.get("/models/{model_id:path}")
def get_model(person: PersonDep, model_id: str) -> ModelEntry:
    """One base model."""
    found = load_catalogue().models.get(model_id) or find_model(model_id)
    if found is None:
        raise NotFoundError(
            "model_not_found", f"The catalogue holds no model {model_id[:200]!r}.", "Search with GET /search-models."
        )
    return found


@router.get("/methods")
def list_methods(person: PersonDep) -> MethodList:
    """All method ids with their status."""
    entries = load_catalogue().methods
    return MethodList(methods=[MethodView(entry=entries[status.id], status=status) for status in method_statuses()])


@router.get("/gpus")
def list_gpus(core: CoreDep, person: PersonDep) -> GpuList:
    """GPUs with the prices last seen, cheapest provider first."""
    catalogue = load_catalogue()
    offers = []
    for gpu in catalogue.gpus.values():
        prices = sorted((p for (_provider, name), p in catalogue.prices.items() if name == gpu.id), key=lambda p: p.usd_per_hour)
        offers.append(GpuOffer(gpu=gpu, prices=prices))
    return GpuList(gpus=offers)


@router.get("/capabilities")
def list_capabilities(person: PersonDep) -> CapabilityList:
    """What a person can ask for."""
    return CapabilityList(capabilities=list(load_catalogue().capabilities.values()))


def _text(model: ModelEntry) -> str:
    return " ".join([model.id, model.title, model.family, *model.aliases, *model.strengths]).casefold()
