"""Reads the data files of this folder once, checks every entry, and looks things up in them.

A broken entry raises `catalogue_broken` and names file, entry and field. To add a fact, add it to a data file.
"""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from kriptik.catalogue.names import close_name, is_path, key_of, sized_name
from kriptik.spec.base import Noun
from kriptik.spec.catalogue import (
    CapabilityEntry,
    ChargeEntry,
    CurrencyRate,
    DataRequirement,
    FamilyNeeds,
    GpuEntry,
    Licence,
    MethodEntry,
    ModelEntry,
    PipelineCost,
    PipelineStage,
    PriceEntry,
    ReferencePipeline,
    TrainingPipeline,
    Way,
)
from kriptik.spec.errors import KriptikError

FOLDER = Path(__file__).parent
CENT = Decimal("0.01")
N = TypeVar("N", bound=Noun)
Table = dict[str, Any]


@dataclass(frozen=True)
class Catalogue:
    """Every fact, by id. Treat it as read-only: it is shared."""

    methods: dict[str, MethodEntry]
    models: dict[str, ModelEntry]
    licences: dict[str, Licence]
    gpus: dict[str, GpuEntry]
    prices: dict[tuple[str, str], PriceEntry]
    """(provider, gpu) → the price to quote: the newest, and of one day the highest."""
    price_history: list[PriceEntry]
    charges: list[ChargeEntry]
    capabilities: dict[str, CapabilityEntry]
    ways: dict[str, Way]
    """By modality."""
    needs: dict[str, FamilyNeeds]
    """By family."""
    data_requirements: dict[str, list[DataRequirement]]
    """By capability; the first is what a supervised fine-tune needs."""
    row_requirements: dict[str, DataRequirement]
    """By `RowNeed`: what preference pairs, checked prompts … need, whatever the capability."""
    pipelines: dict[str, ReferencePipeline]
    currencies: dict[str, CurrencyRate]
    model_names: dict[str, str]
    gpu_names: dict[str, str]
    """Normalised name → id, for `find_model` and `find_gpu`."""


@cache
def load_catalogue() -> Catalogue:
    """The product's catalogue, read once per process."""
    return read_catalogue(FOLDER)


def read_catalogue(folder: Path) -> Catalogue:
    """Read and check the data files under `folder`. Raises KriptikError `catalogue_broken`."""
    licences = _entries(Licence, _tables(folder, "licences.toml"))
    gpus = _entries(GpuEntry, _tables(folder, "gpus.toml"))
    models = _entries(ModelEntry, _with_licences(_tables(folder, "models/*.toml"), licences))
    history, charges = _prices(folder)
    needs, rows = _data_requirements(folder)
    catalogue = Catalogue(
        methods=_entries(MethodEntry, _tables(folder, "methods/*.toml")),
        models=models,
        licences=licences,
        gpus=gpus,
        prices=_quotes(history),
        price_history=history,
        charges=charges,
        capabilities=_entries(CapabilityEntry, _tables(folder, "capabilities.toml")),
        ways=_entries(Way, _tables(folder, "ways.toml")),
        needs=_entries(FamilyNeeds, _tables(folder, "needs.toml")),
        data_requirements=needs,
        row_requirements=rows,
        pipelines=_pipelines(folder, history),
        currencies=_currencies(folder),
        model_names=_names({m.id: _spellings(m) for m in models.values()}),
        gpu_names=_names({g.id: [g.id, g.title, *g.aliases] for g in gpus.values()}),
    )
    for file, entry, field, value, known in _references(catalogue):
        if value not in known:
            raise _broken(file, entry, field, f"there is no '{value}'")
    return catalogue


def find_model(name: str) -> ModelEntry | None:
    """The catalogue's model for a name as people write it ("llama", "Qwen 7B", "sdxl"); None for paths and unknown names.

    A hub id that the catalogue does not hold is left alone: it names exactly one model, and not one of ours.
    """
    if is_path(name):
        return None
    catalogue = load_catalogue()
    key = key_of(name)
    known = catalogue.model_names.get(key)
    if known is None and "/" not in name:
        known = sized_name(name, catalogue.models.values()) or close_name(key, catalogue.model_names)
    return catalogue.models.get(known) if known else None


def correction(name: str) -> str | None:
    """Why the catalogue answers with another model than the one named; None where it does not."""
    model, key = find_model(name), key_of(name)
    return next((r.because for r in model.replaces if key_of(r.name) == key), None) if model else None


def find_gpu(name: str) -> GpuEntry | None:
    """The GPU for a name as people write it ("4090", "a100 80gb"); None if unknown."""
    catalogue = load_catalogue()
    known = catalogue.gpu_names.get(key_of(name))
    return catalogue.gpus.get(known) if known else None


def price_of(provider: str, gpu: str) -> PriceEntry | None:
    """The price to quote for one GPU-hour: newest observation, of one day the highest; None if the provider has none.

    `local` costs 0 for whatever GPU is asked for.
    """
    prices = load_catalogue().prices
    if provider == "local":
        return prices["local", "cpu"].model_copy(update={"gpu": gpu})
    return prices.get((provider, gpu))


def _tables(folder: Path, pattern: str) -> Iterator[tuple[str, str, Table]]:
    """(file, entry id, fields) for every table of the matching files."""
    files = sorted(folder.glob(pattern))
    if not files:
        raise _broken(pattern, "*", "*", "the file is missing")
    for file in files:
        name = str(file.relative_to(folder))
        for entry, fields in read_toml(file, name).items():
            if not isinstance(fields, dict):
                raise _broken(name, entry, "*", "is not a table")
            yield name, entry, fields


def read_toml(file: Path, name: str) -> Table:
    """The tables of a data file. Raises KriptikError `catalogue_broken`."""
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise _broken(name, "*", "*", str(error)) from error


def _entries(noun: type[N], tables: Iterator[tuple[str, str, Table]]) -> dict[str, N]:
    found: dict[str, N] = {}
    for file, entry, fields in tables:
        if entry in found:
            raise _broken(file, entry, "id", "appears twice")
        found[entry] = checked(noun, file, entry, {"id": entry, **fields})
    return found


def checked(noun: type[N], file: str, entry: str, fields: Table) -> N:
    """An entry as its noun. Raises KriptikError `catalogue_broken`, naming file, entry and field."""
    try:
        return noun.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        raise _broken(file, entry, ".".join(map(str, first["loc"])) or "*", first["msg"]) from error


def _with_licences(tables: Iterator[tuple[str, str, Table]], licences: dict[str, Licence]) -> Iterator[tuple[str, str, Table]]:
    """Models name their licence by id; `licence_note` and `gated` say what this model adds."""
    for file, entry, fields in tables:
        licence = licences.get(fields.get("licence", ""))
        if licence is None:
            raise _broken(file, entry, "licence", f"there is no licence '{fields.get('licence')}'")
        note = fields.pop("licence_note", "")
        extra = {"gated": fields.pop("gated", licence.gated), "notes": " ".join(filter(None, (licence.notes, note)))}
        yield file, entry, {**fields, "licence": licence.model_copy(update=extra)}


def _prices(folder: Path) -> tuple[list[PriceEntry], list[ChargeEntry]]:
    """`sources` give provider, day and origin once; `rows` under each are [gpu, dollars, kind?]."""
    history: list[PriceEntry] = []
    charges: list[ChargeEntry] = []
    for file, entry, source in _tables(folder, "prices.toml"):
        shared = {k: source.get(k) for k in ("provider", "observed_on", "source")}
        for gpu, usd, *kind in source.get("rows", []):
            fields = {**shared, "gpu": gpu, "usd_per_hour": usd, "kind": kind[0] if kind else source.get("kind", "on_demand")}
            history.append(checked(PriceEntry, file, f"{entry}: {gpu}", {**fields, "notes": source.get("notes", "")}))
        for what, usd, unit in source.get("charges", []):
            charges.append(checked(ChargeEntry, file, f"{entry}: {what}", {**shared, "what": what, "usd": usd, "unit": unit}))
    return history, charges


def _quotes(history: list[PriceEntry]) -> dict[tuple[str, str], PriceEntry]:
    return {(p.provider, p.gpu): p for p in sorted(history, key=lambda p: (p.observed_on, p.usd_per_hour))}


def _data_requirements(folder: Path) -> tuple[dict[str, list[DataRequirement]], dict[str, DataRequirement]]:
    tables = {entry: (file, fields) for file, entry, fields in _tables(folder, "data.toml")}
    file, by_capability = tables.get("capabilities", ("data.toml", {}))
    _, by_row = tables.get("rows", ("data.toml", {}))
    needs = {c: [checked(DataRequirement, file, c, one) for one in several] for c, several in by_capability.items()}
    return needs, {row: checked(DataRequirement, file, row, fields) for row, fields in by_row.items()}


def _pipelines(folder: Path, history: list[PriceEntry]) -> dict[str, ReferencePipeline]:
    found: dict[str, ReferencePipeline] = {}
    for file, entry, fields in _tables(folder, "pipelines.toml"):
        stages = [checked(PipelineStage, file, entry, stage) for stage in fields.pop("stages", [])]
        hours = sum(stage.estimated_hours for stage in stages)
        newest = {(p.provider, p.kind): p for p in sorted(history, key=lambda p: p.observed_on) if p.gpu == fields.get("gpu")}
        used = [newest[key] for key in sorted(newest) if key[0] in fields.get("price_providers", [])]
        if not used:
            raise _broken(file, entry, "price_providers", f"no price for {fields.get('gpu')}")
        gpu_hours = Decimal(str(hours)) * fields.get("gpu_count", 1)
        low, high = (f(p.usd_per_hour for p in used) * gpu_hours for f in (min, max))
        pipeline = {
            "stages": [stage.model_dump() for stage in stages],
            "total_estimated_hours": hours,
            "required_gpu": fields.pop("required_gpu", ""),
            "estimated_cost": PipelineCost(min=low.quantize(CENT), max=high.quantize(CENT)),
        }
        fields.pop("price_providers")
        priced_by = [f"{p.provider} {p.gpu} {p.kind} {p.usd_per_hour} on {p.observed_on}" for p in used]
        made = {"pipeline": checked(TrainingPipeline, file, entry, pipeline), "priced_by": priced_by}
        found[entry] = checked(ReferencePipeline, file, entry, {"id": entry, **fields, **made})
    return found


def _currencies(folder: Path) -> dict[str, CurrencyRate]:
    table = read_toml(folder / "currencies.toml", "currencies.toml")
    shared = {"as_of": table.get("as_of"), "source": table.get("source")}
    return {
        code: checked(CurrencyRate, "currencies.toml", code, {"code": code, **shared, **fields})
        for code, fields in table.get("rates", {}).items()
    }


def _spellings(model: ModelEntry) -> list[str]:
    return [model.id, model.id.split("/")[-1], model.title, *model.aliases, *(r.name for r in model.replaces)]


def _names(spellings: dict[str, list[str]]) -> dict[str, str]:
    """First spelling wins; an id always wins over another entry's alias."""
    names = {key_of(entry): entry for entry in spellings}
    for entry, several in spellings.items():
        for spelling in several:
            names.setdefault(key_of(spelling), entry)
    return names


def _references(c: Catalogue) -> Iterator[tuple[str, str, str, Any, Any]]:
    """(file, entry, field, value, what it must be among) for every id that one entry uses of another."""
    trainable = {model.trainable_family for model in c.models.values()}
    for m in c.methods.values():
        yield from (("methods", m.id, "capabilities", capability, c.capabilities) for capability in m.capabilities)
        yield from (("methods", m.id, "families", family, trainable) for family in m.families)
        if m.alias_of:
            yield "methods", m.id, "alias_of", m.alias_of, {k for k, v in c.methods.items() if not v.alias_of}
    for model in c.models.values():
        yield from (("models", model.id, "capabilities", capability, c.capabilities) for capability in model.capabilities)
        if model.successor_of:
            yield "models", model.id, "successor_of", key_of(model.successor_of), c.model_names
    for cap in c.capabilities.values():
        yield from (("capabilities.toml", cap.id, "methods", method, c.methods) for method in cap.methods)
        yield from (("capabilities.toml", cap.id, "models", key_of(name), c.model_names) for name in cap.models)
        yield from (("capabilities.toml", cap.id, "picks", pick, c.models) for pick in (*cap.picks.values(), cap.small_pick))
        yield "capabilities.toml", cap.id, "gpu", cap.gpu, c.gpus
        yield "data.toml", cap.id, "*", cap.id, c.data_requirements
    families = {model.family for model in c.models.values()}
    for way in c.ways.values():
        yield "ways.toml", way.id, "capability", way.capability, c.capabilities
        yield from (("ways.toml", way.id, "families", family, families) for family in way.families)
        yield from (("ways.toml", way.id, "unclaimed", method, c.methods) for method in way.unclaimed)
    yield from (("needs.toml", family, "*", family, families) for family in c.needs)
    yield from (("prices.toml", p.provider, "gpu", p.gpu, c.gpus) for p in c.price_history)
    for p in c.pipelines.values():
        yield "pipelines.toml", p.id, "gpu", p.gpu, c.gpus
        yield "pipelines.toml", p.id, "capability", p.capability, c.capabilities
        yield "pipelines.toml", p.id, "base_model", p.base_model, c.models
        yield from (("pipelines.toml", p.id, "method", stage.method, c.methods) for stage in p.pipeline.stages)


def _broken(file: str, entry: str, field: str, what: str) -> KriptikError:
    fields = {"file": file, "entry": entry, "field": field}
    sentence = f"Catalogue file {file}, entry '{entry}', field '{field}': {what}."
    return KriptikError("catalogue_broken", sentence, "Correct the entry.", status=500, fields=fields)
