"""Ranks that torchrun starts train as those that a worker starts: the same world, the same cut, the same numbers bit for bit."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "engine"))

import lives
import tiny
from test_worker_group import Life

from kriptik.spec.job import StageSettings
from kriptik.worker import group

pytestmark = pytest.mark.distributed
RANK = Path(__file__).with_name("torchrun_rank.py")


def job_in(folder, strategy, options):
    """Held-out rows are scored at every update, so that a worker, which joins lines of metrics, tells each update by itself."""
    folder.mkdir()
    settings = StageSettings(
        micro_batch=1, accumulation=2, learning_rate=2e-3, max_seq_len=96, packing=False, max_steps=4, eval_every=1,
        strategy=options,
    )  # fmt: skip
    rows = {"rows": tiny.chat_rows(16), "eval_rows": tiny.chat_rows(4, 9)}
    return tiny.tiny_job(folder, **rows, adaptation="full", strategy=strategy, settings=settings, world=2)


def by_torchrun(job):
    """Runs it to its end; (what each rank found, what was said)."""
    file = Path(job.run_dir) / "job.json"
    file.write_text(job.model_dump_json(by_alias=True))
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--master-addr", "127.0.0.1", "--master-port", str(group._free_port()), str(RANK), str(file)]
    done = subprocess.run(command, env={**os.environ, "GLOO_SOCKET_IFNAME": "lo"}, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-3000:]
    facts = [json.loads((file.parent / f"rank{rank}.json").read_text()) for rank in (0, 1)]
    return facts, [json.loads(line) for line in (file.parent / "said.jsonl").read_text().splitlines()]


def scores(said):
    return [(body["step"], body["loss"], body["rowLosses"]) for body in said if body["type"] == "eval"]


@pytest.mark.parametrize(
    ("strategy", "options", "wrapper"),
    [("deepspeed", {"stage": 2}, "DeepSpeedEngine"), pytest.param("fsdp", {}, "FSDPTask", marks=pytest.mark.slow)],
)
def test_torchrun_starts_the_same_run(tmp_path, strategy, options, wrapper):
    facts, said = by_torchrun(job_in(tmp_path / "torchrun", strategy, options))
    for rank, one in enumerate(facts):
        assert (one["rank"], one["world"], one["backend"], one["torchrun"]) == (rank, 2, "gloo", True)
        assert one["wrapper"] == wrapper and 0.45 < one["share"] < 0.55

    ours = job_in(tmp_path / "worker", strategy, options)
    life = Life(ours)
    assert life.process.wait(200) == 0, life.log.read_text()[-3000:]
    assert lives.losses(life.said()) == lives.losses(said) and len(lives.losses(said)) == 4
    assert scores(life.said()) == scores(said) and len(scores(said)) == 5
    run_dirs = [str(tmp_path / name / "run") for name in ("torchrun", "worker")]
    assert lives.final_tensors(run_dirs[0]) == lives.final_tensors(run_dirs[1])
