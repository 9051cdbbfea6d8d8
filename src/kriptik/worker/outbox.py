"""Ships the spool to the server: by cursor, in batches, as long as it takes. It never holds up the training."""

import json
import random
import threading
import time

from kriptik.spec.events import Log
from kriptik.worker.control import Control
from kriptik.worker.link import AwayError, FencedError, Link, RefusedError
from kriptik.worker.spool import Spool

MOST_EVENTS = 500
MOST_BYTES = 1 << 20
GATHER_S = 0.3
"""After a batch, new events are gathered for so long before the next."""
BACKOFF_S = (0.3, 15.0)


class Outbox:
    """One thread that sends; `acked` is the highest seq that the server holds without a gap."""

    def __init__(self, spool: Spool, link: Link, control: Control) -> None:
        self._spool, self._link, self._control = spool, link, control
        self._done = threading.Condition()
        self._hurry = threading.Event()
        self._ended = False
        self._failures = 0
        self._most = MOST_EVENTS
        self._replaced: dict[int, bytes] = {}
        self.acked = 0
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begins to send."""
        self._thread = threading.Thread(target=self._loop, name="outbox", daemon=True)
        self._thread.start()

    def step(self) -> float:
        """Sends one batch if there is one; returns how many seconds to wait before the next. Never raises."""
        if self._control.fenced:
            return BACKOFF_S[1]
        lines = self._spool.read(self.acked, self._most, MOST_BYTES)
        if not lines:
            return 0.0
        lines = [self._replaced.get(self.acked + 1 + i, line) for i, line in enumerate(lines)]
        try:
            lease = self._link.post_events(lines)
        except AwayError:
            return self._back_off()
        except FencedError as error:
            self._control.fence(str(error))
            return BACKOFF_S[1]
        except RefusedError as error:
            return self._narrow(len(lines), error)
        if lease.ack_seq > self._spool.last_seq:
            self._control.fence("the server holds events of this generation that this worker never wrote")
            return BACKOFF_S[1]
        self._most = min(MOST_EVENTS, self._most * 2)
        stuck = lease.ack_seq <= self.acked
        self._failures = self._failures + 1 if stuck else 0
        with self._done:
            self.acked = lease.ack_seq
            self._done.notify_all()
        if stuck:  # the server lost what it had, or holds a gap: from its mark again, but not in a tight loop
            return self._back_off()
        return 0.0 if self._spool.last_seq - self.acked >= MOST_EVENTS else GATHER_S

    def flush(self, limit_s: float) -> bool:
        """Waits until everything is acknowledged, at most `limit_s`; True if it is."""
        self._hurry.set()
        end = time.monotonic() + limit_s
        with self._done:
            while self.acked < self._spool.last_seq and not self._control.fenced and time.monotonic() < end:
                self._done.wait(min(0.2, max(0.0, end - time.monotonic())))
        self._hurry.clear()
        return self.acked >= self._spool.last_seq

    def stop(self) -> None:
        """Ends the thread after the present call."""
        self._ended = True
        self._hurry.set()
        if self._thread is not None:
            self._thread.join(5)

    def _loop(self) -> None:
        while not self._ended:
            delay = self.step()
            if delay:
                self._pause(delay)
            elif not self._ended:
                self._spool.wait(self.acked, 1.0)

    def _pause(self, delay: float) -> None:
        """Waits; in a hurry at most half a second, so that the last events go out as soon as somebody listens."""
        if self._hurry.is_set() or self._hurry.wait(delay):
            time.sleep(min(delay, 0.5 if self._failures else 0.0))

    def _back_off(self) -> float:
        self._failures = min(self._failures + 1, 12)
        return min(BACKOFF_S[1], BACKOFF_S[0] * 2 ** (self._failures - 1)) * random.uniform(0.7, 1.0)

    def _narrow(self, count: int, error: RefusedError) -> float:
        """Halves the batch until the one event that the server refuses stands alone; then a log line takes its number."""
        if count > 1:
            self._most = max(1, count // 2)
            return 0.01
        seq = self.acked + 1
        if seq in self._replaced:  # even the plain line is refused: nothing to do but wait for another server
            return self._back_off()
        event = json.loads(self._spool.read(self.acked, 1)[0])
        text = f"An event of type {event['body'].get('type')} was refused by the server: {error}"
        event["body"] = Log(severity="error", message=text).document()
        self._replaced[seq] = json.dumps(event).encode()
        return 0.01
