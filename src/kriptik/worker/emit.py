"""What the engine emits, made fit for the spool: at most one line of metrics a second, numbers that JSON can carry, a size cap.

Nothing is thinned out silently: a log event says what was left out and why.
"""

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from kriptik.spec.base import Noun
from kriptik.spec.events import CurrentSample, EvalResult, Log, Metrics, Severity, WorkerBody
from kriptik.worker.spool import DURABLE, Spool

METRICS_EVERY_S = 1.0
SAMPLE_EVERY_S = 2.0
THINNED_EVERY_S = 30.0
"""Between two lines of metrics once the spool is over its cap."""
CAP_BYTES = 256 << 20
MOST_TEXT = 100_000
"""Characters of one text field; the rest is cut and the cut is marked."""


class Emitter:
    """`emit(body)` for any thread. `machine` fills in the utilisation of the machine; `guard` may raise to end the engine."""

    def __init__(
        self,
        spool: Spool,
        machine: Callable[[], dict[str, Any]] = dict,
        guard: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
        cap_bytes: int = CAP_BYTES,
    ) -> None:
        self._spool, self._machine, self._guard, self._clock, self._cap = spool, machine, guard, clock, cap_bytes
        self._lock = threading.RLock()
        self._metrics: Metrics | None = None
        self._sample: CurrentSample | None = None
        self._metrics_at = self._sample_at = -math.inf
        self._said: set[str] = set()
        self._silent = False
        self.left_out = 0
        """Events dropped over the cap."""

    def __call__(self, body: WorkerBody) -> None:
        """Takes one event. Metrics and current samples may wait for their second; all others go at once, after them."""
        self._guard()
        with self._lock:
            if self._silent:
                return
            if isinstance(body, Metrics):
                self._metrics = body if self._metrics is None else merged(self._metrics, body)
                self._settle(force=False)
            elif isinstance(body, CurrentSample):
                self._sample = body
                self._settle(force=False)
            else:
                self._settle(force=True)
                self._write(body)

    def tick(self) -> None:
        """Lets go what has waited long enough; called about once a second."""
        with self._lock:
            if not self._silent:
                self._settle(force=False)

    def silence(self, wait_s: float = 0.5) -> None:
        """Takes nothing more: the last word is said past an engine that goes on. A call in progress gets `wait_s` to end."""
        self._silent = True
        if self._lock.acquire(timeout=wait_s):
            self._lock.release()

    def finish(self) -> None:
        """Lets go everything, and says what was left out."""
        with self._lock:
            self._settle(force=True, final=True)
            if self.left_out:
                self._append(Log(severity="warning", message=f"{self.left_out} events were left out over the size cap."))

    def _settle(self, *, force: bool, final: bool = False) -> None:
        now = self._clock()
        every = THINNED_EVERY_S if self._over() else METRICS_EVERY_S
        due = (force and (final or not self._over())) or now - self._metrics_at >= every
        if self._metrics is not None and due:
            body, self._metrics, self._metrics_at = self._metrics, None, now
            extra = {name: value for name, value in self._machine().items() if not getattr(body, name)}
            self._write(body.model_copy(update=extra))
        if self._sample is not None and now - self._sample_at >= SAMPLE_EVERY_S:
            sample, self._sample, self._sample_at = self._sample, None, now
            self._write(sample)

    def _write(self, body: WorkerBody) -> None:
        if (self._spool.size > 2 * self._cap and body.type not in DURABLE) or (self._over() and body.type == "current_sample"):
            self.left_out += 1
            return
        fit, odd = sane(body)
        if fit is not None:
            self._append(fit)
        if odd:
            self._say(f"odd {body.type} {odd}", f"Not a finite number in {body.type}: {', '.join(odd)}. Said once.")
        if self._over():
            limit = f"{self._cap / 1e6:.0f} MB"
            self._say("cap", f"The events of this run are over {limit}: metrics come every {THINNED_EVERY_S:.0f} s from here on.")
        if self._spool.held:
            self._say("disk", "The disk takes no more events; they are kept in memory and sent.")

    def _say(self, key: str, message: str) -> None:
        if key not in self._said:
            self._said.add(key)
            self._append(Log(severity="warning", message=message))

    def _append(self, body: WorkerBody) -> None:
        self._spool.append(body)

    def _over(self) -> bool:
        return self._spool.size > self._cap


def merged(older: Metrics, newer: Metrics) -> Metrics:
    """Two lines of metrics as one: loss as the mean by tokens, tokens added, speed over both; else the newer's values."""
    tokens = older.tokens + newer.tokens
    loss = (older.loss * older.tokens + newer.loss * newer.tokens) / tokens if tokens else newer.loss
    speed = newer.tokens_per_second
    if older.tokens_per_second > 0 and newer.tokens_per_second > 0:
        seconds = older.tokens / older.tokens_per_second + newer.tokens / newer.tokens_per_second
        speed = tokens / seconds if seconds else speed
    return newer.model_copy(update={"loss": loss, "tokens": tokens, "tokens_per_second": speed})


def sane(body: WorkerBody) -> tuple[WorkerBody | None, list[str]]:
    """The body without numbers that JSON cannot carry and without endless texts, and the names of such numbers.

    A loss that is no number makes the event meaningless: None. Elsewhere such a number is left out where it may be, else 0.
    """
    odd: list[str] = []
    fit = _noun(body, "", odd)
    return (None if "loss" in odd and isinstance(body, Metrics | EvalResult) else fit), odd


def _noun(noun: Any, prefix: str, odd: list[str]) -> Any:
    fields = type(noun).model_fields
    found = {name: _value(getattr(noun, name), prefix + name, odd, field.default is None) for name, field in fields.items()}
    if isinstance(noun, EvalResult) and (prefix + "row_losses" in odd or len(noun.row_losses or ()) > MOST_TEXT):
        found["row_losses"] = found["row_tokens"] = None
    return noun.model_copy(update=found)


def _value(value: Any, name: str, odd: list[str], optional: bool = False) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        odd.append(name)
        return None if optional else 0.0
    if isinstance(value, str) and len(value) > MOST_TEXT:
        return value[:MOST_TEXT] + " … (cut)"
    if isinstance(value, dict):
        kept = {key: _value(item, f"{name}.{key}", odd, True) for key, item in value.items()}
        return {key: item for key, item in kept.items() if item is not None or value[key] is None}
    if isinstance(value, list):
        kept = [_value(item, name, odd, True) for item in value]
        return [new for new, old in zip(kept, value, strict=True) if new is not None or old is None]
    if isinstance(value, Noun):
        return _noun(value, name + ".", odd)
    return value


class _Heard(logging.Handler):
    """A line that a piece of the engine logs, as an event."""

    def __init__(self, emit: Callable[[WorkerBody], None]) -> None:
        super().__init__(logging.INFO)
        self._emit = emit

    def emit(self, record: logging.LogRecord) -> None:
        """See Handler. What `emit` raises ends the engine, as anywhere else."""
        severity: Severity = "info" if record.levelno < logging.WARNING else "warning"
        self._emit(Log(severity=severity, message=record.getMessage()))


@contextmanager
def heard(emit: Callable[[WorkerBody], None]) -> Iterator[None]:
    """Inside, people hear what pieces of the engine log: an objective or a modality has no other voice."""
    logger, handler = logging.getLogger("kriptik.engine"), _Heard(emit)
    before = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
