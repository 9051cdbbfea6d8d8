"""Finding and ending what bills, without a running server: orphans, or everything of this installation. Others' are never seen."""

from kriptik.providers.provider import Provider, Resource
from kriptik.server import wiring
from kriptik.server.core import open_core
from kriptik.server.runs import naming, orphans
from kriptik.server.settings import Settings
from kriptik.spec.base import Noun
from kriptik.spec.errors import KriptikError


class Swept(Noun):
    """One machine, and what became of it."""

    provider: str
    name: str
    id: str
    price_per_hour: float
    wanted: bool
    ended: bool = False
    problem: str = ""


def sweep(settings: Settings, *, end: bool, everything: bool, install: str | None = None) -> list[Swept]:
    """Machines of this installation that bill: those no run wants, or all. With `install` the database is not even opened."""
    providers = wiring.make_providers(settings)
    if install:
        found = [(p, r, True) for p in providers.values() for r in _own(p, install)]
    else:
        core = open_core(settings, providers)
        try:
            unwanted = {o.resource.id for p in providers.values() for o in orphans.of_provider(core, p)}
            found = [(p, r, r.id not in unwanted) for p in providers.values() for r in _own(p, core.install)]
        finally:
            core.db.close()
    chosen = [one for one in found if everything or install or not one[2]]
    return [_swept(provider, resource, wanted, end=end) for provider, resource, wanted in chosen]


def _own(provider: Provider, install: str) -> list[Resource]:
    return [r for r in provider.list_own(naming.prefix(install)) if r.status in ("provisioning", "running")]


def _swept(provider: Provider, resource: Resource, wanted: bool, *, end: bool) -> Swept:
    made = Swept(provider=provider.name, name=resource.name, id=resource.id, price_per_hour=float(resource.price_per_hour),
                 wanted=wanted)  # fmt: skip
    if not end:
        return made
    try:
        provider.terminate(resource.id)
    except KriptikError as error:
        return made.model_copy(update={"problem": error.sentence})
    return made.model_copy(update={"ended": True})
