"""A disk that fills: seen before a checkpoint fails, frozen with a sentence and a next step, resumed once there is room."""

import subprocess

import pytest
from harness import Server, until
from test_server_runs import assert_exact

from kriptik.server.runs import reconciler, retention, room
from kriptik.storage import objects
from kriptik.store.tables import CheckpointRow, Job, TrialRow

PLENTY = 100 << 30


@pytest.fixture
def disk(monkeypatch):
    """What is free, as the one place that asks sees it."""
    free = {"bytes": PLENTY}
    monkeypatch.setattr(objects, "free_bytes", lambda folder: free["bytes"])
    monkeypatch.setattr(reconciler, "ROOM_EVERY_S", 0.05)
    return free


def at_step(server, job_id, step):
    until(lambda: (server.job(job_id)["metrics"] or {}).get("step", 0) >= step)


def test_a_run_is_frozen_before_the_disk_is_full_and_goes_on_once_there_is_room(server, disk):
    job_id = server.train(steps=80, knobs={"stepS": 0.03})
    at_step(server, job_id, 12)
    (newest,) = server.job(job_id)["checkpoints"][:1]
    disk["bytes"] = objects.KEPT_FREE + room.OWN * newest["bytes"] - 1
    job = server.wait(job_id, "frozen")
    state = job["freezeState"]
    assert state["reason"] == "disk_full" and job["budget"]["spendRate"] == 0 and not server.provider.alive()
    assert "must stay free" in state["sentence"] and state["nextStep"].startswith("Free ")
    assert job["checkpoints"][-1]["reason"] == "freeze" and state["checkpoint"] == job["checkpoints"][-1]["checkpointId"]
    (notice,) = server.api("GET", "/notifications")["notifications"]
    assert state["sentence"] in notice["message"] and notice["actionLabel"] == "Resume"
    refused = server.api("POST", f"/jobs/{job_id}/resume", 409, json={})
    assert refused["code"] == "disk_full" and refused["fields"]["missingBytes"] >= 1
    assert server.job(job_id)["state"] == "frozen", "it asks, and waits"
    disk["bytes"] = PLENTY
    server.api("POST", f"/jobs/{job_id}/resume", json={})
    server.wait(job_id, "completed")
    assert_exact(server, job_id, 80)


def test_nothing_begins_on_a_full_disk(server, disk):
    disk["bytes"] = objects.KEPT_FREE - 1
    job_id = server.train(steps=10)
    state = server.wait(job_id, "frozen")["freezeState"]
    assert state["reason"] == "disk_full" and server.provider.creates == 0
    disk["bytes"] = PLENTY
    server.api("POST", f"/jobs/{job_id}/resume", json={})
    server.wait(job_id, "completed")


def test_a_worker_whose_disk_is_full_asks_too(server):
    job_id = server.train(steps=30, knobs={"failAt": 15, "failCode": "disk_full"})
    job = server.wait(job_id, "frozen")
    assert job["freezeState"]["reason"] == "disk_full" and job["freezeState"]["checkpoint"] == "s0-000010-g1"
    assert job["freezeState"]["sentence"].endswith("No space left on device."), "the worker's own words"
    server.api("POST", f"/jobs/{job_id}/resume", json={})
    server.wait(job_id, "completed")
    assert_exact(server, job_id, 30)


def test_other_runs_keep_their_room(tmp_path, disk):
    """Two at work: each may write its next checkpoint at the same moment."""
    from harness import ProcessProvider

    provider = ProcessProvider()
    server = Server(tmp_path / "home", provider, local_slots=2)
    try:
        jobs = [server.train(steps=400, knobs={"stepS": 0.02}) for _ in range(2)]
        for job_id in jobs:
            at_step(server, job_id, 12)
        with server.core.db.read() as session:
            needs = room.needs(session, server.core)
        assert all(need.wanted == objects.KEPT_FREE + 3 * need.checkpoint for need in needs.values()) and len(needs) == 2
        for job_id in jobs:
            server.api("POST", f"/jobs/{job_id}/stop")
            server.wait(job_id, "stopped")
    finally:
        server.stop()
        provider.close()


def test_on_a_real_small_file_system(tmp_path, monkeypatch):
    """A tmpfs of a few MB more than what always stays free: really filled, really freed."""
    from harness import ProcessProvider

    home = tmp_path / "home"
    home.mkdir()
    size = (objects.KEPT_FREE >> 20) + 24
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}m", "tmpfs", str(home)], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("this machine does not allow mounting a file system")
    monkeypatch.setattr(reconciler, "ROOM_EVERY_S", 0.05)
    provider = ProcessProvider()
    server = Server(home, provider)
    try:
        job_id = server.train(steps=80, knobs={"stepS": 0.03})
        at_step(server, job_id, 12)
        filler = home / "filler"
        filler.write_bytes(bytes(objects.free_bytes(home) - objects.KEPT_FREE + 1))
        assert server.wait(job_id, "frozen")["freezeState"]["reason"] == "disk_full"
        filler.unlink()
        server.api("POST", f"/jobs/{job_id}/resume", json={})
        server.wait(job_id, "completed")
        assert_exact(server, job_id, 80)
    finally:
        server.stop()
        provider.close()
        subprocess.run(["umount", "-l", str(home)], check=True)


def test_the_list_says_which_checkpoints_are_still_there(server):
    """Here the worker removes old ones by itself; the rows follow."""
    job_id = server.train(steps=30)
    server.wait(job_id, "completed")
    folder = server.core.run_dir(job_id) / "checkpoints" / "s0-000010-g1"
    (folder / "_COMPLETE").unlink()
    retention.tidy(server.core)
    kept = {c["checkpointId"]: c["kept"] for c in server.job(job_id)["checkpoints"]}
    assert kept["s0-000010-g1"] is False and sum(kept.values()) == len(kept) - 1


def test_what_is_tested_or_judged_best_is_kept(server):
    """The server's own choice for runs elsewhere: last two, best held-out loss, stage ends, and what somebody reads."""
    job_id = server.train(steps=60)
    server.wait(job_id, "completed")
    folder = server.core.run_dir(job_id)
    manifest = folder / "checkpoints" / "s0-000030-g1" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('{"stage"', '{"evalLoss": 0.5, "stage"'))
    session_id = server.api("POST", "/test/deploy", json={"modelId": job_id, "checkpointId": "s0-000020-g1"})["id"]
    with server.core.db.write() as session:
        session.get_one(Job, job_id).provider = "runpod"
    retention.tidy(server.core)
    with server.core.db.read() as session:
        kept = {row.checkpoint_id for row in session.query(CheckpointRow).filter_by(job_id=job_id) if row.kept}
    assert kept == {"s0-000020-g1", "s0-000030-g1", "s0-000050-g1", "s0-000060-g1"}
    assert {path.name for path in (folder / "checkpoints").iterdir()} == kept
    server.api("DELETE", f"/test/sessions/{session_id}")
    until(lambda: _state(server, session_id) == "ended")  # the page is told so at once, before the machine is gone
    assert not server.provider.alive()


def _state(server, session_id):
    with server.core.db.read() as session:
        return session.get_one(TrialRow, session_id).state
