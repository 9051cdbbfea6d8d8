"""The control plane as an ASGI app: routes, errors, security headers, the page, and the reconciler for its lifetime."""

import contextlib
import fcntl
import threading
import time
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

from fastapi import FastAPI
from starlette.datastructures import State
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import kriptik
from kriptik.providers.provider import Provider
from kriptik.server import pages, planning, problems, wiring
from kriptik.server.core import Clock, Core, open_core
from kriptik.server.routes import ROUTERS, access, worker, worker_files
from kriptik.server.runs.reconciler import Reconciler
from kriptik.server.settings import Settings
from kriptik.spec.errors import ConflictError

API = "/api/training"


def create_app(
    settings: Settings | None = None, providers: dict[str, Provider] | None = None, clock: Clock | None = None
) -> FastAPI:
    """Opens the state and builds the app. `app.state`: core, reconciler, sign_in_url(), last_request (monotonic seconds)."""
    settings = settings or Settings.from_env()
    lock = _lock_home(settings)
    core = open_core(settings, providers if providers is not None else wiring.make_providers(settings), clock)
    app = FastAPI(
        title="KripTik",
        version=kriptik.__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url=f"{API}/openapi.json",
        lifespan=_lifespan,
        generate_unique_id_function=lambda route: _camel(route.name),
        responses=problems.RESPONSES,
    )
    app.state.core, app.state.reconciler, app.state.lock = core, Reconciler(core), lock
    app.state.sign_in_url = lambda: access.sign_in_url(core)
    app.state.last_request = time.monotonic()
    problems.install(app)
    app.include_router(worker.router)  # first: what is asked most often is looked for first
    for router in ROUTERS:
        app.include_router(router, prefix=API)
    app.include_router(worker_files.router)
    app.include_router(access.pages)
    pages.add(app)
    app.add_middleware(Shield, state=app.state)
    hosts = ["127.0.0.1", "localhost", "[::1]", "testserver", *filter(None, settings.allowed_hosts.split(","))]
    hosts += [name for name in (urlsplit(url).hostname for url in (settings.worker_url, settings.public_url) if url) if name]
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=hosts)
    return app


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.reconciler.start()
    threading.Thread(target=planning.warm_up, name="warm-up", daemon=True).start()
    try:
        yield
    finally:
        core: Core = app.state.core
        core.bus.close()
        app.state.reconciler.stop()
        core.writer.close()
        core.db.close()
        app.state.lock.close()


_OF_PAGES = [(name.lower().encode(), value.encode()) for name, value in pages.HEADERS.items()]
_OF_API = [*_OF_PAGES, (b"cache-control", b"no-store")]
"""As they go out, made once: every post and every page of a stream has them."""


class Shield:
    """Security headers on everything; API answers are never cached. Plain ASGI, so that streams flow through untouched."""

    def __init__(self, app: ASGIApp, state: State) -> None:
        self._app, self._state = app, state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if not scope["path"].startswith("/api/worker/"):
            self._state.last_request = time.monotonic()

        wanted = _OF_API if scope["path"].startswith("/api/") else _OF_PAGES

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                there = {name.lower() for name, _value in message["headers"]}
                message["headers"] = [*message["headers"], *(one for one in wanted if one[0] not in there)]
            await send(message)

        await self._app(scope, receive, with_headers)


def _lock_home(settings: Settings) -> Any:
    """One server per KRIPTIK_HOME: two reconcilers would both act."""
    settings.home.mkdir(parents=True, exist_ok=True)
    handle = (settings.home / "server.lock").open("w")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        handle.close()
        raise ConflictError(
            "home_in_use", f"Another KripTik server uses {settings.home}.", "Stop it, or set KRIPTIK_HOME to another folder."
        ) from error
    return handle


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.title() for word in rest)
