"""The six set-up stages of a run, as a document that moves with events."""

from typing import Any

from kriptik.spec.environment import SETUP_TITLES, EnvironmentSetup, SetupStage
from kriptik.spec.events import SetupProgress
from kriptik.store.tables import Job

KEPT_LOGS = 50


def fresh(job: Job) -> EnvironmentSetup:
    """All six stages pending."""
    return EnvironmentSetup(
        id=job.id,
        plan_id=job.plan_id,
        job_id=job.id,
        current_stage=None,
        status="pending",
        stages=[SetupStage(name=name, title=title, progress=0) for name, title in SETUP_TITLES.items()],
        config={"stages": job.stages},
    )


def move(document: dict[str, Any], progress: SetupProgress) -> dict[str, Any]:
    """The document after a stage moved."""
    setup = EnvironmentSetup.model_validate(document)
    for stage in setup.stages:
        if stage.name == progress.stage:
            stage.status, stage.progress = progress.status, progress.progress
            if progress.message:
                stage.logs = [*stage.logs, progress.message][-KEPT_LOGS:]
    setup.current_stage = progress.stage
    if progress.status == "failed":
        setup.status = "failed"
    elif all(stage.status == "completed" for stage in setup.stages):
        setup.status = "ready"
    else:
        setup.status = "provisioning" if progress.stage in ("provisioning", "storage") else "configuring"
    return setup.document()
