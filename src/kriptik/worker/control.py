"""What is wanted of this worker, and the dead-man switch. Pure state over an injected clock; `Watch` below is its thread.

Times are seconds of a clock that goes on while the machine sleeps and never jumps. A duration that comes with an answer counts
from the sending of its request, so that a slow answer never lengthens what it grants.
"""

import threading
import time
from collections.abc import Callable
from typing import Literal

from kriptik.spec.base import boot_clock
from kriptik.spec.events import Desired, DesiredAck, Lease
from kriptik.spec.job import ControlLink
from kriptik.worker.link import AwayError, FencedError, Link, RefusedError

POLL_WAIT_S = 20.0
POLL_BACKOFF_S = (0.5, 10.0)
FENCE_LEAVE_S = 10.0
"""A fenced engine that does not unwind within this is ended hard."""
LOST_LEAVE_S = 120.0
"""Least time to freeze after contact was lost."""
END_S = 5.0
"""What ending the process and giving the machine back takes at most, where the reserve is large enough."""
LAST_CALL_S = 20.0
"""When the grace has run out (a laptop woke up, say), so long one more call may try before contact counts as lost."""


class Control:
    """The newest wish of the server, overruled by the dead-man switch. Thread-safe."""

    def __init__(self, link: ControlLink | None, clock: Callable[[], float] = boot_clock) -> None:
        self._link, self._clock = link, clock
        self._lock = threading.Condition()
        self._desired = Desired(version=0)
        self._override: tuple[Literal["frozen", "stopped"], str] | None = None
        self._leave_at: float | None = None
        now = clock()
        self._heard_at = now
        self._lease_s = link.lease_s if link else 0.0
        self._hard_stop_at = now + link.hard_stop_in_s if link and link.hard_stop_in_s is not None else None
        self._last_miss: float | None = None
        self._silent_since: float | None = None
        self.fenced = False
        self.fence_reason = ""

    def heard(self, lease: Lease, sent_at: float) -> None:
        """An answer came: renews the lease, takes the hard stop of the newest request and the newest wish."""
        with self._lock:
            if sent_at >= self._heard_at:
                self._heard_at, self._lease_s = sent_at, lease.lease_s
                self._hard_stop_at = None if lease.hard_stop_in_s is None else sent_at + lease.hard_stop_in_s
                self._silent_since = None
            if lease.desired.version >= self._desired.version:
                self._desired = lease.desired
            self._lock.notify_all()

    def missed(self) -> None:
        """A call got no answer."""
        with self._lock:
            self._last_miss = self._clock()

    def fence(self, reason: str) -> None:
        """A newer generation has taken over: from now on `desired` raises."""
        with self._lock:
            if not self.fenced:
                self.fenced, self.fence_reason = True, reason
                self._leave_at = self._clock() + FENCE_LEAVE_S
            self._lock.notify_all()

    def ask(self, state: Literal["frozen", "stopped"], reason: str, leave_s: float) -> None:
        """A wish of this machine (SIGTERM): as if the server had said so; after `leave_s` the process ends hard."""
        with self._lock:
            self._overrule(state, reason, self._clock() + leave_s)

    def desired(self) -> Desired:
        """What is wanted now. Raises `FencedError` once a newer generation has taken over. Cheap: called every step."""
        self.check()
        with self._lock:
            if self._override is None:
                return self._desired
            state, reason = self._override
            return self._desired.model_copy(update={"state": state, "reason": reason})

    def check(self) -> None:
        """Raises `FencedError` if this generation may not go on."""
        if self.fenced:
            raise FencedError(self.fence_reason)

    def wait(self, timeout_s: float) -> None:
        """Blocks until something new may be wanted, at most `timeout_s`."""
        with self._lock:
            self._lock.wait(timeout_s)

    @property
    def version(self) -> int:
        """Version of the server's newest wish."""
        return self._desired.version

    @property
    def override(self) -> str | None:
        """Why the dead-man switch acted: lost_contact, hard_stop, or the reason of `ask`."""
        return self._override[1] if self._override else None

    def seconds_left(self) -> float | None:
        """Until the money is used up; None without such a limit."""
        with self._lock:
            return None if self._hard_stop_at is None else self._hard_stop_at - self._clock()

    def seconds_to_spare(self) -> float | None:
        """What may be waited for before the machine has to be given back: giving it back takes part of the reserve."""
        left = self.seconds_left()
        return None if left is None or self._link is None else left - min(END_S, self._link.reserve_s / 2)

    def tick(self) -> bool:
        """Looks at the clock. True: the engine was told to end and did not in its time, so the process must end now."""
        with self._lock:
            now = self._clock()
            if self._link is not None and not self.fenced:
                self._judge(self._link, now)
            return self._leave_at is not None and now >= self._leave_at

    def _judge(self, link: ControlLink, now: float) -> None:
        stop_at = self._hard_stop_at
        if stop_at is not None and now >= stop_at - link.reserve_s:
            self._overrule("frozen", "hard_stop", max(now, stop_at))
        if now >= self._heard_at + self._lease_s + link.grace_s and self._lost(now):
            self._overrule("frozen", "lost_contact", now + max(LOST_LEAVE_S, 4 * link.reserve_s))
        if stop_at is not None and self._leave_at is not None:
            self._leave_at = min(self._leave_at, max(now, stop_at))

    def _lost(self, now: float) -> bool:
        """The grace is over, and a call made since then found nobody (or there was time enough for one)."""
        if self._silent_since is None:
            self._silent_since = now
        missed = self._last_miss is not None and self._last_miss > self._silent_since
        return missed or now - self._silent_since >= LAST_CALL_S

    def _overrule(self, state: Literal["frozen", "stopped"], reason: str, leave_at: float) -> None:
        if self._override is None:
            self._override = (state, reason)
            self._leave_at = leave_at if self._leave_at is None else min(self._leave_at, leave_at)
            self._lock.notify_all()


class Watch:
    """Two threads: one asks the server what is wanted, one looks at the clock. `beat` is called about once a second."""

    def __init__(self, control: Control, link: Link | None, beat: Callable[[], None], leave: Callable[[], None]) -> None:
        self._control, self._link, self._beat, self._leave = control, link, beat, leave
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._look, name="watch", daemon=True)]
        if link is not None:
            self._threads.append(threading.Thread(target=self._ask, args=(link,), name="desired", daemon=True))

    def start(self) -> None:
        """Begins to ask and to look."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ends the looking; a call that waits for the server ends by itself."""
        self._ended.set()
        self._threads[0].join(5)

    def _look(self) -> None:
        turn = 0
        while not self._ended.wait(0.25):
            if self._control.tick():
                self._leave()
                return
            if (turn := turn + 1) % 4 == 0:
                self._beat()

    def _ask(self, link: Link) -> None:
        delay, first = POLL_BACKOFF_S[0], True
        while not self._ended.is_set() and not self._control.fenced:
            began = time.monotonic()
            try:
                link.desired(0 if first else self._control.version, 0 if first else POLL_WAIT_S)
                delay, first = POLL_BACKOFF_S[0], False
                self._ended.wait(max(0.0, 0.2 - (time.monotonic() - began)))
            except FencedError as error:
                self._control.fence(str(error))
            except (AwayError, RefusedError):
                self._ended.wait(delay)
                delay = min(POLL_BACKOFF_S[1], delay * 2)


def acknowledge(control: Control, link: Link, done: DesiredAck, tries: int = 3) -> bool:
    """Tells the server that its wish was carried out; True if it heard. What is not heard, the last event says as well."""
    for attempt in range(tries):
        try:
            link.ack(done)
            return True
        except FencedError as error:
            control.fence(str(error))
            return False
        except RefusedError:
            return False
        except AwayError:
            if attempt + 1 < tries:
                time.sleep(0.3)
    return False
