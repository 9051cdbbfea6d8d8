"""An update without a finite gradient is dropped alike by every strategy: weights stay, and the next ones go on."""

import json
import math
from pathlib import Path

import layered_toy
import proving
import pytest
import toy

SIZES = {"micro_batch": 2, "epochs": 2, "max_grad_norm": 0.5}


@pytest.fixture(autouse=True)
def tables(monkeypatch):
    toy.install(monkeypatch)


def job_in(folder, strategy):
    """One row of 22 has no number to learn."""
    accumulation = 2 if strategy in ("ddp", "deepspeed") else 4
    job = layered_toy.no_held_out(toy.job_in(folder, strategy=strategy, accumulation=accumulation, samples=False, **SIZES))
    file = Path(job.data.train_path)
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    rows[9]["y"] = math.nan
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return job


@pytest.mark.distributed
@pytest.mark.parametrize("strategy", ["ddp", "deepspeed", "pipeline"])
def test_dropped_alike(tmp_path, strategy):
    alone = proving.lived(job_in(tmp_path / "single", "single"), layered_toy.DryLayers)
    said = proving.lived(job_in(tmp_path / strategy, strategy), layered_toy.DryLayers, world=2)
    finite = [[math.isfinite(one) for one in proving.metrics(run, "gradientNorm")] for run in (alone, said)]
    assert finite[0] == finite[1] and finite[0].count(False) == 2
    kept = [one for one in finite[0] if one]
    losses = [[loss for loss, ok in zip(proving.metrics(run), finite[0], strict=True) if ok] for run in (alone, said)]
    assert len(losses[0]) == len(kept) > 2
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
