"""A worker of two processes on this machine: a rank killed, told to end, resumed; in the end the bits of a run left alone."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from clock import within

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "engine"))

import lives
import tiny

from kriptik.engine.text import documents
from kriptik.spec.errors import WorkerError
from kriptik.spec.job import StageSettings
from kriptik.worker import group
from kriptik.worker.pieces import Engine

pytestmark = pytest.mark.distributed


def job_in(folder, strategy="fsdp", world=2):
    folder.mkdir()
    settings = StageSettings(
        micro_batch=1, accumulation=1, learning_rate=2e-3, max_seq_len=96, packing=False, epochs=6, checkpoint_every=3
    )
    job = tiny.tiny_job(folder, adaptation="full", strategy=strategy, settings=settings, world=world)
    return job.model_copy(update={"samples": []})


class Life:
    """One worker process, its ranks, and what it has written so far."""

    def __init__(self, job):
        self.job = job
        file = Path(job.run_dir) / f"job{job.generation}.json"
        file.write_text(job.model_dump_json(by_alias=True))
        self.log = Path(job.run_dir) / f"log{job.generation}.txt"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen([sys.executable, "-m", "kriptik.worker", str(file)], stdout=log, stderr=log)

    def said(self):
        path = Path(self.job.run_dir) / "events" / f"g{self.job.generation}.jsonl"
        whole = path.read_bytes().rpartition(b"\n")[0].splitlines() if path.exists() else []
        return [json.loads(line)["body"] for line in whole]

    def until_saved(self):
        """Waits for a checkpoint of this life; returns the other rank's process."""
        self.until(lambda: any(body["type"] == "checkpoint" for body in self.said()))
        (rank,) = [one for one in psutil.Process(self.process.pid).children() if "kriptik.worker.rank" in one.cmdline()]
        return rank

    def until(self, condition, limit_s=60.0):
        end = time.monotonic() + limit_s
        while not condition():
            assert time.monotonic() < end and self.process.poll() is None, self.log.read_text()[-3000:]
            time.sleep(0.01)

    def next(self):
        later = {"generation": self.job.generation + 1, "resume_from": lives.newest(self.job.run_dir)}
        return Life(self.job.model_copy(update=later))


def gone(process, limit_s=10.0):
    end = time.monotonic() + limit_s
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def norms(losses):
    """Of updates that are told one by one; most lines of a worker stand for several."""
    return {place: numbers[1:3] for place, numbers in losses.items()}


def test_a_rank_killed_then_told_to_end_then_left_alone(tmp_path):
    assert documents.NAME
    straight = job_in(tmp_path / "straight")
    codes, said = lives.live_together(straight)
    assert codes == [0, 0], [one.read_text() for one in Path(straight.run_dir).glob("error-*")]
    expected = norms(lives.losses(said))

    first = Life(job_in(tmp_path / "killed"))
    os.kill(first.until_saved().pid, signal.SIGKILL)
    assert first.process.wait(30) == 1, "one rank's end is the end of all"
    last = first.said()[-1]
    assert (last["state"], last["code"]) == ("failed", "rank_lost")
    assert "Process 2 of 2 was killed by signal 9" in last["message"]

    second = first.next()
    rank = second.until_saved()
    second.process.send_signal(signal.SIGTERM)
    assert second.process.wait(30) == 0 and gone(rank, 0.0)
    last = second.said()[-1]
    assert (last["state"], last["code"]) == ("frozen", "terminated")
    assert last["checkpointId"] == lives.newest(second.job.run_dir)

    third = second.next()
    assert third.process.wait(90) == 0, third.log.read_text()[-3000:]
    assert third.said()[-1]["state"] == "completed"
    found = norms(lives.losses(first.said()) | lives.losses(second.said()) | lives.losses(third.said()))
    assert found == {place: expected[place] for place in found} and max(found) == max(expected)
    assert lives.final_tensors(third.job.run_dir) == lives.final_tensors(straight.run_dir)
    assert [one.name for one in (Path(third.job.run_dir) / "result/model").glob("*.safetensors")] == ["model.safetensors"]


def test_a_rank_does_not_outlive_rank_0(tmp_path):
    """Rank 0's end closes the rank's standard input, whatever it waits for: here, for a rank 0 that is not there."""
    file = tmp_path / "job.json"
    file.write_text(job_in(tmp_path / "run").model_dump_json(by_alias=True))
    place = {**os.environ, **group._place(1, 2), "MASTER_PORT": str(group._free_port())}
    command = Engine().rank_command(file, tmp_path / "words.json")
    with subprocess.Popen(command, env=place, stdin=subprocess.PIPE) as process:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)
        process.stdin.close()
        assert process.wait(20) == 5


def dying(source):
    return lambda job_file, words: [sys.executable, "-c", source, str(words)]


def test_a_rank_that_fails_says_why(tmp_path):
    words = {"code": "data_missing", "sentence": "No rows here.", "nextStep": "Upload them."}
    source = f"import sys, pathlib; pathlib.Path(sys.argv[1]).write_text({json.dumps(words)!r}); sys.exit(1)"
    before = dict(os.environ)
    job = job_in(tmp_path / "run")
    with pytest.raises(WorkerError, match="No rows here") as raised, group.spread(job, tmp_path, dying(source), print):
        assert os.environ["WORLD_SIZE"] == "2"
        time.sleep(0.5)
        raise RuntimeError("the connection was closed")
    assert raised.value.code == "data_missing"
    assert dict(os.environ) == before


def test_rank_0_is_ended_where_it_does_not_notice(tmp_path, monkeypatch):
    monkeypatch.setattr(group, "UNWIND_S", 0.1)
    heard = []
    with group.spread(job_in(tmp_path / "run"), tmp_path, dying("raise SystemExit(3)"), heard.append):
        end = time.monotonic() + 20
        while not heard and time.monotonic() < end:
            time.sleep(0.02)
    assert heard[0].code == "rank_lost" and "Process 2 of 2 ended with exit code 3" in heard[0].sentence


def test_too_few_gpus_are_refused_before_anything_is_started(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    with pytest.raises(WorkerError, match="gave it 1 GPUs"), group.spread(job_in(tmp_path / "run"), tmp_path, list, print):
        raise AssertionError("never here")


SLOW = 3.0
"""So many times as slow as usual, a machine ends the smoke test by its clock after fewer updates."""


def test_the_smoke_test_runs_on_all_ranks(tmp_path):
    """Sharded over two processes, it measures, chooses and leaves nothing behind; the run then goes its way."""
    job = job_in(tmp_path / "run").model_copy(update={"probe": True})
    life = Life(job)
    assert life.process.wait(120) == 0, life.log.read_text()[-3000:]
    (told,) = [body["result"] for body in life.said() if body["type"] == "probe"]
    assert told["learns"] and told["checkpointBytes"] > 0 and told["secondsPerStep"] > 0
    assert told["tried"][0]["microBatch"] == 1 and told["chosen"]["steps"] >= (5 if within(1.0) < SLOW else 2)
    verified = [body for body in life.said() if body["type"] == "setup" and body["stage"] == "verification"]
    assert "Left out" not in verified[-1]["message"] and "1 at once" in verified[-1]["message"]
    assert life.said()[-1]["state"] == "completed" and not (tmp_path / "run" / "run" / ".probe").exists()
