"""Helpers: a real server on a real socket and a real SQLite file; workers are processes of `fake_worker.py`."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from decimal import Decimal
from pathlib import Path

import httpx
import uvicorn

from kriptik.providers.provider import Resource
from kriptik.server.app import create_app
from kriptik.server.runs.launch import RunFacts, launch
from kriptik.server.settings import Settings
from kriptik.spec.base import new_id, utc_now
from kriptik.spec.budget import BudgetAuthorization
from kriptik.spec.catalogue import Point
from kriptik.spec.job import Stage, StageSettings
from kriptik.store.tables import ContractRow, TrainingPlan

FAKE_WORKER = Path(__file__).parent / "fake_worker.py"


class ProcessProvider:
    """Starts the fake worker as a process. Outlives servers, as a cloud would; idempotent by name."""

    name = "local"
    self_end = None

    def __init__(self, price="0"):
        self.price = Decimal(price)
        self.made = {}
        self.creates = 0
        self.lose_answers = 0
        self.refuse_terminate = 0

    def offers(self):
        return []

    def create(self, spec):
        if spec.name not in self.made:
            self.creates += 1
            process = subprocess.Popen([sys.executable, str(FAKE_WORKER), spec.job_file], env={**os.environ, **spec.env})
            self.made[spec.name] = (process, utc_now())
        if self.lose_answers > 0:
            self.lose_answers -= 1
            raise ConnectionError("the answer was lost")
        return self.get(spec.name)

    def get(self, name):
        if name not in self.made:
            return None
        process, at = self.made[name]
        code = process.poll()
        return Resource(
            id=name,
            name=name,
            status="running" if code is None else "exited",
            price_per_hour=self.price,
            exit_code=code,
            created_at=at,
            detail="",
        )

    def list_own(self, prefix):
        return [self.get(name) for name in self.made if name.startswith(prefix)]

    def terminate(self, name):
        if self.refuse_terminate > 0:
            self.refuse_terminate -= 1
            return
        if name in self.made:
            process, _at = self.made[name]
            process.kill()
            process.wait(10)

    def logs(self, name, tail=100):
        return []

    def billed(self, name, since):
        return None

    def alive(self):
        return [name for name, (process, _at) in self.made.items() if process.poll() is None]

    def close(self):
        for process, _at in self.made.values():
            process.kill()
            process.wait(10)


class Server:
    """A uvicorn server on its own thread; `restart()` makes a new one over the same home and port."""

    def __init__(self, home, provider, providers=None, **settings):
        self.home, self.provider, self.options = home, provider, settings
        self.providers = providers or {"local": provider}
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.start()

    def start(self):
        options = {"tick_s": 0.02, "lease_s": 5, "teardown_s": 0.5, "checkpoint_s": 0.5, "budget_event_s": 0.1, **self.options}
        self.app = create_app(Settings.from_env(home=self.home, port=self.port, **options), providers=self.providers)
        self.core = self.app.state.core
        config = uvicorn.Config(self.app, port=self.port, log_level="warning", access_log=False, timeout_graceful_shutdown=1)
        self.uvicorn = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.uvicorn.run, daemon=True)
        self.thread.start()
        until(lambda: self.uvicorn.started, 10)
        self.http = httpx.Client(
            base_url=f"http://127.0.0.1:{self.port}",
            timeout=120,
            trust_env=False,
            headers={"Authorization": f"Bearer {(self.home / 'token').read_text()}"},
        )

    def stop(self):
        self.http.close()
        self.uvicorn.should_exit = True
        self.thread.join(20)
        assert not self.thread.is_alive()

    def restart(self):
        self.stop()
        self.start()

    def api(self, method, path, status=200, **options):
        answer = self.http.request(method, "/api/training" + path, **options)
        assert answer.status_code == status, f"{method} {path}: {answer.status_code} {answer.text[:500]}"
        return answer.json() if answer.content and "json" in answer.headers["content-type"] else answer.text

    def job(self, job_id):
        return self.api("GET", f"/jobs/{job_id}")

    def wait(self, job_id, *states, limit_s=20):
        def there():
            job = self.job(job_id)
            assert job["state"] in states or job["state"] not in ("failed", "completed", "stopped"), (
                job["state"],
                job["reason"],
                job["failure"],
            )
            return job if job["state"] in states else None

        return until(there, limit_s)

    def train(self, steps=30, cap="5", knobs=None, **authorization):
        return add_run(self.core, steps, cap, knobs or {}, **authorization)


PATIENCE = 3
"""Limits are those of a quick machine with nothing beside; a slow one that others use too is given so many times as long."""


def until(condition, limit_s=20.0):
    end = time.monotonic() + limit_s * PATIENCE
    while time.monotonic() < end:
        with contextlib.suppress(httpx.TransportError):
            if found := condition():
                return found
        time.sleep(0.02)
    raise AssertionError("this did not happen in time")


def add_run(
    core,
    steps=30,
    cap="5",
    knobs=None,
    plan_id=None,
    more=(),
    name="Support bot",
    prompt="train a toy",
    base="toy",
    provider="local",
    facts=None,
    first=None,
    data=None,
    **authorization,
):
    """A queued run with a bare plan row, as if it had been approved. `first`: its stage; `more`: stages after that."""
    now = core.clock()
    plan_id = plan_id or new_id()
    stage = first or Stage(
        index=0,
        name="Fine-tune",
        method="lora",
        point=Point(adaptation="lora", objective="causal_lm", strategy="single"),
        settings=StageSettings(max_steps=steps, objective=knobs or {}),
    )
    with core.db.write() as session:
        contract = ContractRow(id=new_id(), user_id=core.owner_id, version=1, locked=True, body={}, created_at=now)
        session.add(contract)
        session.flush()
        session.add(
            TrainingPlan(
                id=plan_id,
                user_id=core.owner_id,
                contract_id=contract.id,
                contract={},
                plan={},
                status="approved",
                created_at=now,
                updated_at=now,
            )
        )
        session.flush()
        job = launch(
            session,
            core,
            user_id=core.owner_id,
            plan_id=plan_id,
            name=name,
            provider=provider,
            base_model=base,
            stages=[stage, *more],
            data=data,
            authorization=BudgetAuthorization(max_budget=cap, terms_accepted=True, **authorization),
            now=now,
            facts=RunFacts(prompt=prompt, capability="text_generation", modality="text", method="lora", **(facts or {})),
        )
    return job.id


def sse(server, path, count, last_id=None, limit_s=15):
    """The first `count` messages of a stream as (id, data)."""
    headers = {"Last-Event-ID": str(last_id)} if last_id is not None else {}
    found, event_id, data = [], None, None
    with server.http.stream("GET", "/api/training" + path, headers=headers, timeout=limit_s) as answer:
        if answer.status_code != 200:
            answer.read()
            raise AssertionError(answer.text)
        for line in answer.iter_lines():
            assert not line.startswith("event:"), "messages are unnamed"
            if line.startswith("id:"):
                event_id = line[3:].strip()
            elif line.startswith("data:"):
                data = json.loads(line[5:])
            elif not line and data is not None:
                found.append((event_id, data))
                data = None
                if len(found) >= count:
                    break
    return found
