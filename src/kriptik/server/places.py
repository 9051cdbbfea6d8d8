"""Where a frozen run may go on: every machine that can be had now, that its checkpoint and its memory fit, at its live price."""

import logging

from kriptik.providers.provider import Offer
from kriptik.server.core import Core
from kriptik.spec.errors import ConflictError, KriptikError
from kriptik.spec.job import ProbeResult, Stage
from kriptik.spec.run import Place, PlaceChoice
from kriptik.store.tables import Job

log = logging.getLogger("kriptik.server")

OTHER = "Other hardware: it trains on correctly, but not bit for bit as it would have here."


def of_run(core: Core, job: Job) -> list[Place]:
    """The present place first, then the others by price. A provider that does not answer is left out."""
    found: dict[tuple[str, str, int], Place] = {}
    for name, provider in core.providers.items():
        try:
            offers = provider.offers()
        except KriptikError as error:
            log.warning("no offers of %s: %s", name, error.sentence)
            continue
        for offer in sorted(offers, key=lambda one: one.price_per_hour):
            if offer.available and _fits(job, offer):
                found.setdefault((offer.provider, offer.gpu, offer.gpu_count), _place(job, offer))
    return sorted(found.values(), key=lambda place: (not place.present, place.price_per_hour, place.provider, place.gpu))


def chosen(core: Core, job: Job, choice: PlaceChoice) -> Place:
    """The place as it is now. Refused where it cannot be had, or costs more than the price that the person saw."""
    wanted = (choice.provider, choice.gpu, choice.gpu_count)
    place = next((p for p in of_run(core, job) if (p.provider, p.gpu, p.gpu_count) == wanted), None)
    if place is None:
        sentence = f"{choice.gpu_count} × {choice.gpu} at {choice.provider} cannot be had for this run now."
        raise ConflictError("place_not_possible", sentence, f"See where it may go on: GET /api/training/jobs/{job.id}/places.")
    if place.price_per_hour > choice.price_per_hour:
        raise ConflictError(
            "price_above_authorised",
            f"{place.gpu} costs ${place.price_per_hour.normalize():f} an hour at {place.provider} now; "
            f"${choice.price_per_hour.normalize():f} was authorised.",
            "Authorise today's price, or choose another place.",
            fields={"pricePerHour": float(place.price_per_hour), "authorised": float(choice.price_per_hour)},
        )
    return place


def move(job: Job, place: PlaceChoice) -> None:
    """From its next generation on the run is there, at no more than this price."""
    job.provider = place.provider
    there = {"gpu": place.gpu, "gpuCount": place.gpu_count, "pricePerHour": float(place.price_per_hour), "quotedPricePerHour": None}
    job.estimate = {**job.estimate, **there}


def _fits(job: Job, offer: Offer) -> bool:
    """As many processes as its checkpoint was made by, and the memory that the smoke test needed."""
    spread = any(Stage.model_validate(stage).point.strategy not in (None, "single") for stage in job.stages)
    if offer.gpu_count != (int(job.estimate.get("gpuCount", 1)) if spread else 1):
        return False
    if offer.provider == job.provider and offer.gpu == job.estimate.get("gpu", "cpu"):
        return True
    probe = ProbeResult.model_validate(job.probe) if job.probe else None
    memory = offer.memory_gb if offer.gpu == "cpu" else offer.gpu_memory_gb
    return probe is None or memory >= probe.peak_memory_gb


def _place(job: Job, offer: Offer) -> Place:
    present = (offer.provider, offer.gpu) == (job.provider, job.estimate.get("gpu", "cpu"))
    return Place(provider=offer.provider, gpu=offer.gpu, gpu_count=offer.gpu_count, price_per_hour=offer.price_per_hour,
                 detail=offer.detail, present=present, note="" if present else OTHER)  # fmt: skip
