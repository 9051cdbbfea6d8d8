"""What a licence means for a request: what it forbids, what it asks for, and where that is written. Facts are the catalogue's."""

from typing import NamedTuple

from kriptik.catalogue.advice import lies_in, place_name
from kriptik.pipeline.plan.known import Model
from kriptik.spec.catalogue import Licence
from kriptik.spec.intent import TrainingIntent


class Ruling(NamedTuple):
    """One rule, applied. `axis` is licence or territory; `forbids` where the request cannot be met under it."""

    axis: str
    forbids: bool
    sentence: str


def rulings(model: Model, intent: TrainingIntent) -> list[Ruling]:
    """Every rule of the model's licence that bears on the request, the forbidding ones first."""
    found = [*_commercial(model, intent), *_named(model, intent), *_territory(model, intent)]
    return sorted(found, key=lambda ruling: not ruling.forbids)


def forbidden(model: Model, intent: TrainingIntent) -> str | None:
    """Why the request rules the model's licence out; None where it does not."""
    return next((ruling.sentence for ruling in rulings(model, intent) if ruling.forbids), None)


def limits_on_sale(licence: Licence) -> str:
    """What a conditional licence asks of commercial use, as a clause; empty where it asks nothing that is known."""
    parts = []
    if licence.revenue_limit_usd is not None:
        parts.append(f"free below ${licence.revenue_limit_usd:,.0f} of yearly revenue")
    if licence.users_limit is not None:
        parts.append(f"free below {licence.users_limit // 1_000_000} million users a month")
    if licence.must_name:
        name = licence.must_name if " " in licence.must_name else f"'{licence.must_name}'"
        parts.append(f"derived models carry {name}")
    if licence.use_restricted:
        parts.append("limits on use pass on")
    return "; ".join(parts)


def wants_sale(intent: TrainingIntent) -> bool:
    """Whether commercial use was asked for."""
    return intent.output is not None and intent.output.license == "commercial"


def _commercial(model: Model, intent: TrainingIntent) -> list[Ruling]:
    licence, sale = model.licence, wants_sale(intent)
    if licence is None:
        return [Ruling("licence", sale, f"The licence of {model.id} is not known.")]
    if licence.commercial == "no":
        return [Ruling("licence", sale, f"{licence.name} does not allow commercial use.")]
    if licence.commercial == "yes":
        return [Ruling("licence", False, f"{licence.name} allows commercial use.")]
    limits = limits_on_sale(licence) or licence.notes.rstrip(".") or "conditions apply"
    return [Ruling("licence", False, f"{licence.name} allows commercial use with conditions: {limits}.")]


def _named(model: Model, intent: TrainingIntent) -> list[Ruling]:
    """Licences that were ruled in or out by name, and models that ask to accept terms."""
    terms, licence = intent.terms, model.licence
    found = []
    if terms is not None and terms.only and (licence is None or licence.id not in terms.only):
        found.append(Ruling("licence", True, f"{model.licence_name} is none of the licences you allow ({', '.join(terms.only)})."))
    if terms is not None and licence is not None and licence.id in terms.never:
        found.append(Ruling("licence", True, f"You ruled out the licence {licence.name}."))
    if licence is not None and licence.gated:
        refused = terms is not None and terms.gated is False
        found.append(Ruling("licence", refused, "The hub asks to accept its terms first."))
    return found


def _territory(model: Model, intent: TrainingIntent) -> list[Ruling]:
    licence = model.licence
    territory = intent.terms.territory if intent.terms else None
    if licence is None:
        return [Ruling("territory", territory is not None, f"Where {model.id} may be used is not known.")]
    if territory is None:
        if not licence.excluded_territories:
            return []
        where = ", ".join(place_name(code) for code in licence.excluded_territories)
        return [Ruling("territory", False, f"{licence.name} does not apply in {where}.")]
    if lies_in(territory, licence.excluded_territories):
        return [Ruling("territory", True, f"{licence.name} does not apply in {place_name(territory)}.")]
    return [Ruling("territory", False, f"{licence.name} excludes nothing in {place_name(territory)}.")]
