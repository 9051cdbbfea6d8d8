"""What asking a model may cost: before anything was approved a cap of its own, $0 unless the operator sets one; a run's judge what
is left of the run's budget (`worker/tab.py`).

An append-only JSONL file: before a call the most it can cost is set aside, afterwards what it did cost is settled. A call whose end
was never written keeps what was set aside, so a crash can only make the purse look emptier than it is.
"""

import fcntl
import json
import threading
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO

from kriptik.spec.base import new_id, utc_now
from kriptik.spec.llm import Answer, LanguageModel, NoAnswerError, Usage

MILLION = Decimal(1_000_000)
OVERHEAD_TOKENS = 2000
"""Beyond one token for each byte of the text, which no tokenizer exceeds: the frame around it."""


@dataclass(frozen=True)
class Prices:
    """Dollars for a million tokens."""

    input: Decimal
    output: Decimal

    def cost(self, usage: Usage) -> Decimal:
        return (usage.input * self.input + usage.output * self.output) / MILLION


@dataclass
class Purse:
    """The ledger of asking. `cap` in dollars, for all calls together. Several processes may share the file, threads this object."""

    path: Path
    cap: Decimal
    _settled: Decimal = field(default=Decimal(0), init=False)
    _open: dict[str, Decimal] = field(default_factory=dict, init=False)
    """Set aside and not settled, by call."""
    _read: int = field(default=0, init=False)
    """Bytes of the file that these figures hold."""
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def spent(self) -> Decimal:
        """Settled and set aside, in dollars."""
        return self._now()[1]

    def settled(self) -> Decimal:
        """What calls that have ended did cost, in dollars."""
        return self._now()[0]

    def room(self) -> Decimal:
        """Dollars that all calls together may cost at this moment."""
        return self.cap

    def refusal(self, most: Decimal, model: str, spent: Decimal) -> NoAnswerError:
        """Said to a call that could pass the cap."""
        return NoAnswerError(
            "asking_not_paid_for",
            f"Asking {model} may cost up to ${most:.2f}; ${spent:.2f} of ${self.cap:.2f} is spent.",
            "Raise KRIPTIK_LLM_CAP_USD.",
        )

    def set_aside(self, most: Decimal, model: str) -> str:
        """Writes the intent to spend. Raises NoAnswerError where that could pass the cap."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._lock, self.path.open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            spent = self._catch_up(file)
            if spent + most > self.room():
                raise self.refusal(most, model, spent)
            call = new_id()
            _append(file, {"call": call, "at": utc_now().isoformat(), "model": model, "aside": str(most)})
        return call

    def settle(self, call: str, cost: Decimal, usage: Usage) -> None:
        """What the call did cost."""
        with self.path.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            row = {"call": call, "at": utc_now().isoformat(), "cost": str(cost), "input": usage.input, "output": usage.output}
            _append(file, row | {"thinking": usage.thinking})

    def _now(self) -> tuple[Decimal, Decimal]:
        """(settled, settled and set aside)."""
        with self._lock:
            if not self.path.exists():
                return Decimal(0), Decimal(0)
            with self.path.open("rb") as file:
                spent = self._catch_up(file)
            return self._settled, spent

    def _catch_up(self, file: BinaryIO) -> Decimal:
        """Reads what was added since, whole lines only; returns what is settled and set aside."""
        file.seek(self._read)
        lines = file.read()
        lines = lines[: lines.rfind(b"\n") + 1]
        self._read += len(lines)
        for line in lines.split(b"\n"):
            try:
                row = json.loads(line)
                call, cost = row["call"], Decimal(row["cost"] if "cost" in row else row["aside"])
            except (ValueError, KeyError, TypeError, ArithmeticError):  # empty, or cut short by a crash
                continue
            if "cost" in row:
                self._open.pop(call, None)
                self._settled += cost
            else:
                self._open[call] = cost
        return self._settled + sum(self._open.values(), Decimal(0))


def _append(file: BinaryIO, row: dict[str, Any]) -> None:
    file.write(b"\n" + json.dumps(row).encode() + b"\n")  # a line that a crash cut short must not swallow this one
    file.flush()


@dataclass(frozen=True)
class Paid:
    """A model whose every call goes through the purse."""

    model: Any
    prices: Prices
    purse: Purse

    def ask(self, system: str, user: str, schema: dict[str, Any]) -> Answer:
        """Sets aside, asks, settles. A failed call that tells nothing of its use keeps what was set aside."""
        asker: LanguageModel = self.model
        text = len((system + user + json.dumps(schema)).encode()) + OVERHEAD_TOKENS
        most = self.prices.cost(Usage(text, self.model.most_output))
        call = self.purse.set_aside(most, self.model.model)
        try:
            answer = asker.ask(system, user, schema)
        except NoAnswerError as error:
            if not error.billed or error.usage != Usage():
                self.purse.settle(call, self.prices.cost(error.usage), error.usage)
            raise
        cost = self.prices.cost(answer.usage) if answer.usage != Usage() else most
        self.purse.settle(call, cost, answer.usage)
        return answer
