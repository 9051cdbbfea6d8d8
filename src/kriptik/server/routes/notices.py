"""In-app notices and what a person wants to be told."""

from typing import Annotated

from fastapi import APIRouter, Query, Request

from kriptik.server import stream
from kriptik.server.auth import CoreDep, PersonDep
from kriptik.spec.base import Noun, new_id
from kriptik.spec.notices import Notification, NotificationPreferences
from kriptik.store import notices
from kriptik.store.tables import User

router = APIRouter(prefix="/notifications", tags=["notifications"])


class NotificationList(Noun):
    """Notices, newest first, and how many are unread."""

    notifications: list[Notification]
    unread: int


class ReadRequest(Noun):
    """Which notices were read; without ids, all of them."""

    ids: list[str] | None = None


@router.get("")
def list_notifications(
    core: CoreDep, person: PersonDep, unread: bool = False, limit: Annotated[int, Query(ge=1, le=200)] = 50
) -> NotificationList:
    """Your notices."""
    with core.db.read() as session:
        return NotificationList(
            notifications=notices.page(session, person.id, limit, unread_only=unread), unread=notices.unread(session, person.id)
        )


@router.post("/read")
def read_notifications(core: CoreDep, person: PersonDep, body: ReadRequest) -> NotificationList:
    """Marks notices as read."""
    with core.db.write() as session:
        notices.mark_read(session, person.id, body.ids)
    core.bus.wake(f"user:{person.id}")
    return list_notifications(core, person)


@router.get("/stream", response_class=stream.EventStream)
async def stream_notifications(
    core: CoreDep, person: PersonDep, request: Request, after: str | None = None
) -> stream.EventStream:
    """Your notices as they are made, from `after` or Last-Event-ID (a notice id) on; without either, from now on."""
    cursor = [request.headers.get("last-event-id") or after or new_id()]

    def read() -> list[tuple[str, Noun]]:
        with core.db.read() as session:
            found = notices.page(session, person.id, stream.PAGE, after=cursor[0])
        if found:
            cursor[0] = found[-1].id
        return [(notice.id, notice) for notice in found]

    return stream.EventStream(stream.follow_pages(core, f"user:{person.id}", read))


@router.get("/preferences")
def get_preferences(core: CoreDep, person: PersonDep) -> NotificationPreferences:
    """What you want to be told."""
    with core.db.read() as session:
        return NotificationPreferences.model_validate(session.get_one(User, person.id).preferences)


@router.put("/preferences")
def change_preferences(core: CoreDep, person: PersonDep, preferences: NotificationPreferences) -> NotificationPreferences:
    """Replaces them. A freeze is never silenced."""
    with core.db.write() as session:
        session.get_one(User, person.id).preferences = preferences.wire()
    return preferences


@router.post("/preferences/test")
def test_notification(core: CoreDep, person: PersonDep) -> Notification:
    """Sends yourself a notice."""
    notice = Notification(
        id=new_id(),
        user_id=person.id,
        type="training_alert",
        title="This is a test notice",
        message="Notices of your runs will look like this.",
        action_url="/",
        action_label="View Training",
        created_at=core.clock(),
    )
    with core.db.write() as session:
        notices.add(session, notice, None)
    core.bus.wake(f"user:{person.id}")
    return notice
