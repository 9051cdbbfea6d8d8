"""A rented machine whose engine counts: `python counter_pod.py` is the container's entry point, with a job file it is the worker.

Everything around the engine is the real thing. A checkpoint is the count and a chain of hashes: a resume that lost or repeated a
step ends with another one. Knobs, in the first stage's `objective`: stepS, deaf, dieAt (once), every, pad (bytes), exitAtStart.
"""

import hashlib
import json
import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace

from kriptik.spec.events import CheckpointCommitted, Metrics, RunResult, WorkerState
from kriptik.spec.job import ProbeResult, TrainJob
from kriptik.worker import __main__ as worker
from kriptik.worker import carry, pod

STEPS = 30
"""Where the job does not say how many."""


class Counter:
    """Counts to `max_steps`."""

    def framework(self):
        return "a counter"

    def probe_command(self, job_file, result):
        job = TrainJob.model_validate_json(Path(job_file).read_bytes())
        steps, pace = job.stages[0].settings.max_steps or STEPS, job.stages[0].settings.objective.get("stepS", 0.01)
        seconds = {"load_s": 0.1, "eval_s": 0, "sample_s": 0, "checkpoint_s": 0.05, "checkpoint_bytes": 100, "peak_memory_gb": 0.1}
        learnt = {"loss_first": 2, "loss_last": 1, "learns": True, "supervised_fraction": 0.5, "eos_supervised": True}
        paces = {"seconds_per_step": pace, "step_seconds_spread": 0.1, "tokens_per_second": 100}
        found = ProbeResult(total_steps=[steps], **paces, **seconds, **learnt)
        text = found.model_dump_json(by_alias=True)
        return [sys.executable, "-S", "-c", "import sys; open(sys.argv[1], 'w').write(sys.argv[2])", str(result), text]

    def rank_command(self, job_file, words):
        return [sys.executable, "-c", "raise SystemExit('one process here')"]

    def train(self, job, emit, control):
        settings = job.stages[0].settings
        knobs, total = settings.objective, settings.max_steps or STEPS
        run_dir = Path(job.run_dir)
        (run_dir / "run.lock").write_text("{}")
        step, state = 0, "start"
        if job.resume_from:
            kept = json.loads((run_dir / "checkpoints" / job.resume_from / "state.json").read_text())
            step, state = kept["step"], kept["state"]
            emit(WorkerState(state="restored", checkpoint_id=job.resume_from, exact=True))
        while step < total:
            step, state = step + 1, hashlib.sha256(state.encode()).hexdigest()
            emit(metrics(step, total))
            if knobs.get("dieAt") == step and job.generation == 1:
                time.sleep(0.5)
                os._exit(9)
            time.sleep(knobs.get("stepS", 0.01))
            wanted = "running" if knobs.get("deaf") else control().state
            if wanted != "running":
                return SimpleNamespace(state=wanted, checkpoint_id=save(job, step, state, emit, "freeze"))
            if step % knobs.get("every", 10) == 0:
                save(job, step, state, emit, "interval")
        name = save(job, step, state, emit, "stage_end")
        (run_dir / "result").mkdir(exist_ok=True)
        (run_dir / "result" / "state.json").write_text(state)
        emit(RunResult(adapter_path="result", model_path="result", bytes=64))
        return SimpleNamespace(state="completed", checkpoint_id=name)


def save(job, step, state, emit, reason):
    name = f"s0-{step:06d}-g{job.generation}"
    folder = Path(job.run_dir) / "checkpoints" / name
    if (folder / "_COMPLETE").exists():
        return name
    folder.mkdir(parents=True)
    pad = "x" * job.stages[0].settings.objective.get("pad", 0)
    shard = json.dumps({"step": step, "state": state, "pad": pad}).encode()
    (folder / "state.json").write_bytes(shard)
    files = {"state.json": {"sha256": hashlib.sha256(shard).hexdigest(), "bytes": len(shard)}}
    manifest = json.dumps({"stage": 0, "step": step, "files": files}).encode()
    (folder / "manifest.json").write_bytes(manifest)
    (folder / "_COMPLETE").write_bytes(b"")
    digest = hashlib.sha256(manifest).hexdigest()
    facts = {"checkpoint_id": name, "stage": 0, "step": step, "bytes": len(shard), "manifest_sha256": digest, "seconds": 0.01}
    emit(CheckpointCommitted(**facts, loss=1.0, reason=reason))
    return name


def metrics(step, total):
    numbers = {"learning_rate": 1e-3, "gradient_norm": 1.0, "tokens": 10, "tokens_per_second": 100.0}
    progress = {"samples_processed": step, "total_samples": total, "elapsed_s": step * 0.1}
    return Metrics(stage=0, step=step, total_steps=total, epoch=step / total, total_epochs=1, loss=1 / step, **numbers, **progress)


def expected(steps):
    """What an undisturbed run ends with."""
    state = "start"
    for _ in range(steps):
        state = hashlib.sha256(state.encode()).hexdigest()
    return state


if __name__ == "__main__":
    if len(sys.argv) > 1:
        worker.FLUSH_S, worker.FLUSH_LOST_S = 10.0, 0.2
        carry.PATIENCE_S = 10.0
        sys.exit(worker.main(sys.argv[1:], Counter()))
    pod.WORKER = (sys.executable, __file__)
    sys.exit(pod.main())
