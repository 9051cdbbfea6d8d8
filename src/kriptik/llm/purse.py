"""What asking a model may cost before anything was approved: a cap of its own, $0 unless the operator sets one.

An append-only JSONL file: before a call the most it can cost is set aside, afterwards what it did cost is settled. A call whose end
was never written keeps what was set aside, so a crash can only make the purse look emptier than it is.
"""

import fcntl
import json
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

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


@dataclass(frozen=True)
class Purse:
    """The ledger of asking. `cap` in dollars, for all calls together."""

    path: Path
    cap: Decimal

    def spent(self) -> Decimal:
        """Settled and set aside, in dollars."""
        return _sum(self.path.read_text(encoding="utf-8").splitlines()) if self.path.exists() else Decimal(0)

    def set_aside(self, most: Decimal, model: str) -> str:
        """Writes the intent to spend. Raises NoAnswerError `asking_not_paid_for` where that could pass the cap."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a+", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            spent = _sum(file.read().splitlines())
            if spent + most > self.cap:
                raise NoAnswerError(
                    "asking_not_paid_for",
                    f"Asking {model} may cost up to ${most:.2f}; ${spent:.2f} of ${self.cap:.2f} is spent.",
                    "Raise KRIPTIK_LLM_CAP_USD.",
                )
            call = new_id()
            _append(file, {"call": call, "at": utc_now().isoformat(), "model": model, "aside": str(most)})
        return call

    def settle(self, call: str, cost: Decimal, usage: Usage) -> None:
        """What the call did cost."""
        with self.path.open("a", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            row = {"call": call, "at": utc_now().isoformat(), "cost": str(cost), "input": usage.input, "output": usage.output}
            _append(file, row | {"thinking": usage.thinking})


def _append(file: Any, row: dict[str, Any]) -> None:
    file.write("\n" + json.dumps(row) + "\n")  # a line that a crash cut short must not swallow this one
    file.flush()


def _sum(lines: list[str]) -> Decimal:
    calls: dict[str, Decimal] = {}
    for line in lines:
        try:
            row = json.loads(line)
            calls[row["call"]] = Decimal(row["cost"] if "cost" in row else row["aside"])
        except (ValueError, KeyError, TypeError):  # empty, or cut short by a crash
            continue
    return sum(calls.values(), Decimal(0))


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
