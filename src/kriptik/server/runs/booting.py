"""What a rented machine prints before its worker speaks (installed packages, a crash), shown in set-up's first stage."""

import logging
from datetime import datetime

from kriptik.server.core import Core
from kriptik.server.runs import setup
from kriptik.server.runs.view import RunView
from kriptik.spec.errors import KriptikError
from kriptik.spec.events import SetupProgress
from kriptik.spec.job import JobState
from kriptik.store import events
from kriptik.store.tables import Job

log = logging.getLogger("kriptik.reconciler")

EVERY_S, APART_S = 10.0, 3.0
"""One machine is listened to so often; between any two looks lies so much, since a provider may keep its log open for a moment."""
TAIL = 20


class Listener:
    """Remembers only when it looked, so that a new server just looks once more: what was shown already is not shown again."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._looked: dict[str, datetime] = {}
        self._last: datetime | None = None

    def look(self, seen: RunView) -> None:
        """The newest lines of a machine that was made and whose worker was not heard yet."""
        core, row, now = self._core, seen.resource, seen.now
        if not self._due(seen) or row is None or row.provider_id is None:
            return
        self._looked[row.id] = self._last = now
        try:
            lines = core.providers[row.provider].logs(row.provider_id, TAIL)
        except KriptikError as error:
            log.info("run %s: no log of its machine yet: %s", seen.job.id, error.sentence)
            return
        if lines:
            self._show(seen.job.id, lines, now)

    def _due(self, seen: RunView) -> bool:
        row, generation = seen.resource, seen.generation
        if seen.job.state != JobState.SETTING_UP or row is None or row.provider_id is None or row.gone_at is not None:
            return False
        if seen.job.provider == "local" or generation is None or generation.last_contact_at is not None:
            return False
        last = self._looked.get(row.id)
        apart = self._last is None or (seen.now - self._last).total_seconds() >= APART_S
        return apart and (last is None or (seen.now - last).total_seconds() >= EVERY_S)

    def _show(self, job_id: str, lines: list[str], now: datetime) -> None:
        with self._core.db.write() as session:
            job = session.get_one(Job, job_id)
            if job.state != JobState.SETTING_UP or job.setup is None:
                return
            known = next(stage["logs"] for stage in job.setup["stages"] if stage["name"] == "provisioning")
            for line in (line.strip()[:500] for line in lines):
                if line and line not in known:
                    said = SetupProgress(stage="provisioning", status="running", progress=0.5, message=line)
                    job.setup = setup.move(job.setup, said)
                    events.say(session, job_id, said, now)
        self._core.bus.wake(job_id)
