"""Room on the server's disk for what comes next: predicted, kept free, and asked for before it is missing.

The next checkpoint is taken to be as large as the largest of the last ones, or as the smoke test's. While it is written the old
ones are still there, and a freeze writes one more: so a run goes on while there is room for two of its own and one of every other
run at work. Short of that it is frozen, which takes one of the two, and asks for room.
"""

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from kriptik.server.core import Core
from kriptik.spec.errors import ConflictError
from kriptik.spec.job import JobState
from kriptik.storage import objects
from kriptik.store.tables import CheckpointRow, Job

AT_WORK = (JobState.SETTING_UP.value, JobState.TRAINING.value, JobState.FREEZING.value)
OWN = 2
LAST = 3
REASON = "disk_full"
"""The word for it as the reason of a freeze and as the code of an error."""


@dataclass(frozen=True)
class Need:
    """Bytes: of the next checkpoint, to be free for the run to go on, free now."""

    checkpoint: int
    wanted: int
    free: int

    @property
    def short(self) -> int:
        """What is missing; 0 where there is room."""
        return max(0, self.wanted - self.free)

    def words(self) -> tuple[str, str]:
        """One sentence and the next step."""
        sentence = (
            f"The server's disk has {_size(self.free)} free; the next checkpoint is about {_size(self.checkpoint)}, and "
            f"{_size(self.wanted)} must stay free while it is written."
        )
        return sentence, f"Free {_size(self.short)} on the disk of KRIPTIK_HOME, then resume."


def needs(session: Session, core: Core) -> dict[str, Need]:
    """Every run at work or queued → what it needs. Two queries and one look at the disk, however many runs there are."""
    states = (*AT_WORK, JobState.QUEUED.value)
    rows = session.execute(select(Job.id, Job.state, Job.probe).where(Job.state.in_(states))).all()
    sizes = _checkpoints(session, [row.id for row in rows])
    sizes = {row.id: sizes.get(row.id) or int((row.probe or {}).get("checkpointBytes", 0)) for row in rows}
    at_work = sum(sizes[row.id] for row in rows if row.state in AT_WORK)
    free = _free(core)
    return {row.id: _need(sizes[row.id], at_work - (sizes[row.id] if row.state in AT_WORK else 0), free) for row in rows}


def must_fit(session: Session, core: Core, job: Job) -> None:
    """Raises `ConflictError` `disk_full` where the run could not save its next checkpoints."""
    own = _checkpoints(session, [job.id]).get(job.id) or int((job.probe or {}).get("checkpointBytes", 0))
    others = [need.checkpoint for job_id, need in needs(session, core).items() if job_id != job.id]
    need = _need(own, sum(others), _free(core))
    if need.short:
        sentence, step = need.words()
        raise ConflictError(REASON, sentence, step, fields={"missingBytes": need.short})


def need_of(session: Session, core: Core, job: Job) -> Need:
    """What this run alone needs, for words about it."""
    own = _checkpoints(session, [job.id]).get(job.id) or int((job.probe or {}).get("checkpointBytes", 0))
    return _need(own, 0, _free(core))


def _need(own: int, others: int, free: int) -> Need:
    return Need(checkpoint=own, wanted=OWN * own + others + objects.KEPT_FREE, free=free)


def _checkpoints(session: Session, job_ids: list[str]) -> dict[str, int]:
    """Bytes of the largest of each run's last checkpoints."""
    found: dict[str, list[int]] = {}
    query = select(CheckpointRow.job_id, CheckpointRow.bytes).where(CheckpointRow.job_id.in_(job_ids))
    for job_id, size in session.execute(query.order_by(CheckpointRow.at.desc())):
        found.setdefault(job_id, []).append(size)
    return {job_id: max(sizes[:LAST]) for job_id, sizes in found.items()}


def _free(core: Core) -> int:
    return objects.free_bytes(core.settings.home)


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{max(count, 1e5) / 1e6:.1f} MB"
