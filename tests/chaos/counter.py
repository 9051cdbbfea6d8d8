"""A rented machine in virtual time. Everything around the engine is the real worker's: spool, outbox, link, switch, carrier, pod.

The engine is an exact recurrence: an integer and a float that show every step lost or made twice. A life is a generator; it yields
the seconds that pass until it goes on.
"""

import hashlib
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
from counter_pod import metrics
from pydantic import TypeAdapter

from kriptik.spec.errors import KriptikError, WorkerError
from kriptik.spec.events import CheckpointCommitted, DesiredAck, RunResult, WorkerBody, WorkerState
from kriptik.spec.job import TrainJob
from kriptik.worker import pod as machine
from kriptik.worker.carry import Carrier
from kriptik.worker.control import Control
from kriptik.worker.emit import Emitter
from kriptik.worker.link import AwayError, FencedError, Link, RefusedError
from kriptik.worker.outbox import Outbox
from kriptik.worker.spool import Spool, spool_path

DONE, FENCED, SWITCHED = 0, 3, 4
PATIENCE_S, FLUSH_S = 600, 30
BODY = TypeAdapter(WorkerBody)


class Died(BaseException):
    """The machine is no more, in the middle of what it did."""


def advance(step, state):
    """One step: exact in integers and in floats, and different for every order and number of steps."""
    number, weight = state
    number = (1103515245 * number + 12345 + step) % 2**31
    return step + 1, (number, weight * 0.75 + number / 2**31)


def expected(steps):
    """What an undisturbed run ends with."""
    step, state = 0, (7, 0.5)
    while step < steps:
        step, state = advance(step, state)
    return state


def digest(body):
    """Of an event's content, as it is kept."""
    return hashlib.sha256(json.dumps(BODY.validate_python(body).document(), sort_keys=True).encode()).hexdigest()[:16]


class Machine:
    """One container of a pod; stands where the fake account keeps a process."""

    def __init__(self, world, pod, env):
        self.world, self.pod, self.env, self.code = world, pod, env, None
        found = re.search(r"/jobs/(\w+)/generations/(\d+)$", env["KRIPTIK_JOB_URL"])
        self.job_id, self.number = found[1], int(found[2])
        self.control = self.spool = self.outbox = self.carrier = None
        self.next_post = self.next_poll = 0.0
        self.poll_delay = 0.5
        self.link = Link("https://here.example", self.job_id, self.number, env["KRIPTIK_WORKER_TOKEN"], lambda: world.boot,
                         self._heard, self._missed)  # fmt: skip
        self.link._http = httpx.Client(
            base_url=self.link._http.base_url, headers={"Authorization": f"Bearer {env['KRIPTIK_WORKER_TOKEN']}"},
            transport=world.to_server(self),
        )  # fmt: skip
        self.due = world.boot + world.boot_s
        self.life = self._life()

    def poll(self):
        return self.code

    def kill(self):
        """As by SIGKILL: nothing more is said."""
        if self.code is None:
            self._close(-9)

    def live(self):
        """Goes on up to now: the threads first, then the work."""
        try:
            self._threads()
            while self.code is None and self.due <= self.world.boot:
                self.due += next(self.life)
        except Died:
            self.kill()

    def _close(self, code):
        self.code = code
        if self.spool is not None:
            self.spool.close()
        self.link.close()

    def _heard(self, lease, sent_at):
        if self.control is not None:
            self.control.heard(lease, sent_at)
            self.world.acknowledged(self, lease.ack_seq)

    def _missed(self):
        if self.control is not None:
            self.control.missed()

    def _threads(self):
        """What the outbox and the two threads of the watch would do by now."""
        if self.code is not None or self.control is None:
            return
        now = self.world.boot
        if self.control.tick():
            self._ended_hard()
            return
        if self._ship() and self.code is None:
            return  # the answer to a post says what is wanted, too
        if now >= self.next_poll and not self.control.fenced:
            try:
                self.link.desired(0, 0)
                self.poll_delay = 0.5
            except FencedError as error:
                self.control.fence(str(error))
            except (AwayError, RefusedError):
                self.next_poll, self.poll_delay = now + self.poll_delay, min(10.0, self.poll_delay * 2)

    def _ship(self):
        """Sends what there is to send; True if something was stored."""
        if self.world.boot < self.next_post or self.outbox is None:
            return False
        before = self.outbox.acked
        self.next_post = self.world.boot + self.outbox.step()
        return self.outbox.acked > before

    def _ended_hard(self):
        self.emitter.silence(0)
        if not self.control.fenced:
            self.spool.append(WorkerState(state="failed", code=self.control.override, message="It did not stop in time."))
            self.next_post = 0.0
            self._ship()
        self.control = None
        self.life, self.due = self._give_back(SWITCHED), self.world.boot

    def _life(self):
        job = None
        for _ in range(PATIENCE_S):
            try:
                job = TrainJob.model_validate_json(self.link._plain("GET", "/job").content)
                break
            except RefusedError:
                break
            except FencedError:
                break
            except AwayError as error:
                if "404" in str(error):
                    break
            yield 1
        if job is None:
            yield from self._give_back(5)
            return
        path = machine.localised(job, self.pod.folder)
        self.job = job = TrainJob.model_validate_json(path.read_bytes())
        self.run_dir = Path(job.run_dir)
        self.control = Control(job.control, lambda: self.world.boot)
        file = spool_path(path, self.run_dir, job.generation)
        self.spool = Spool(file, job.generation, lambda: datetime(2026, 6, 1, tzinfo=UTC) + timedelta(seconds=self.world.boot))
        self.emitter = Emitter(self.spool, dict, self.control.check, lambda: self.world.boot)
        self.outbox = Outbox(self.spool, self.link, self.control)
        self.carrier = Carrier(self.link, self.run_dir, self.control, self.emitter)
        try:
            self.emitter(WorkerState(state="started", checkpoint_id=job.resume_from))
            yield from self._fetch()
            ending = yield from self._train()
            yield from self._last(ending)
            code = DONE
        except FencedError:
            code = FENCED
        except WorkerError as error:
            self.emitter(WorkerState(state="failed", code=error.code, message=error.sentence, next_step=error.next_step))
            yield from self._flush(FLUSH_S)
            code = 1
        yield from self._give_back(code)

    def _fetch(self):
        for _ in range(PATIENCE_S):
            try:
                self.carrier.fetch()
                return
            except WorkerError:
                if self.control.desired().state != "running":
                    return
            yield 1
        raise WorkerError("fetch_failed", "The run's files could not be fetched in time.", "Retry.")

    def _train(self):
        job, world = self.job, self.world
        total, every = job.stages[0].settings.max_steps, world.every
        lock = self.run_dir / "run.lock"
        if not lock.exists():
            lock.write_text("{}")
        step, state = 0, (7, 0.5)
        if self.control.desired().state != "running":
            return self.control.desired().state, job.resume_from
        if job.resume_from:
            self.world.point(self, "in load")
            kept = json.loads((self.run_dir / "checkpoints" / job.resume_from / "state.json").read_text())
            step, state = kept["step"], tuple(kept["state"])
            self.say(WorkerState(state="restored", checkpoint_id=job.resume_from, exact=True))
        self.say(WorkerState(state="ready"))
        saved = (step, job.resume_from)
        while True:  # in the order of the engine's own loop
            if (wanted := self.control.desired().state) != "running":
                if saved[0] != step or saved[1] is None:
                    saved = step, (yield from self._save(step, state, "freeze" if wanted == "frozen" else "stop"))
                return wanted, saved[1]
            if step >= total:
                break
            if step % every == 0 and step > 0 and saved[0] != step:
                saved = step, (yield from self._save(step, state, "interval"))
                continue
            yield world.step_s
            step, state = advance(step, state)
            self.say(metrics(step, total))
        name = yield from self._save(step, state, "stage_end")
        (self.run_dir / "result").mkdir(exist_ok=True)
        (self.run_dir / "result" / "state.json").write_text(json.dumps(state))
        for _ in range(PATIENCE_S):
            try:
                self.say(RunResult(adapter_path="result", model_path="result", bytes=64))
                return "completed", name
            except WorkerError:
                if self.control.override:
                    raise
            yield 1
        raise WorkerError("upload_failed", "The result could not be sent.", "Retry: it is made again from the checkpoint.")

    def _save(self, step, state, reason):
        yield self.world.checkpoint_s
        base = f"s0-{step:06d}-g{self.job.generation}"
        folder = self.run_dir / "checkpoints"
        name = next(n for n in (base, *(f"{base}-{i}" for i in range(2, 99))) if not (folder / n).exists())
        shard = json.dumps({"step": step, "state": state, "padding": "." * self.world.padding}).encode()
        (folder / name).mkdir(parents=True)
        (folder / name / "state.json").write_bytes(shard)
        self.world.point(self, "mid_shard")
        files = {"state.json": {"sha256": hashlib.sha256(shard).hexdigest(), "bytes": len(shard)}}
        manifest = json.dumps({"stage": 0, "step": step, "files": files}).encode()
        (folder / name / "manifest.json").write_bytes(manifest)
        self.world.point(self, "before_mark")
        (folder / name / "_COMPLETE").write_bytes(b"")
        self.world.point(self, "before_event")
        facts = {"checkpoint_id": name, "stage": 0, "step": step, "bytes": len(shard), "seconds": float(self.world.checkpoint_s)}
        digest = hashlib.sha256(manifest).hexdigest()
        self.say(CheckpointCommitted(**facts, manifest_sha256=digest, loss=1.0, reason=reason))
        for _ in range(PATIENCE_S):  # the training waits while it is sent
            left = self.control.seconds_to_spare()
            if not self.carrier._waiting or self.control.override == "lost_contact" or (left is not None and left < 1):
                break
            yield 1
            for said in self.carrier.deliver(0):
                self.emitter(said)
        return name

    def say(self, body):
        for said in self.carrier.before(body):
            self.emitter(said)

    def _last(self, ending):
        state, name = ending
        reason = self.control.override
        try:
            for said in self.carrier.deliver(0):
                self.emitter(said)
        except WorkerError as error:
            self.emitter(WorkerState(state="failed", code=error.code, message=error.sentence))
        self.emitter.finish()
        code = reason if reason and state in ("frozen", "stopped") else None
        self.emitter(WorkerState(state=state, checkpoint_id=name, code=code))
        left = self.control.seconds_to_spare()
        limit = 3 if reason == "lost_contact" else FLUSH_S
        delivered = yield from self._flush(limit if left is None else max(0.5, min(limit, left)))
        if delivered and self.control.version and state in ("frozen", "stopped") and not reason:
            for _ in range(3):
                try:
                    self.link.ack(DesiredAck(version=self.control.version, result="done", checkpoint_id=name))
                    break
                except (RefusedError, FencedError):
                    break
                except AwayError:
                    yield 0.3

    def _flush(self, limit_s):
        """Until everything is acknowledged, at most `limit_s`; in a hurry, so twice a second."""
        end = self.world.boot + limit_s
        while True:
            self.next_post = 0.0
            self._ship()
            if self.outbox.acked >= self.spool.last_seq:
                return True
            if self.world.boot >= end or self.control is None or self.control.fenced:
                return False
            yield 0.5

    def _give_back(self, code):
        """The supervisor ends the machine by its own key, and itself whatever came of it."""
        self.control = None
        for attempt in range(machine.END_TRIES):
            if self.world.end_own(self.pod):
                break
            yield min(60.0, 2.0**attempt)
        if self.code is None:
            self._close(code)
        yield 10**9


__all__ = ["Died", "KriptikError", "Machine", "advance", "digest", "expected"]
