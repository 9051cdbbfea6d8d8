"""Whole runs on a real server with worker processes: train, freeze, resume, crash, stop, roll back, restart."""

import hashlib

import pytest
from harness import Server, until

from kriptik.store.tables import Job


def final_state(steps):
    state = "start"
    for _ in range(steps):
        state = hashlib.sha256(state.encode()).hexdigest()
    return state


def assert_exact(server, job_id, steps):
    """Nothing lost, nothing trained twice: the chain ended where a straight run ends."""
    assert (server.core.run_dir(job_id) / "result" / "state.json").read_text() == final_state(steps)


def test_a_run_trains_to_its_end_and_says_so(server):
    job_id = server.train(steps=25)
    job = server.wait(job_id, "completed")
    assert job["percentComplete"] == 100
    assert [stage["status"] for stage in job["setup"]["stages"]] == ["completed"] * 6
    assert job["result"]["modelPath"] == "result"
    assert [c["step"] for c in job["checkpoints"]] == [10, 20, 25]
    assert_exact(server, job_id, 25)
    notices = server.api("GET", "/notifications")
    assert [n["type"] for n in notices["notifications"]] == ["training_complete"]
    assert notices["unread"] == 1


def test_freeze_and_resume_lose_nothing(server):
    job_id = server.train(steps=60, knobs={"stepS": 0.02})
    until(lambda: (server.job(job_id)["metrics"] or {}).get("step", 0) >= 12)
    server.api("POST", f"/jobs/{job_id}/pause")
    job = server.wait(job_id, "frozen")
    frozen_at = job["freezeState"]["checkpoint"]
    assert job["freezeState"]["reason"] == "user" and job["freezeState"]["canResume"]
    assert not server.provider.alive()
    assert frozen_at == job["checkpoints"][-1]["checkpointId"]
    answer = server.api("POST", f"/jobs/{job_id}/resume", json={})
    assert answer["success"]
    job = server.wait(job_id, "completed")
    assert job["generation"] == 2 and job["resumes"] == [int(frozen_at.split("-")[1])]
    assert_exact(server, job_id, 60)


def test_the_budget_freezes_once_and_a_larger_one_resumes(tmp_path, provider):
    provider.price = 360  # ten cents a second
    # the promise stands on ending within teardown_s; a starved machine needs more than the half second of the other tests
    server = Server(tmp_path / "home", provider, local_price_per_hour="360", teardown_s=3)
    try:
        job_id = server.train(steps=250, cap="0.85", knobs={"stepS": 0.03}, notify_at_percent=40)
        job = server.wait(job_id, "frozen")
        assert job["currentSpend"] <= 0.85
        assert job["budget"]["status"] == "frozen" and job["budget"]["spendRate"] == 0
        assert job["freezeState"]["checkpoint"]
        kinds = [n["type"] for n in server.api("GET", "/notifications")["notifications"]]
        assert kinds == ["training_freeze", "training_alert"]
        problem = server.api("POST", f"/jobs/{job_id}/resume", 422, json={"newBudget": 0.5})
        assert problem["code"] == "budget_too_small" and problem["fields"]["minimum"] > job["currentSpend"]
        assert server.job(job_id)["state"] == "frozen"
        server.api("POST", f"/jobs/{job_id}/resume", json={"newBudget": 5})
        job = server.wait(job_id, "completed")
        assert_exact(server, job_id, 250)
        receipt = server.api("GET", f"/jobs/{job_id}/ledger")
        assert {entry["generation"] for entry in receipt["entries"]} == {1, 2}
        assert receipt["total"] == pytest.approx(job["currentSpend"])
        assert server.http.get(f"/api/training/jobs/{job_id}/receipt").text.startswith("id,job_id,at,kind")
    finally:
        server.stop()


def test_a_crashed_worker_is_started_again_from_its_checkpoint(server):
    job_id = server.train(steps=40, knobs={"crashAt": 25})
    job = server.wait(job_id, "completed")
    assert job["generation"] == 2 and job["resumes"] == [20]
    assert_exact(server, job_id, 40)


def test_a_worker_that_always_crashes_is_given_up(server):
    job_id = server.train(steps=40, knobs={"crashAlways": 5})
    job = server.wait(job_id, "failed")
    assert job["failure"]["code"] == "worker_lost" and job["generation"] == 3
    assert server.api("GET", "/notifications")["notifications"][0]["type"] == "training_error"


def test_a_reported_failure_names_what_is_kept_and_can_be_retried(server):
    job_id = server.train(steps=40, knobs={"failAt": 15})
    job = server.wait(job_id, "failed")
    assert job["failure"]["code"] == "out_of_memory"
    assert "s0-000010-g1" in job["failure"]["kept"]
    assert server.api("POST", f"/jobs/{job_id}/resume", 409, json={})["code"] == "run_finished"
    server.api("POST", f"/jobs/{job_id}/retry")
    assert server.wait(job_id, "failed")["generation"] >= 1


def test_stop_keeps_checkpoints_and_retry_goes_on(server):
    job_id = server.train(steps=60, knobs={"stepS": 0.02})
    until(lambda: (server.job(job_id)["metrics"] or {}).get("step", 0) >= 12)
    server.api("POST", f"/jobs/{job_id}/stop")
    job = server.wait(job_id, "stopped")
    assert job["checkpoints"] and job["finishedAt"]
    server.api("POST", f"/jobs/{job_id}/retry")
    server.wait(job_id, "completed")
    assert_exact(server, job_id, 60)
    assert server.api("POST", f"/jobs/{job_id}/retry", 409)["code"] == "run_finished"
    assert server.api("POST", f"/jobs/{job_id}/resume", 409, json={})["code"] == "run_finished"


def test_rollback_trains_on_from_the_chosen_checkpoint(server):
    job_id = server.train(steps=60, knobs={"stepS": 0.02})
    until(lambda: len(server.job(job_id)["checkpoints"]) >= 2)
    server.api("POST", f"/jobs/{job_id}/rollback", json={"checkpointId": "s0-000010-g1"})
    until(lambda: server.job(job_id)["generation"] == 2)
    job = server.wait(job_id, "completed")
    assert job["resumes"] == [10]
    assert_exact(server, job_id, 60)
    assert server.api("POST", f"/jobs/{job_id}/rollback", 404, json={"checkpointId": "nope"})["code"] == "checkpoint_not_found"


def test_two_runs_share_the_machine_one_at_a_time(server):
    first, second = server.train(steps=40), server.train(steps=10)
    until(lambda: server.job(first)["state"] == "training")
    waiting = server.job(second)
    assert waiting["state"] == "queued" and waiting["queuePosition"] == 1
    server.wait(second, "completed")
    assert server.job(first)["state"] == "completed"


def test_the_server_restarts_in_mid_run_and_adopts_the_worker(server):
    job_id = server.train(steps=80, knobs={"stepS": 0.02})
    for step in (10, 30):
        until(lambda step=step: (server.job(job_id)["metrics"] or {}).get("step", 0) >= step)
        server.restart()
    job = server.wait(job_id, "completed")
    assert job["generation"] == 1 and server.provider.creates == 1
    assert_exact(server, job_id, 80)


def test_a_lost_create_answer_is_adopted_not_repeated(server):
    server.provider.lose_answers = 2
    job_id = server.train(steps=10)
    server.wait(job_id, "completed")
    assert server.provider.creates == 1


def test_terminate_is_asked_until_confirmed(server):
    server.provider.refuse_terminate = 5
    job_id = server.train(steps=5000, knobs={"deaf": True})
    until(lambda: server.job(job_id)["state"] == "training")
    server.api("POST", f"/jobs/{job_id}/stop")
    with server.core.db.write() as session:  # the worker does not listen: let its time to stop be over
        job = session.get_one(Job, job_id)
        job.state_since = job.state_since.replace(year=2020)
    server.wait(job_id, "stopped")
    assert server.provider.refuse_terminate == 0 and not server.provider.alive()


def test_delete_removes_run_and_files(server):
    job_id = server.train(steps=200, knobs={"stepS": 0.02})
    until(lambda: server.job(job_id)["state"] == "training")
    assert server.api("DELETE", f"/jobs/{job_id}", 409)["code"] == "run_alive"
    server.api("POST", f"/jobs/{job_id}/stop")
    server.wait(job_id, "stopped")
    server.api("DELETE", f"/jobs/{job_id}", 204)
    server.api("GET", f"/jobs/{job_id}", 404)
    assert not server.core.run_dir(job_id).exists()


def test_runs_are_found_by_words_on_every_page(server):
    ids = [server.train(steps=2, cap="5") for _ in range(4)]
    for n, job_id in enumerate(ids):
        server.wait(job_id, "completed")
        server.api("PATCH", f"/jobs/{job_id}", json={"name": f"Run {n}", "notes": "the Grüne one" if n % 2 else "plain"})

    def found(query):
        return [job["name"] for job in server.api("GET", f"/jobs?{query}")["jobs"]]

    assert found("find=grüne") == ["Run 3", "Run 1"]
    assert found("find=ONE+lora") == ["Run 3", "Run 1"]
    assert found("find=run+plain+toy") == ["Run 2", "Run 0"]
    assert found("find=nothing-like-it") == []
    first = server.api("GET", "/jobs?find=plain&limit=1")
    assert [job["name"] for job in first["jobs"]] == ["Run 2"]
    assert found(f"find=plain&limit=1&before={first['next']}") == ["Run 0"]
