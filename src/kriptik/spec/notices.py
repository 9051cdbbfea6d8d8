"""What people are told, and when they want to be left alone."""

from datetime import datetime
from typing import Literal

from pydantic import Field, JsonValue

from kriptik.spec.base import Noun

NoticeKind = Literal["training_alert", "training_freeze", "training_stage_complete", "training_complete", "training_error"]


class Notification(Noun):
    """An in-app notice; `action_url` is a path of the web UI."""

    id: str
    user_id: str
    job_id: str | None = None
    type: NoticeKind
    title: str
    message: str
    action_url: str
    action_label: str
    metadata: dict[str, JsonValue] = {}
    read: bool = False
    created_at: datetime


class NotificationPreferences(Noun):
    """Per user. A freeze is never silenced; quiet hours hold back only SMS of it."""

    email_enabled: bool = False
    sms_enabled: bool = False
    in_app_enabled: bool = True
    alert_on_budget_percent: float = Field(80, gt=0, lt=100)
    alert_on_stage_complete: bool = True
    alert_on_error: bool = True
    alert_on_complete: bool = True
    quiet_hours_enabled: bool = False
    quiet_hours_start: str = Field("22:00", pattern=r"^([01]\d|2[0-3]):[0-5]\d$")
    quiet_hours_end: str = Field("08:00", pattern=r"^([01]\d|2[0-3]):[0-5]\d$")
    time_zone: str = "UTC"
