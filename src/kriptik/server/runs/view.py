"""A run as one tick sees it: rows read together, and what the provider says of the resource. States decide on this alone."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy.orm import Session

from kriptik.pipeline import budget
from kriptik.providers import provider as providers
from kriptik.server.core import Core
from kriptik.server.runs import money
from kriptik.spec.job import JobState
from kriptik.store import jobs, ledger
from kriptik.store.tables import Generation, Job, Resource


@dataclass(frozen=True)
class Limits:
    """The operator's times, in seconds."""

    lease_s: float
    grace_s: float
    boot_s: float
    teardown_s: float
    freeze_s: float
    """How long a worker may take to freeze or stop before it is ended."""
    fruitless: int


@dataclass(frozen=True)
class RunView:
    """Rows are read-only here. `seen` is the provider's answer; `asked` is False if it gave none this time."""

    job: Job
    generation: Generation | None
    resource: Resource | None
    seen: providers.Resource | None
    asked: bool
    spend: Decimal
    terms: budget.Terms
    overheads: budget.Overheads
    my_turn: bool
    now: datetime
    limits: Limits
    short_bytes: int = 0
    """What is missing on the server's disk for the next checkpoints."""

    @property
    def gone(self) -> bool:
        """Nothing of the present generation bills: never begun, or confirmed gone."""
        return self.resource is None or self.resource.gone_at is not None

    @property
    def over(self) -> bool:
        """The resource lives no more, though that may not be confirmed by a terminate yet."""
        if self.gone:
            return True
        return self.asked and (self.seen is None or self.seen.status in ("exited", "gone"))

    @property
    def said(self) -> str | None:
        """The worker's last word about itself."""
        return self.generation.worker_state if self.generation else None

    @property
    def verdict(self) -> budget.Verdict:
        """What the money says."""
        resumed = self.job.generation > 1
        return budget.judge(self.terms, self.overheads, self.spend, alert_sent=self.job.alert_sent, resumed=resumed)

    @property
    def silent_s(self) -> float:
        """Seconds since the worker was last heard, or since its begin."""
        if self.generation is None:
            return 0.0
        return (self.now - (self.generation.last_contact_at or self.generation.created_at)).total_seconds()

    @property
    def in_state_s(self) -> float:
        """Seconds in the present state."""
        return (self.now - self.job.state_since).total_seconds()


def load(session: Session, core: Core, job_id: str) -> RunView | None:
    """Reads a run; the provider was not asked yet."""
    job = session.get(Job, job_id)
    if job is None:
        return None
    now = core.clock()
    generation = jobs.generation(session, job_id, job.generation)
    resource = jobs.resource(session, job_id, job.generation)
    over = money.overheads(core, job)
    return RunView(
        job=job,
        generation=generation,
        resource=resource,
        seen=None,
        asked=False,
        spend=ledger.spend(session, job_id, now),
        terms=money.terms(job),
        overheads=over,
        my_turn=job.state == JobState.QUEUED and _my_turn(session, core, job),
        now=now,
        limits=Limits(
            lease_s=core.settings.lease_s,
            grace_s=core.settings.grace_s,
            boot_s=core.settings.boot_s,
            teardown_s=core.settings.teardown_s,
            freeze_s=max(120.0, 6 * over.checkpoint_s),
            fruitless=core.settings.fruitless_limit,
        ),
    )


def _my_turn(session: Session, core: Core, job: Job) -> bool:
    """First of its provider's queue, a place is free, and nothing holds new machines back."""
    free = job.provider != "local" or jobs.busy(session, "local") < core.settings.local_slots
    return free and jobs.queue(session, job.provider)[:1] == [job.id] and core.held is None
