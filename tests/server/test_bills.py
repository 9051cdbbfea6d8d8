"""The provider's own bill against the ledger: a machine that nobody saw is paid for once, whoever may have left it."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from harness import add_run

from kriptik.server.core import open_core
from kriptik.server.runs.bills import UNSURE, Bills
from kriptik.server.settings import Settings
from kriptik.spec.base import new_id
from kriptik.store import ledger
from kriptik.store.tables import Generation, Resource

AT = datetime(2026, 6, 1, tzinfo=UTC)


class Account:
    """Bills one machine that no row knows."""

    self_end = None

    def __init__(self, unseen):
        self.unseen = {"pod-x": Decimal(unseen)}

    def billed(self, provider_id, since):
        return Decimal("0.01")

    def billed_beside(self, known, since):
        return self.unseen


def lost(core, job, number, held, provider_id=None):
    """A machine whose creation was unsure, long gone, for which `held` dollars were metered."""
    row = Resource(
        id=new_id(), name=f"kt-{job}-g{number}", stream_id=job, number=number, provider="runpod", provider_id=provider_id,
        status="gone", price_per_hour=Decimal(1), intended_at=AT, metered_at=AT, gone_at=AT, detail=UNSURE,
    )  # fmt: skip
    with core.db.write() as session:
        session.add(Generation(stream_id=job, number=number, kind="train", token_hash=str(number), created_at=AT))
        session.flush()
        session.add(row)
        session.flush()
        ledger.post(session, job, "compute", Decimal(held), AT, row.name, "provider:runpod")


def spent(core, job):
    with core.db.read() as session:
        return ledger.spend(session, job, core.clock())


def settled(tmp_path, unseen, held):
    """Dollars on each run's account, after a look and after those of two later servers."""
    core = open_core(Settings.from_env(home=tmp_path), {"runpod": Account(unseen)}, clock=lambda: AT + timedelta(hours=30))
    jobs = [add_run(core, provider="runpod") for _ in held]
    for job, several in zip(jobs, held, strict=True):
        for number, (amount, provider_id) in enumerate(several, 10):
            lost(core, job, number, amount, provider_id)
    found = []
    for _ in range(3):
        Bills(core).look()
        found.append([spent(core, job) for job in jobs])
    assert found[0] == found[1] == found[2], "a new server looks again and finds nothing to change"
    return found[0]


def test_one_unseen_machine_is_paid_for_once(tmp_path):
    assert settled(tmp_path, "0.02", [[("0.50", None), ("0.60", None)]]) == [Decimal("0.02")]


def test_of_two_runs_that_may_have_left_it_one_pays(tmp_path):
    found = settled(tmp_path, "0.02", [[("0.50", None)], [("0.60", "pod-b")]])
    assert sorted(found) == [Decimal("0.01"), Decimal("0.02")], "its own machine's cent, and the unseen one's two"


def test_who_has_less_on_its_account_pays_that_and_the_other_the_rest(tmp_path):
    found = settled(tmp_path, "0.02", [[("0.005", None)], [("0.60", None)]])
    assert sorted(found) == [Decimal("0.005"), Decimal("0.015")]
