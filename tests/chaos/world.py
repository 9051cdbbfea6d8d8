"""Everything around one run in one process, on clocks that only move when told to: servers, an account, its machines, a person.

The control plane is the real one (rows, reconciler, routes), RunPod's real client talks to the fake account, which holds every
request to RunPod's own contract, and the machines are `counter.py`. A tick is a second of the world.
"""

import asyncio
import contextlib
import json
import shutil
import tempfile
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path

import httpx
import httpx._transports.default as httpx_default
from anyio import to_thread
from counter import Died, Machine, digest, expected
from harness import add_run
from invariants import After, hold
from runpod_fake import DISK_MONTHLY, KEY, FakeRunPod
from runpod_http import RunPodDesk
from sqlalchemy import select

from kriptik.pipeline import budget
from kriptik.providers.runpod import RunPodProvider
from kriptik.server.app import create_app
from kriptik.server.core import open_core
from kriptik.server.runs import commands, effects, money
from kriptik.server.runs.reconciler import Reconciler
from kriptik.server.settings import Settings
from kriptik.server.steady import SteadyClock
from kriptik.spec.errors import KriptikError
from kriptik.store import jobs, ledger
from kriptik.store.db import Database
from kriptik.store.tables import EventRow, Job, Resource

START = datetime(2026, 6, 1, tzinfo=UTC)
GPU = "NVIDIA GeForce RTX 4090"
PRICE = Decimal("3.6")
"""Dollars an hour: a tenth of a cent a second."""
HOURLY = PRICE + DISK_MONTHLY * 40 / 720
IMAGE = "counter:1"
STEPS = 8
OUTSIDE = "https://here.example"
ENDED = ("completed", "failed", "stopped")
SHM = Path("/dev/shm")


class Killed(BaseException):
    """The server process is no more."""


@cache
def template():
    """(an app to route by, a home with an empty database): made once per process, since both take long."""
    httpx_default.create_ssl_context = cache(httpx_default.create_ssl_context)  # a tenth of a second for each client else
    home = Path(tempfile.mkdtemp(prefix="chaos-", dir=SHM if SHM.is_dir() else None))
    app = create_app(Settings.from_env(home=home / "home", worker_url=OUTSIDE), providers={})
    app.state.core.db.close()
    app.state.lock.close()
    return app, home / "home" / "kriptik.db", asyncio.new_event_loop()


class Account(FakeRunPod):
    """The fake account with machines of virtual time in place of processes."""

    def __init__(self, world, folder):
        self.world = world
        super().__init__(folder, {IMAGE: ([], {})}, clock=lambda: world.true_now)
        self.prices[GPU] = (PRICE, PRICE)

    def _start(self, pod):
        pod.folder.mkdir(parents=True, exist_ok=True)
        own = {"RUNPOD_POD_ID": pod.id, "RUNPOD_API_KEY": pod.own_key}
        pod.process = Machine(self.world, pod, {**pod.request.get("env", {}), **own})
        pod.starts += 1
        pod.status, pod.started_at = "RUNNING", self.clock()

    def _kill(self, pod):
        if pod.process is not None:
            pod.process.kill()


class ToServer(httpx.BaseTransport):
    """A machine's way to the server."""

    def __init__(self, world, machine):
        self.world, self.machine = world, machine

    def handle_request(self, request):
        return self.world.deliver(self.machine, request)


class ToProvider(httpx.BaseTransport):
    """A server's way to the provider."""

    def __init__(self, server):
        self.server = server

    def handle_request(self, request):
        world = self.server.world
        if world.provider_cut > 0:
            raise httpx.ConnectError("the network is down", request=request)
        target = request.url.raw_path.decode()
        found = world.desk.handle(request.method, target, request.headers["authorization"], request.read())
        if found is None:
            raise httpx.ReadError("the answer was lost", request=request)
        status, headers, data = found
        return httpx.Response(status, headers=headers, content=data, request=request)


class Fused(RunPodProvider):
    """RunPod's client whose server may die before and after each call that changes something."""

    server = None

    def create(self, spec):
        self.server.spark("before_create")
        made = super().create(spec)
        self.server.spark("after_create")
        return made

    def terminate(self, resource_id):
        self.server.spark("before_terminate")
        super().terminate(resource_id)
        self.server.spark("after_terminate")


class Server:
    """One server process: rows, provider's client, reconciler. `fuse(kind)` is called at each boundary and may raise `Killed`."""

    def __init__(self, world):
        self.world, self.fuse = world, world.fuse
        clocks = {"clock": lambda: world.boot, "pause": lambda _s: None}
        self.provider = Fused(KEY, IMAGE, base_url="http://127.0.0.1:9", timeout_s=5, **clocks)
        self.provider.server = self
        self.provider._api._http = httpx.Client(
            base_url="http://127.0.0.1:9", headers={"Authorization": f"Bearer {KEY}"}, transport=ToProvider(self)
        )
        clock = SteadyClock(lambda: world.true_now + world.wall_off, lambda: world.boot)
        self.core = open_core(world.settings, {"runpod": self.provider}, clock)
        self.plain_write = self.core.db.write
        self.core.db.write = self.write
        self.reconciler = Reconciler(self.core)
        self.polling = self.dead = False

    def spark(self, kind):
        if self.dead:
            raise Killed
        if self.fuse and not self.polling:
            self.fuse(self, kind)

    @contextlib.contextmanager
    def write(self):
        self.spark("before_save")
        with self.plain_write() as session:
            yield session
            if self.dead:
                raise Killed
        self.spark("after_save")

    def close(self):
        self.dead = True
        self.core.db.close()


class World:
    """One scenario's world. Faults are plain attributes; `until_over` lets the person bring the run to its end."""

    def __init__(self, family, name, *, cap="1", steps=STEPS, fuse=None, padding=0, **settings):
        self.family, self.name, self.fuse = family, name, fuse
        self.boot, self.wall_off = 0.0, timedelta(0)
        self.boot_s, self.step_s, self.checkpoint_s, self.every, self.padding = 4, 2, 1, 3, padding
        app, database, self.loop = template()
        self.app, self.asgi = app, httpx.ASGITransport(app)
        self.folder = Path(tempfile.mkdtemp(prefix="w-", dir=database.parents[1]))
        home = self.folder / "home"
        home.mkdir()
        shutil.copy(database, home / "kriptik.db")
        options = {"tick_s": 1, "checkpoint_s": 4, "teardown_s": 2, "lease_s": 20, "grace_s": 40, "boot_s": 60, "bill_settle_s": 0,
                   "fruitless_limit": 5, "budget_event_s": 20}  # fmt: skip
        self.settings = Settings.from_env(home=home, worker_url=OUTSIDE, **{**options, **settings})
        self.account = Account(self, self.folder / "pods")
        self.desk = RunPodDesk(self.account)
        self.server_down = self.provider_cut = self.pods_cut = 0
        self.lose_posts = self.repeat_posts = 0
        self.fail_posts = []
        self.points, self.deaths = Counter(), {}
        self.kills, self.told, self.freezes = [], defaultdict(dict), []
        self.obeys, self.broken_since = True, -1e9
        self.over, self.storage, self.crossed = Decimal("-Infinity"), Decimal(0), None
        self.server, self.servers, self.delivering = None, [], False
        self.ticker = lambda server: server.reconciler.tick()
        fuse, self.fuse = self.fuse, None
        self.open()
        facts = {"gpu": "RTX4090", "price_per_hour": HOURLY + Decimal("0.001")}
        self.job_id = add_run(self.server.core, steps, cap, {}, provider="runpod", facts=facts)
        self.fuse = self.server.fuse = fuse
        self.steps, self.state = steps, "queued"

    @property
    def true_now(self):
        return START + timedelta(seconds=self.boot)

    def open(self):
        """Another server process over the same rows; it takes the place of the present one."""
        with no_migration():
            self.server = Server(self)
        self.servers.append(self.server)
        return self.server

    def kill(self):
        """The server ends here and now, and is started again."""
        self.server.close()
        self.open()

    def to_server(self, machine):
        return ToServer(self, machine)

    def deliver(self, machine, request):
        """One request of a machine, through whatever is broken at the moment."""
        self.died_at(machine, f"at {request.method} {request.url.path.rsplit('/', 1)[-1]}")
        if self.server_down > 0 or self.pods_cut > 0:
            raise httpx.ConnectError("nobody there", request=request)
        if self.fail_posts:
            return httpx.Response(self.fail_posts.pop(), request=request)
        request.read()
        polling = request.url.path.endswith("/desired")
        try:
            self.server.polling, self.delivering = polling, True
            with on_one_thread():
                answer = self.loop.run_until_complete(self._ask(request))
                if self.repeat_posts > 0 and not polling:
                    self.repeat_posts -= 1
                    answer = self.loop.run_until_complete(self._ask(request))
        except Killed:
            self.kill()
            raise httpx.ReadError("the server died", request=request) from None
        finally:
            self.server.polling = self.delivering = False
        if self.lose_posts > 0 and not polling:
            self.lose_posts -= 1
            raise httpx.ReadError("the answer was lost", request=request)
        return answer

    async def _ask(self, request):
        self.app.state.core = self.server.core
        answer = await self.asgi.handle_async_request(
            httpx.Request(request.method, request.url, headers=request.headers, content=request.content)
        )
        return httpx.Response(answer.status_code, headers=answer.headers, content=await answer.aread(), request=request)

    def point(self, machine, name):
        """A place in a machine's life where it may die."""
        self.died_at(machine, name)

    def died_at(self, machine, name):
        if not self.deaths:
            return
        self.points[name] += 1
        if self.deaths.get(name) == self.points[name]:
            self.kills.append((f"worker {name}", self.state))
            self.breaks()
            raise Died

    def end_own(self, pod):
        """The machine asks the provider to take it back, by its own key."""
        if self.pods_cut > 0:
            return False
        found = self.desk.handle("DELETE", f"/v2/pods/{pod.id}", f"Bearer {pod.own_key}")
        return found is not None and (found[0] < 300 or found[0] == 404)

    def acknowledged(self, machine, ack_seq):
        """The worker was told that so many of its events are stored."""
        told = self.told[machine.job_id, machine.number]
        after = max(told, default=0)
        for line in machine.spool.read(after, 500) if ack_seq > after else []:
            event = json.loads(line)
            if event["seq"] <= ack_seq:
                told[event["seq"]] = digest(event["body"])

    def breaks(self):
        """Something is out of order from here on: no bound is set to the next freeze."""
        self.broken_since = self.boot

    def job(self):
        with self.server.core.db.read() as session:
            return session.get_one(Job, self.job_id)

    def rows(self, kind):
        with self.server.core.db.read() as session:
            return list(session.scalars(select(kind)))

    def live_pods(self):
        return [pod for pod in self.account.pods.values() if pod is not self.account.foreign and pod.live]

    def tick(self, seconds=1, second=None):
        """A second of the world: the servers, then the machines, then the books. `second`: another server beside the first."""
        self.boot += seconds
        for count in ("server_down", "provider_cut", "pods_cut"):
            if getattr(self, count) > 0:
                self.breaks()
                setattr(self, count, max(0, getattr(self, count) - seconds))
        for server in filter(None, (self.server if self.server_down <= 0 else None, second)):
            try:
                self.ticker(server)
            except Killed:
                if server is self.server:
                    self.kill()
        for pod in list(self.account.pods.values()):
            if isinstance(pod.process, Machine):
                pod.process.live()
        self.account.look()
        self._books(seconds)

    def _books(self, seconds):
        with self.server.core.db.read() as session:
            job = session.get_one(Job, self.job_id)
            over = money.overheads(self.server.core, job)
            mark = budget.freeze_point(money.terms(job), over)
            spent = ledger.spend(session, self.job_id, self.server.core.clock())
        self.state = job.state
        if job.state in ("frozen", "awaiting_approval"):
            self.storage += over.storage_per_day * Decimal(seconds) / 86400
        bill = self.account.bill() + self.storage
        self.over = max(self.over, bill - job.max_budget)
        self._latency(job, max(bill, spent) - mark)

    def _latency(self, job, past):
        """From the moment at which the bill, or the ledger before it, passed the freeze mark to the end of billing."""
        ended = [life[1] for pod in self.account.ended.values() for life in pod.lives]
        ended += [life[1] for pod in self.account.pods.values() for life in pod.lives if life[1]]
        live = self.live_pods()
        if self.crossed is None:
            if past >= 0 and live and job.state in ("setting_up", "training", "freezing"):
                rate = sum(pod.lives[-1][2] for pod in live)
                self.crossed = self.boot - float(past / rate * 3600)
            return
        if live:
            return
        seconds = (max(ended) - START).total_seconds() - self.crossed
        if job.state in ("freezing", "frozen", "completed", "queued") and seconds > 0:
            bound = self.step_s + self.checkpoint_s + 1 if self.broken_since < self.crossed - 30 else None
            self.freezes.append((round(seconds, 3), bound))
        self.crossed = None

    def until(self, condition, ticks=600, seconds=1, attend=None):
        for _ in range(ticks):
            if condition():
                return
            if attend:
                attend()
            self.tick(seconds)
        raise AssertionError(f"this did not happen in time: the run is {self.state} ({self.job().reason}, {self.job().failure})")

    def act(self, command, *more):
        """A person asks something of the run; what is refused is refused."""
        with contextlib.suppress(KriptikError), self.server.plain_write() as session:
            job = session.get_one(Job, self.job_id)
            command(session, job, *more)

    def freeze(self):
        self.act(lambda s, j: commands.freeze(s, j, self.server.core.clock()))

    def stop(self):
        self.act(lambda s, j: commands.stop(s, j, self.server.core.clock()))

    def resume(self, cap=None):
        self.act(lambda s, j: commands.resume(s, self.server.core, j, cap, self.server.core.clock()))

    def retry(self):
        found = effects.to_resume(self.server.core, self.job())
        self.act(lambda s, j: commands.retry(s, self.server.core, j, found, self.server.core.clock()))

    def rollback(self):
        made = [c for c in self.checkpoints() if c.kept]
        if made:
            self.act(lambda s, j: commands.rollback(s, self.server.core, j, made[0].checkpoint_id, self.server.core.clock()))

    def checkpoints(self):
        with self.server.core.db.read() as session:
            return jobs.checkpoints(session, self.job_id)

    def attend(self):
        """What a person does who wants the run to be completed: resumes with more money, mends what is broken, retries."""
        if self.server_down > 0:
            return
        if self.state == "frozen":
            spent = self.spend()
            reason = self.job().reason
            self.resume(None if reason == "user" and spent < self.job().max_budget / 2 else max(spent, self.job().max_budget) + 1)
        elif self.state in ("failed", "stopped"):
            self.mend()
            core, spent = self.server.core, self.spend()
            if spent > self.job().max_budget / 2:
                self.act(lambda s, j: commands.change_cap(s, core, j, max(spent, j.max_budget) + 1, core.clock()))
            self.retry()

    def spend(self):
        core = self.server.core
        with core.db.read() as session:
            return ledger.spend(session, self.job_id, core.clock())

    def mend(self):
        """Everything works again."""
        self.desk.losing.clear()
        self.desk.failing.clear()
        self.desk.doubling.clear()
        self.fail_posts.clear()
        self.account.none_free.clear()
        self.account.keys.add(KEY)
        self.account.balance = True
        self.account.refuse_creates = self.account.keep_after_delete = self.account.hide_s = 0
        self.server_down = self.provider_cut = self.pods_cut = self.lose_posts = self.repeat_posts = 0

    def until_over(self, ticks=900):
        """Completed, everything mended, the last bill read."""
        self.until(lambda: self.state == "completed", ticks, attend=self.attend)
        self.mend()
        self.until(lambda: not self.account.own() and all(r.gone_at for r in self.rows(Resource)), 60, seconds=10)
        for _ in range(3):
            self.tick(31)
        if self.wall_off < timedelta(0):  # by a clock that was set back nothing has settled before it is as late again as it was
            self.tick(-self.wall_off.total_seconds())
            self.tick(31)

    def check(self):
        """Holds the world to the invariants, then takes it down."""
        with contextlib.suppress(FileNotFoundError):
            result = json.loads((self.server.core.run_dir(self.job_id) / "result" / "state.json").read_text())
            result = (result[0], result[1])
        with self.server.core.db.read() as session:
            stored = [(r.stream_id, r.generation, r.seq, digest(r.body)) for r in session.scalars(select(EventRow)) if r.generation]
        left = [pod.name for pod in self.account.own()] + [r.name for r in self.rows(Resource) if r.gone_at is None]
        billed = self.account.bill() + self.storage - self.unknowable()
        after = After(
            tier=1, family=self.family, name=self.name, result=result, expected=expected(self.steps), told=dict(self.told),
            stored=stored, bill=billed, over=self.over if self.obeys else None, ledger=self.spend(),
            left=left, foreign=self.account.harm(), broken=self.desk.violations, freezes=self.freezes, kills=self.kills,
        )  # fmt: skip
        hold(after)

    def unknowable(self):
        """What a machine that was never seen was billed above the price it was ordered at.

        The account's bill names no owner, so the ledger keeps no more for such a machine than its order could have cost.
        """
        seen = {row.provider_id for row in self.rows(Resource)}
        unseen = [pod for pod in self.account.ended.values() if pod.id not in seen]
        lives = [(*life, pod.lives[0][2]) for pod in unseen for life in pod.lives]
        dearer = [(price - first) * Decimal((end - start).total_seconds()) for start, end, price, first in lives if price > first]
        return sum(dearer, Decimal(0)) / 3600

    def close(self):
        for server in self.servers:
            server.close()
        self.account.close()
        shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def no_migration():
    """The database was copied as it is after its migrations."""
    plain, Database.migrate = Database.migrate, lambda _self: None
    try:
        yield
    finally:
        Database.migrate = plain


@contextlib.contextmanager
def on_one_thread():
    """Routes that are no coroutines run where they are called: nothing else waits for this loop."""

    async def here(function, *args, **_options):
        return function(*args)

    plain, to_thread.run_sync = to_thread.run_sync, here
    try:
        yield
    finally:
        to_thread.run_sync = plain
