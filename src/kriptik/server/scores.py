"""What scores the answers of a run that learns from scores: the reward model that an earlier run of the person's left.

It is found at approval, so that a run which has none is refused before anything is spent.
"""

from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from kriptik.server.core import Core
from kriptik.spec.errors import ConflictError
from kriptik.spec.job import Stage
from kriptik.store.tables import Job

REWARD, OPTION = "reward", "reward_model"
"""The objective that trains one; the option of an objective that asks one, and what it is called there."""


def with_reward_model(
    session: Session, core: Core, user_id: str, provider: str, base_model: str, stages: list[Stage]
) -> list[Stage]:
    """The stages, each that asks a reward model and follows none with the newest one on the same base model.

    409 `reward_model_missing` where there is none, or where it lies on this machine and the run would be on another.
    """
    found = []
    for stage in stages:
        made = any(one.point.objective == REWARD for one in stages[: stage.index])
        if stage.point.options.get("reward") != OPTION or made or _is_there(stage):
            found.append(stage)
            continue
        folder = _newest(session, core, user_id, base_model)
        if folder is None:
            raise ConflictError(
                "reward_model_missing",
                f"Stage '{stage.name}' scores answers by a reward model, and no finished run has made one on {base_model}.",
                "Train one first: the same base model with the method reward_model, from pairs of a better and a worse answer.",
            )
        if provider != "local":
            raise ConflictError(
                "reward_model_missing",
                f"The reward model of stage '{stage.name}' lies on this machine, where a rented one cannot read it.",
                "Train here, or choose hybrid_full_rlhf, which makes its own on the way.",
            )
        settings = stage.settings.with_objective(reward_model=str(folder))
        found.append(stage.model_copy(update={"settings": settings}))
    return found


def _is_there(stage: Stage) -> bool:
    named = stage.settings.objective.get(OPTION)
    return bool(named) and Path(str(named)).is_dir()


def _newest(session: Session, core: Core, user_id: str, base_model: str) -> Path | None:
    mine = select(Job).where(Job.user_id == user_id, Job.state == "completed", Job.base_model == base_model)
    for job in session.scalars(mine.order_by(Job.finished_at.desc())):
        folder = core.run_dir(job.id) / "result" / "model"
        if job.stages[-1]["point"]["objective"] == REWARD and folder.is_dir():
            return folder
    return None
