"""Which checkpoints of runs elsewhere are kept here: the last two, the best of each stage, stage ends, and what a run goes on from.

The worker keeps its own folder by the same rule; it cannot see what lies here from earlier generations.
"""

import shutil
from datetime import timedelta

from sqlalchemy import select

from kriptik.server.core import Core
from kriptik.server.runs import artefacts
from kriptik.store import jobs
from kriptik.store.tables import CheckpointRow, Generation, Job

KEEP_LAST = 2
LOOKED_AT = timedelta(days=1)
"""Runs that changed within this time are looked at; an older one was tidied then."""


def tidy(core: Core) -> None:
    """Removes the others, first their mark, so that a half removed one does not exist. A killed server goes on with the rest."""
    with core.db.read() as session:
        ids = session.scalars(select(Job.id).where(Job.provider != "local", Job.updated_at > core.clock() - LOOKED_AT)).all()
        found = {job_id: _surplus(jobs.checkpoints(session, job_id), _in_use(session.get_one(Job, job_id),
                 list(session.scalars(select(Generation).where(Generation.stream_id == job_id))))) for job_id in ids}  # fmt: skip
    for job_id, names in found.items():
        for name in names:
            folder = core.run_dir(job_id) / "checkpoints" / name
            (folder / artefacts.COMPLETE).unlink(missing_ok=True)
            shutil.rmtree(folder, ignore_errors=True)
            core.objects.remove(f"{job_id}/checkpoints/{name}")
            with core.db.write() as session:
                session.get_one(CheckpointRow, (job_id, name)).kept = False


def _in_use(job: Job, generations: list[Generation]) -> set[str | None]:
    return {job.next_checkpoint, (job.freeze_state or {}).get("checkpoint"), *(g.resume_from for g in generations if not g.gone_at)}


def _surplus(rows: list[CheckpointRow], in_use: set[str | None]) -> list[str]:
    """Of the kept ones, oldest first, those that may go."""
    kept = [row for row in rows if row.kept]
    wanted = {row.checkpoint_id for row in kept[-KEEP_LAST:]} | {row.checkpoint_id for row in kept if row.reason == "stage_end"}
    for stage in {row.stage for row in kept}:
        judged = [row for row in kept if row.stage == stage and row.loss is not None]
        if judged:
            wanted.add(min(judged, key=lambda row: (row.loss, row.checkpoint_id)).checkpoint_id)
    return [row.checkpoint_id for row in kept if row.checkpoint_id not in wanted | in_use]
