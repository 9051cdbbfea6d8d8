"""A worker of two processes on this machine: killed at either rank, told to end, resumed; in the end the bits of a run left alone."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "engine"))

import lives
import tiny

from kriptik.engine.text import documents
from kriptik.spec.errors import WorkerError
from kriptik.spec.job import StageSettings
from kriptik.worker import group

pytestmark = [pytest.mark.distributed, pytest.mark.chaos]


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


def test_killed_at_either_rank_told_to_end_and_resumed(tmp_path):
    assert documents.NAME
    straight = job_in(tmp_path / "straight")
    codes, said = lives.live_together(straight)
    assert codes == [0, 0], [one.read_text() for one in Path(straight.run_dir).glob("error-*")]
    merged = {}

    first = Life(job_in(tmp_path / "killed"))
    os.kill(first.until_saved().pid, signal.SIGKILL)
    assert first.process.wait(30) == 1, "one rank's end is the end of all"
    last = first.said()[-1]
    assert (last["state"], last["code"]) == ("failed", "rank_lost")
    assert "Process 2 of 2 was killed by signal 9" in last["message"]
    merged |= lives.losses(first.said())

    second = first.next()
    rank = second.until_saved()
    second.process.send_signal(signal.SIGTERM)
    assert second.process.wait(30) == 0 and gone(rank, 0.0)
    last = second.said()[-1]
    assert (last["state"], last["code"], last["checkpointId"]) == ("frozen", "terminated", lives.newest(straight_dir := second.job.run_dir))
    assert straight_dir != straight.run_dir
    merged |= lives.losses(second.said())

    third = second.next()
    rank = third.until_saved()
    third.process.kill()
    third.process.wait(10)
    assert gone(rank), "a rank does not outlive rank 0"
    merged |= lives.losses(third.said())

    fourth = third.next()
    assert fourth.process.wait(90) == 0, fourth.log.read_text()[-3000:]
    merged |= lives.losses(fourth.said())
    assert fourth.said()[-1]["state"] == "completed"
    assert merged == lives.losses(said) and len(merged) == 72
    assert lives.final_tensors(fourth.job.run_dir) == lives.final_tensors(straight.run_dir)
    assert [one.name for one in (Path(fourth.job.run_dir) / "result/model").glob("*.safetensors")] == ["model.safetensors"]


def test_a_rank_that_fails_says_why(tmp_path):
    """The second rank is refused by the engine; rank 0 hears of it in that rank's words."""
    job = job_in(tmp_path / "run", strategy="single")
    life = Life(job)
    assert life.process.wait(60) == 1
    assert (life.said()[-1]["code"], "2 were started" in life.said()[-1]["message"]) == ("other_world", True)


def test_too_few_gpus_are_refused_before_anything_is_started(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    with pytest.raises(WorkerError, match="gave it 1 GPUs"), group.spread(job_in(tmp_path / "run"), tmp_path, list, print):
        raise AssertionError("never here")
