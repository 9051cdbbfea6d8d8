"""Signing in: one-time links, browser sessions, personal tokens."""

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import Field

from kriptik.server.auth import CSRF_COOKIE, SESSION_COOKIE, CoreDep, PersonDep
from kriptik.server.core import Core
from kriptik.spec.base import Noun
from kriptik.spec.errors import KriptikError, NotFoundError
from kriptik.store import people
from kriptik.store.tables import ApiToken, User

router = APIRouter(prefix="/auth", tags=["access"])
pages = APIRouter(include_in_schema=False)


class Me(Noun):
    """Who is signed in."""

    id: str
    name: str


class SignInLink(Noun):
    """A link that signs in once."""

    url: str
    expires_at: str


class TokenInfo(Noun):
    """A personal token; its text is shown once, when it is made."""

    id: str
    label: str
    created_at: str
    token: str | None = None


class TokenRequest(Noun):
    """What to call a new token."""

    label: str = Field(min_length=1, max_length=200)


def sign_in_url(core: Core) -> str:
    """A fresh one-time link for the owner."""
    with core.db.write() as session:
        secret, _expires = people.add_login_link(session, core.owner_id, core.clock())
    return f"{core.settings.public_url or core.settings.url}/signin?token={secret}"


@pages.get("/signin")
def sign_in(core: CoreDep, request: Request, token: str = "") -> Response:
    """Uses the link up, sets the cookies, goes to the page."""
    with core.db.write() as session:
        user_id = people.use_login_link(session, token, core.clock())
        made = people.add_web_session(session, user_id, core.clock()) if user_id else None
    if made is None and "text/html" in request.headers.get("accept", ""):
        return RedirectResponse("/sign-in?problem=bad_link", 303)
    if made is None:
        raise KriptikError(
            "bad_link",
            "This sign-in link was used already or is too old.",
            "Run `kriptik up` again, or ask for a new link with POST /api/training/auth/links.",
            status=403,
        )
    response = RedirectResponse("/", 303)
    options: dict[str, Any] = {"samesite": "lax", "secure": request.url.scheme == "https", "max_age": people.SESSION_DAYS * 86_400}
    response.set_cookie(SESSION_COOKIE, made[0], httponly=True, **options)
    response.set_cookie(CSRF_COOKIE, made[1], **options)
    return response


@router.get("/me")
def get_me(core: CoreDep, person: PersonDep) -> Me:
    """Who you are."""
    with core.db.read() as session:
        user = session.get_one(User, person.id)
        return Me(id=user.id, name=user.name)


@router.post("/links")
def make_sign_in_link(core: CoreDep, person: PersonDep) -> SignInLink:
    """A one-time link for another browser of yours."""
    with core.db.write() as session:
        secret, expires = people.add_login_link(session, person.id, core.clock())
    base = core.settings.public_url or core.settings.url
    return SignInLink(url=f"{base}/signin?token={secret}", expires_at=expires.isoformat())


@router.post("/sign-out", status_code=204)
def sign_out(core: CoreDep, person: PersonDep, request: Request, response: Response) -> None:
    """Ends this browser's session."""
    with core.db.write() as session:
        people.end_web_session(session, request.cookies.get(SESSION_COOKIE, ""))
    response.delete_cookie(SESSION_COOKIE)
    response.delete_cookie(CSRF_COOKIE)


@router.get("/tokens")
def list_tokens(core: CoreDep, person: PersonDep) -> list[TokenInfo]:
    """Your tokens, without their text."""
    with core.db.read() as session:
        rows = people.tokens(session, person.id)
    return [TokenInfo(id=row.id, label=row.label, created_at=row.created_at.isoformat()) for row in rows]


@router.post("/tokens", status_code=201)
def make_token(core: CoreDep, person: PersonDep, body: TokenRequest) -> TokenInfo:
    """A new personal token; keep its text, it is not shown again."""
    with core.db.write() as session:
        row, token = people.add_token(session, person.id, body.label, core.clock())
    return TokenInfo(id=row.id, label=row.label, created_at=row.created_at.isoformat(), token=token)


@router.delete("/tokens/{token_id}", status_code=204)
def revoke_token(core: CoreDep, person: PersonDep, token_id: str) -> None:
    """Makes a token useless."""
    with core.db.write() as session:
        row = session.get(ApiToken, token_id)
        if row is None or row.user_id != person.id:
            raise NotFoundError("token_not_found", "There is no such token.")
        row.revoked_at = core.clock()
