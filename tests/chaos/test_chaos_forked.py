"""Tier 2: real workers, forked from a parent that has torch loaded, killed by SIGKILL at the worst moments of real training.

A real server on a real socket drives them; the engine's loop, its checkpoints on disk and the worker's spool are the product's.
"""

import hashlib
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections import defaultdict
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from counter import digest
from harness import Server, add_run, until
from invariants import After, hold
from sqlalchemy import select

from kriptik.providers.provider import Resource
from kriptik.server.runs import artefacts, reconciler
from kriptik.spec.budget import cost
from kriptik.spec.catalogue import Point
from kriptik.spec.job import DataRef, Stage, StageSettings
from kriptik.store import ledger
from kriptik.store.tables import EventRow
from kriptik.store.tables import Resource as Row

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]
HERE = Path(__file__).resolve().parent
SEED = os.environ.get("KRIPTIK_CHAOS_SEED", "0")
NIGHT = "KRIPTIK_CHAOS_NIGHT" in os.environ
POINTS = ("mid_step", "in_optimizer", "mid_shard", "before_mark", "before_event", "during_load", "posting", "posted", "half_posted")
POSTS = POINTS[6:]
PRICE = Decimal(36)
CAP = "2"
BATCH = 8


class Zygote:
    """The preloaded parent."""

    def __init__(self, folder):
        paths = [HERE, HERE.parent / "engine", HERE.parent / "suites", HERE.parents[1] / "src"]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths)), "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        self.lock = threading.Lock()
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "zygote.py"), str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=env,
            text=True,
        )
        assert json.loads(self.process.stdout.readline())["ready"]

    def ask(self, **asked):
        with self.lock:
            self.process.stdin.write(json.dumps(asked) + "\n")
            self.process.stdin.flush()
            return json.loads(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait(20)


class Forks:
    """A provider whose machines are forks; keeps a bill of its own, from the accepted create to the end of the process."""

    name, self_end = "local", None

    def __init__(self, zygote, folder):
        self.zygote, self.folder = zygote, folder
        self.made, self.plans, self.kills = {}, {}, defaultdict(list)
        self.planning = threading.Lock()
        self.foreign = self._foreign()

    def _foreign(self):
        return subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"])

    def offers(self):
        return []

    def create(self, spec):
        if spec.name not in self.made:
            job = json.loads(Path(spec.job_file).read_text())
            with self.planning:
                plan = self.plans.get(job["jobId"], [])
            point, count = plan[job["generation"] - 1] if job["generation"] <= len(plan) else (None, 0)
            at = datetime.now(UTC)
            log = self.folder / f"{spec.name}.log"
            pid = self.zygote.ask(job=spec.job_file, env=spec.env, log=str(log), point=point, count=count)["pid"]
            self.made[spec.name] = {"pid": pid, "at": at, "ended": None, "code": None, "job": job["jobId"], "point": point}
        return self.get(spec.name)

    def get(self, name):
        one = self.made.get(name)
        if one is None:
            return None
        if one["code"] is None:
            one["code"] = self.zygote.ask(poll=one["pid"])["code"]
            if one["code"] is not None:
                one["ended"] = datetime.now(UTC)
                if one["point"] and one["code"] == -9:
                    self.kills[one["job"]].append((f"worker {one['point']}", "training"))
        status = "running" if one["code"] is None else "exited"
        return Resource(id=name, name=name, status=status, price_per_hour=PRICE, exit_code=one["code"], created_at=one["at"])

    def list_own(self, prefix):
        return [self.get(name) for name in self.made if name.startswith(prefix)]

    def terminate(self, name):
        while self.made.get(name) and self.get(name).status == "running":
            os.kill(self.made[name]["pid"], 9)
            time.sleep(0.01)

    def logs(self, name, tail=100):
        return []

    def bill(self, job_id):
        now = datetime.now(UTC)
        return sum((cost(PRICE, m["at"], m["ended"] or now) for m in self.made.values() if m["job"] == job_id), Decimal(0))

    def billed(self, name, since):
        one = self.made[name]
        return cost(PRICE, one["at"], one["ended"] or datetime.now(UTC))

    def billed_beside(self, known, since):
        return {}

    def alive(self, job_id):
        return [name for name, m in self.made.items() if m["job"] == job_id and self.get(name).status == "running"]

    def close(self):
        for name in self.made:
            self.terminate(name)
        self.foreign.kill()
        self.foreign.wait(10)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A server with forked workers, and what undisturbed runs end with."""
    folder = tmp_path_factory.mktemp("forked")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reconciler, "SWEEP_EVERY_S", 0.3)
        zygote = Zygote(folder / "zygote")
        forks = Forks(zygote, folder)
        options = {"local_price_per_hour": PRICE, "local_slots": 2, "fruitless_limit": 9, "bill_settle_s": 0, "teardown_s": 2}
        server = Server(folder / "home", forks, **options)
        try:
            straight = {}
            for objective in ("squares", "rolled"):
                job = start(server, folder, objective)
                server.wait(job, "completed", limit_s=120)
                straight[objective] = final(server.core.run_dir(job))
            yield server, forks, folder, straight
        finally:
            server.stop()
            forks.close()
            zygote.close()


def start(server, folder, objective):
    """An approved run of the toy network: 22 rows, 2 epochs, a checkpoint every 3 steps."""
    data = folder / "zygote" / objective
    settings = StageSettings(epochs=2, micro_batch=2, accumulation=2, learning_rate=0.02, eval_every=4, weight_decay=0.01,
                             checkpoint_every=3)  # fmt: skip
    point = Point(adaptation="full", objective=objective, strategy="single")
    stage = Stage(index=0, name="Toy", method="full_finetune", point=point, settings=settings)
    files = {"train_path": str(data / "train.jsonl"), "eval_path": str(data / "eval.jsonl")}
    rows = DataRef(**files, train_rows=22, eval_rows=6, sha256="0" * 64)
    return add_run(server.core, cap=CAP, first=stage, data=rows)


def final(run_dir):
    """Every tensor's file of the newest checkpoint, and the exported weights, as hashes."""
    newest = next(one for one in reversed(artefacts.committed(run_dir)) if artefacts.sound(run_dir, one))
    files = [*sorted((run_dir / "checkpoints" / newest).glob("*.safetensors")), run_dir / "result" / "toy.pt"]
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def evidence(server, forks, job, name, expected):
    """What the scenario came to."""
    run_dir, told = server.core.run_dir(job), {}
    for file in (run_dir / "events").glob("g*.jsonl"):
        lines = [json.loads(line) for line in file.read_bytes().split(b"\n")[:-1]]
        told[(job, int(file.stem[1:]))] = {event["seq"]: digest(event["body"]) for event in lines}
    with server.core.db.read() as session:
        query = select(EventRow).where(EventRow.stream_id == job, EventRow.generation > 0)
        stored = [(r.stream_id, r.generation, r.seq, digest(r.body)) for r in session.scalars(query)]
        left = [r.name for r in session.scalars(select(Row).where(Row.stream_id == job, Row.gone_at.is_(None)))]
        spent = ledger.spend(session, job, server.core.clock())
    bill = forks.bill(job)
    return After(
        tier=2, family="forked", name=name, result=final(run_dir), expected=expected, told=told, stored=stored, bill=bill,
        over=bill - Decimal(CAP), ledger=spent, left=left + forks.alive(job),
        foreign=[] if forks.foreign.poll() is None else ["a neighbour's process"], kills=forks.kills[job],
    )  # fmt: skip


def plans():
    """(objective, [(point, count) per generation]): every point alone, twice and thrice, then at random."""
    found = []
    for objective in ("squares", "rolled"):
        for point in POINTS:
            first = [(None, 0)] if point == "during_load" else []
            for kills in (1, 2, 3):
                found.append((objective, [*first, *((point, n) for n in range(kills))]))
    dice = random.Random(SEED)
    while len(found) < 160:
        kills = [(dice.choice(POINTS[:5] + POINTS[6:]), dice.randint(0, 1)) for _ in range(dice.randint(1, 4))]
        found.append((dice.choice(("squares", "rolled")), kills))
    if not NIGHT:  # each point, and some of the mixed
        each = [dice.choice([plan for plan in found if plan[1][-1][0] == point]) for point in POINTS]
        found = each + dice.sample(found, 2 * BATCH - len(each))
    return found


PLANS = plans()


@pytest.mark.parametrize("batch", range(0, len(PLANS), BATCH))
def test_killed_and_still_the_same_bits(place, batch):
    server, forks, folder, straight = place
    running = []
    for number, (objective, kills) in enumerate(PLANS[batch : batch + BATCH], batch):
        if kills and kills[0][0] is None:  # frozen once first, so that there is something to load
            kills = [("before_event", 1), *kills[1:]]
        with forks.planning:
            job = start(server, folder, objective)
            forks.plans[job] = kills
        surely = kills[0][0] not in POSTS or kills[0][1] == 0  # a quick machine may have done after one post
        running.append((job, f"{number}: {objective} {kills}", straight[objective], surely))
    wrong = []
    for job, name, expected, surely in running:
        server.wait(job, "completed", limit_s=400)
        until(lambda job=job: abs(spent(server, job) - forks.bill(job)) < Decimal("0.0001"), 10)
        try:
            hold(evidence(server, forks, job, name, expected))
            assert forks.kills[job] or not surely, f"{name}: nobody was killed"
        except AssertionError as error:
            wrong.append(str(error))
    assert not wrong, "\n".join(wrong)


def spent(server, job):
    with server.core.db.read() as session:
        return ledger.spend(session, job, server.core.clock())
