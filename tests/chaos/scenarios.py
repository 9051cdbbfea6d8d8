"""The scenarios of tier 1: what a person does (scripts), where a server dies, what breaks, and bad days drawn from a seed."""

import random
import shutil
import threading
from datetime import timedelta
from decimal import Decimal
from functools import cache

from runpod_fake import DISK_MONTHLY, KEY
from world import GPU, Killed, World

from kriptik.store.tables import Generation


def plain(world):
    """Trains and ends."""


def freeze_resume(world):
    """Frozen by a person under way, then resumed."""
    if world.state == "training" and not world.done:
        world.done.append(1)
        world.freeze()


def stop_retry(world):
    """Stopped by a person under way, then retried."""
    if world.state == "training" and not world.done and world.checkpoints():
        world.done.append(1)
        world.stop()


def rollback(world):
    """Back to the first checkpoint, once the second is there."""
    if world.state == "training" and not world.done and len(world.checkpoints()) > 1:
        world.done.append(1)
        world.rollback()


def preempted(world):
    """The host takes the machine away under way, disk and all."""
    if world.state == "training" and not world.done and world.checkpoints():
        world.done.append(1)
        for pod in world.live_pods()[:1]:
            world.account.vanish(pod.id)


def early_freeze(world):
    """Frozen before the machine has spoken."""
    if world.state == "setting_up" and not world.done:
        world.done.append(1)
        world.freeze()


SCRIPTS = {
    "plain": (plain, {}),
    "freeze_resume": (freeze_resume, {}),
    "budget": (plain, {"cap": "0.026"}),
    "stop_retry": (stop_retry, {}),
    "rollback": (rollback, {}),
    "preempted": (preempted, {}),
    "early_freeze": (early_freeze, {}),
}


def life(script, family, name, fuse=None, prepare=None, during=None, check=True, **options):
    """One whole life of a run under a script; returns the world, closed."""
    act, terms = SCRIPTS[script]
    world = World(family, name, fuse=fuse, **{**terms, **options})
    world.done = []
    try:
        if prepare:
            prepare(world)

        def attend():
            act(world)
            if during:
                during(world)
            world.attend()

        world.until(lambda: world.state == "completed", 900, attend=attend)
        world.until_over()
        if check:
            world.check()
    finally:
        world.close()
    return world


@cache
def boundaries(script):
    """(kind, state, whether a worker was being answered) of every place where a server may die in an undisturbed life."""
    seen = []

    def fuse(server, kind):
        seen.append((kind, server.world.state, server.world.delivering))

    life(script, "map", script, fuse=fuse, check=False)
    return seen


def own_boundaries(script):
    """How many of them are the reconciler's own."""
    return sum(not delivering for _kind, _state, delivering in boundaries(script))


def killed_at(script, *points):
    """The server dies at these boundaries, counted over all of its lives."""
    left, count = sorted(points), [0]

    def fuse(server, kind):
        count[0] += 1
        if left and count[0] >= left[0]:
            left.pop(0)
            server.world.kills.append((kind, server.world.state))
            server.world.breaks()
            raise Killed

    life(script, "killed", f"{script} at {points}", fuse=fuse)


def paused_at(script, point, ticks):
    """The server stands still at a boundary, another takes its place for so many seconds, then the first goes on unaware."""
    count, gate, here, held = [0], threading.Event(), threading.Event(), []

    def fuse(server, kind):
        if threading.current_thread().name != "paused" or held:
            return
        count[0] += 1
        if count[0] == point:
            held.append(server)
            server.world.kills.append((f"paused {kind}", server.world.state))
            here.set()
            gate.wait(60)

    def prepare(world):
        def ticker(server):
            if not held:
                thread = threading.Thread(target=_quiet, args=(server.reconciler.tick,), name="paused", daemon=True)
                thread.start()
                while thread.is_alive() and not here.wait(0.002):
                    continue
                if held:
                    world.breaks()
                    world.open()
                    held.extend([thread, world.boot + ticks])
                return
            server.reconciler.tick()
            if not gate.is_set() and world.boot >= held[2]:
                gate.set()
                held[1].join(30)
                _quiet(held[0].reconciler.tick)
                held[0].close()

        world.ticker = ticker

    life(script, "paused", f"{script} at {point} for {ticks} s", fuse=fuse, prepare=prepare)
    assert held, "this boundary was never reached"


def _quiet(act):
    try:
        act()
    except Killed:
        return


def two_servers(script, seed):
    """Two servers over the same rows all the time, which look in any order."""
    dice = random.Random(seed)
    other = []

    def during(world):
        if not other:
            first = world.server
            other.append(world.open())
            other.append(first)
        if dice.random() < 0.3:
            world.server = dice.choice(other)
        second = other[0] if world.server is other[1] else other[1]
        world.breaks()
        second.reconciler.tick()

    life(script, "two servers", f"{script} {seed}", during=during)


FAULTS = {
    "create lost": lambda w, d: w.desk.lose("create"),
    "create lost, listed late": lambda w, d: (setattr(w.account, "hide_s", 20), w.desk.lose("create")),
    "create twice": lambda w, d: w.desk.twice("create"),
    "create 400": lambda w, d: setattr(w.account, "refuse_creates", 6),
    "create 500": lambda w, d: w.desk.fail("create", 500, 2),
    "create 409": lambda w, d: w.desk.fail("create", 409, 3),
    "create 429": lambda w, d: w.desk.fail("create", 429, 1, 7),
    "list lost": lambda w, d: w.desk.lose("list", 3),
    "list 500": lambda w, d: w.desk.fail("list", 502, 5),
    "get 503": lambda w, d: w.desk.fail("get", 503, 5),
    "delete lost": lambda w, d: w.desk.lose("delete", 2),
    "delete twice": lambda w, d: w.desk.twice("delete", 2),
    "delete 409": lambda w, d: w.desk.fail("delete", 409, 3),
    "delete 500": lambda w, d: w.desk.fail("delete", 500, 3),
    "delete not obeyed": lambda w, d: (setattr(w.account, "keep_after_delete", 1), setattr(w, "obeys", False)),
    "429 storm": lambda w, d: [w.desk.fail(one, 429, 4, 3) for one in ("list", "get", "catalog", "billing")],
    "billing 500": lambda w, d: w.desk.fail("billing", 500, 3),
    "no balance": lambda w, d: ([w.account.vanish(p.id) for p in w.live_pods()], setattr(w.account, "balance", False)),
    "expired key": lambda w, d: (w.account.keys.discard(KEY), later(w, 15, lambda: w.account.keys.add(KEY))),
    "famine": lambda w, d: famine(w),
    "machine gone": lambda w, d: [w.account.vanish(p.id) for p in w.live_pods()[:1]],
    "container exits": lambda w, d: [p.process.kill() for p in w.live_pods()[:1] if p.process],
    "container restarts": lambda w, d: [w.account.restart(p.id) for p in w.live_pods()[:1] if p.process],
    "server down": lambda w, d: setattr(w, "server_down", d.choice((3, 15, 90))),
    "server killed": lambda w, d: w.kill(),
    "provider unreachable": lambda w, d: setattr(w, "provider_cut", d.choice((3, 20, 60))),
    "machines cut off": lambda w, d: setattr(w, "pods_cut", d.choice((3, 20, 90))),
    "posts lost": lambda w, d: setattr(w, "lose_posts", 3),
    "posts twice": lambda w, d: setattr(w, "repeat_posts", 5),
    "posts refused": lambda w, d: w.fail_posts.extend(d.choice((500, 502, 503, 429)) for _ in range(4)),
    "clock an hour ahead": lambda w, d: setattr(w, "wall_off", timedelta(hours=1)),
    "clock an hour back": lambda w, d: setattr(w, "wall_off", timedelta(hours=-1)),
    "clock an hour back, restart": lambda w, d: (setattr(w, "wall_off", timedelta(hours=-1)), w.kill()),
    "dearer under way": lambda w, d: dearer(w),
}
MOMENTS = ("queued", "setting_up", "training", "freezing", "frozen", "stopping")
WITH = {"queued": "plain", "setting_up": "plain", "training": "plain", "freezing": "freeze_resume", "frozen": "freeze_resume",
        "stopping": "stop_retry"}  # fmt: skip


def famine(world):
    """No machine of any kind is free, for a while."""
    for gpu in world.account.prices:
        world.account.none_free |= {(gpu, "SECURE"), (gpu, "COMMUNITY")}
    later(world, 40, world.account.none_free.clear)


def dearer(world):
    """The provider charges half as much again from here on, and says so."""
    for pod in world.live_pods():
        life = pod.lives[-1]
        life[1], pod.cost = world.true_now, pod.cost * Decimal("1.5")
        pod.lives.append([world.true_now, None, pod.cost + DISK_MONTHLY * 40 / 720])


def later(world, seconds, act):
    """Something happens by itself after a while."""
    world.laters.append((world.boot + seconds, act))


def due(world):
    """Lets happen what is due."""
    for one in [one for one in world.laters if one[0] <= world.boot]:
        world.laters.remove(one)
        one[1]()


def fault_in(fault, moment, seed=0):
    """One thing breaks when the run comes into this state."""
    dice, struck = random.Random(f"{fault} {moment} {seed}"), []

    def during(world):
        due(world)
        if world.state == moment and not struck:
            struck.append(1)
            world.breaks()
            FAULTS[fault](world, dice)
        if struck and world.wall_off and world.state != moment:
            world.breaks()

    life(WITH[moment], "fault", f"{fault}, {moment}, {seed}", prepare=lambda w: setattr(w, "laters", []), during=during)


POINTS = (
    *("mid_shard", "before_mark", "before_event", "in load", "at GET job", "at GET files", "at POST files", "at PUT run.lock"),
    *("at PUT state.json", "at PUT manifest.json", "at PUT _COMPLETE", "at POST events", "at GET desired", "at POST ack"),
)


def worker_dies(point, count, script="freeze_resume", action="machine"):
    """The machine dies at the n-th time that it comes to a point of its life."""
    life(script, "worker", f"{point} {count} {script}", prepare=lambda w: w.deaths.update({point: count}))


def restored(seed):
    """The rows come back as they were some seconds ago, while the machines went on."""
    dice = random.Random(seed)
    taken, script = [], dice.choice(("plain", "freeze_resume", "preempted"))
    at, back = dice.randint(2, 25), dice.randint(3, 20)

    def during(world):
        if world.boot == at:
            world.server.core.db.close()
            saved = world.folder / "backup"
            saved.mkdir()
            for file in (world.folder / "home").glob("kriptik.db*"):
                shutil.copy(file, saved)
            taken.append({pod.id for pod in [*world.account.pods.values(), *world.account.ended.values()]})
        if taken and world.boot == at + back:
            whole = {p.id for p in world.account.ended.values()} - taken[0]
            if whole:  # a machine came and went that no row and no listing can tell of: nobody could know its bill
                return
            world.server.close()
            for file in (world.folder / "home").glob("kriptik.db*"):
                file.unlink()
            for file in (world.folder / "backup").iterdir():
                shutil.copy(file, world.folder / "home")
            world.open()
            world.kills.append(("restored", world.state))
            world.breaks()
            known = {(g.stream_id, g.number): g.ack_seq for g in world.rows(Generation)}
            for key in world.told:  # what was stored after the backup is gone with the rows; what is told again counts again
                world.told[key] = {seq: d for seq, d in world.told[key].items() if seq <= known.get(key, 0)}

    life(script, "restored", f"{script} {seed}: {at} back {back}", during=during)


def bad_day(seed):
    """Whatever breaks, drawn from a seed; the server dies at random boundaries too."""
    dice = random.Random(seed)
    script, often, deadly = dice.choice(list(SCRIPTS)), dice.choice((0.03, 0.08, 0.15)), dice.choice((0, 0.003, 0.02))
    names = [name for name in FAULTS if not name.startswith("clock") or dice.random() < 0.3]

    def fuse(server, kind):
        if server.world.boot < 150 and dice.random() < deadly:
            server.world.kills.append((kind, server.world.state))
            server.world.breaks()
            raise Killed

    def during(world):
        due(world)
        if world.boot < 150 and dice.random() < often:
            world.breaks()
            FAULTS[dice.choice(names)](world, dice)
        if 150 <= world.boot < 151:
            world.mend()
        if world.wall_off:
            world.breaks()

    life(script, "bad day", str(seed), fuse=fuse, prepare=lambda w: setattr(w, "laters", []), during=during)


def frozen_by_budget(seed):
    """The freeze mark is passed at any moment of a life: in a step, in a checkpoint, before the machine speaks."""
    dice = random.Random(seed)
    step_s, save_s, every = dice.choice((1, 2, 3, 5)), dice.choice((1, 2, 4)), dice.choice((1, 2, 4, 50))
    cap = Decimal(dice.randint(22, 45)) / 1000

    def prepare(world):
        world.step_s, world.checkpoint_s, world.every = step_s, save_s, every

    name = f"steps of {step_s} s, checkpoints of {save_s} s every {every}, a cap of ${cap}"
    life("plain", "freeze", name, prepare=prepare, cap=str(cap), checkpoint_s=step_s + save_s + 1, steps=12)


def days_frozen(seed):
    """Frozen for days at a price for what lies on the disk; resumed, completed."""
    dice = random.Random(seed)
    days = dice.randint(1, 13)
    waited = []

    def during(world):
        if world.state == "training" and not world.done:
            world.done.append(1)
            world.freeze()
        if world.state == "frozen" and not waited:
            waited.append(1)
            for _ in range(days * 24):
                world.tick(3600)

    life("plain", "storage", f"{days} days", during=during, cap="4", padding=30_000, storage_price_per_gb_month=Decimal(20_000))


__all__ = ["FAULTS", "GPU", "MOMENTS", "POINTS", "SCRIPTS"]
