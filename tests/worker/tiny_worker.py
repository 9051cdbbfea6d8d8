"""A worker process whose engine is a counter: `tiny_worker.py job.json`. Everything around the engine is the real thing.

Knobs, in the first stage's `objective`: stepS, deaf (never looks at what is wanted), failAt, flushS.
"""

import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace

from kriptik.spec.errors import WorkerError
from kriptik.spec.events import CheckpointCommitted, Log, Metrics
from kriptik.spec.testing import TestResult
from kriptik.worker import __main__ as worker


class Tiny:
    """Counts to `max_steps`; its checkpoint is the count."""

    def framework(self):
        return "a counter"

    def probe_command(self, job_file, result):
        return [sys.executable, "-c", "raise SystemExit('no probe here')"]

    def rank_command(self, job_file, words):
        return [sys.executable, "-c", "raise SystemExit('one process here')"]

    def train(self, job, emit, control):
        settings = job.stages[0].settings
        knobs, total = settings.objective, settings.max_steps
        folder = Path(job.run_dir) / "checkpoints"
        step = int(job.resume_from.split("-")[1]) if job.resume_from else 0
        emit(Log(message=f"torch is {'loaded' if 'torch' in sys.modules else 'not loaded'}"))
        while step < total:
            step += 1
            if knobs.get("failAt") == step:
                raise WorkerError("out_of_luck", "The counter broke.", "Count again.")
            emit(metrics(step, total))
            time.sleep(knobs.get("stepS", 0.005))
            wanted = "running" if knobs.get("deaf") else control().state
            if wanted != "running":
                return SimpleNamespace(state=wanted, checkpoint_id=self.save(folder, step, emit, "freeze"))
            if step % 10 == 0:
                self.save(folder, step, emit, "interval")
        return SimpleNamespace(state="completed", checkpoint_id=self.save(folder, step, emit, "stage_end"))

    def save(self, folder, step, emit, reason):
        name = f"s0-{step:06d}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(step))
        facts = {"checkpoint_id": name, "stage": 0, "step": step, "bytes": 2, "manifest_sha256": "0" * 64, "seconds": 0.0}
        emit(CheckpointCommitted(**facts, reason=reason))
        return name

    def answerer(self, job):
        def answer(request):
            if request.text_prompt == "fail":
                raise ValueError("cannot say that")
            return TestResult(output=request.text_prompt[::-1], latency=0.0, cost=0, metadata={})

        return SimpleNamespace(answer=answer)

    def export(self, job, emit):
        raise WorkerError("nothing_to_export", "There is no result.")


def metrics(step, total):
    numbers = {"learning_rate": 1e-3, "gradient_norm": 1.0, "tokens": 10, "tokens_per_second": 100.0}
    progress = {"samples_processed": step, "total_samples": total, "elapsed_s": step * 0.1}
    return Metrics(stage=0, step=step, total_steps=total, epoch=step / total, total_epochs=1, loss=1 / step, **numbers, **progress)


if __name__ == "__main__":
    knobs = json.loads(Path(sys.argv[1]).read_bytes())["stages"][0]["settings"]["objective"] if len(sys.argv) > 1 else {}
    worker.FLUSH_S = knobs.get("flushS", 10.0)
    worker.FLUSH_LOST_S = 0.2
    sys.exit(worker.main(sys.argv[1:], Tiny()))
