"""The ways in which money is lost on rented machines, one test each, by number. Here those that need no worker at work.

After every test nothing is left at the account, nobody else's pod was touched, no request broke RunPod's contract.
"""

import threading
from datetime import timedelta
from decimal import Decimal

import pytest
from runpod_fake import KEY
from virtual import PRICE, Virtual

from kriptik.server.app import create_app
from kriptik.server.settings import Settings
from kriptik.spec.errors import ConflictError
from kriptik.store.tables import Generation, Job

pytestmark = pytest.mark.chaos


class Killed(BaseException):
    """The server process is no more."""


@pytest.fixture
def world(tmp_path):
    made = Virtual(tmp_path)
    yield made
    made.close()


def test_01_killed_between_create_and_saving_the_id(world, monkeypatch):
    plain = world.provider.create

    def create(spec):
        plain(spec)
        raise Killed

    monkeypatch.setattr(world.provider, "create", create)
    job = world.run()
    with pytest.raises(Killed):
        world.tick(5)
    assert len(world.account.own()) == 1 and world.resource(job).provider_id is None
    world.kill()
    world.until(lambda: world.resource(job).provider_id)
    assert world.account.creates == 1 and world.resource(job).provider_id == world.account.own()[0].id
    world.end(job)
    world.tick(31)
    assert abs(world.spent(job) - world.account.bill()) < Decimal("0.01")


def test_02_a_create_whose_answer_is_lost_never_makes_two(world):
    world.account.hide_s = 20
    world.http.lose("create")
    job = world.run()
    world.until(lambda: world.resource(job).provider_id if world.job(job).generation else None, 80)
    assert world.account.creates == 1 and len(world.account.own()) == 1
    world.end(job)


def test_03_a_pod_that_never_speaks_is_ended_and_the_run_fails(world):
    job = world.run()
    world.until(lambda: world.job(job).state == "failed", 100, seconds=6)
    assert world.job(job).failure["code"] == "worker_lost" and world.account.own() == []


def test_a_machine_that_was_refused_costs_nothing_however_long_the_look_for_it_takes(world, monkeypatch):
    listed = world.provider.list_own

    def slowly(*asked):
        world.now += timedelta(seconds=30)
        return listed(*asked)

    monkeypatch.setattr(world.provider, "list_own", slowly)
    job = world.run(price_per_hour=PRICE - 1)
    world.until(lambda: world.job(job).state == "failed")
    assert world.job(job).failure["code"] == "price_above_authorised" and world.account.creates == 0
    assert world.spent(job) == 0 and world.resource(job).gone_at is not None


def test_04_a_terminate_that_fails_is_never_marked_done(world):
    job = world.run()
    world.training(job)
    world.http.fail("delete", 500, count=1000)
    world.act("stop", job)
    world.tick(40, seconds=5)
    assert world.job(job).state == "stopping" and world.resource(job).gone_at is None
    assert world.account.own(), "it still bills, and the meter goes on"
    assert "terminate_unconfirmed" in world.notices()
    before = world.spent(job)
    world.tick(10)
    assert world.spent(job) > before
    world.http.failing.clear()
    world.until(lambda: world.job(job).state == "stopped")


def test_05_stopped_while_it_is_provisioned(world):
    world.account.boot_s = 300
    job = world.run()
    world.until(world.account.own)
    world.act("stop", job)
    world.until(lambda: world.job(job).state == "stopped")
    assert world.account.own() == [] and world.account.creates == 1


def test_06_a_pod_deleted_in_the_console_is_replaced(world):
    job = world.run()
    world.training(job)
    world.account.vanish(world.account.own()[0].id)
    world.until(lambda: world.job(job).generation == 2 and world.account.own())
    assert world.resource(job, 1).gone_at is not None
    world.end(job)


def test_10_no_checkpoint_for_long_is_told(world):
    job = world.run(cap="50")
    world.training(job)
    for _ in range(50):
        world.tick(seconds=40)
        world.heard(job)
    assert world.notices().count("checkpoint_late") == 1
    world.end(job)


def test_12_a_container_that_crashes_at_once_is_given_up_after_three(tmp_path):
    world = Virtual(tmp_path, image="crash:1")
    job = world.run()
    world.until(lambda: world.job(job).state == "failed", 100)
    assert world.account.creates == 3 and "bad arguments" in world.job(job).failure["message"]
    world.close()


def test_13_a_watchdog_shorter_than_the_boot_cannot_spawn_for_ever(tmp_path):
    world = Virtual(tmp_path, boot_s=20)
    world.account.boot_s = 1000
    job = world.run(cap="1")
    world.until(lambda: world.job(job).state == "failed", 300)
    assert world.account.creates == 3 and world.spent(job) <= 1 and world.account.bill() <= 1
    world.tick(100)
    assert world.account.creates == 3
    world.close()


def test_14_the_sweeper_knows_its_own_by_id_and_ends_only_those_nobody_wants(world):
    job = world.run()
    world.training(job)
    (healthy,) = world.account.own()
    request = dict(healthy.request)
    healthy.name = "kt-" + world.core.install + "-renamed-g1"
    orphan = {**request, "name": f"kt-{world.core.install}-lostrun0-g1"}
    neighbour = {**request, "name": "kt-00000000-another0-g1"}
    for body in (orphan, neighbour):
        world.account.create(body)
    for _ in range(3):
        world.tick(seconds=31)
        world.heard(job)
    names = {pod.name for pod in world.account.own()}
    assert names == {healthy.name, neighbour["name"]} and healthy.id in world.account.pods
    assert any("was ended" in title for title in world.notices())
    world.account.vanish(next(pod.id for pod in world.account.own() if pod.name == neighbour["name"]))
    world.end(job)


def test_15_two_control_planes_leave_one_pod(world, tmp_path):
    second = Virtual.__new__(Virtual)
    second.__dict__.update(world.__dict__)
    second.open()
    job = world.run()
    world.tick(2)
    meet = threading.Barrier(2)
    plain = world.account.create

    def together(request):
        if world.account.creates < 2 and meet.n_waiting < 2:
            meet.wait(5)
        return plain(request)

    world.account.create = together
    for _ in range(2):
        threads = [threading.Thread(target=one.reconciler.tick) for one in (world, second)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        world.now += timedelta(seconds=1)
    world.account.create = plain
    world.heard(job, "ready")
    for _ in range(4):
        world.tick(seconds=31)
        second.reconciler.tick()
        world.heard(job)
    assert [pod.id for pod in world.account.own()] == [world.resource(job).provider_id]
    assert len([g for g in world.rows(Generation) if g.stream_id == job]) == 1
    second.core.db.close()
    world.end(job)


def test_15_a_second_server_on_the_same_home_is_refused(tmp_path):
    settings = Settings.from_env(home=tmp_path)
    app = create_app(settings, providers={})
    with pytest.raises(ConflictError, match="uses"):
        create_app(settings, providers={})
    app.state.core.db.close()
    app.state.lock.close()


def test_an_expired_key_is_told_at_once_and_the_end_is_tried_until_it_works(world):
    job = world.run()
    world.training(job)
    world.account.keys.clear()
    world.tick(8)
    assert "provider_key_refused" in world.notices()
    world.act("stop", job)
    world.tick(20)
    assert world.job(job).state == "stopping" and len(world.account.own()) == 1
    world.account.keys.add(KEY)
    world.until(lambda: world.job(job).state == "stopped")


def test_no_balance_fails_with_the_next_step(world):
    world.account.balance = False
    job = world.run()
    world.until(lambda: world.job(job).state == "failed")
    assert world.job(job).failure["code"] == "provider_balance" and "credit" in world.job(job).failure["nextStep"]


def test_the_balance_ran_out_and_every_pod_is_gone(world):
    job = world.run()
    world.training(job)
    world.account.vanish(world.account.own()[0].id)
    world.account.balance = False
    world.until(lambda: world.job(job).state == "failed")
    assert world.job(job).failure["code"] == "provider_balance"


def test_famine_waits_and_goes_on_or_says_so(world):
    for gpu in world.account.prices:
        world.account.none_free |= {(gpu, "SECURE"), (gpu, "COMMUNITY")}
    job = world.run()
    before = sum(world.http.calls.values())
    world.tick(60)
    assert world.job(job).state == "setting_up" and world.account.creates == 0
    assert sum(world.http.calls.values()) - before < 20, "waiting must not use up the quota"
    world.account.none_free.clear()
    world.until(world.account.own)
    world.end(job)
    for gpu in world.account.prices:
        world.account.none_free |= {(gpu, "SECURE"), (gpu, "COMMUNITY")}
    job = world.run()
    world.until(lambda: world.job(job).state == "failed", 100, seconds=10)
    assert world.job(job).failure["code"] == "no_capacity"
    assert world.spent(job) < Decimal("0.01"), "waiting for a machine costs nothing"


def test_billed_more_than_said_reaches_the_ledger(world):
    world.account.overcharge = Decimal(2)
    job = world.run()
    world.training(job)
    for _ in range(20):
        world.tick(seconds=60)
        world.heard(job)
    assert abs(world.spent(job) - world.account.bill()) < Decimal("0.7"), "while it runs, from time to time"
    world.end(job)
    world.tick(31)
    assert abs(world.spent(job) - world.account.bill()) < Decimal("0.0000001")


def test_a_price_that_rises_under_way_is_metered_and_told(world):
    job = world.run()
    world.training(job)
    (pod,) = world.account.own()
    pod.cost = PRICE_UP = Decimal("7.2")
    world.tick(10)
    assert world.resource(job).price_per_hour > PRICE_UP
    assert any(str(code).startswith("dearer") for code in world.notices())
    world.end(job)


def test_a_storm_of_429_hides_nothing_for_long(world):
    job = world.run()
    world.training(job)
    world.http.fail("list", 429, count=10, retry_after=3)
    for _ in range(60):
        world.tick()
        world.heard(job)
    assert world.job(job).state == "training" and world.job(job).generation == 1
    world.end(job)


def test_rows_restored_from_an_old_backup_leave_no_pod(world):
    job = world.run()
    world.training(job)
    with world.core.db.write() as session:  # as if the backup was made before the run was approved
        session.delete(session.get_one(Job, job))
        for row in session.query(Generation).filter(Generation.stream_id == job):
            session.delete(row)
    for _ in range(3):
        world.tick(seconds=31)
    assert world.account.own() == []
