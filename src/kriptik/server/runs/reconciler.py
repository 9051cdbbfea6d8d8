"""The loop that makes runs be what they should be: load → ask the provider → decide → apply, run by run, tick by tick.

Level-triggered: it looks at what is, never at what happened, so it may be killed anywhere and started again. It runs on one
thread; no network or process call happens inside a transaction.
"""

import dataclasses
import logging
import threading
import time
from collections.abc import Callable
from decimal import Decimal

from sqlalchemy import select

from kriptik.server.core import Core
from kriptik.server.runs import (
    alarms,
    bills,
    booting,
    doubles,
    effects,
    freezing,
    frozen,
    orphans,
    queued,
    reckoning,
    retention,
    room,
    sessions,
    setting_up,
    stopping,
    training,
    view,
)
from kriptik.server.runs.acts import Act
from kriptik.spec.budget import BudgetStatus
from kriptik.spec.errors import KriptikError
from kriptik.spec.job import JobState
from kriptik.store import curves, exports, jobs, ledger, trials
from kriptik.store.tables import Resource, Stream

SWEEP_EVERY_S = 30
"""How often orphans are looked for, and runs that rest are looked at."""

ROOM_EVERY_S = 2
"""How often the server's disk is looked at."""
MANY, A_BREATH_S = 20, 0.02
"""With more runs than this at work every look at one is followed by as long a pause: answering goes on meanwhile."""
MOST_LOOK_S = 10.0
"""A round that took longer was held up by something else: the reserve of every budget does not grow with that."""
BUDGET_EVENT_S = 0.05
"""Each run at work lengthens the time between two words about a budget by so much."""
PACK_BLOCKS = 20
"""So many blocks of a curve are packed at a look."""
RECKON_EVERY_S = 5
"""How often a restored state is compared with the providers until that succeeds."""

log = logging.getLogger("kriptik.reconciler")

STATES: dict[str, Callable[[view.RunView], list[Act]]] = {
    JobState.QUEUED: queued.decide,
    JobState.SETTING_UP: setting_up.decide,
    JobState.TRAINING: training.decide,
    JobState.FREEZING: freezing.decide,
    JobState.FROZEN: frozen.decide,
    JobState.AWAITING_APPROVAL: frozen.decide,
    JobState.STOPPING: stopping.decide,
}


class Reconciler:
    """Ticks every `settings.tick_s`; `tick()` may be called by tests with a clock of their own."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._said_budget: dict[str, float] = {}
        self._swept_at = 0.0
        self._reckoned_at = 0.0
        self._count = 0
        self._packed: dict[str, int] = {}
        self._needs: dict[str, room.Need] = {}
        self._needs_at = 0.0
        self._suspects: set[str] = set()
        self._bills = bills.Bills(core)
        self._listener = booting.Listener(core)

    def start(self) -> None:
        """Runs the loop on its thread."""
        self._thread = threading.Thread(target=self._loop, name="reconciler", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends the loop after the present tick."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join(timeout=30)

    def tick(self) -> None:
        """Looks at every unfinished run, live test session and export once. A run that raises does not hold up the others."""
        now = self._core.clock().timestamp()
        if reckoning.due(self._core) and now - self._reckoned_at >= RECKON_EVERY_S:
            self._reckoned_at = now
            self._reckon()
        seldom = now - self._swept_at >= SWEEP_EVERY_S
        if seldom:
            self._swept_at = now
            self._seldom()
        with self._core.db.read() as session:
            run_ids = jobs.unfinished(session, resting=seldom)
            if now - self._needs_at >= ROOM_EVERY_S:
                self._needs_at, self._needs = now, room.needs(session, self._core)
            session_ids = [*trials.live(session), *exports.live(session)]
        doubles.tick(self._core)
        self._count, began = len(run_ids), time.monotonic()
        for run_id in run_ids:
            at = time.monotonic()
            try:
                self.tick_run(run_id)
            except Exception:  # the one broad door of the state machine: the next tick tries again
                log.exception("run %s: this tick failed", run_id)
            if self._count > MANY:
                time.sleep(min(A_BREATH_S, time.monotonic() - at))
        self._core.look_s = min(MOST_LOOK_S, time.monotonic() - began) if self._count > MANY else 0.0
        for session_id in session_ids:
            try:
                sessions.tick(self._core, session_id)
            except Exception:  # as above
                log.exception("session %s: this tick failed", session_id)

    def _reckon(self) -> None:
        """Until it succeeds nothing is created; ending goes on meanwhile."""
        try:
            reckoning.reckon(self._core)
        except Exception:  # as in `tick`: the next tick tries again
            log.exception("the restored state could not be compared yet")

    def _seldom(self) -> None:
        """Orphans and bills; a provider that is away must not hold up the runs."""
        try:
            self._suspects = orphans.sweep(self._core, self._suspects)
            self._bills.look()
            alarms.checkpoint_late(self._core)
            retention.tidy(self._core)
            self._pack()
        except Exception:  # as in `tick`: the next look tries again
            log.exception("sweep failed")

    def _pack(self) -> None:
        """Curves that grew since the last look; few at a time, since everything else waits meanwhile."""
        query = select(Stream.id, Stream.last_event_id).where(Stream.last_event_id >= curves.BLOCK)
        with self._core.db.read() as session:
            grown = [(i, n) for i, n in session.execute(query) if n > self._packed.get(i, 0)]
        for stream_id, last in grown:
            if curves.pack(self._core.db, stream_id, PACK_BLOCKS) < PACK_BLOCKS:
                self._packed[stream_id] = last

    def tick_run(self, run_id: str) -> None:
        """One run: load, ask, decide, apply. What only a person can mend is told."""
        try:
            self._tick_run(run_id)
        except KriptikError as error:
            log.warning("run %s: %s", run_id, error.sentence)
            alarms.of_error(self._core, run_id, error)

    def _tick_run(self, run_id: str) -> None:
        core = self._core
        with core.db.read() as session:
            seen = view.load(session, core, run_id)
        if seen is None or seen.job.state not in STATES:
            return
        need = self._needs.get(run_id)
        if need is not None and self._needs_at >= seen.job.state_since.timestamp():
            seen = dataclasses.replace(seen, short_bytes=need.short)
        if seen.resource is not None and seen.resource.gone_at is None and seen.resource.provider_id is not None:
            seen = self._ask(seen)
        self._meter(seen)
        acts = STATES[seen.job.state](seen)
        effects.carry_out(core, seen, acts)
        self._listener.look(seen)

    def _ask(self, seen: view.RunView) -> view.RunView:
        """Adds what the provider says; where it does not answer, the money decisions still go on."""
        assert seen.resource is not None and seen.resource.provider_id is not None
        try:
            answer = self._core.providers[seen.resource.provider].get(seen.resource.provider_id)
        except KriptikError as error:
            log.warning("run %s: the provider does not answer: %s", seen.job.id, error.sentence)
            alarms.of_error(self._core, seen.job.id, error)
            return seen
        if answer is not None and answer.status in ("provisioning", "running"):
            self._reprice(seen, answer.price_per_hour)
        return dataclasses.replace(seen, seen=answer, asked=True)

    def _reprice(self, seen: view.RunView, price: Decimal) -> None:
        """From now on at the price that the provider shows; what was used so far stays at the former one."""
        assert seen.resource is not None
        if price == seen.resource.price_per_hour or seen.resource.provider == "local":
            return
        with self._core.db.write() as session:
            resource = session.get_one(Resource, seen.resource.id)
            was = resource.price_per_hour
            ledger.meter(session, resource, seen.now, final=True)
            resource.price_per_hour = price
            if price > was:
                alarms.dearer(session, session.get_one(type(seen.job), seen.job.id), was, price, seen.now)

    def _meter(self, seen: view.RunView) -> None:
        """Posts each minute's use to the ledger, and shows the spend as it grows."""
        if seen.resource is None or seen.gone:
            return
        core, job = self._core, seen.job
        last = self._said_budget.get(job.id)
        every = max(core.settings.budget_event_s, BUDGET_EVENT_S * self._count)
        due = seen.overheads.price_per_hour > 0 and (last is None or seen.now.timestamp() - last >= every)
        post = (seen.now - seen.resource.metered_at).total_seconds() >= ledger.POST_EVERY_S
        if not due and not post:
            return
        self._said_budget[job.id] = seen.now.timestamp()
        with core.db.write() as session:
            resource = session.get_one(Resource, seen.resource.id)
            if resource.gone_at is not None:
                return
            ledger.meter(session, resource, seen.now, final=False)
            row = session.get_one(type(job), job.id)
            if due:
                effects.say_budget(session, core, row, BudgetStatus(row.budget_status), seen.now)
        core.bus.wake(job.id)

    def _loop(self) -> None:
        while not self._ended.is_set():
            try:
                self.tick()
            except Exception:  # the database itself may be away for a moment
                log.exception("tick failed")
            self._ended.wait(self._core.settings.tick_s)
