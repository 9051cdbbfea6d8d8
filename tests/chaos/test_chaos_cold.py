"""Tier 3: cold processes. A server, a worker under its supervisor, an account over HTTP; either is killed by SIGKILL."""

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path

import httpx
import pytest
from cloud import IMAGES, PRICE, SRC, expected
from counter import digest
from harness import add_run, until
from invariants import After, hold
from runpod_fake import DISK_MONTHLY, FakeRunPod
from runpod_http import RunPodServer
from sqlalchemy import select

from kriptik.server.core import open_core
from kriptik.server.settings import Settings
from kriptik.store import ledger
from kriptik.store.db import Database
from kriptik.store.tables import EventRow
from kriptik.store.tables import Resource as Row

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]
HERE = Path(__file__).resolve().parent
SEED = os.environ.get("KRIPTIK_CHAOS_SEED", "0")
NIGHT = "KRIPTIK_CHAOS_NIGHT" in os.environ
STEPS, STEP_S, SAVE_S = 40, 0.03, 0.5
HOURLY = PRICE + DISK_MONTHLY * 40 / 720


class Cold:
    """One run whose every part is a process of its own."""

    def __init__(self, tmp_path, cap="2", steps=STEPS, knobs=None):
        self.home, self.cap = tmp_path / "home", cap
        images = {name: (command, {"PYTHONPATH": str(SRC), "KRIPTIK_WORK_DIR": "."}) for name, command in IMAGES.items()}
        self.account = FakeRunPod(tmp_path / "pods", images)
        self.account.prices["NVIDIA GeForce RTX 4090"] = (PRICE, PRICE)
        self.http = RunPodServer(self.account)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.options = {"tick_s": 0.1, "lease_s": 5, "grace_s": 120, "teardown_s": 1, "checkpoint_s": 1, "bill_settle_s": 0,
                        "budget_event_s": 0.2}  # fmt: skip
        core = open_core(Settings.from_env(home=self.home, port=self.port, **self.options), {"runpod": _Nobody()})
        facts = {"gpu": "RTX4090", "price_per_hour": PRICE + Decimal("0.01")}
        self.job = add_run(core, steps, cap, {"stepS": STEP_S, **(knobs or {})}, provider="runpod", facts=facts)
        self.run_dir, self.token = core.run_dir(self.job), (self.home / "token").read_text()
        core.db.close()
        self.process, self.kills = None, []

    def serve(self, *fuse):
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (SRC, HERE.parent / "suites")))}
        command = [sys.executable, str(HERE / "serve_cloud.py"), str(self.home), str(self.port), self.http.url,
                   json.dumps(self.options), *map(str, fuse)]  # fmt: skip
        self.process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL)

    def state(self):
        """The run as the server shows it; None while there is none."""
        if self.process.poll() is not None:
            return None
        with contextlib.suppress(httpx.TransportError):
            url = f"http://127.0.0.1:{self.port}/api/training/jobs/{self.job}"
            return httpx.get(url, headers={"Authorization": f"Bearer {self.token}"}, trust_env=False, timeout=5).json()
        return None

    def resume(self, budget):
        url = f"http://127.0.0.1:{self.port}/api/training/jobs/{self.job}/resume"
        headers = {"Authorization": f"Bearer {self.token}"}
        httpx.post(url, headers=headers, json={"newBudget": budget}, trust_env=False).raise_for_status()

    def step(self):
        return ((self.state() or {}).get("metrics") or {}).get("step", 0)

    def kill_server(self):
        self.process.kill()
        self.process.wait(10)

    def rows(self, query):
        """From the file, beside the server."""
        database = Database.at(self.home / "kriptik.db")
        try:
            with database.read() as session:
                return list(session.scalars(query))
        finally:
            database.close()

    def spent(self):
        database = Database.at(self.home / "kriptik.db")
        try:
            with database.read() as session:
                rows = session.scalars(select(Row)).all()
                assert all(row.gone_at for row in rows), "not gone"
                return ledger.spend(session, self.job, max(row.gone_at for row in rows))
        finally:
            database.close()

    def over(self, state="completed", limit_s=300):
        def there():
            job = self.state() or {}
            assert job.get("state") != "failed", job["failure"]
            return job.get("state") == state

        until(there, limit_s)
        until(lambda: not self.account.own() and all(r.gone_at for r in self.rows(select(Row))), 20)
        with contextlib.suppress(AssertionError):
            until(lambda: abs(self.spent() - self.account.bill()) < Decimal("0.0001"), 5)

    def check(self, name, steps=STEPS, freezes=()):
        events = self.rows(select(EventRow).where(EventRow.generation > 0))
        stored = [(r.stream_id, r.generation, r.seq, digest(r.body)) for r in events]
        bill = self.account.bill()
        hold(After(
            tier=3, family="cold", name=name, result=(self.run_dir / "result" / "state.json").read_text(), expected=expected(steps),
            stored=stored, bill=bill, over=bill - Decimal(self.cap), ledger=self.spent(), foreign=self.account.harm(),
            left=[p.name for p in self.account.own()], broken=self.http.violations, kills=self.kills, freezes=list(freezes),
        ))  # fmt: skip

    def close(self):
        if self.process is not None:
            self.kill_server()
        self.http.close()


class _Nobody:
    """Stands in the place of a provider while the run is entered."""

    name, self_end = "runpod", None


@pytest.fixture
def cold(tmp_path):
    made = Cold(tmp_path)
    yield made
    made.close()


SERVER = [("before_create", 1), ("after_create", 1), ("before_terminate", 1), ("after_terminate", 1),
          *((kind, n) for kind in ("before_save", "after_save") for n in (2, 4, 8, 12, 18))]  # fmt: skip
WORKER = [(1, "pod"), (7, "pod"), (14, "worker"), (21, "worker"), (30, "pod"), (38, "worker")]


def drawn(every, count):
    return every if NIGHT else random.Random(f"{SEED} cold {len(every)}").sample(every, count)


@pytest.mark.parametrize(("kind", "number"), drawn(SERVER, 2))
def test_the_server_is_killed(cold, kind, number):
    cold.serve(kind, number)
    until(lambda: cold.process.poll() is not None, 90)
    assert cold.process.returncode == -signal.SIGKILL
    cold.kills.append((kind, "cold"))
    cold.serve()
    cold.over()
    cold.check(f"server at {kind} {number}")


@pytest.mark.parametrize(("step", "who"), drawn(WORKER, 1))
def test_the_worker_is_killed(cold, step, who):
    cold.serve()
    until(lambda: cold.step() >= step, 40)
    (pod,) = cold.account.own()
    if who == "pod":
        os.killpg(pod.process.pid, signal.SIGKILL)
    else:
        (child,) = _children(pod.process.pid)
        os.kill(child, signal.SIGKILL)
    cold.kills.append((f"{who} after step {step}", "training"))
    cold.over()
    cold.check(f"{who} killed after step {step}")


@pytest.mark.parametrize("number", range(4 if NIGHT else 0))
def test_both_are_killed(cold, number):
    dice = random.Random(f"{SEED} both {number}")
    cold.serve()
    until(lambda: cold.step() >= dice.randint(2, 20), 40)
    cold.kill_server()
    for pod in cold.account.own():
        os.killpg(pod.process.pid, signal.SIGKILL)
    cold.kills.append(("server and pod", "training"))
    time.sleep(dice.random())
    cold.serve()
    cold.over()
    cold.check(f"both, {number}")


@pytest.mark.parametrize("number", range(3 if NIGHT else 0))
def test_how_long_a_freeze_takes(tmp_path, number):
    """From the freeze mark to the end of billing, on real clocks; then resumed with more money and completed."""
    made = Cold(tmp_path, cap="0.12", steps=260)
    try:
        made.serve()
        begun = ("training", "freezing", "frozen")  # where set-up is slow, the mark is passed before the first step
        mark = until(lambda: (job := made.state()) and job["state"] in begun and job["budget"]["freezeAt"], 120)
        frozen = until(lambda: (job := made.state()) and job["state"] == "frozen" and job, 120)
        assert frozen["freezeState"]["reason"] == "budget"
        (life,) = [life for pod in made.account.ended.values() for life in pod.lives]
        took = (life[1] - life[0]).total_seconds() - float(Decimal(str(mark)) / HOURLY * 3600)
        made.cap = "5"
        made.resume(5)
        made.over()
        made.check(f"freeze {number}", 260, [(round(took, 3), STEP_S + SAVE_S + made.options["tick_s"])])
    finally:
        made.close()


def _children(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
