"""Memory of QLoRA beside LoRA: the same few updates on SmolLM2-135M, each in a process of its own; resident bytes."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from measure import divided, faq, job_of, peak_gb

SHORT = 128
"""Rows are short, so that weights and not activations decide."""
UPDATES = 4


def memory(folder: Path) -> dict[str, Any]:
    """Peak in GB of a base in fp32 and of one in 4 bits."""
    rows = [{"messages": [{"role": "user", "content": one["q"]}, {"role": "assistant", "content": one["a"]}]} for one in faq()]
    divided(folder, rows)
    found: dict[str, Any] = {}
    for name, precision in (("lora", "fp32"), ("qlora", "nf4")):
        done = subprocess.run([sys.executable, __file__, str(folder), precision], capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(done.stderr[-3000:])
        found[name] = json.loads(done.stdout.strip().splitlines()[-1])
    saved = found["lora"]["trained_gb"] - found["qlora"]["trained_gb"]
    return {**found, "saved_gb": saved, "holds": saved > 0.1}


def one(folder: Path, precision: str) -> dict[str, Any]:
    """Resident memory while training, sampled at the end of each update, and the peak of the whole process."""
    import psutil

    from kriptik.engine.train import train
    from kriptik.spec.events import Desired, Metrics

    held: list[float] = []
    sizes = {"max_steps": UPDATES, "micro_batch": 1, "max_seq_len": SHORT}
    job = job_of(folder / precision, precision, "causal_lm", learning_rate=2e-4, **sizes)
    data = job.data.model_copy(update={"train_path": str(folder / "train.jsonl")})
    job = job.model_copy(update={"precision": precision, "data": data})

    def emit(body: Any) -> None:
        if isinstance(body, Metrics):
            held.append(psutil.Process().memory_info().rss / 1e9)

    wanted = Desired(version=1)
    train(job, emit, lambda: wanted)
    return {"trained_gb": sorted(held)[len(held) // 2], "peak_gb": peak_gb()}


if __name__ == "__main__":
    print(json.dumps(one(Path(sys.argv[1]), sys.argv[2])))
