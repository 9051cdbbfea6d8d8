"""Runs on RunPod from approval to the end: real client, real worker process, an account that keeps its own bill."""

from decimal import Decimal

import pytest
from cloud import Cloud, expected
from harness import until
from s3_server import new_bucket, s3_server

from kriptik.spec.base import utc_now
from kriptik.store import ledger

pytestmark = pytest.mark.chaos


@pytest.fixture
def cloud(tmp_path, monkeypatch):
    made = Cloud(tmp_path, monkeypatch)
    yield made
    made.close()


def spent(cloud, job):
    with cloud.server.core.db.read() as session:
        return ledger.spend(session, job, utc_now())


def test_a_whole_life_frozen_and_resumed_on_another_pod(cloud):
    job = cloud.run(steps=120, knobs={"stepS": 0.02})
    until(lambda: cloud.step(job) >= 15)
    cloud.server.api("POST", f"/jobs/{job}/freeze")
    frozen = cloud.server.wait(job, "frozen")
    assert cloud.account.own() == [], "frozen costs nothing"
    assert frozen["freezeState"]["checkpoint"] and frozen["budget"]["spendRate"] == 0
    cloud.server.api("POST", f"/jobs/{job}/resume", json={"newBudget": 6})
    done = cloud.server.wait(job, "completed", limit_s=30)
    assert done["generation"] == 2 and cloud.account.creates == 2
    assert cloud.result(job) == expected(120)
    assert [s["status"] for s in done["setup"]["stages"]] == ["completed"] * 6
    assert all(stage["logs"] for stage in done["setup"]["stages"])
    assert cloud.account.own() == []
    bill = cloud.account.bill()
    assert bill > Decimal("0.02")
    until(lambda: abs(spent(cloud, job) - bill) < Decimal("0.0000001"), 5)


def test_checkpoints_go_by_a_bucket_with_signed_addresses(tmp_path, monkeypatch):
    with s3_server() as url:
        made = Cloud(tmp_path, monkeypatch, storage_url=f"s3://{new_bucket(url, monkeypatch)}/kriptik")
        try:
            job = made.run(steps=40, knobs={"stepS": 0.02})
            until(lambda: made.step(job) >= 12)
            made.server.api("POST", f"/jobs/{job}/freeze")
            checkpoint = made.server.wait(job, "frozen")["freezeState"]["checkpoint"]
            assert made.server.core.objects.size(f"{job}/checkpoints/{checkpoint}/_COMPLETE") == 0
            made.server.api("POST", f"/jobs/{job}/resume", json={"newBudget": 6})
            made.server.wait(job, "completed", limit_s=30)
            assert made.result(job) == expected(40)
        finally:
            made.close()


def test_dearer_than_authorised_fails_before_anything_is_rented_and_a_retry_accepts(cloud):
    job = cloud.run(steps=5, price=Decimal("30"))
    failed = until(lambda: (j := cloud.server.job(job))["state"] == "failed" and j)
    assert failed["failure"]["code"] == "price_above_authorised" and cloud.account.creates == 0
    assert "$30 was authorised" in failed["failure"]["message"] and failed["currentSpend"] == 0
    cloud.server.api("POST", f"/jobs/{job}/retry")
    cloud.server.wait(job, "completed", limit_s=30)


def test_a_worker_killed_hard_gives_its_machine_back_and_goes_on_from_what_arrived(cloud):
    job = cloud.run(steps=30, knobs={"dieAt": 15})
    done = cloud.server.wait(job, "completed", limit_s=40)
    assert done["generation"] == 2 and cloud.result(job) == expected(30)
    assert 10 in done["resumes"]


def test_old_checkpoints_are_removed_here_too(cloud):
    job = cloud.run(steps=60, knobs={"stepS": 0.02})
    done = cloud.server.wait(job, "completed", limit_s=40)
    assert len(done["checkpoints"]) == 6
    folder = cloud.server.core.run_dir(job) / "checkpoints"
    kept = {"s0-000010-g1", "s0-000050-g1", "s0-000060-g1"}  # the first of the equal best, the last two
    until(lambda: {path.name for path in folder.iterdir()} == kept, 5)
    assert {c["checkpointId"] for c in cloud.server.job(job)["checkpoints"] if c["kept"]} == kept
