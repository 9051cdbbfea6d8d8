"""Live prices of the providers that are set up, asked for at most once a minute; without an answer the catalogue's stand."""

import logging
import time
from collections.abc import Callable, Mapping
from decimal import Decimal

from kriptik.providers.provider import Provider
from kriptik.spec.errors import KriptikError

log = logging.getLogger("kriptik.server")

FRESH_S = 60.0
Place = tuple[str, str, int]
"""Provider, GPU, number of GPUs."""


class Quotes:
    """Dollars per hour of whole machines: the cheapest that is free now, else the cheapest there is."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: dict[str, tuple[float, dict[Place, Decimal]]] = {}

    def of(self, providers: Mapping[str, Provider]) -> dict[Place, Decimal]:
        """Of every provider but this machine."""
        found: dict[Place, Decimal] = {}
        for name, provider in providers.items():
            if name != "local":
                found |= self._of(name, provider)
        return found

    def _of(self, name: str, provider: Provider) -> dict[Place, Decimal]:
        at, known = self._known.get(name, (float("-inf"), {}))
        if self._clock() - at < FRESH_S:
            return known
        try:
            offers = provider.offers()
        except KriptikError as error:
            log.warning("no live prices of %s: %s", name, error.sentence)
            return known
        fresh: dict[Place, Decimal] = {}
        for offer in sorted(offers, key=lambda offer: (not offer.available, offer.price_per_hour)):
            fresh.setdefault((name, offer.gpu, offer.gpu_count), offer.price_per_hour)
        self._known[name] = (self._clock(), fresh)
        return fresh
