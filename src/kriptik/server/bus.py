"""Wakes whoever waits for news of a stream: SSE clients and long-polling workers.

The database is what is true, and the woken read it by cursor. Events that this process has just committed come along with the
wake-up, so that two hundred watchers do not ask for what is known; whoever is behind drops them and reads, so a slow client costs
no memory, and a missed wake-up only time.
"""

import asyncio
import contextlib
import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence

from kriptik.spec.events import StoredEvent

MOST = 500
"""Events that are kept for a waiter; with more it reads the database."""


class Bus:
    """Topics are stream ids, or `user:<id>` for notices. `wake` may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[str, set[Waiter]] = defaultdict(set)
        self.closed = False

    @contextlib.contextmanager
    def listen(self, topic: str, *, told: bool = True) -> Iterator["Waiter"]:
        """Registers a waiter of the running event loop for the time of the block; without `told`, `tell` does not wake it."""
        waiter = Waiter(self, asyncio.get_running_loop(), told=told)
        with self._lock:
            self._waiting[topic].add(waiter)
        try:
            yield waiter
        finally:
            with self._lock:
                self._waiting[topic].discard(waiter)
                if not self._waiting[topic]:
                    del self._waiting[topic]

    def wake(self, *topics: str) -> None:
        """Something new was committed."""
        with self._lock:
            waiters = [waiter for topic in topics for waiter in self._waiting.get(topic, ())]
        for waiter in waiters:
            waiter.set()

    def tell(self, topic: str, events: Sequence[StoredEvent]) -> None:
        """These were committed: consecutive events of the stream `topic`."""
        with self._lock:
            waiters = [waiter for waiter in self._waiting.get(topic, ()) if waiter.told]
        for waiter in waiters:
            waiter.set(events)

    def close(self) -> None:
        """The server ends: every waiter returns."""
        self.closed = True
        with self._lock:
            waiters = [waiter for group in self._waiting.values() for waiter in group]
        for waiter in waiters:
            waiter.set()


class Waiter:
    """One waiting coroutine."""

    def __init__(self, bus: Bus, loop: asyncio.AbstractEventLoop, *, told: bool = True) -> None:
        self._bus, self._loop, self.told = bus, loop, told
        self._event = asyncio.Event()
        self._fresh: list[StoredEvent] = []
        self._unsure = True
        """There may be more than `_fresh` tells."""

    def set(self, events: Sequence[StoredEvent] = ()) -> None:
        """Wakes the coroutine, with what was committed if that is known; nothing happens if its loop has ended."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._woken, events)

    def fresh(self, after: int) -> list[StoredEvent] | None:
        """What was told beyond id `after`, if that is all there is: no gap, no other wake-up. None: ask the database."""
        found, unsure = [event for event in self._fresh if event.id > after], self._unsure
        self._fresh, self._unsure = [], False
        gapless = all(event.id == after + place for place, event in enumerate(found, start=1))
        return found if gapless and not unsure else None

    async def wait(self, timeout_s: float) -> None:
        """Returns at the next wake-up, after the time-out, or when the server ends."""
        if not self._bus.closed:
            try:
                await asyncio.wait_for(self._event.wait(), timeout_s)
            except TimeoutError:
                self._unsure = True
        self._event.clear()

    def _woken(self, events: Sequence[StoredEvent]) -> None:
        if events and len(self._fresh) + len(events) <= MOST:
            self._fresh += events
        else:
            self._fresh, self._unsure = [], True
        self._event.set()
