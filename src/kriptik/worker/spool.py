"""The worker's memory: one append-only file of events per generation, numbered without gaps. `outbox.py` ships from it.

A line is one `Event`. The file is never shortened inside a generation; only a line that a crash tore is cut when it is opened.
While the disk refuses, events are held in memory in order, still numbered and still shipped, and written as soon as it obeys.
"""

import fcntl
import json
import os
import threading
import time
from array import array
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from kriptik.spec.base import utc_now
from kriptik.spec.errors import WorkerError
from kriptik.spec.events import Event, WorkerBody

DURABLE = frozenset({"checkpoint", "worker", "result", "stage", "probe", "eval", "test_result"})
"""Types that are on the disk itself before `append` returns; others follow within `SYNC_S` of the next append."""
SYNC_S = 1.0
MOST_HELD = 5000


class Spool:
    """The events of one generation. Thread-safe. Raises `WorkerError` where another process has it or it is damaged."""

    def __init__(self, path: Path, generation: int, now: Callable[[], datetime] = utc_now) -> None:
        self.path, self.generation = path, generation
        self._now = now
        self._lock = threading.Condition()
        self._ends = array("Q", [0])
        """End of each event in the file; `_ends[seq]` is that of event `seq`."""
        self._held: list[bytes] = []
        self._synced_at = 0.0
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        self._claim()
        self._recover()

    @property
    def last_seq(self) -> int:
        """Number of the newest event; 0 if there is none."""
        return len(self._ends) - 1 + len(self._held)

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return self._ends[-1]

    @property
    def held(self) -> int:
        """Events that only memory holds, since the disk refused them."""
        return len(self._held)

    def append(self, body: WorkerBody) -> int:
        """Numbers and writes one event; returns its seq. Raises `WorkerError` once even memory is no place any more."""
        with self._lock:
            seq = self.last_seq + 1
            event = Event(generation=self.generation, seq=seq, at=self._now(), body=body)
            line = event.model_dump_json(by_alias=True).encode()
            Event.model_validate_json(line)
            self._held.append(line + b"\n")
            if not self._write_held() and len(self._held) > MOST_HELD:
                raise WorkerError("disk_full", "The disk takes no more events.", "Free space on the worker's disk, then retry.")
            if body.type in DURABLE or time.monotonic() - self._synced_at > SYNC_S:
                self._sync()
            self._lock.notify_all()
            return seq

    def read(self, after: int, limit: int = 500, max_bytes: int = 1 << 20) -> list[bytes]:
        """Lines of the events after `after`, without newline: one at least if there is one, at most `limit`, about `max_bytes`."""
        with self._lock:
            written = len(self._ends) - 1
            last = min(written, after + limit)
            while last > after + 1 and self._ends[last] - self._ends[after] > max_bytes:
                last -= max(1, (last - after) // 2)
            if last > after:
                start = self._ends[after]
                data = os.pread(self._file, self._ends[last] - start, start)
                return data.splitlines()
            return [line.rstrip(b"\n") for line in self._held[after - written :][: min(limit, 20)]]

    def wait(self, after: int, timeout_s: float) -> bool:
        """Blocks until there is an event after `after`; False if the time ran out."""
        with self._lock:
            return self._lock.wait_for(lambda: self.last_seq > after, timeout_s)

    def sync(self) -> None:
        """Everything that was appended is on the disk when this returns."""
        with self._lock:
            self._write_held()
            self._sync()

    def close(self) -> None:
        """Syncs and closes the file."""
        self.sync()
        os.close(self._file)

    def _claim(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._file)
            raise WorkerError(
                "already_running", "Another worker of this generation is writing its events.", "Wait until it has ended."
            ) from error
        except OSError:  # a file system without locks; the generation's token still keeps strangers out
            return

    def _recover(self) -> None:
        data = self.path.read_bytes()
        good = 0
        while (end := data.find(b"\n", good)) >= 0 and _is_event(data[good:end], self.generation, len(self._ends)):
            good = end + 1
            self._ends.append(good)
        rest = data[good:]
        if not rest:
            return
        if any(_is_event(line, self.generation, None) for line in rest.split(b"\n")[1:]):
            text = f"Event {len(self._ends)} in {self.path.name} is damaged."
            raise WorkerError("spool_damaged", text, "Retry: a new generation goes on from the last checkpoint.")
        os.ftruncate(self._file, good)

    def _write_held(self) -> bool:
        """Writes what memory holds; on refusal nothing torn stays behind. True if nothing is held any more."""
        while self._held:
            line, end = self._held[0], self._ends[-1]
            try:
                done = 0
                while done < len(line):
                    done += os.write(self._file, line[done:])
            except OSError:
                os.ftruncate(self._file, end)
                return False
            self._held.pop(0)
            self._ends.append(end + len(line))
        return True

    def _sync(self) -> None:
        try:
            os.fsync(self._file)
        except OSError:  # a full or failing disk: the events are still shipped, and `held` tells
            return
        self._synced_at = time.monotonic()


def spool_path(job_file: Path, run_dir: Path, generation: int) -> Path:
    """Where a generation keeps its events: beside the folder of its job file, else in the run's folder."""
    home = job_file.parent.parent if job_file.parent.name == "jobs" else run_dir
    return home / "events" / f"g{generation}.jsonl"


def _is_event(line: bytes, generation: int, seq: int | None) -> bool:
    try:
        found = json.loads(line)
        return found["generation"] == generation and isinstance(found["body"], dict) and seq in (None, found["seq"])
    except (ValueError, KeyError, TypeError):
        return False
