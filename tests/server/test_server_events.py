"""Events: stored once, numbered without gaps, streamed with resume; and 10,000 of them through five killed servers."""

import gzip
import json
import os
import random
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest
from harness import add_run, sse, until
from sqlalchemy import select

from kriptik.server.core import open_core
from kriptik.server.settings import Settings
from kriptik.store import jobs, people
from kriptik.store.tables import EventRow, Job

EVENTS, KILLS = 10_000, 5


def line(seq, generation=1, message="x"):
    body = {"type": "log", "severity": "info", "message": message}
    return {"generation": generation, "seq": seq, "at": "2026-01-01T00:00:00Z", "body": body}


def open_generation(core, job_id, number=1):
    """A generation whose worker is this test; the run rests, so that the reconciler leaves it alone."""
    token = core.worker_token(job_id, number)
    with core.db.write() as session:
        job = session.get_one(Job, job_id)
        job.state, job.generation = "frozen", number
        jobs.add_generation(session, job_id, number, "train", people.digest(token), None, core.clock())
    return token


@pytest.fixture
def post(server):
    job_id = server.train()
    token = open_generation(server.core, job_id)

    def send(events, status=200, generation=1, token=token, **options):
        answer = server.http.post(
            f"/api/worker/v1/jobs/{job_id}/generations/{generation}/events",
            headers={"Authorization": f"Bearer {token}"},
            **(options or {"json": {"events": events}}),
        )
        assert answer.status_code == status, answer.text
        return answer.json()

    send.job_id, send.token = job_id, token
    return send


def stored(server, job_id, generation=1):
    with server.core.db.read() as session:
        query = select(EventRow.seq).where(EventRow.stream_id == job_id, EventRow.generation == generation)
        return list(session.scalars(query.order_by(EventRow.id)))


def test_repeats_are_stored_once_and_gaps_are_not_acknowledged(server, post):
    assert post([line(1), line(2)])["ackSeq"] == 2
    assert post([line(2), line(3)])["ackSeq"] == 3
    assert post([line(5), line(6)])["ackSeq"] == 3
    assert post([line(6), line(4), line(5)])["ackSeq"] == 6
    assert post([])["ackSeq"] == 6
    assert stored(server, post.job_id) == [1, 2, 3, 4, 5, 6]


def test_gzip_bodies_and_their_limits(server, post):
    body = json.dumps({"events": [line(1)]}).encode()
    headers = {"Authorization": f"Bearer {post.token}", "Content-Encoding": "gzip"}
    bomb = gzip.compress(b"0" * (64 << 20))
    assert _raw(server, post.job_id, bomb, headers, 413)["code"] == "too_large"
    assert _raw(server, post.job_id, b"not gzip", headers, 422)["code"] == "bad_gzip"
    assert _raw(server, post.job_id, gzip.compress(body), headers, 200)["ackSeq"] == 1


def _raw(server, job_id, body, headers, status):
    answer = server.http.post(f"/api/worker/v1/jobs/{job_id}/generations/1/events", content=body, headers=headers)
    assert answer.status_code == status, answer.text
    return answer.json()


def test_tokens_and_old_generations_are_refused(server, post):
    assert post([line(1)], 401, token="wrong")["code"] == "bad_worker_token"
    assert post([line(1)], 401, generation=2)["code"] == "bad_worker_token"
    assert post([line(1, generation=2)], 422)["code"] == "wrong_generation"
    open_generation(server.core, post.job_id, 2)
    assert post([line(1)], 409)["code"] == "stale_generation"
    assert stored(server, post.job_id) == []


def test_a_malformed_event_stores_nothing(server, post):
    bad = {"generation": 1, "seq": 2, "at": "2026-01-01T00:00:00Z", "body": {"type": "no such type"}}
    assert post([line(1), bad], 422)["code"] == "invalid_input"
    assert stored(server, post.job_id) == []


def test_desired_state_wakes_the_long_poll_at_once(server, post):
    headers = {"Authorization": f"Bearer {post.token}"}
    path = f"/api/worker/v1/jobs/{post.job_id}/generations/1/desired"
    assert server.http.get(path, headers=headers).json()["desired"] == {
        "version": 1,
        "state": "running",
        "reason": "",
        "requests": [],
    }
    took = []

    def wait():
        started = time.monotonic()
        with httpx.Client(trust_env=False, timeout=30) as http:
            answer = http.get(f"http://127.0.0.1:{server.port}{path}?since=1&wait=20", headers=headers)
        took.append((time.monotonic() - started, answer.json()["desired"]))

    waiter = threading.Thread(target=wait)
    waiter.start()
    until(lambda: server.core.bus._waiting)
    with server.core.db.write() as session:
        jobs.want(jobs.generation(session, post.job_id, 1), "frozen", "user", server.core.clock())
    server.core.bus.wake(post.job_id)
    waiter.join(10)
    assert took[0][1]["state"] == "frozen" and took[0][1]["version"] == 2 and took[0][0] < 5
    lease = server.http.post(f"{path}/ack", headers=headers, json={"version": 2, "result": "done", "checkpointId": "c1"}).json()
    assert lease["desired"]["version"] == 2
    assert server.http.post(f"{path}/ack", headers=headers, json={"version": 9, "result": "done"}).status_code == 422


def test_the_stream_resumes_where_it_was_left(server, post):
    post([line(n, message=f"m{n}") for n in range(1, 21)])
    path = f"/jobs/{post.job_id}/stream"
    first = sse(server, path, 8)
    assert [int(i) for i, _ in first] == list(range(1, 9))
    rest = sse(server, path, 13, last_id=first[-1][0])
    ids = [int(i) for i, _ in first + rest]
    assert ids == list(range(1, 22)), "each once, in order, none left out"
    _, message = rest[-1]
    assert message["type"] == "log" and message["logs"][0]["message"] == "m20" and message["body"]["message"] == "m20"
    assert server.api("GET", "/jobs/unknown/stream", 404)["code"] == "job_not_found"
    page = server.api("GET", f"/jobs/{post.job_id}/events?after=20")
    assert [m["id"] for m in page["messages"]] == [21] and page["lastEventId"] == 21


def test_a_live_stream_brings_what_comes_later(server, post):
    got = []
    reader = threading.Thread(target=lambda: got.extend(sse(server, f"/jobs/{post.job_id}/stream", 4, last_id=1)))
    reader.start()
    until(lambda: server.core.bus._waiting)
    for n in range(1, 5):
        post([line(n)])
    reader.join(10)
    assert [m["seq"] for _, m in got] == [1, 2, 3, 4]


def test_a_whole_run_on_the_stream_and_its_setup(server):
    job_id = server.train(steps=12)
    server.wait(job_id, "completed")
    last = server.job(job_id)["lastEventId"]
    messages = [m for _, m in sse(server, f"/jobs/{job_id}/stream", last)]
    kinds = [m["type"] for m in messages]
    assert {"state", "setup", "worker", "stage", "metrics", "checkpoint", "result", "complete", "notice"} <= set(kinds)
    complete = next(m for m in messages if m["type"] == "complete")
    assert complete["result"]["modelPath"] == "result" and complete["state"] == "completed"
    assert all("metrics" in m for m in messages if m["type"] == "metrics")
    setup = [m for _, m in sse(server, f"/jobs/{job_id}/setup/stream", 6)]
    assert {m["type"] for m in setup} <= {"setup", "state", "log", "worker", "probe"}


def test_metrics_are_thinned_and_the_newest_generation_wins(server, post):
    def point(seq, step, loss):
        body = {
            "type": "metrics",
            "stage": 0,
            "step": step,
            "totalSteps": 4000,
            "epoch": 0.1,
            "totalEpochs": 1,
            "loss": loss,
            "learningRate": 1e-4,
            "gradientNorm": 1,
            "tokens": 1,
            "tokensPerSecond": 1,
            "samplesProcessed": 1,
            "totalSamples": 1,
            "elapsedS": 1,
        }
        return {**line(seq), "body": body}

    points = [point(n, n, 99.0 if n == 1234 else 2.0) for n in range(1, 3001)]
    for start in range(0, 3000, 500):
        post(points[start : start + 500])
    history = server.api("GET", f"/jobs/{post.job_id}/metrics?points=200")
    assert history["total"] == 3000 and len(history["points"]) <= 200
    assert 99.0 in [p["loss"] for p in history["points"]], "a spike survives the thinning"
    token = open_generation(server.core, post.job_id, 2)
    post([{**point(1, 2999, 1.0), "generation": 2}], generation=2, token=token)
    tail = server.api("GET", f"/jobs/{post.job_id}/metrics?fromStep=2999")
    assert [(p["step"], p["loss"], p["generation"]) for p in tail["points"]] == [(2999, 1.0, 2), (3000, 2.0, 1)]


@pytest.mark.chaos
def test_ten_thousand_events_through_five_killed_servers(tmp_path):
    home = tmp_path / "home"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    core = open_core(Settings.from_env(home=home, port=port), {})
    job_id = add_run(core)
    token = open_generation(core, job_id)
    core.db.close()
    processes = []

    def start():
        script = Path(__file__).parent / "serve_home.py"
        processes.append(subprocess.Popen([sys.executable, str(script), str(home), str(port)], env=dict(os.environ)))

    def kill_often(done):
        for mark in (1500, 3200, 4800, 6600, 8300):
            while done["acked"] < mark:
                time.sleep(0.002)
            processes[-1].kill()
            processes[-1].wait(10)
            start()

    start()
    progress = {"acked": 0}
    killer = threading.Thread(target=kill_often, args=(progress,), daemon=True)
    killer.start()
    try:
        _send_all(port, job_id, token, progress)
        killer.join(30)
    finally:
        processes[-1].kill()
        processes[-1].wait(10)
    assert len(processes) == KILLS + 1
    core = open_core(Settings.from_env(home=home, port=port), {})
    with core.db.read() as session:
        rows = session.execute(
            select(EventRow.id, EventRow.seq, EventRow.body)
            .where(EventRow.stream_id == job_id, EventRow.generation == 1)
            .order_by(EventRow.id)
        ).all()
    core.db.close()
    assert [seq for _, seq, _ in rows] == list(range(1, EVENTS + 1)), "none lost, none twice, in order"
    assert [i for i, _, _ in rows] == list(range(rows[0].id, rows[0].id + EVENTS))
    assert all(body["message"] == f"m{seq}" for _, seq, body in rows)


def _send_all(port, job_id, token, progress):
    """Sends in batches of any size, with repeats and gaps; every acknowledgement must hold for ever."""
    dice = random.Random(7)
    url = f"http://127.0.0.1:{port}/api/worker/v1/jobs/{job_id}/generations/1/events"
    http = httpx.Client(timeout=10, trust_env=False, headers={"Authorization": f"Bearer {token}"})
    end = time.monotonic() + 240
    while progress["acked"] < EVENTS and time.monotonic() < end:
        acked = progress["acked"]
        first = max(1, acked + 1 - dice.choice([0, 0, 0, 5, 40])) + dice.choice([0, 0, 0, 0, 3])
        batch = [line(n, message=f"m{n}") for n in range(first, min(EVENTS, first + dice.randint(1, 60)) + 1)]
        try:
            answer = http.post(url, json={"events": batch})
        except httpx.TransportError:
            time.sleep(0.02)
            continue
        assert answer.status_code == 200, answer.text
        assert answer.json()["ackSeq"] >= acked, "an acknowledged event was lost"
        progress["acked"] = answer.json()["ackSeq"]
    assert progress["acked"] == EVENTS
