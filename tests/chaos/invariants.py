"""What must hold after every scenario, in every tier. `hold` checks all of it and notes what was checked, for the count at the end.

Each function looks at one `After`, which a tier fills with what it saw by itself: what the workers were told, what the provider's
own bill says, what is still there. Nothing here asks the product whether it is content.
"""

import json
import os
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

LOG = "KRIPTIK_CHAOS_LOG"
"""Environment variable: folder in which each process notes the scenarios that it ran."""
CENT = Decimal("0.01")


@dataclass
class After:
    """One scenario when it is over. Money in dollars; None where a tier has nothing of the kind."""

    tier: int
    family: str
    name: str
    result: object
    expected: object
    told: dict = field(default_factory=dict)
    """(stream, generation) → {seq: event's digest}: what a worker wrote and was told to be stored."""
    stored: list = field(default_factory=list)
    """(stream, generation, seq, digest) of every worker event in the rows."""
    bill: Decimal | None = None
    """The provider's own, storage included."""
    over: Decimal | None = None
    """The most that the bill was ever above the cap of that moment; below 0 where it never was. None: it did not obey."""
    ledger: Decimal | None = None
    left: list = field(default_factory=list)
    """What still bills, and rows that are not gone."""
    foreign: list = field(default_factory=list)
    """What was done to machines of others."""
    broken: list = field(default_factory=list)
    """Requests and answers that break the provider's published contract."""
    freezes: list = field(default_factory=list)
    """(seconds from the freeze mark to the end of billing, bound or None where something was broken on the way)."""
    kills: list = field(default_factory=list)
    """(kill point, state of the run)."""


def same_result(after):
    """Final weights are those of the run that nobody disturbed."""
    if after.expected is None:
        return None
    assert after.result == after.expected, f"ended with {str(after.result)[:300]}, not {str(after.expected)[:300]}"
    return True


def events_kept(after):
    """No acknowledged event is lost, none is changed, none is there twice."""
    if not after.told and not after.stored:
        return None
    keys = Counter(key[:3] for key in after.stored)
    doubled = [key for key, count in keys.items() if count > 1]
    assert not doubled, f"stored twice: {doubled[:5]}"
    held = {key[:3]: key[3] for key in after.stored}
    for (stream, generation), events in after.told.items():
        lost = [seq for seq, digest in events.items() if held.get((stream, generation, seq)) != digest]
        assert not lost, f"of generation {generation} these were acknowledged and are not stored as written: {lost[:10]}"
    for stream, generation, seq in held:
        assert seq == 1 or (stream, generation, seq - 1) in held, f"generation {generation} has no event before {seq}"
    return True


def bill_within_cap(after):
    """At no moment was the bill, with storage and tear-down, above the cap."""
    if after.over is None:
        return None
    assert after.over <= 0, f"the bill was ${after.over} above the cap"
    return True


def ledger_is_bill(after):
    """To the cent."""
    if after.ledger is None:
        return None
    assert abs(after.ledger - after.bill) < CENT, f"the ledger says ${after.ledger}, the bill ${after.bill}"
    return True


def nothing_left(after):
    """Nothing of ours is alive, and the rows know it."""
    assert not after.left, f"left: {after.left}"
    return True


def foreign_untouched(after):
    """Nobody else's machine was touched."""
    assert not after.foreign, f"touched: {after.foreign}"
    return True


def contract_kept(after):
    """Every request and answer is as the provider's OpenAPI document says."""
    assert not after.broken, f"against the contract: {after.broken[:3]}"
    return True


def frozen_in_time(after):
    """From the freeze mark to the end of billing: one step, one checkpoint and one tick at most, where nothing was broken."""
    if after.tier != 1:  # on real clocks it is measured, and a busy machine is no fault
        return None
    judged = [(seconds, bound) for seconds, bound in after.freezes if bound is not None]
    late = [(seconds, bound) for seconds, bound in judged if seconds > bound]
    assert not late, f"freezing took longer than it may (seconds, bound): {late}"
    return True if judged else None


INVARIANTS = (same_result, events_kept, bill_within_cap, ledger_is_bill, nothing_left, foreign_untouched, contract_kept,
              frozen_in_time)  # fmt: skip


def hold(after):
    """Checks everything; an AssertionError names the scenario and what is wrong."""
    checked, wrong = [], []
    for invariant in INVARIANTS:
        try:
            if invariant(after):
                checked.append(invariant.__name__)
        except AssertionError as error:
            wrong.append(f"{invariant.__name__}: {error}")
    note(after, checked, wrong)
    assert not wrong, f"tier {after.tier}, {after.family}, {after.name}:\n  " + "\n  ".join(wrong)


def note(after, checked, wrong):
    """One line for the count."""
    if LOG not in os.environ:
        return
    line = {"tier": after.tier, "family": after.family, "name": after.name, "checked": checked, "wrong": wrong,
            "freezes": after.freezes, "kills": after.kills}  # fmt: skip
    folder = Path(os.environ[LOG])
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{os.getpid()}.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")
