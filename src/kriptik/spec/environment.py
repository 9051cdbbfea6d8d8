"""Environment set-up: six stages from nothing to a verified place to train."""

from typing import Literal, get_args

from pydantic import Field, JsonValue

from kriptik.spec.base import Noun
from kriptik.spec.events import SetupName, StepStatus

SETUP_TITLES: dict[SetupName, str] = {
    "provisioning": "Compute",
    "storage": "Storage",
    "framework": "Training framework",
    "data": "Data pipeline",
    "monitoring": "Monitoring",
    "verification": "Verification",
}
assert tuple(SETUP_TITLES) == get_args(SetupName)


class SetupStage(Noun):
    """One of the six stages."""

    name: SetupName
    title: str
    status: StepStatus = "pending"
    progress: float = Field(0, ge=0, le=1)
    logs: list[str] = []


class EnvironmentSetup(Noun):
    """The set-up of one job."""

    id: str
    plan_id: str
    job_id: str
    stages: list[SetupStage]
    current_stage: SetupName | None
    status: Literal["pending", "provisioning", "configuring", "ready", "failed"]
    resources: dict[str, JsonValue] = {}
    config: dict[str, JsonValue] = {}
    logs: list[str] = []
