"""A control plane without its HTTP, on a clock that only moves when told to, with RunPod's real client and a fake account.

A tick is a second of the clock and a few milliseconds of real time; the pods' processes do nothing but be there.
"""

import contextlib
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from harness import add_run
from runpod_fake import KEY, FakeRunPod
from runpod_http import RunPodServer
from sqlalchemy import select

from kriptik.providers.runpod import RunPodProvider
from kriptik.server.core import open_core
from kriptik.server.runs import commands
from kriptik.server.runs.reconciler import Reconciler
from kriptik.server.settings import Settings
from kriptik.store import jobs, ledger
from kriptik.store.tables import Generation, Job, NotificationRow, Resource

IMAGES = {"idle:1": (["sleep", "600"], {}), "crash:1": (["sh", "-c", "echo bad arguments; exit 3"], {})}
PRICE = Decimal("3.6")
"""A tenth of a cent a second."""


class Virtual:
    """Account, provider, rows and reconciler over one clock. `close()` looks for what is left."""

    def __init__(self, tmp_path, image="idle:1", **settings):
        self.now = datetime(2026, 6, 1, tzinfo=UTC)
        self.home, self.image, self.options = tmp_path / "home", image, settings
        self.account = FakeRunPod(tmp_path / "pods", IMAGES, clock=lambda: self.now)
        self.account.prices["NVIDIA GeForce RTX 4090"] = (PRICE, PRICE)
        self.account.grace_s = 0.05
        self.http = RunPodServer(self.account)
        self.http.log_open_s = 0
        self.open()

    def open(self):
        options = {"tick_s": 1, "checkpoint_s": 3, "teardown_s": 2, "lease_s": 30, "grace_s": 60, "boot_s": 120, "bill_settle_s": 0}
        settings = Settings.from_env(home=self.home, worker_url="https://here.example", **{**options, **self.options})
        self.provider = self.client()
        self.core = open_core(settings, {"runpod": self.provider}, clock=lambda: self.now)
        self.reconciler = Reconciler(self.core)

    def client(self):
        """A RunPod client of its own, as another server process would have."""
        return RunPodProvider(
            KEY, self.image, base_url=self.http.url, timeout_s=5, clock=lambda: self.now.timestamp(), pause=lambda _s: None
        )

    def kill(self):
        """The server process ends here and now; another one starts over the same rows."""
        self.core.db.close()
        self.open()

    def tick(self, count=1, seconds=1):
        for _ in range(count):
            self.now += timedelta(seconds=seconds)
            self.reconciler.tick()

    def until(self, condition, ticks=400, seconds=1):
        for _ in range(ticks):
            if found := condition():
                return found
            self.tick(seconds=seconds)
        raise AssertionError("this did not happen in time")

    def run(self, cap="5", **facts):
        facts = {"gpu": "RTX4090", "price_per_hour": PRICE + Decimal("0.01"), **facts}
        return add_run(self.core, 100, cap, {}, provider="runpod", facts=facts)

    def job(self, job_id):
        with self.core.db.read() as session:
            job = session.get_one(Job, job_id)
            session.expunge(job)
            return job

    def rows(self, kind):
        with self.core.db.read() as session:
            found = list(session.scalars(select(kind)))
            session.expunge_all()
            return found

    def resource(self, job_id, number=1):
        return next(r for r in self.rows(Resource) if r.stream_id == job_id and r.number == number)

    def act(self, name, job_id, *more):
        with self.core.db.write() as session:
            job = session.get_one(Job, job_id)
            {"stop": lambda: commands.stop(session, job, self.now), "freeze": lambda: commands.freeze(session, job, self.now),
             "retry": lambda: commands.retry(session, self.core, job, None, self.now)}[name]()  # fmt: skip

    def heard(self, job_id, state=None):
        """The worker spoke just now."""
        with self.core.db.write() as session:
            generation = jobs.generation(session, job_id, session.get_one(Job, job_id).generation)
            generation.last_contact_at = self.now
            generation.worker_state = state or generation.worker_state

    def training(self, job_id):
        """Until the worker is at work."""
        self.until(lambda: self.account.own())
        self.heard(job_id, "ready")
        self.until(lambda: self.job(job_id).state == "training")

    def notices(self):
        return [row.details.get("code") or row.title for row in self.rows(NotificationRow)]

    def spent(self, job_id):
        with self.core.db.read() as session:
            return ledger.spend(session, job_id, self.now)

    def end(self, job_id):
        """Stops a run and waits until nothing of it is left."""
        if self.job(job_id).state not in ("failed", "stopped", "completed"):
            self.act("stop", job_id)
        self.until(lambda: self.job(job_id).state in ("failed", "stopped", "completed") and not self.account.own(), 300)

    def close(self):
        try:
            self.http.check()
            alive = [r.name for r in self.rows(Resource) if r.gone_at is None]
            assert not alive, f"rows that are not gone: {alive}"
            doubled = {
                g.stream_id for g in self.rows(Generation) if g.gone_at is None and g.number < self.job(g.stream_id).generation
            }
            assert not doubled
        finally:
            self.core.db.close()
            with contextlib.suppress(OSError):
                self.http.close()
