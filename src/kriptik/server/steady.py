"""The server's clock. Money is time × price, so a wall clock that is set back must never make time used look shorter.

It shows the wall's time, but goes on at least as fast as a clock that counts through sleep and never jumps, and it never goes
back. A wall set forward is followed: that counts too much, never too little, and the provider's bill puts it right.
"""

import threading
from collections.abc import Callable
from datetime import datetime, timedelta

from kriptik.spec.base import boot_clock, utc_now


class SteadyClock:
    """Call it for now, in UTC. `wall` and `boot` (seconds) are this machine's own clocks. Thread-safe."""

    def __init__(self, wall: Callable[[], datetime] = utc_now, boot: Callable[[], float] = boot_clock) -> None:
        self._wall, self._boot, self._lock = wall, boot, threading.Lock()
        self._shown, self._counted = wall(), boot()

    def __call__(self) -> datetime:
        """Now."""
        with self._lock:
            counted = self._boot()
            passed = timedelta(seconds=max(0.0, counted - self._counted))
            self._shown, self._counted = max(self._shown + passed, self._wall()), counted
            return self._shown

    def not_before(self, moment: datetime) -> None:
        """From now on at least `moment`: what an earlier process has written down is past."""
        with self._lock:
            self._shown = max(self._shown, moment)
