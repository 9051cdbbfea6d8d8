"""Who is asking: a personal token (Bearer), or a browser session (cookie, with a CSRF header on unsafe methods)."""

import hmac
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from kriptik.server.core import Core
from kriptik.spec.errors import KriptikError
from kriptik.store import people

SESSION_COOKIE = "kriptik_session"
CSRF_COOKIE = "kriptik_csrf"
CSRF_HEADER = "x-csrf-token"
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True)
class Person:
    """The signed-in user."""

    id: str


async def get_core(request: Request) -> Core:
    """The shared parts of this app. A coroutine, since plain functions are called in another thread, at every request."""
    return request.app.state.core


def get_person(request: Request) -> Person:
    """The signed-in user; 401 if nobody, 403 if a browser request lacks its CSRF header."""
    return _identify(request.app.state.core, request)


CoreDep = Annotated[Core, Depends(get_core)]
PersonDep = Annotated[Person, Depends(get_person)]


def _identify(core: Core, request: Request) -> Person:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    with core.db.read() as session:
        if scheme.lower() == "bearer" and token:
            user = people.user_by_token(session, token.strip())
            if user is not None:
                return Person(user.id)
            raise _nobody("This token is not known here.")
        cookie = request.cookies.get(SESSION_COOKIE)
        row = people.web_session(session, cookie, core.clock()) if cookie else None
        if row is None:
            raise _nobody("You are not signed in.")
        if request.method not in SAFE and not hmac.compare_digest(request.headers.get(CSRF_HEADER, ""), row.csrf):
            raise KriptikError(
                "csrf_missing",
                "The request did not come from this page.",
                f"Send the header {CSRF_HEADER} with the value of the cookie {CSRF_COOKIE}.",
                status=403,
            )
        return Person(row.user_id)


def _nobody(sentence: str) -> KriptikError:
    return KriptikError(
        "not_signed_in",
        sentence,
        "Open the sign-in link that `kriptik up` prints, or send the token in KRIPTIK_HOME/token as a Bearer token.",
        status=401,
    )
