"""One rank of a run that torchrun starts: `torchrun --nproc-per-node 2 torchrun_rank.py job.json`.

Beside the run's events (`said.jsonl`, which rank 0 alone has) each rank writes down where it found itself (`rank0.json` …).
"""

import json
import sys
from pathlib import Path

import torch.distributed as dist

from kriptik.engine import train as loop
from kriptik.spec.events import Desired
from kriptik.spec.job import TrainJob


def found(session):
    """What this rank is one of, what wraps the model, and how much of what is trained it keeps (its weights or optimizer)."""
    runtime = session.runtime
    engine = getattr(runtime, "engine", None)
    mine = runtime._pieces() if engine else runtime.optimizer.parameters.values()
    return {
        "rank": dist.get_rank(),
        "world": dist.get_world_size(),
        "backend": dist.get_backend(),
        "torchrun": dist.is_torchelastic_launched(),
        "wrapper": type(engine or runtime._task).__name__,
        "share": sum(one.numel() for one in mine) / sum(one.numel() for one in session.bundle.trainee.parameters()),
    }


def main(job_file):
    job = TrainJob.model_validate_json(Path(job_file).read_bytes())
    folder, opened = Path(job.run_dir), loop.open_stage

    def watched(*asked):
        session, place = opened(*asked)
        facts = found(session)
        (folder / f"rank{facts['rank']}.json").write_text(json.dumps(facts))
        return session, place

    loop.open_stage = watched
    with (folder / "said.jsonl").open("a") as log:
        loop.train(job, lambda body: log.write(json.dumps(body.document()) + "\n"), lambda: Desired(version=1))


if __name__ == "__main__":
    main(sys.argv[1])
