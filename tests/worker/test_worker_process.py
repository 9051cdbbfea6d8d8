"""The worker as the process it is, with a counter for an engine: ends, kills, signals, fences, a server that is away."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from worker_server import WorkerServer

pytestmark = pytest.mark.chaos
TINY = Path(__file__).with_name("tiny_worker.py")


def until(condition, limit_s=20.0):
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.01)
    raise AssertionError("this did not happen in time")


@pytest.fixture
def server():
    made = WorkerServer()
    yield made
    made.stop()


@pytest.fixture
def start(tmp_path, server):
    processes = []

    def run(steps=20, generation=1, resume_from=None, kind="train", knobs=None, **control):
        stage = {
            "index": 0,
            "name": "Count",
            "method": "lora",
            "point": {"adaptation": "lora", "objective": "causal_lm", "strategy": "single"},
            "settings": {"maxSteps": steps, "objective": {"flushS": 5, **(knobs or {})}},
        }
        job = {
            "jobId": "j",
            "generation": generation,
            "kind": kind,
            "runDir": str(tmp_path),
            "cacheDir": str(tmp_path),
            "capability": "text_generation",
            "baseModel": {"id": "toy"},
            "stages": [stage],
            "probe": False,
            "resumeFrom": resume_from,
            "control": {"serverUrl": server.url, "leaseS": 30, "graceS": 900, **control},
        }
        path = tmp_path / f"job{generation}.json"
        path.write_text(json.dumps(job))
        environment = {**os.environ, "KRIPTIK_WORKER_TOKEN": "secret", "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen([sys.executable, str(TINY), str(path)], env=environment, stderr=subprocess.PIPE, text=True)
        processes.append(process)
        return process

    yield run
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=10)


def spooled(tmp_path, generation=1):
    return [json.loads(line) for line in (tmp_path / "events" / f"g{generation}.jsonl").read_bytes().splitlines()]


def steps(server):
    return [body["step"] for body in server.bodies("metrics")]


def test_to_the_end(start, server, tmp_path):
    assert start(20).wait(30) == 0
    first, *_, last = server.bodies()
    assert (first["type"], first["state"]) == ("worker", "started")
    assert (last["state"], last["checkpointId"]) == ("completed", "s0-000020")
    assert sum(body["tokens"] for body in server.bodies("metrics")) == 200
    assert [b["stage"] for b in server.bodies("setup") if b["status"] == "completed"] == [
        *("framework", "data", "monitoring", "verification")
    ]
    assert any(body["message"] == "torch is not loaded" for body in server.bodies("log"))
    assert {call[2] for call in server.calls} == {"Bearer secret"}
    assert [event["seq"] for event in spooled(tmp_path)] == sorted(server.events), "spool and server hold the same"
    assert json.loads((tmp_path / "events" / "g1.worker.json").read_text())["exitCode"] == 0
    assert not list(tmp_path.rglob("*secret*")) and "secret" not in (tmp_path / "job1.json").read_text()


def test_frozen_by_the_server_with_an_acknowledgement(start, server):
    process = start(5000)
    until(lambda: server.bodies("checkpoint"))
    server.want("frozen", "budget")
    assert process.wait(30) == 0
    last = server.bodies()[-1]
    assert last["state"] == "frozen" and last["code"] is None
    assert server.acks == [{"version": 1, "result": "done", "checkpointId": last["checkpointId"]}]


def test_a_kill_tears_at_most_the_last_line_and_the_next_generation_goes_on(start, server, tmp_path):
    process = start(5000)
    until(lambda: server.bodies("checkpoint"))
    process.send_signal(signal.SIGKILL)
    assert process.wait(30) == -9
    kept = spooled(tmp_path)
    assert [event["seq"] for event in kept] == list(range(1, len(kept) + 1))
    assert server.ack_seq() <= len(kept), "nothing was acknowledged that the spool does not hold"
    newest = max(event["body"]["checkpointId"] for event in kept if event["body"]["type"] == "checkpoint")
    server.events.clear()
    again = start(int(newest.split("-")[1]) + 5, generation=2, resume_from=newest)
    assert again.wait(30) == 0
    assert server.bodies()[-1]["state"] == "completed" and steps(server)[0] == int(newest.split("-")[1]) + 1
    assert spooled(tmp_path)[: len(kept)] == kept, "the old spool is left alone"


def test_the_same_generation_started_again_goes_on_numbering(start, server, tmp_path):
    process = start(5000)
    until(lambda: server.bodies("metrics"))
    process.kill()
    process.wait(30)
    path = tmp_path / "events" / "g1.jsonl"
    with path.open("ab") as file:
        file.write(b'{"generation":1,"seq":99')
    assert start(10).wait(30) == 0
    seqs = [event["seq"] for event in spooled(tmp_path)]
    assert seqs == list(range(1, len(seqs) + 1)) == sorted(server.events)


def test_sigterm_saves_and_says_so(start, server):
    process = start(5000)
    until(lambda: server.bodies("metrics"))
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    last = server.bodies()[-1]
    assert (last["state"], last["code"]) == ("frozen", "terminated") and last["checkpointId"] and server.acks == []


def test_fenced_ends_and_writes_nothing_more(start, server, tmp_path):
    process = start(5000)
    until(lambda: server.bodies("metrics"))
    server.fenced = True
    assert process.wait(30) == 3
    assert "Fenced" in process.stderr.read()
    events = spooled(tmp_path)
    assert not any(e["body"].get("state") in ("frozen", "failed", "stopped") for e in events)


def test_fenced_before_its_first_word(start, server):
    server.fenced = True
    assert start(100_000).wait(30) == 3


def test_two_of_one_generation(start, server):
    first = start(5000)
    until(lambda: server.bodies("metrics"))
    second = start(5000)
    assert second.wait(30) == 3 and "Another worker" in second.stderr.read()
    assert first.poll() is None


def test_a_failure_is_an_event_with_a_next_step(start, server):
    assert start(20, knobs={"failAt": 5}).wait(30) == 1
    last = server.bodies()[-1]
    assert (last["state"], last["code"], last["nextStep"]) == ("failed", "out_of_luck", "Count again.")
    assert "Every committed checkpoint is kept." in last["message"] and "out_of_luck" not in last["message"]
    assert "tiny_worker" in last["cause"]


def test_the_money_runs_out(start, server):
    process = start(50_000, reserveS=4.0)
    until(lambda: server.bodies("metrics"))
    server.money_for(4.5)
    server.want("running", "less money")
    assert process.wait(30) == 0
    last = server.bodies()[-1]
    assert (last["state"], last["code"]) == ("frozen", "hard_stop")


def test_the_money_runs_out_while_the_last_word_is_on_its_way(start, server, tmp_path):
    process = start(50_000, reserveS=4.0, knobs={"flushS": 60.0})
    until(lambda: server.bodies("metrics"))
    server.next_answers += ["hang"] * 1000
    server.money_for(4.5)
    server.want("running", "less money")
    assert process.wait(60) == 0
    last = spooled(tmp_path)[-1]["body"]
    assert (last["state"], last["code"]) == ("frozen", "hard_stop"), "what was saved is not called a failure"


def test_an_engine_that_does_not_obey_is_ended_hard(start, server):
    process = start(50_000, knobs={"deaf": True}, reserveS=0.5)
    until(lambda: server.bodies("metrics"))
    server.money_for(0.8)
    server.want("running", "less money")
    assert process.wait(30) == 4
    last = server.bodies()[-1]
    assert (last["state"], last["code"]) == ("failed", "hard_stop")


def test_a_server_that_was_never_there(start, server, tmp_path):
    server.away = True
    assert start(10, knobs={"flushS": 0.3}).wait(30) == 0
    events = spooled(tmp_path)
    assert events[-1]["body"]["state"] == "completed" and server.events == {}


def test_contact_lost_for_too_long(start, server, tmp_path):
    server.lease_s = 0.3
    process = start(50_000, leaseS=0.3, graceS=0.3)
    until(lambda: server.bodies("metrics"))
    server.away = True
    assert process.wait(30) == 0
    last = spooled(tmp_path)[-1]["body"]
    assert (last["state"], last["code"]) == ("frozen", "lost_contact") and last["checkpointId"]


def test_a_server_that_restarts_in_mid_run_misses_nothing(start, server):
    process = start(400)
    for _ in range(3):
        seen = len(server.events)
        until(lambda seen=seen: len(server.events) > seen + 1)
        port, events = server.port, server.events
        server.stop()
        time.sleep(0.1)
        server.start(port)
        server.events = events
    assert process.wait(60) == 0
    assert server.ack_seq() == len(server.events) and server.bodies()[-1]["state"] == "completed"


def test_serving_answers_until_it_is_told_to_stop(start, server):
    requests = [
        {"requestId": "a", "request": {"textPrompt": "abc"}},
        {"requestId": "b", "request": {"textPrompt": "fail"}},
        {"requestId": "c", "request": {"nonsense": 1}},
    ]
    server.desired["requests"] = requests
    process = start(kind="serve")
    until(lambda: len(server.bodies("test_result")) == 3)
    server.want("stopped")
    assert process.wait(30) == 0
    answers = {body["requestId"]: body for body in server.bodies("test_result")}
    assert answers["a"]["result"]["output"] == "cba" and "cannot say that" in answers["b"]["error"] and answers["c"]["error"]
    assert len(answers) == 3 == len(server.bodies("test_result")), "each is answered once"


@pytest.mark.parametrize("content", [None, b"", b"{}", b"\xff", b'{"jobId": "j"}'])
def test_a_job_file_that_is_none(tmp_path, content):
    path = tmp_path / "job.json"
    if content is not None:
        path.write_bytes(content)
    done = subprocess.run([sys.executable, "-m", "kriptik.worker", str(path)], capture_output=True, text=True, timeout=30)
    assert done.returncode == 2 and "usage" in done.stderr and "Traceback" not in done.stderr
