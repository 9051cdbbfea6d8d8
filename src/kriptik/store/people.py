"""Users, personal tokens, browser sessions and one-time links. Secrets are stored as SHA-256 only."""

import hashlib
import secrets
from datetime import datetime, timedelta

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from kriptik.spec.base import new_id
from kriptik.store.tables import ApiToken, LoginLink, Setting, User, WebSession

SESSION_DAYS = 30
LINK_MINUTES = 15
TOKEN_PREFIX = "kt_"


def digest(secret: str) -> str:
    """SHA-256 of a high-entropy secret, in hex."""
    return hashlib.sha256(secret.encode()).hexdigest()


def setting(session: Session, key: str, default: str) -> str:
    """The stored value of `key`; stores `default` at first asking."""
    row = session.get(Setting, key)
    if row is None:
        row = Setting(key=key, value=default)
        session.add(row)
    return row.value


def owner(session: Session, now: datetime) -> User:
    """The first user; made at the first start."""
    user = session.scalars(select(User).order_by(User.created_at)).first()
    if user is None:
        user = User(id=new_id(), name="Owner", preferences={}, created_at=now)
        session.add(user)
        session.flush()
    return user


def user_by_token(session: Session, token: str) -> User | None:
    """Whose personal token this is; revoked tokens are nobody's."""
    row = session.scalars(select(ApiToken).where(ApiToken.token_hash == digest(token), ApiToken.revoked_at.is_(None))).first()
    return session.get(User, row.user_id) if row else None


def add_token(session: Session, user_id: str, label: str, now: datetime) -> tuple[ApiToken, str]:
    """A new personal token; the text is returned once and never stored."""
    token = TOKEN_PREFIX + secrets.token_urlsafe(32)
    row = ApiToken(id=new_id(), user_id=user_id, token_hash=digest(token), label=label, created_at=now)
    session.add(row)
    return row, token


def tokens(session: Session, user_id: str) -> list[ApiToken]:
    """Tokens of a user that still work."""
    query = select(ApiToken).where(ApiToken.user_id == user_id, ApiToken.revoked_at.is_(None))
    return list(session.scalars(query.order_by(ApiToken.created_at)))


def add_login_link(session: Session, user_id: str, now: datetime) -> tuple[str, datetime]:
    """A link's secret that signs in once, and until when."""
    secret = secrets.token_urlsafe(32)
    expires = now + timedelta(minutes=LINK_MINUTES)
    session.add(LoginLink(token_hash=digest(secret), user_id=user_id, created_at=now, expires_at=expires))
    return secret, expires


def use_login_link(session: Session, secret: str, now: datetime) -> str | None:
    """The user the link signs in, and uses it up; None if unknown, used or too old."""
    row = session.get(LoginLink, digest(secret))
    if row is None or row.used_at is not None or row.expires_at < now:
        return None
    row.used_at = now
    return row.user_id


def add_web_session(session: Session, user_id: str, now: datetime) -> tuple[str, str]:
    """A browser session: its secret (cookie) and its CSRF token."""
    session.execute(delete(WebSession).where(WebSession.expires_at < now))
    secret, csrf = secrets.token_urlsafe(32), secrets.token_urlsafe(24)
    expires = now + timedelta(days=SESSION_DAYS)
    session.add(WebSession(token_hash=digest(secret), user_id=user_id, csrf=csrf, created_at=now, expires_at=expires))
    return secret, csrf


def web_session(session: Session, secret: str, now: datetime) -> WebSession | None:
    """The live browser session of a cookie."""
    row = session.get(WebSession, digest(secret))
    return row if row is not None and row.expires_at >= now else None


def end_web_session(session: Session, secret: str) -> None:
    """Signs a browser out."""
    session.execute(delete(WebSession).where(WebSession.token_hash == digest(secret)))
