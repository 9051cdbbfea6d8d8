"""Ends everything of this installation at every provider, with no server and no database. Others' machines are never seen.

It first forbids new machines (`holds`), so that a server that lives after all makes none; then it lists, ends, and lists again,
until nothing of ours is there.
"""

import contextlib
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

from kriptik.providers.provider import Provider, Resource
from kriptik.server import holds, wiring
from kriptik.server.runs import naming
from kriptik.server.settings import Settings
from kriptik.spec.base import Noun
from kriptik.spec.errors import BadInputError, KriptikError

ROUNDS, PAUSE_S = 6, 2.0
"""A listing may be late, and an end may fail once: so often it is looked again."""


class Ended(Noun):
    """One machine and what became of it; `problem` is empty where it is confirmed gone, or where nothing was to be ended."""

    provider: str
    name: str = ""
    id: str = ""
    price_per_hour: float = 0
    gone: bool = False
    problem: str = ""


def stop_all(
    settings: Settings, *, install: str | None = None, look_only: bool = False, pause: Callable[[float], None] = time.sleep
) -> list[Ended]:
    """What of this installation was there, and whether it is confirmed gone. A provider that cannot be reached is named too."""
    prefix = naming.prefix(install or install_id(settings))
    if not look_only:
        holds.hold(settings.home, holds.STOPPED)
    found: list[Ended] = []
    for provider in wiring.make_providers(settings, to_end=True).values():
        found += _of_provider(provider, prefix, look_only=look_only, pause=pause)
    return found


def install_id(settings: Settings) -> str:
    """The id that begins every name: from its file, else from whatever database there is. Raises `BadInputError`."""
    with contextlib.suppress(OSError):
        if found := (settings.home / holds.INSTALL).read_text().strip():
            return found
    database = Path(settings.database.removeprefix("sqlite:///"))
    if settings.database.startswith("sqlite:///") and database.is_file():
        with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as rows:
            row = rows.execute("SELECT value FROM settings WHERE key = 'install_id'").fetchone()
            if row:
                return str(row[0])
    raise BadInputError(
        "install_unknown",
        f"{settings.home} does not say which installation it is.",
        "Look at the provider's console: names begin with kt-<id>-. Give that id with --install.",
    )


def _of_provider(provider: Provider, prefix: str, *, look_only: bool, pause: Callable[[float], None]) -> list[Ended]:
    known: dict[str, Ended] = {}
    for turn in range(ROUNDS):
        if turn:
            pause(PAUSE_S)
        try:
            left = _billing(provider, prefix)
        except KriptikError as error:
            away = Ended(provider=provider.name, problem=f"It cannot be looked at: {error.sentence} {error.next_step}".strip())
            known[""] = away
            if error.status < 500:
                break
            continue
        known.pop("", None)
        known |= {r.id: _of(provider, r) if look_only else _end(provider, r) for r in left}
        if look_only or (turn and not left):  # clean twice: a listing may be a moment late
            break
    return list(known.values())


def _billing(provider: Provider, prefix: str) -> list[Resource]:
    """At a rented place everything that is there; here, what exited is a trace that is kept."""
    rented = provider.self_end is not None
    return [r for r in provider.list_own(prefix) if rented or r.status in ("provisioning", "running")]


def _end(provider: Provider, resource: Resource) -> Ended:
    """A `terminate` that returns has confirmed the end."""
    try:
        provider.terminate(resource.id)
    except KriptikError as error:
        return _of(provider, resource).model_copy(update={"problem": error.sentence})
    return _of(provider, resource).model_copy(update={"gone": True})


def _of(provider: Provider, resource: Resource) -> Ended:
    price = float(resource.price_per_hour)
    return Ended(provider=provider.name, name=resource.name, id=resource.id, price_per_hour=price)
