"""What scores the answers of a run that learns from scores: the reward model that an earlier run of the person's left.

It is found at approval, so that a run which has none is refused before anything is spent. A rented machine fetches it
with the rows.
"""

from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from kriptik.server.core import Core
from kriptik.spec.carry import reward_folder
from kriptik.spec.errors import ConflictError
from kriptik.spec.job import Stage, TrainJob
from kriptik.store.tables import Job

REWARD, OPTION = "reward", "reward_model"
"""The objective that trains one; the option of an objective that asks one, and what it is called there."""


def with_reward_model(
    session: Session, core: Core, user_id: str, provider: str, base_model: str, stages: list[Stage]
) -> list[Stage]:
    """The stages, each that asks a reward model and follows none with the newest one on the same base model.

    409 `reward_model_missing` where there is none, or where the run would be on another machine and the one that a stage names is
    no run's of this person.
    """
    found = []
    for stage in stages:
        made = any(one.point.objective == REWARD for one in stages[: stage.index])
        if stage.point.options.get("reward") != OPTION or made:
            found.append(stage)
            continue
        if (named := _named(stage)) is not None:
            if provider != "local" and named not in _left(session, core, user_id):
                raise ConflictError(
                    "reward_model_missing",
                    f"The reward model of stage '{stage.name}' lies on this machine, where a rented one cannot read it.",
                    "Train here, or leave it out: then the newest one that your runs have made is sent along.",
                )
            found.append(stage)
            continue
        folder = next(iter(_left(session, core, user_id, base_model)), None)
        if folder is None:
            raise ConflictError(
                "reward_model_missing",
                f"Stage '{stage.name}' scores answers by a reward model, and no finished run has made one on {base_model}.",
                "Train one first: the same base model with the method reward_model, from pairs of a better and a worse answer.",
            )
        settings = stage.settings.with_objective(reward_model=str(folder))
        found.append(stage.model_copy(update={"settings": settings}))
    return found


def handed(core: Core, job: TrainJob) -> dict[str, Path]:
    """What a machine elsewhere needs of the reward models that the stages name: path on its side → file here.

    Of runs alone: no other folder of this machine leaves it, whatever a job names.
    """
    found, runs = dict[str, Path](), core.run_dir("").resolve()
    for stage in job.stages:
        folder = _named(stage)
        if folder is not None and folder.resolve().is_relative_to(runs):
            there = reward_folder(stage.index)
            found |= {f"{there}/{file.name}": file for file in sorted(folder.iterdir()) if file.is_file() and not file.is_symlink()}
    return found


def _named(stage: Stage) -> Path | None:
    named = stage.settings.objective.get(OPTION)
    return Path(str(named)) if named and Path(str(named)).is_dir() else None


def _left(session: Session, core: Core, user_id: str, base_model: str | None = None) -> list[Path]:
    """Folders of the reward models that finished runs of the person have left, the newest first."""
    mine = select(Job).where(Job.user_id == user_id, Job.state == "completed")
    if base_model is not None:
        mine = mine.where(Job.base_model == base_model)
    jobs = session.scalars(mine.order_by(Job.finished_at.desc()))
    folders = [core.run_dir(job.id) / "result" / "model" for job in jobs if job.stages[-1]["point"]["objective"] == REWARD]
    return [folder for folder in folders if folder.is_dir()]
