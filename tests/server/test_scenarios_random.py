"""Bad days at random: lost answers, errors, famine, pods that vanish, servers that die, people who change their mind.

Each seed is a day of one run on a virtual clock. Whatever happened, in the end nothing is left, the bill is below the cap, and the
ledger is the provider's bill; it holds more only where an answer was lost. `KRIPTIK_CHAOS_SEED` adds a seed of your own.
"""

import contextlib
import os
import random
from decimal import Decimal

import pytest
from virtual import Virtual

from kriptik.server.runs import bills
from kriptik.spec.errors import KriptikError
from kriptik.store.tables import LedgerRow, Resource

pytestmark = pytest.mark.chaos
SEEDS = [*range(12), *([int(os.environ["KRIPTIK_CHAOS_SEED"])] if "KRIPTIK_CHAOS_SEED" in os.environ else [])]
OPERATIONS = ("list", "create", "get", "delete", "catalog", "billing")
CAP = Decimal("0.50")


class Day:
    """Draws what goes wrong next."""

    def __init__(self, world, seed):
        self.world, self.dice, self.job = world, random.Random(seed), world.run(cap=str(CAP))
        self.faults = [self.lose, self.fail, self.throttle, self.refuse, self.vanish, self.crash, self.keep, self.late, self.speak,
                       self.speak, self.speak, self.change_mind, self.exit]  # fmt: skip

    def lose(self):
        self.world.http.lose(self.dice.choice(("create", "delete", "list")))

    def fail(self):
        self.world.http.fail(self.dice.choice(OPERATIONS), self.dice.choice((500, 502, 503, 409)), self.dice.randint(1, 4))

    def throttle(self):
        self.world.http.fail(self.dice.choice(OPERATIONS), 429, 1, self.dice.randint(1, 20))

    def refuse(self):
        self.world.account.refuse_creates = self.dice.randint(1, 3)

    def vanish(self):
        for pod in self.world.account.own()[:1]:
            self.world.account.vanish(pod.id)

    def crash(self):
        self.world.kill()

    def keep(self):
        self.world.account.keep_after_delete = 1

    def late(self):
        self.world.account.hide_s = self.dice.choice((0, 5, 20))

    def speak(self):
        if self.world.account.own():
            self.world.heard(self.job, "ready")

    def exit(self):
        for pod in self.world.account.own()[:1]:
            pod.process.kill()

    def change_mind(self):
        with contextlib.suppress(KriptikError):
            self.world.act(self.dice.choice(("freeze", "stop", "retry")), self.job)

    def live(self, ticks=120):
        for _ in range(ticks):
            if self.dice.random() < 0.25:
                self.dice.choice(self.faults)()
            self.world.tick(seconds=self.dice.choice((1, 1, 2, 5)))

    def mend(self):
        self.world.http.losing.clear()
        self.world.http.failing.clear()
        self.world.account.refuse_creates = self.world.account.keep_after_delete = self.world.account.hide_s = 0


@pytest.mark.parametrize("seed", SEEDS)
def test_a_bad_day(tmp_path, seed):
    world = Virtual(tmp_path, budget_event_s=60)
    day = Day(world, seed)
    day.live()
    day.mend()
    world.tick(70)
    world.end(day.job)
    world.tick(3, seconds=31)
    spent, bill = world.spent(day.job), world.account.bill()
    assert bill <= CAP, f"{bill} was billed; {world.account.creates} creates"
    unsure = {row.name for row in world.rows(Resource) if row.provider_id is None or row.detail.startswith(bills.UNSURE)}
    caution = sum((row.amount for row in world.rows(LedgerRow) if row.note in unsure), Decimal(0))
    assert -Decimal("0.0000001") < spent - bill <= caution + Decimal("0.0000001"), (spent, caution, bill)
    world.close()
