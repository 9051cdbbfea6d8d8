"""Test sessions: deploy, ask, compare, extend, end, expire; and what bills is gone afterwards."""

from datetime import timedelta

from harness import until

from kriptik.store.tables import TrialRow


def deploy(server, job_id):
    session = server.api("POST", "/test/deploy", json={"modelId": job_id})
    until(lambda: server.api("GET", f"/test/sessions/{session['id']}")["state"] == "ready")
    return session["id"]


def test_base_and_tuned_answer_side_by_side(server):
    job_id = server.train(steps=5)
    server.wait(job_id, "completed")
    session_id = deploy(server, job_id)
    answer = server.api("POST", "/test/run", json={"sessionId": session_id, "request": {"textPrompt": "hello"}})
    assert answer["output"] == "tuned: hello"
    both = server.api("POST", "/test/compare", json={"sessionId": session_id, "request": {"textPrompt": "hello"}})
    assert (both["base"]["output"], both["tuned"]["output"], both["prompt"]) == ("base: hello", "tuned: hello", "hello")
    kept = server.api("POST", f"/test/comparisons/{both['id']}", json={"preferred": "tuned"})
    assert kept["preferred"] == "tuned"
    assert server.api("POST", "/test/deploy", json={"jobId": job_id})["id"] == session_id, "a live session is reused"
    before = server.api("GET", f"/test/sessions/{session_id}")["expiresAt"]
    assert server.api("POST", f"/test/sessions/{session_id}/extend", json={"minutes": 5})["expiresAt"] > before
    server.api("DELETE", f"/test/sessions/{session_id}")
    until(lambda: not server.provider.alive())
    problem = server.api("POST", "/test/run", 409, json={"sessionId": session_id, "request": {"textPrompt": "x"}})
    assert problem["code"] == "session_ended"


def test_a_session_ends_at_its_expiry(server):
    job_id = server.train(steps=5)
    server.wait(job_id, "completed")
    session_id = deploy(server, job_id)
    with server.core.db.write() as session:
        row = session.get_one(TrialRow, session_id)
        row.expires_at -= timedelta(hours=1)
    until(lambda: server.api("GET", f"/test/sessions/{session_id}")["state"] == "ended")
    until(lambda: not server.provider.alive())


def test_a_checkpoint_is_tried_in_mid_run_without_touching_the_run(server):
    job_id = server.train(steps=80, knobs={"stepS": 0.02})
    until(lambda: server.job(job_id)["checkpoints"])
    session_id = deploy(server, job_id)
    assert server.api("GET", f"/test/sessions/{session_id}")["checkpointId"]
    assert server.job(job_id)["state"] == "training"
    server.api("DELETE", f"/test/sessions/{session_id}")
    server.wait(job_id, "completed")
    until(lambda: not server.provider.alive())


def test_nothing_to_test_is_said(server):
    job_id = server.train(steps=60, knobs={"stepS": 0.05})
    assert server.api("POST", "/test/deploy", 409, json={"jobId": job_id})["code"] == "nothing_to_test"
    assert server.api("POST", "/test/deploy", 422, json={})["code"] == "invalid_input"
    server.api("POST", f"/jobs/{job_id}/stop")
    server.wait(job_id, "stopped")
