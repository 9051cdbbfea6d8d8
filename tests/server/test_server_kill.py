"""A whole life on this machine (train, freeze, resume, complete) on a virtual clock, and what happens to workers that fail.

Never two resources at a time, none left over, no create twice, no step lost or trained twice. Servers killed at every boundary are
`tests/chaos`.
"""

import hashlib
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from harness import add_run

from kriptik.providers.provider import Resource
from kriptik.server.core import open_core
from kriptik.server.runs import commands, effects, spool
from kriptik.server.runs.reconciler import Reconciler
from kriptik.server.settings import Settings
from kriptik.spec.errors import ConflictError
from kriptik.spec.events import Event
from kriptik.store import jobs, ledger
from kriptik.store.tables import Generation, Job

STEPS, A_TICK = 12, timedelta(seconds=1)


class World:
    """Clock, provider and workers."""

    def __init__(self, home):
        self.home = home
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.workers, self.creates, self.billed = {}, {}, {}
        self.name, self.self_end = "local", None
        self.open()

    def open(self):
        settings = Settings.from_env(home=self.home, local_price_per_hour="3.6", tick_s=1, checkpoint_s=3, teardown_s=2)
        self.core = open_core(settings, {"local": self}, clock=lambda: self.now)
        self.reconciler = Reconciler(self.core)

    def tick(self):
        self.now += A_TICK
        for worker in list(self.workers.values()):
            worker.live(self)
        assert sum(w.alive for w in self.workers.values()) <= 1, "two resources bill at once"
        self.reconciler.tick()

    def offers(self):
        return []

    def create(self, spec):
        if spec.name not in self.workers:
            self.creates[spec.name] = self.creates.get(spec.name, 0) + 1
            self.workers[spec.name] = Worker(json.loads(Path(spec.job_file).read_text()), self.now)
        return self.get(spec.name)

    def get(self, name):
        worker = self.workers.get(name)
        if worker is None:
            return None
        return Resource(
            id=name,
            name=name,
            status="running" if worker.alive else "exited",
            price_per_hour=Decimal("3.6"),
            created_at=worker.born,
        )

    def list_own(self, prefix):
        return [self.get(name) for name, worker in self.workers.items() if name.startswith(prefix) and worker.alive]

    def terminate(self, name):
        if name in self.workers:
            self.workers[name].die(self.now)

    def logs(self, name, tail=100):
        return []

    def billed(self, name, since):
        return None

    def bill(self):
        return (
            sum((Decimal(str(((w.died or self.now) - w.born).total_seconds())) for w in self.workers.values()), Decimal(0)) / 1000
        )


class Worker:
    """One step a second; saves when told to freeze; the number it computes shows lost or repeated steps."""

    def __init__(self, job, now):
        self.job, self.alive, self.born, self.died = job, True, now, None
        self.step, self.state, self.seq = 0, "start", 0
        if job["resumeFrom"]:
            kept = json.loads((Path(job["runDir"]) / "checkpoints" / job["resumeFrom"] / "state.json").read_text())
            self.step, self.state = kept["step"], kept["state"]
        self.said_ready = False

    def live(self, world):
        if not self.alive:
            return
        with world.core.db.write() as session:
            try:
                generation = spool.current(session, self.job["jobId"], self.job["generation"])
            except ConflictError:
                self.die(world.now)
                return
            generation.last_contact_at = world.now
            wanted, version = generation.desired_state, generation.desired_version
            if not self.said_ready:
                self.said_ready = True
                self.say(session, world, type="worker", state="ready")
            elif wanted == "running":
                self.train(session, world)
            else:
                name = self.save(session, world)
                self.say(session, world, type="worker", state=wanted, checkpointId=name)
                generation.acked_version, generation.acked_result = version, "done"
                self.die(world.now)

    def train(self, session, world):
        self.step, self.state = self.step + 1, hashlib.sha256(self.state.encode()).hexdigest()
        if self.step == STEPS:
            name = self.save(session, world)
            self.say(session, world, type="worker", state="completed", checkpointId=name)
            self.die(world.now)

    def save(self, session, world):
        name = f"s0-{self.step:06d}-g{self.job['generation']}"
        folder = Path(self.job["runDir"]) / "checkpoints" / name
        folder.mkdir(parents=True, exist_ok=True)
        shard = json.dumps({"step": self.step, "state": self.state}).encode()
        (folder / "state.json").write_bytes(shard)
        files = {"state.json": {"sha256": hashlib.sha256(shard).hexdigest(), "bytes": len(shard)}}
        (folder / "manifest.json").write_text(json.dumps({"stage": 0, "step": self.step, "files": files}))
        (folder / "_COMPLETE").write_text("")
        self.say(
            session,
            world,
            type="checkpoint",
            checkpointId=name,
            stage=0,
            step=self.step,
            bytes=len(shard),
            manifestSha256="0" * 64,
            seconds=0.1,
            reason="freeze",
        )
        return name

    def say(self, session, world, **body):
        self.seq += 1
        event = Event.model_validate({"generation": self.job["generation"], "seq": self.seq, "at": world.now, "body": body})
        generation = session.get_one(Generation, (self.job["jobId"], self.job["generation"]))
        assert spool.take(session, world.core, generation, [event]) == self.seq

    def die(self, now):
        if self.alive:
            self.alive, self.died = False, now


def live_through(world):
    """Train, freeze after some steps, resume, complete. Returns the final state of the chain."""
    job_id = add_run(world.core, steps=STEPS)
    asked_freeze = resumed = False
    for _ in range(400):
        world.tick()
        with world.core.db.read() as session:
            job = session.get_one(Job, job_id)
        step = max((w.step for w in world.workers.values()), default=0)
        with world.core.db.write() as session:
            row = session.get_one(Job, job_id)
            if not asked_freeze and row.state == "training" and step >= 4:
                commands.freeze(session, row, world.now)
                asked_freeze = True
            elif asked_freeze and not resumed and row.state == "frozen":
                assert not world.list_own("kt-"), "frozen, but something bills"
                commands.resume(session, world.core, row, None, world.now)
                resumed = True
        if job.state in ("completed", "failed", "stopped"):
            assert job.state == "completed", job.failure
            assert asked_freeze and resumed
            with world.core.db.read() as session:
                spend = ledger.spend(session, job_id, world.now)
                assert len(jobs.checkpoints(session, job_id)) == 2
            assert spend >= world.bill(), "the meter missed something"
            assert world.creates and max(world.creates.values()) == 1 and job.generation == 2
            assert not world.list_own("kt-"), "something still bills"
            last = max(world.workers.values(), key=lambda w: w.born)
            return last.step, last.state
    raise AssertionError("it never ended")


def straight():
    state = "start"
    for _ in range(STEPS):
        state = hashlib.sha256(state.encode()).hexdigest()
    return STEPS, state


def test_without_a_kill_the_meter_agrees_with_the_bill(tmp_path):
    world = World(tmp_path / "home")
    assert live_through(world) == straight()
    world.core.db.close()


def test_a_worker_silent_for_ever_is_ended_and_replaced(tmp_path):
    world = World(tmp_path / "home")
    job_id = add_run(world.core, steps=STEPS)
    until_state(world, job_id, "training")
    silent = next(iter(world.workers.values()))
    silent.live = lambda _world: None
    with world.core.db.write() as session:
        session.get_one(Generation, (job_id, 1)).last_contact_at = world.now - timedelta(hours=1)
    until_state(world, job_id, "completed")
    assert not silent.alive and len(world.workers) == 2
    world.core.db.close()


def test_orphans_are_ended_after_two_looks(tmp_path):
    world = World(tmp_path / "home")
    world.workers[f"kt-{world.core.install}-deadbeef-g1"] = orphan = Worker({"resumeFrom": None}, world.now)
    world.workers["kt-00000000-deadbeef-g1"] = foreign = Worker({"resumeFrom": None}, world.now)
    orphan.live = foreign.live = lambda _world: None
    world.reconciler.tick()
    assert orphan.alive
    world.now += timedelta(minutes=1)
    world.reconciler.tick()
    assert not orphan.alive and foreign.alive
    world.core.db.close()


def test_a_damaged_checkpoint_is_never_resumed_from(tmp_path):
    world = World(tmp_path / "home")
    job_id = add_run(world.core, steps=STEPS)
    until_state(world, job_id, "training")
    folder = world.core.run_dir(job_id) / "checkpoints"
    worker = next(iter(world.workers.values()))
    with world.core.db.write() as session:
        good = worker.save(session, world)
    world.tick()
    with world.core.db.write() as session:
        bad = worker.save(session, world)
    (folder / bad / "state.json").write_text("{}")
    worker.die(world.now)
    for _ in range(10):
        world.tick()
        if len(world.workers) == 2:
            break
    with world.core.db.read() as session:
        job = session.get_one(Job, job_id)
        assert session.get_one(Generation, (job_id, job.generation)).resume_from == good
        assert effects.to_resume(world.core, job) == good
    world.core.db.close()


def until_state(world, job_id, state):
    for _ in range(200):
        world.tick()
        with world.core.db.read() as session:
            if session.get_one(Job, job_id).state == state:
                return
    raise AssertionError(f"never {state}")
