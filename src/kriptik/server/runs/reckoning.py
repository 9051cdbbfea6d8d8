"""After a restore, before anything is created: what the providers hold and what lies on the disk is newer than the rows.

A machine that no row wants is booked on the run of its name and ended: its worker would be fenced anyway, since a number that was
handed out is never handed out again. Runs go on from the newest sound checkpoint, also from one that their rows never heard of.
"""

import logging
import re

from sqlalchemy import select

from kriptik.server import holds
from kriptik.server.core import Core
from kriptik.server.runs import artefacts, effects, orphans
from kriptik.spec.events import Log
from kriptik.spec.job import JobState
from kriptik.store import events
from kriptik.store.tables import CheckpointRow, Job

log = logging.getLogger("kriptik.reconciler")

RESTS = (JobState.QUEUED.value, JobState.FROZEN.value, JobState.AWAITING_APPROVAL.value)
"""States whose next start is already fixed in the row. The others look at the disk when their worker is found gone."""


def due(core: Core) -> bool:
    """Whether this state was restored and not compared yet."""
    return (core.settings.home / holds.RESTORED).exists()


def reckon(core: Core) -> None:
    """Compares once; raises `KriptikError` while a provider does not answer, and everything stays held."""
    for provider in core.providers.values():
        for orphan in orphans.of_provider(core, provider):
            orphans.end(core, orphan)
    with core.db.read() as session:
        ids = session.scalars(select(Job.id).where(Job.state.in_(RESTS))).all()
    for job_id in ids:
        _newest_checkpoint(core, job_id)
    holds.lift(core.settings.home, holds.RESTORED)
    log.warning("restored state: compared with %s", ", ".join(sorted(core.providers)))


def _newest_checkpoint(core: Core, job_id: str) -> None:
    """The next start of a run at rest: the newest sound checkpoint of a later life, else its own if that is still there."""
    folder = core.run_dir(job_id)
    core.objects.pull(job_id, folder)
    with core.db.read() as session:
        job = session.get_one(Job, job_id)
        known = set(session.scalars(select(CheckpointRow.checkpoint_id).where(CheckpointRow.job_id == job_id)))
    there = artefacts.committed(folder)
    later = [name for name in there if name not in known and _generation(name) >= max(1, job.generation)]
    own = job.next_checkpoint
    choices = [*reversed(later), *([own] if own else []), *reversed([name for name in there if name in known])]
    found = next((name for name in choices if artefacts.sound(folder, name)), None)
    if found == own:
        return
    now = core.clock()
    with core.db.write() as session:
        job = session.get_one(Job, job_id)
        job.next_checkpoint = found
        if job.freeze_state:
            job.freeze_state = {**job.freeze_state, "checkpoint": found}
        if found is not None:
            effects.know_checkpoint(core, session, job, found, now)
        words = f"goes on from checkpoint {found}" if found else "begins anew: none of its checkpoints is there any more"
        events.say(session, job_id, Log(severity="warning", message=f"The server's state was restored; this run {words}."), now)
    core.bus.wake(job_id)


def _generation(name: str) -> int:
    found = re.search(r"-g(\d+)", name)
    return int(found[1]) if found else 0
