"""Money that moves: raised and lowered live, every state said in order, other hardware at a price that was seen, receipts."""

import csv
import io
import itertools
import json
import sys
from decimal import Decimal

import pytest
from cloud import SRC, SUITES, Cloud, expected
from harness import until
from virtual import Virtual

from kriptik.providers.local import LocalProvider
from kriptik.spec.base import utc_now
from kriptik.store import events, ledger
from kriptik.store.tables import LedgerRow, Resource


@pytest.fixture
def world(tmp_path):
    made = Virtual(tmp_path, budget_event_s=1)
    yield made
    made.close()


def said(world, job):
    with world.core.db.read() as session:
        found = [event.body.status for event in events.newest(session, job, ["budget"], 1000)]
    return [status for status, _same in itertools.groupby(found)]


def test_every_state_of_a_budget_is_said_in_its_order(world):
    job = world.run(cap="0.06")
    world.training(job)
    world.until(lambda: world.heard(job) or world.job(job).state == "freezing", 100)
    world.heard(job, "frozen")
    world.until(lambda: world.job(job).state == "frozen", 20)
    assert said(world, job) == ["within_budget", "approaching_alert", "alert_sent", "approaching_freeze", "frozen"]
    assert world.spent(job) <= Decimal("0.06")
    world.end(job)


def change(cloud, job, status=200, **body):
    return cloud.server.api("PUT", f"/jobs/{job}/budget", status, json=body)


@pytest.fixture
def cloud(tmp_path, monkeypatch, request):
    made = Cloud(tmp_path, monkeypatch, **getattr(request, "param", {}))
    yield made
    made.close()


@pytest.mark.chaos
@pytest.mark.parametrize("cloud", [{"teardown_s": 6}], indirect=True, ids=["slow"])  # seconds of a machine that is busy beside
def test_a_budget_is_raised_and_lowered_while_the_run_trains(cloud):
    job = cloud.run(steps=5000, cap="5", knobs={"stepS": 0.02})
    until(lambda: cloud.step(job) >= 5)
    raised = change(cloud, job, maxBudget=9, notifyAtPercent=50)
    assert (raised["maxBudget"], raised["alertThreshold"], raised["status"]) == (9, 50, "within_budget")
    assert raised["estimatedTotalSpend"] > raised["currentSpend"] > 0, "what it will have cost at its end"
    spent = cloud.server.job(job)["currentSpend"]
    problem = change(cloud, job, 422, maxBudget=spent / 2)
    assert problem["code"] == "budget_too_small" and cloud.server.job(job)["maxBudget"] == 9
    least = problem["fields"]["minimum"]
    lowered = change(cloud, job, maxBudget=least + 0.03)
    assert lowered["maxBudget"] == pytest.approx(least + 0.03)
    frozen = cloud.server.wait(job, "frozen", limit_s=30)
    assert frozen["freezeState"]["reason"] == "budget" and frozen["currentSpend"] <= frozen["maxBudget"]
    assert cloud.account.own() == []
    cloud.server.api("POST", f"/jobs/{job}/stop")
    cloud.server.wait(job, "stopped")


@pytest.mark.chaos
def test_a_frozen_run_goes_on_on_another_gpu_then_here_and_nothing_is_lost(cloud, tmp_path):
    here = [sys.executable, str(SUITES / "counter_pod.py")]
    local = LocalProvider(tmp_path / "local", Decimal("7.2"), command=["env", f"PYTHONPATH={SRC}", *here])
    cloud.server.core.providers["local"] = local
    job = cloud.run(steps=100, cap="5", knobs={"stepS": 0.02})
    until(lambda: cloud.step(job) >= 12)
    cloud.server.api("POST", f"/jobs/{job}/freeze")
    cloud.server.wait(job, "frozen")
    places = cloud.server.api("GET", f"/jobs/{job}/places")["places"]
    assert places[0]["present"] and places[0]["gpu"] == "RTX4090" and not places[0]["note"]
    assert all(not place["present"] and "not bit for bit" in place["note"] for place in places[1:])
    other = next(place for place in places if place["gpu"] == "L40S")
    place = {key: other[key] for key in ("provider", "gpu", "gpuCount", "pricePerHour")}
    cloud.account.prices["NVIDIA L40S"] = (Decimal("40"), Decimal("38"))
    dearer = cloud.server.api("POST", f"/jobs/{job}/resume", 409, json={"place": place})
    assert dearer["code"] == "price_above_authorised" and dearer["fields"]["pricePerHour"] > 38
    unknown = cloud.server.api("POST", f"/jobs/{job}/resume", 409, json={"place": {**place, "gpu": "H300"}})
    assert unknown["code"] == "place_not_possible" and cloud.server.job(job)["state"] == "frozen"
    cloud.server.api("POST", f"/jobs/{job}/resume", json={"place": {**place, "pricePerHour": dearer["fields"]["pricePerHour"]}})
    until(lambda: cloud.step(job) >= 40)
    (pod,) = cloud.account.own()
    assert pod.request["gpu"]["id"] == "NVIDIA L40S" and pod.name.endswith("-g2")
    cloud.server.api("POST", f"/jobs/{job}/freeze")
    cloud.server.wait(job, "frozen")
    mine = next(p for p in cloud.server.api("GET", f"/jobs/{job}/places")["places"] if p["provider"] == "local")
    body = {"place": {key: mine[key] for key in ("provider", "gpu", "gpuCount", "pricePerHour")}}
    cloud.server.api("POST", f"/jobs/{job}/resume", json=body)
    done = cloud.server.wait(job, "completed", limit_s=40)
    assert done["generation"] == 3 and cloud.result(job) == expected(100)
    with cloud.server.core.db.read() as session:
        rows = session.query(Resource).filter_by(stream_id=job).order_by(Resource.number).all()
        assert [row.provider for row in rows] == ["runpod", "runpod", "local"]
        rented = [r.amount for r in session.query(LedgerRow).filter_by(stream_id=job) if r.credit == "provider:runpod"]
    until(lambda: bool(rented) and abs(sum(rented, Decimal(0)) - cloud.account.bill()) < Decimal("0.005"), 5)
    receipt_adds_up(cloud, job, done)


def receipt_adds_up(cloud, job, done):
    """CSV and JSON say the same, every row has both sides, and the sum is what the page shows."""
    text = cloud.server.http.get(f"/api/training/jobs/{job}/receipt").text
    rows = list(csv.DictReader(io.StringIO(text)))
    document = json.loads(cloud.server.http.get(f"/api/training/jobs/{job}/receipt?format=json").text)
    assert len(rows) == len(document["entries"]) >= 3
    total = sum(Decimal(row["amount"]) for row in rows)
    assert float(total) == pytest.approx(document["total"]) == pytest.approx(done["currentSpend"])
    assert {row["debit"] for row in rows} == {f"run:{job}"}
    assert {row["credit"] for row in rows} >= {"provider:runpod", "provider:local"}
    with cloud.server.core.db.read() as session:
        assert ledger.spend(session, job, utc_now()) == total


