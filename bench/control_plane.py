"""The control plane under load: N workers that post once a second, one watcher each, and a chart of a million points.

`python bench/control_plane.py [--workers 200] [--seconds 300] [--points 1000000]`. The server is a process of its own over SQLite
with its reconciler running; workers and watchers are one more process. Latency: from the making of an event in the worker to its
arrival at the watcher. Nothing may be lost, doubled or out of order.
"""

import argparse
import asyncio
import gzip
import json
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import httpx
import psutil

from kriptik.providers import provider as providers
from kriptik.server.core import open_core
from kriptik.server.runs import effects, naming
from kriptik.server.runs.launch import RunFacts, launch
from kriptik.server.settings import Settings
from kriptik.spec.base import new_id, utc_now
from kriptik.spec.budget import BudgetAuthorization
from kriptik.spec.catalogue import Point
from kriptik.spec.job import JobState, Stage, StageSettings
from kriptik.store import curves, jobs, people
from kriptik.store.tables import ContractRow, CurveChunk, EventRow, Generation, Job, Resource, Stream, TrainingPlan

EVENTS_PER_POST = 3
WARM_S = 20
"""A server that has just started reads its catalogue beside answering; until then answers take seconds under this load."""
PRICE = Decimal("0.5")


class Machines:
    """A provider whose machines are there and stay."""

    name, self_end = "local", None

    def offers(self):
        return []

    def create(self, spec):
        raise AssertionError("nothing is created here")

    def get(self, resource_id):
        return providers.Resource(
            id=resource_id, name=resource_id, status="running", price_per_hour=PRICE, created_at=datetime(2026, 1, 1, tzinfo=UTC)
        )

    def list_own(self, prefix):
        return []

    def terminate(self, resource_id):
        return

    def logs(self, resource_id, tail=100):
        return []

    def billed(self, resource_id, since):
        return None


def settings_of(home, port=7860):
    return Settings.from_env(home=home, port=port, local_price_per_hour=PRICE, local_slots=100_000, checkpoint_alarm_s=1e9)


def open_state(home):
    return open_core(settings_of(home), {"local": Machines()})


def add_run(core, name):
    """A run that trains, as its rows say; returns (id, token)."""
    now = utc_now()
    point = Point(adaptation="lora", objective="causal_lm", strategy="single")
    stage = Stage(index=0, name="Fine-tune", method="lora", point=point, settings=StageSettings(max_steps=10_000_000))
    with core.db.write() as session:
        contract = ContractRow(id=new_id(), user_id=core.owner_id, version=1, locked=True, body={}, created_at=now)
        session.add(contract)
        session.flush()
        plan = TrainingPlan(id=new_id(), user_id=core.owner_id, contract_id=contract.id, contract={}, plan={}, status="approved",
                            created_at=now, updated_at=now)  # fmt: skip
        session.add(plan)
        session.flush()
        facts = RunFacts(prompt="bench", capability="text_generation", modality="text", method="lora")
        job = launch(session, core, user_id=core.owner_id, plan_id=plan.id, name=name, provider="local", base_model="toy",
                     stages=[stage], data=None, authorization=BudgetAuthorization(max_budget=Decimal(1000), terms_accepted=True),
                     facts=facts, now=now)  # fmt: skip
        token = core.worker_token(job.id, 1)
        generation = jobs.add_generation(session, job.id, 1, "train", people.digest(token), None, now)
        made = jobs.add_resource(session, generation, naming.resource(core.install, job.id, 1), "local", PRICE, now)
        made.provider_id, made.status = made.name, "running"
        job.generation, generation.last_contact_at = 1, now
        effects.change_state(session, job, JobState.TRAINING, "bench", now)
    return job.id, token


def metrics(step):
    return {"type": "metrics", "stage": 0, "step": step, "totalSteps": 10_000_000, "epoch": 0.1, "totalEpochs": 1,
            "loss": 2 + (step * 7919 % 1000) / 1000, "learningRate": 1e-4, "gradientNorm": 1 + (step * 104729 % 1000) / 1000,
            "tokens": 4096, "tokensPerSecond": 25_000.0, "samplesProcessed": step * 8, "totalSamples": 80_000_000,
            "elapsedS": float(step), "cpuUtilization": 11.0, "ramUsedGb": 8.1, "gpuUtilization": [97.0], "gpuMemoryUsedGb": [61.0],
            "gpuMemoryTotalGb": [80.0], "custom": {}}  # fmt: skip


class Http:
    """One kept connection and as little work as possible: what is measured is the server."""

    def __init__(self, port, token):
        self.port, self.token = port, token
        self.reader = self.writer = None

    async def open(self):
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)

    async def ask(self, method, path, body=b"", more=""):
        head = (f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {self.token}\r\n{more}"
                f"Content-Length: {len(body)}\r\n\r\n")  # fmt: skip
        self.writer.write(head.encode() + body)
        await self.writer.drain()
        return await self.head()

    async def head(self):
        text = (await self.reader.readuntil(b"\r\n\r\n")).decode().lower()
        return int(text.split(" ", 2)[1]), text

    async def answer(self, text):
        size = int(text.split("content-length:")[1].split("\r\n")[0])
        return await self.reader.readexactly(size)


async def worker(port, job_id, token, number, count, posts, tally):
    """Posts once a second; what is not acknowledged is sent again."""
    http = Http(port, token)
    await http.open()
    path = f"/api/worker/v1/jobs/{job_id}/generations/1/events"
    more = "Content-Type: application/json\r\nContent-Encoding: gzip\r\n"
    began, seq = time.monotonic() + number / count, 0
    for post in range(posts):
        await asyncio.sleep(max(0.0, began + post - time.monotonic()))
        now = datetime.now(UTC).isoformat()
        bodies = [metrics(post + 1), *({"type": "log", "message": f"line {post} {n}"} for n in range(EVENTS_PER_POST - 1))]
        events = [{"generation": 1, "seq": seq + n + 1, "at": now, "body": body} for n, body in enumerate(bodies)]
        seq += EVENTS_PER_POST
        body = gzip.compress(json.dumps({"events": events}).encode(), 1)
        while True:
            sent = time.monotonic()
            status, text = await http.ask("POST", path, body, more)
            data = await http.answer(text)
            tally["post"].append(time.monotonic() - sent)
            if status == 200:
                break
            tally["refused"].append((status, data[:200]))
            await asyncio.sleep(0.5)
        if json.loads(data)["ackSeq"] != seq:
            tally["wrong"].append((status, data[:200]))
            return


async def watcher(port, job_id, token, wanted, tally):
    """Reads the stream until every event of the worker has come."""
    http = Http(port, token)
    await http.open()
    await http.ask("GET", f"/api/training/jobs/{job_id}/stream?after=0")
    expected = 1
    while expected <= wanted:
        line = await http.reader.readline()
        if not line.startswith(b"data:"):
            continue
        message = json.loads(line[5:])
        if message["generation"] != 1:
            continue
        came = datetime.now(UTC)
        if message["seq"] != expected:
            tally["wrong"].append((job_id, expected, message["seq"]))
            return
        expected += 1
        tally["latency"].append((came - datetime.fromisoformat(message["at"])).total_seconds())


async def load(port, person, runs, seconds):
    tally = {"latency": [], "post": [], "wrong": [], "refused": []}
    wanted = seconds * EVENTS_PER_POST
    watching = [asyncio.create_task(watcher(port, job_id, person, wanted, tally)) for job_id, _token in runs]
    await asyncio.sleep(WARM_S)
    await asyncio.gather(*(worker(port, job_id, token, n, len(runs), seconds, tally) for n, (job_id, token) in enumerate(runs)))
    _done, late = await asyncio.wait(watching, timeout=30)
    for task in late:
        task.cancel()
    tally["late"] = len(late)
    return tally


def share(values, part):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def start_server(home):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen([sys.executable, __file__, "--serve", str(home), str(port)])
    end = time.monotonic() + 30
    while time.monotonic() < end:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/api/training/health", trust_env=False).status_code == 200:
                return process, port
        except httpx.HTTPError:
            time.sleep(0.1)
    raise SystemExit("the server did not start")


def serve(home, port):
    import uvicorn

    from kriptik.server.app import create_app

    app = create_app(settings_of(Path(home), port), {"local": Machines()})
    uvicorn.run(app, port=port, log_level="error", access_log=False, backlog=2048)


def run_load(home, workers, seconds):
    """200 workers and their watchers; returns the figures."""
    core = open_state(home)
    runs = [add_run(core, f"run {n}") for n in range(workers)]
    core.db.close()
    process, port = start_server(home)
    try:
        before = os.getloadavg()
        server = psutil.Process(process.pid)
        cpu = sum(server.cpu_times()[:2])
        own = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
        began = time.monotonic()
        tally = asyncio.run(load(port, (home / "token").read_text(), runs, seconds))
        took = time.monotonic() - began
        cpu = sum(server.cpu_times()[:2]) - cpu
        now = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
        memory = server.memory_info().rss
    finally:
        process.terminate()
        process.wait(20)
    core = open_state(home)
    with core.db.read() as session:
        stored = session.query(EventRow).filter(EventRow.generation == 1).count()
    core.db.close()
    wanted = workers * seconds * EVENTS_PER_POST
    figures = {f"p{round(p * 100)}_s": round(share(tally["latency"], p), 3) for p in (0.5, 0.95, 0.99)} if tally["latency"] else {}
    return {
        "workers": workers, "watchers": workers, "seconds": seconds, "events": wanted, "stored": stored,
        "seen": len(tally["latency"]), "lost": wanted - min(stored, len(tally["latency"])), "wrong": len(tally["wrong"]),
        "late_watchers": tally["late"], "refused": len(tally["refused"]), **figures,
        "max_s": round(max(tally["latency"], default=0), 3),
        "post_p50_ms": round(1e3 * share(tally["post"], 0.5), 1), "post_p99_ms": round(1e3 * share(tally["post"], 0.99), 1),
        "server_cores": round(cpu / took, 2), "server_ms_per_post": round(1e3 * cpu / (workers * seconds), 2),
        "load_cores": round((now - own) / took, 2),
        "server_mb": round(memory / 1e6), "load_before": round(before[0], 2), "examples": [str(w) for w in tally["wrong"][:3]],
    }  # fmt: skip


def fill(core, job_id, count):
    """`count` points of a curve, written straight into the table, then packed as the server packs them."""
    at, batch = utc_now(), 20_000
    for start in range(0, count, batch):
        rows = [{"stream_id": job_id, "id": 10 + n, "generation": 1, "seq": n, "at": at, "type": "metrics", "stage": 0, "step": n,
                 "body": metrics(n)} for n in range(start + 1, min(count, start + batch) + 1)]  # fmt: skip
        with core.db.write() as session:
            session.execute(EventRow.__table__.insert(), rows)
    with core.db.write() as session:
        session.get_one(Stream, job_id).last_event_id = 10 + count
        session.get_one(Job, job_id).state = "frozen"
        session.get_one(Generation, (job_id, 1)).gone_at = at
        session.query(Resource).filter_by(stream_id=job_id).one().gone_at = at
    began = time.monotonic()
    while curves.pack(core.db, job_id):
        pass
    return time.monotonic() - began


def chart(home, count):
    """A chart of `count` points, whole and zoomed, asked for over HTTP; milliseconds, best and worst of ten."""
    core = open_state(home)
    job_id, _token = add_run(core, "long")
    packing = fill(core, job_id, count)
    with core.db.read() as session:
        chunks = session.query(CurveChunk).filter_by(stream_id=job_id).count()
    core.db.close()
    process, port = start_server(home)
    try:
        found = {"points": count, "chunks": chunks, "packing_s": round(packing, 1),
                 "database_mb": round(sum(f.stat().st_size for f in home.glob("kriptik.db*")) / 1e6)}  # fmt: skip
        time.sleep(WARM_S)
        headers = {"Authorization": f"Bearer {(home / 'token').read_text()}"}
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, trust_env=False, timeout=60) as http:
            for name, query in (("whole", ""), ("zoomed", f"?fromStep={count // 2}&toStep={count // 2 + count // 10}")):
                times = []
                for _ in range(10):
                    began = time.monotonic()
                    answer = http.get(f"/api/training/jobs/{job_id}/metrics{query}")
                    times.append(1e3 * (time.monotonic() - began))
                    answer.raise_for_status()
                body = answer.json()
                found[name] = {"shown": len(body["points"]), "of": body["total"], "first_ms": round(times[0]),
                               "best_ms": round(min(times)), "worst_ms": round(max(times))}  # fmt: skip
    finally:
        process.terminate()
        process.wait(20)
    return found


def main():
    if sys.argv[1:2] == ["--serve"]:
        serve(sys.argv[2], int(sys.argv[3]))
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=200)
    parser.add_argument("--seconds", type=int, default=300)
    parser.add_argument("--points", type=int, default=1_000_000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kriptik-bench-") as folder:
        figures = {}
        if asked.seconds:
            figures["live"] = run_load(Path(folder) / "live", asked.workers, asked.seconds)
        if asked.points:
            figures["chart"] = chart(Path(folder) / "chart", asked.points)
        print(json.dumps(figures, indent=1))
    live = figures.get("live", {})
    if live.get("lost") or live.get("wrong") or live.get("late_watchers"):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
