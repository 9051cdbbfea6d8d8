"""Which checkpoints of runs elsewhere are kept here: the last two, the best of each stage, stage ends, and what a run goes on from.

The worker keeps its own folder by the same rule; it cannot see what lies here from earlier generations.
"""

import shutil
from datetime import timedelta
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from kriptik.server.core import Core
from kriptik.server.runs import artefacts
from kriptik.store import jobs, trials
from kriptik.store.tables import CheckpointRow, ExportRow, Generation, Job, TrialRow

KEEP_LAST = 2
LOOKED_AT = timedelta(days=1)
"""Runs that changed within this time are looked at; an older one was tidied then."""


def tidy(core: Core) -> None:
    """Removes the others, first their mark, so that a half removed one does not exist. A killed server goes on with the rest."""
    _note_local(core)
    with core.db.read() as session:
        ids = session.scalars(select(Job.id).where(Job.provider != "local", Job.updated_at > core.clock() - LOOKED_AT)).all()
        found = {one: _surplus(core.run_dir(one), jobs.checkpoints(session, one), _in_use(session, one)) for one in ids}
    for job_id, names in found.items():
        for name in names:
            folder = core.run_dir(job_id) / "checkpoints" / name
            (folder / artefacts.COMPLETE).unlink(missing_ok=True)
            shutil.rmtree(folder, ignore_errors=True)
            core.objects.remove(f"{job_id}/checkpoints/{name}")
            with core.db.write() as session:
                session.get_one(CheckpointRow, (job_id, name)).kept = False


def _note_local(core: Core) -> None:
    """Here the worker itself removes what is too old; the rows say so too."""
    with core.db.read() as session:
        mine = select(Job.id).where(Job.provider == "local", Job.updated_at > core.clock() - LOOKED_AT)
        rows = session.execute(
            select(CheckpointRow.job_id, CheckpointRow.checkpoint_id).where(CheckpointRow.kept, CheckpointRow.job_id.in_(mine))
        ).all()
    gone = [tuple(row) for row in rows if not (core.run_dir(row[0]) / "checkpoints" / row[1] / artefacts.COMPLETE).is_file()]
    if gone:
        with core.db.write() as session:
            for key in gone:
                session.get_one(CheckpointRow, key).kept = False


def _in_use(session: Session, job_id: str) -> set[str | None]:
    """What a worker of this run, of a test session or of an export reads, or will."""
    job = session.get_one(Job, job_id)
    lives = session.scalars(select(Generation).where(Generation.stream_id == job_id, Generation.gone_at.is_(None)))
    beside = [session.scalars(select(kind.checkpoint_id).where(kind.job_id == job_id, kind.state.in_(trials.LIVE)))
              for kind in (TrialRow, ExportRow)]  # fmt: skip
    return {job.next_checkpoint, (job.freeze_state or {}).get("checkpoint"), *(g.resume_from for g in lives),
            *(name for names in beside for name in names)}  # fmt: skip


def _held_out(folder: Path, row: CheckpointRow) -> float | None:
    """Its loss on the held-out rows where it was measured at that very step, else the loss that it was reported with."""
    try:
        return artefacts.facts(folder, row.checkpoint_id).get("evalLoss", row.loss)
    except (OSError, ValueError):
        return row.loss


def _surplus(folder: Path, rows: list[CheckpointRow], in_use: set[str | None]) -> list[str]:
    """Of the kept ones, oldest first, those that may go."""
    kept = [row for row in rows if row.kept]
    wanted = {row.checkpoint_id for row in kept[-KEEP_LAST:]} | {row.checkpoint_id for row in kept if row.reason == "stage_end"}
    for stage in {row.stage for row in kept}:
        losses = [(_held_out(folder, row), row.checkpoint_id) for row in kept if row.stage == stage]
        judged = [(loss, name) for loss, name in losses if loss is not None]
        if judged:
            wanted.add(min(judged)[1])
    return [row.checkpoint_id for row in kept if row.checkpoint_id not in wanted | in_use]
