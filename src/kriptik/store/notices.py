"""In-app notices: stored once per key, read by their user only."""

from datetime import datetime

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from kriptik.spec.base import new_id
from kriptik.spec.notices import Notification
from kriptik.store.tables import NotificationRow


def add(session: Session, notice: Notification, once_key: str | None) -> bool:
    """Stores a notice; False if one with this key is there already."""
    if once_key and session.scalars(select(NotificationRow.id).where(NotificationRow.once_key == once_key)).first():
        return False
    session.add(
        NotificationRow(
            id=notice.id,
            user_id=notice.user_id,
            job_id=notice.job_id,
            once_key=once_key,
            type=notice.type,
            title=notice.title,
            message=notice.message,
            action_url=notice.action_url,
            action_label=notice.action_label,
            details=notice.metadata,
            created_at=notice.created_at,
        )
    )
    session.flush()
    return True


def page(session: Session, user_id: str, limit: int, *, unread_only: bool = False, after: str | None = None) -> list[Notification]:
    """Newest first; with `after`, those made after that id, oldest first."""
    query = select(NotificationRow).where(NotificationRow.user_id == user_id)
    if unread_only:
        query = query.where(NotificationRow.read.is_(False))
    if after is not None:
        query = query.where(NotificationRow.id > after).order_by(NotificationRow.id)
    else:
        query = query.order_by(NotificationRow.id.desc())
    return [noun(row) for row in session.scalars(query.limit(limit))]


def unread(session: Session, user_id: str) -> int:
    """How many notices were not read."""
    query = select(func.count()).select_from(NotificationRow)
    return session.scalar(query.where(NotificationRow.user_id == user_id, NotificationRow.read.is_(False))) or 0


def mark_read(session: Session, user_id: str, ids: list[str] | None) -> None:
    """Marks these (None: all) as read."""
    statement = update(NotificationRow).where(NotificationRow.user_id == user_id).values(read=True)
    if ids is not None:
        statement = statement.where(NotificationRow.id.in_(ids))
    session.execute(statement)


def make(
    user_id: str,
    job_id: str | None,
    kind: str,
    title: str,
    message: str,
    action: tuple[str, str],
    now: datetime,
    **metadata: object,
) -> Notification:
    """A notice noun; `action` is (path of the web UI, label)."""
    return Notification.model_validate(
        {
            "id": new_id(),
            "user_id": user_id,
            "job_id": job_id,
            "type": kind,
            "title": title,
            "message": message,
            "action_url": action[0],
            "action_label": action[1],
            "metadata": metadata,
            "created_at": now,
        }
    )


def noun(row: NotificationRow) -> Notification:
    """The noun of a row."""
    return Notification.model_validate(
        {
            "id": row.id,
            "user_id": row.user_id,
            "job_id": row.job_id,
            "type": row.type,
            "title": row.title,
            "message": row.message,
            "action_url": row.action_url,
            "action_label": row.action_label,
            "metadata": row.details,
            "read": row.read,
            "created_at": row.created_at,
        }
    )
