"""Is this deployment fit to spend money? One check per part, each a sentence and what to do. Nothing is rented."""

from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import httpx

from kriptik.server import wiring
from kriptik.server.core import Core, open_core
from kriptik.server.runs import orphans
from kriptik.server.settings import Settings
from kriptik.spec.base import Noun
from kriptik.spec.errors import KriptikError
from kriptik.storage.objects import free_bytes

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
LEAST_FREE_GB = 5.0


class Check(Noun):
    """One part: `ok` False is a fault; a warning is ok with a next step."""

    name: str
    ok: bool
    sentence: str
    next_step: str = ""


def examine(settings: Settings) -> list[Check]:
    """Every check, in order; one that raises is a fault with its own words."""
    try:
        core = open_core(settings, wiring.make_providers(settings))
    except (KriptikError, OSError) as error:
        return [Check(name="state", ok=False, sentence=f"KRIPTIK_HOME cannot be opened: {error}", next_step="Check the folder.")]
    try:
        return [found for name, check in CHECKS.items() for found in _safe(name, core, check)]
    finally:
        core.db.close()


def _safe(name: str, core: Core, check: Callable[[Core], Iterator[Check]]) -> list[Check]:
    try:
        return list(check(core))
    except KriptikError as error:
        return [Check(name=name, ok=False, sentence=error.sentence, next_step=error.next_step)]


def _state(core: Core) -> Iterator[Check]:
    with core.db.read() as session:
        session.connection().exec_driver_sql("SELECT 1")
    mode = (core.settings.home / "secret").stat().st_mode & 0o077
    yield Check(
        name="state",
        ok=mode == 0,
        sentence=f"Database and secret are in place; installation {core.install}."
        if mode == 0
        else "Others can read KRIPTIK_HOME/secret.",
        next_step="" if mode == 0 else "chmod 600 KRIPTIK_HOME/secret",
    )


def _holds(core: Core) -> Iterator[Check]:
    if core.held is not None:
        yield Check(name="holds", ok=False, sentence=core.held, next_step="`kriptik stop-all --over`, or start the server.")


def _disk(core: Core) -> Iterator[Check]:
    free = free_bytes(core.settings.home) / 1e9
    enough = free >= LEAST_FREE_GB
    yield Check(
        name="disk",
        ok=enough,
        sentence=f"{free:.0f} GB are free.",
        next_step="" if enough else "Free disk space: checkpoints need it.",
    )


def _storage(core: Core) -> Iterator[Check]:
    where = core.settings.storage_url or "the run folders of this server"
    key = "doctor/probe"
    url = core.objects.signed("PUT", key)
    if url is not None:
        try:
            answer = httpx.put(url, content=b"probe", timeout=20, trust_env=urlsplit(url).hostname not in LOOPBACK)
        except httpx.HTTPError as error:
            raise KriptikError("storage_away", f"{where} cannot be reached: {type(error).__name__}.", "Check AWS_*.") from error
        if answer.status_code >= 300 or core.objects.size(key) != 5:
            raise KriptikError("storage_refuses", f"{where} refuses a file ({answer.status_code}).", "Check bucket and rights.")
    yield Check(name="storage", ok=True, sentence=f"Checkpoints go to {where}.")


def _address(core: Core) -> Iterator[Check]:
    url = core.settings.outside_url
    if url is None:
        yield Check(name="address", ok=True, sentence="Rented machines have no address to reach this server: only local runs.",
                    next_step="Set KRIPTIK_WORKER_URL to rent machines.")  # fmt: skip
        return
    parts = urlsplit(url)
    if parts.scheme != "https" and parts.hostname not in LOOPBACK:
        yield Check(name="address", ok=False, sentence=f"{url} is not encrypted: tokens would be readable.", next_step="Use https.")
        return
    try:
        answer = httpx.get(f"{url}/api/training/health", timeout=10, trust_env=parts.hostname not in LOOPBACK)
        fit = answer.status_code == 200
    except httpx.HTTPError:
        fit = False
    sentence = f"{url} reaches this server." if fit else f"{url} does not answer as a KripTik server."
    yield Check(name="address", ok=fit, sentence=sentence, next_step="" if fit else "Start the server; check proxy and DNS.")


def _runpod(core: Core) -> Iterator[Check]:
    provider = core.providers.get("runpod")
    if provider is None:
        missing = wiring.missing_for_runpod(core.settings)
        yield Check(name="runpod", ok=True, sentence="RunPod is not set up.", next_step=f"To use it, set {', '.join(missing)}.")
        return
    offers = provider.offers()
    cheapest = min((o for o in offers if o.available), key=lambda offer: offer.price_per_hour, default=None)
    price = f"; from ${cheapest.price_per_hour:.2f} an hour ({cheapest.detail})" if cheapest else "; nothing is free now"
    yield Check(name="runpod", ok=True, sentence=f"The key is accepted; {len(offers)} offers{price}.")


def _orphans(core: Core) -> Iterator[Check]:
    found = [o.resource.name for provider in core.providers.values() for o in orphans.of_provider(core, provider)]
    if found:
        sentence = f"{len(found)} machines bill and no run wants them: {', '.join(found)}."
        yield Check(name="orphans", ok=False, sentence=sentence, next_step="End them with `kriptik sweep --end`.")
    else:
        yield Check(name="orphans", ok=True, sentence="Nothing bills that no run wants.")


CHECKS: dict[str, Callable[[Core], Iterator[Check]]] = {
    "state": _state,
    "holds": _holds,
    "disk": _disk,
    "storage": _storage,
    "address": _address,
    "runpod": _runpod,
    "orphans": _orphans,
}
