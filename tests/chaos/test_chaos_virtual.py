"""Tier 1: thousands of lives of a run on a virtual clock. What CI draws from each family follows from `KRIPTIK_CHAOS_SEED`."""

import os
import random

import pytest
import scenarios
from scenarios import FAULTS, MOMENTS, POINTS, SCRIPTS

from kriptik.worker import carry

pytestmark = pytest.mark.chaos
SEED = os.environ.get("KRIPTIK_CHAOS_SEED", "0")
NIGHT = "KRIPTIK_CHAOS_NIGHT" in os.environ
CHUNKS = 8


@pytest.fixture(autouse=True)
def waiting_is_virtual(monkeypatch):
    """The carrier tries once; the machine's life waits."""
    monkeypatch.setattr(carry, "PATIENCE_S", 0)
    monkeypatch.setattr(carry, "LAST_TRY_S", 0)


def drawn(family, every, count):
    """All of a family at night; else `count` of them, by the seed."""
    every = list(every)
    return every if NIGHT or count >= len(every) else sorted(random.Random(f"{SEED} {family}").sample(every, count), key=str)


@pytest.mark.parametrize("chunk", range(CHUNKS if NIGHT else 1))
@pytest.mark.parametrize("script", SCRIPTS)
def test_killed_at_a_boundary(script, chunk):
    """Before and after every call that changes something at the provider, and every transaction, of a whole life."""
    points = drawn(f"killed {script}", range(1, len(scenarios.boundaries(script)) + 1), 3)
    for point in points[chunk :: CHUNKS if NIGHT else 1]:
        scenarios.killed_at(script, point)


@pytest.mark.parametrize("script", drawn("again", SCRIPTS, 4))
def test_killed_again_and_again(script):
    dice = random.Random(f"{SEED} again {script}")
    count = len(scenarios.boundaries(script))
    for _ in range(12 if NIGHT else 1):
        scenarios.killed_at(script, *dice.sample(range(1, count), dice.randint(2, 6)))


@pytest.mark.parametrize("script", drawn("paused", SCRIPTS, 5))
def test_paused_and_overtaken(script):
    """A server stands still in the middle of something while another takes over, then goes on with what it knew."""
    dice = random.Random(f"{SEED} paused {script}")
    for point in drawn(f"paused {script}", range(1, scenarios.own_boundaries(script) + 1), 1)[:: 3 if NIGHT else 1]:
        scenarios.paused_at(script, point, dice.choice((1, 5, 40)))


@pytest.mark.parametrize("script", drawn("two", SCRIPTS, 3))
def test_two_servers_at_once(script):
    for number in range(4 if NIGHT else 1):
        scenarios.two_servers(script, f"{SEED} {number}")


@pytest.mark.parametrize(("fault", "moment"), drawn("fault", [(f, m) for f in FAULTS for m in MOMENTS], 24))
def test_one_thing_breaks(fault, moment):
    scenarios.fault_in(fault, moment, SEED)


@pytest.mark.parametrize(("point", "count"), drawn("worker", [(p, c) for p in POINTS for c in (1, 2, 3)], 6))
def test_the_machine_dies(point, count):
    scenarios.worker_dies(point, count)


@pytest.mark.parametrize("number", range(40 if NIGHT else 3))
def test_rows_restored_from_a_backup(number):
    scenarios.restored(f"{SEED} {number}")


@pytest.mark.parametrize("number", range(300 if NIGHT else 12))
def test_a_bad_day(number):
    scenarios.bad_day(f"{SEED} {number}")


@pytest.mark.parametrize("seed", ["ebb4b5f7 107", "732992fe 109", "ea728efc 22", "0007b438 268"])
def test_a_bad_day_that_once_broke_an_invariant(seed):
    scenarios.bad_day(seed)


@pytest.mark.parametrize("number", range(80 if NIGHT else 6))
def test_the_budget_is_reached(number):
    scenarios.frozen_by_budget(f"{SEED} {number}")


@pytest.mark.parametrize("number", range(4 if NIGHT else 1))
def test_days_on_the_disk(number):
    scenarios.days_frozen(f"{SEED} {number}")
