"""doctor and sweep over a real home and a fake account, with no server running."""

import json

import pytest
from runpod_fake import KEY
from typer.testing import CliRunner
from virtual import Virtual

from kriptik.cli.main import app


@pytest.fixture
def world(tmp_path, monkeypatch):
    made = Virtual(tmp_path)
    settings = {"HOME": made.home, "RUNPOD_API_KEY": KEY, "RUNPOD_IMAGE": "idle:1", "RUNPOD_URL": made.http.url,
                "WORKER_URL": "http://127.0.0.1:9"}  # fmt: skip
    for name, value in settings.items():
        monkeypatch.setenv(f"KRIPTIK_{name}", str(value))
    yield made
    made.close()


def call(*words, code=0):
    answer = CliRunner().invoke(app, [*words, "--json"])
    assert answer.exit_code == code, answer.output
    return json.loads(answer.output)


def test_doctor_says_what_is_wrong_and_what_to_do(world, monkeypatch):
    checks = {check["name"]: check for check in call("doctor", code=1)}
    assert not checks["address"]["ok"] and "does not answer" in checks["address"]["sentence"]
    assert checks["runpod"]["ok"] and "offers" in checks["runpod"]["sentence"]
    assert all(checks[name]["ok"] for name in ("state", "disk", "storage", "orphans"))
    world.account.keys.clear()
    checks = {check["name"]: check for check in call("doctor", code=1)}
    assert not checks["runpod"]["ok"] and "KRIPTIK_RUNPOD_API_KEY" in checks["runpod"]["nextStep"]
    world.account.keys.add(KEY)
    monkeypatch.setenv("KRIPTIK_WORKER_URL", "http://kriptik.example")
    checks = {check["name"]: check for check in call("doctor", code=1)}
    assert "not encrypted" in checks["address"]["sentence"]
    for name in ("RUNPOD_API_KEY", "WORKER_URL"):
        monkeypatch.delenv(f"KRIPTIK_{name}")
    checks = {check["name"]: check for check in call("doctor")}
    assert "KRIPTIK_RUNPOD_API_KEY" in checks["runpod"]["nextStep"]


def test_sweep_lists_then_ends_orphans_and_leaves_what_is_wanted(world):
    job = world.run()
    world.training(job)
    (healthy,) = world.account.own()
    world.account.create({**healthy.request, "name": f"kt-{world.core.install}-lostrun0-g1"})
    world.account.create({**healthy.request, "name": "kt-00000000-another0-g1"})
    (listed,) = call("sweep")
    assert (listed["wanted"], listed["ended"]) == (False, False) and len(world.account.own()) == 3
    (ended,) = call("sweep", "--end")
    assert ended["ended"] and call("sweep") == []
    (wanted,) = call("sweep", "--all")
    assert wanted["name"] == healthy.name and wanted["wanted"]
    everything = call("sweep", "--install", world.core.install, "--end")
    assert [one["ended"] for one in everything] == [True]
    assert [pod.name for pod in world.account.own()] == ["kt-00000000-another0-g1"]
    world.account.vanish(world.account.own()[0].id)
    world.end(job)
