"""Many small changes, one transaction: what arrives while the disk is busy with the last commit goes into the next one together.

Where one raises, all are undone and made again, each under a savepoint, so that the bad one is undone by itself and its caller
hears of it; a commit that fails is heard by all. So a change may run twice, and may touch nothing but its session. Nobody is
answered before what he changed is on the disk.
"""

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy.orm import Session

from kriptik.store.db import Database

T = TypeVar("T")
MOST = 64
"""Changes in one transaction: others that write wait for its end."""


class _Item:
    def __init__(self, change: Callable[[Session], Any], loop: asyncio.AbstractEventLoop) -> None:
        self.change, self.loop, self.future = change, loop, loop.create_future()
        self.result: Any = None
        self.error: BaseException | None = None

    def answer(self) -> None:
        """Hands result or error to the waiting coroutine; one that is gone, or whose loop has ended, is no matter."""
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self._set)

    def _set(self) -> None:
        if self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


class _Told:
    """What is raised inside travels to those who wait for these items, and no further."""

    def __init__(self, items: list[_Item]) -> None:
        self._items = items

    def __enter__(self) -> None:
        return

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> bool:
        for item in self._items if error is not None else []:
            item.error = item.error or error
        return True


class Writer:
    """One thread that writes for many coroutines. It begins with the first change and ends with `close`."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._waiting: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    async def do(self, change: Callable[[Session], T]) -> T:
        """The change's result, once it is committed."""
        item = _Item(change, asyncio.get_running_loop())
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._loop, name="writer", daemon=True)
                self._thread.start()
        self._waiting.put(item)
        return await item.future

    def close(self) -> None:
        """Ends after what waits was written."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None:
            self._waiting.put(None)
            thread.join(10)

    def _loop(self) -> None:
        while (first := self._waiting.get()) is not None:
            items, last = [first], False
            while len(items) < MOST and not self._waiting.empty():
                item = self._waiting.get()
                if item is None:
                    last = True
                    break
                items.append(item)
            self._write(items)
            if last:
                return

    def _write(self, items: list[_Item]) -> None:
        with _Told(items), self._db.write() as session:
            for item in items:
                item.result = item.change(session)
        if any(item.error is not None for item in items):
            self._write_apart(items)
        for item in items:
            item.answer()

    def _write_apart(self, items: list[_Item]) -> None:
        for item in items:
            item.error = None
        with _Told(items), self._db.write() as session:
            for item in items:
                with _Told([item]), session.begin_nested():
                    item.result = item.change(session)
