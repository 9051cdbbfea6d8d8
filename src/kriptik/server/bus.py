"""Wakes whoever waits for news of a stream: SSE clients and long-polling workers.

It carries no data: the woken read the database by cursor, so a slow client costs no memory and a missed wake-up only time.
"""

import asyncio
import contextlib
import threading
from collections import defaultdict
from collections.abc import Iterator


class Bus:
    """Topics are stream ids, or `user:<id>` for notices. `wake` may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[str, set[Waiter]] = defaultdict(set)
        self.closed = False

    @contextlib.contextmanager
    def listen(self, topic: str) -> Iterator["Waiter"]:
        """Registers a waiter of the running event loop for the time of the block."""
        waiter = Waiter(self, asyncio.get_running_loop())
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

    def close(self) -> None:
        """The server ends: every waiter returns."""
        self.closed = True
        with self._lock:
            waiters = [waiter for group in self._waiting.values() for waiter in group]
        for waiter in waiters:
            waiter.set()


class Waiter:
    """One waiting coroutine."""

    def __init__(self, bus: Bus, loop: asyncio.AbstractEventLoop) -> None:
        self._bus, self._loop = bus, loop
        self._event = asyncio.Event()

    def set(self) -> None:
        """Wakes the coroutine; nothing happens if its loop has ended."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._event.set)

    async def wait(self, timeout_s: float) -> None:
        """Returns at the next wake-up, after the time-out, or when the server ends."""
        if not self._bus.closed:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._event.wait(), timeout_s)
        self._event.clear()
