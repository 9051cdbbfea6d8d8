"""`job.json` of a generation, from what the database holds: what a worker is handed, without secrets."""

from datetime import datetime
from pathlib import Path

from sqlalchemy.orm import Session

from kriptik.pipeline import budget
from kriptik.server.core import Core
from kriptik.server.runs import money
from kriptik.spec.consent import Consent
from kriptik.spec.export import ExportOrder
from kriptik.spec.job import ControlLink, DataRef, ModelRef, SamplePrompt, Stage, TrainJob, WorkKind
from kriptik.store import ledger
from kriptik.store.tables import Generation, Job


def of_run(session: Session, core: Core, job: Job, generation: Generation, now: datetime) -> TrainJob:
    """The training job of this generation."""
    overheads = money.overheads(core, job)
    carry = job.provider != "local"
    return TrainJob(
        job_id=job.id,
        generation=generation.number,
        run_dir=str(core.run_dir(job.id)),
        cache_dir=str(core.cache_dir),
        capability=job.estimate["capability"],
        modality=job.estimate["modality"],
        precision=job.estimate["precision"],
        seed=job.estimate.get("seed", 0),
        threads=None if carry else core.settings.threads,
        world=_world(job),
        base_model=ModelRef(id=job.base_model),
        stages=[Stage.model_validate(s) for s in job.stages],
        data=DataRef.model_validate(job.data) if job.data else None,
        samples=[SamplePrompt.model_validate(s) for s in job.estimate.get("samples", [])],
        resume_from=generation.resume_from,
        allow_inexact=True,
        consent=_consent(job),
        price_per_hour=overheads.price_per_hour,
        asking_usd=money.asking(core, job, ledger.spend(session, job.id, now)),
        carry=carry,
        control=ControlLink(
            server_url=core.settings.outside_url or core.settings.url if carry else core.settings.url,
            lease_s=core.settings.lease_s,
            grace_s=core.settings.grace_s,
            self_end=core.providers[job.provider].self_end if carry else None,
            hard_stop_in_s=budget.hard_stop_in_s(job.max_budget, ledger.spend(session, job.id, now), overheads.price_per_hour),
            reserve_s=overheads.reserve_s,
        ),
    )


def _consent(job: Job) -> Consent | None:
    found = job.estimate.get("consent")
    return Consent.model_validate(found) if found else None


def _world(job: Job) -> int:
    """A process per GPU where the plan spreads the work; a run on the CPU has one."""
    spread = any(Stage.model_validate(stage).point.strategy not in (None, "single") for stage in job.stages)
    return int(job.estimate.get("gpuCount", 1)) if spread else 1


def of_session(core: Core, job: Job, session_id: str, checkpoint_id: str | None, idle_s: float) -> TrainJob:
    """The serving job of a test session: the run's folder, its base model, and the checkpoint to answer with."""
    return TrainJob(
        job_id=session_id,
        generation=1,
        kind=WorkKind.SERVE,
        run_dir=str(core.run_dir(job.id)),
        cache_dir=str(core.cache_dir),
        capability=job.estimate["capability"],
        modality=job.estimate["modality"],
        precision=job.estimate["precision"],
        threads=core.settings.threads,
        base_model=ModelRef(id=job.base_model),
        stages=[Stage.model_validate(s) for s in job.stages],
        resume_from=checkpoint_id,
        allow_inexact=True,
        consent=_consent(job),
        probe=False,
        serve_idle_s=idle_s,
        control=ControlLink(
            server_url=core.settings.url,
            lease_s=core.settings.lease_s,
            grace_s=min(core.settings.grace_s, 120),
        ),
    )


def of_export(core: Core, job: Job, order: ExportOrder, checkpoint_id: str | None) -> TrainJob:
    """The exporting job: the run's folder, its data's name and licence for the card, and what is to be written."""
    served = of_session(core, job, order.id, checkpoint_id, 0)
    data = DataRef.model_validate(job.data) if job.data else None
    changes = {"kind": WorkKind.EXPORT, "export": order, "data": data, "seed": job.estimate.get("seed", 0)}
    return served.model_copy(update=changes)


def path(folder: Path, generation: int) -> Path:
    """Where a generation's job.json lies."""
    return folder / "jobs" / f"g{generation}.json"


def newest(folder: Path) -> int:
    """The highest generation that was handed a job.json; 0 where none was."""
    return max((int(file.stem[1:]) for file in (folder / "jobs").glob("g*.json") if file.stem[1:].isdigit()), default=0)


def write(folder: Path, job: TrainJob) -> Path:
    """Writes it, whole or not at all."""
    target = path(folder, job.generation)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_suffix(".part")
    part.write_text(job.model_dump_json(by_alias=True, indent=1))
    part.replace(target)
    return target
