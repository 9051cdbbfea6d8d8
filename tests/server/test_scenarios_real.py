"""The ways in which money or work is lost on rented machines, by number: those that need a real worker at work."""

import json
from decimal import Decimal

import pytest
from cloud import PRICE, Cloud, expected
from harness import until

pytestmark = pytest.mark.chaos


@pytest.fixture
def cloud(tmp_path, monkeypatch):
    made = Cloud(tmp_path, monkeypatch, lease_s=1, grace_s=2)
    yield made
    made.close()


def test_07_the_server_sleeps_and_the_machine_gives_itself_back(cloud):
    job = cloud.run(steps=400, knobs={"stepS": 0.02})
    until(lambda: cloud.step(job) >= 15)
    cloud.server.stop()
    until(lambda: cloud.account.own() == [], 30)
    billed = cloud.account.bill()
    assert cloud.http.calls["delete"] == 1, "by the pod itself, with its own key"
    cloud.server.start()
    until(lambda: cloud.server.job(job)["generation"] == 2, 20)
    assert cloud.step(job) >= 10 and cloud.account.bill() >= billed
    cloud.server.api("POST", f"/jobs/{job}/stop")
    cloud.server.wait(job, "stopped")


def test_07_with_nobody_there_the_cap_still_holds(tmp_path, monkeypatch):
    made = Cloud(tmp_path, monkeypatch, lease_s=300, grace_s=300)
    job = made.run(steps=4000, cap="0.16", knobs={"stepS": 0.02})
    until(lambda: made.step(job) >= 5)
    made.server.stop()
    until(lambda: made.account.own() == [], 40)
    assert made.account.bill() <= Decimal("0.16")
    made.server.start()
    frozen = made.server.wait(job, "frozen")
    assert frozen["currentSpend"] >= float(made.account.bill()) - 0.005
    made.close()


def test_08_frozen_is_ended_never_stopped_and_goes_on_where_there_is_room(cloud):
    job = cloud.run(steps=60, knobs={"stepS": 0.02})
    until(lambda: cloud.step(job) >= 12)
    cloud.server.api("POST", f"/jobs/{job}/freeze")
    cloud.server.wait(job, "frozen")
    assert cloud.account.own() == [] and cloud.http.calls["action"] == 0
    gpu = "NVIDIA GeForce RTX 4090"
    cloud.account.none_free |= {(gpu, "SECURE"), (gpu, "COMMUNITY")}
    cloud.server.api("POST", f"/jobs/{job}/resume", json={"newBudget": 6})
    cloud.server.wait(job, "completed", limit_s=30)
    assert cloud.result(job) == expected(60)
    (second,) = [p for p in cloud.account.ended.values() if p.name.endswith("-g2")]
    assert second.request["gpu"]["id"] == "NVIDIA L40S" and second.cost < PRICE


def test_09_a_checkpoint_that_came_in_part_does_not_exist(cloud):
    job = cloud.run(steps=80, knobs={"stepS": 0.03})
    until(lambda: cloud.step(job) >= 22)
    folder = cloud.server.core.run_dir(job) / "checkpoints"
    for name, mark in (("s0-000077-g1", False), ("s0-000078-g1", True)):
        (folder / name).mkdir()
        (folder / name / "state.json").write_text('{"step": 77')
        files = {"state.json": {"sha256": "0" * 64, "bytes": 11}}
        (folder / name / "manifest.json").write_text(json.dumps({"stage": 0, "step": 77, "files": files}))
        if mark:
            (folder / name / "_COMPLETE").write_text("")
    cloud.account.grace_s = 0
    cloud.account.vanish(cloud.account.own()[0].id)
    done = cloud.server.wait(job, "completed", limit_s=40)
    assert cloud.result(job) == expected(80)
    assert done["resumes"][0] in (20, 30, 40, 50, 60)


def test_11_the_budget_is_reached_before_any_checkpoint_was_due(cloud):
    job = cloud.run(steps=4000, cap="0.18", knobs={"stepS": 0.02, "every": 10**6})
    frozen = cloud.server.wait(job, "frozen", limit_s=40)
    checkpoint = frozen["freezeState"]["checkpoint"]
    assert checkpoint and frozen["freezeState"]["reason"] == "budget" and len(frozen["checkpoints"]) == 1
    assert cloud.account.own() == [] and cloud.account.bill() <= Decimal("0.18")


def test_a_pod_that_restarts_by_itself_repeats_no_event_and_loses_no_step(cloud):
    job = cloud.run(steps=60, knobs={"stepS": 0.03})
    until(lambda: cloud.step(job) >= 22)
    cloud.account.restart(cloud.account.own()[0].id)
    cloud.server.wait(job, "completed", limit_s=60)
    assert cloud.result(job) == expected(60)
