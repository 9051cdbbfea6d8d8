"""Pipeline 1F1B on two processes: losses of plain autograd; each rank writes its own layers; frozen and resumed to the bit."""

from pathlib import Path

import layered_toy
import lives
import proving
import pytest
import torch
import toy
from safetensors import safe_open

from kriptik.engine import pieces
from kriptik.engine.strategies import pipeline  # noqa: F401 - imported once, before lives are forked

SIZES = {"micro_batch": 4, "accumulation": 3, "epochs": 3}
"""22 rows: 4, 4, 4 and then 4, 4, 2, where the last micro-batch is a schedule of its own, shorter than the pipeline."""


@pytest.fixture(autouse=True)
def tables(monkeypatch):
    toy.install(monkeypatch)


def norms(said):
    return [(body["loss"], body["gradientNorm"]) for body in said if body["type"] == "metrics"]


def names_by_rank(run_dir):
    folder = Path(run_dir) / "checkpoints" / lives.newest(run_dir)
    found = []
    for rank in (0, 1):
        with safe_open(folder / f"model-r{rank}.safetensors", "pt") as shard:
            names = shard.keys()
            found.append({name.split(".")[0] for name in names})
    return found


@pytest.mark.distributed
@pytest.mark.exactness
def test_losses_are_those_of_one_process(tmp_path):
    def make(folder):
        return layered_toy.no_held_out(toy.job_in(folder, samples=False, strategy="pipeline", max_grad_norm=0.5, **SIZES))

    said, job = proving.proved(make, tmp_path, at=3, about=layered_toy.DryLayers, world=2)
    expected = layered_toy.by_hand(toy.job_in(tmp_path / "hand", max_grad_norm=0.5, **SIZES), layered_toy.DryLayers)
    measured = norms(said)
    assert len(measured) == len(expected) == 6
    assert any(norm > 0.5 for _, norm in expected), "clipping over stages is at work"
    for one, other in zip(measured, expected, strict=True):
        assert one == pytest.approx(other, rel=1e-4)
    assert names_by_rank(job.run_dir) == [{"lower"}, {"upper"}]
    exported = torch.load(Path(job.run_dir) / "result" / "toy.pt")
    alone = toy.job_in(tmp_path / "alone", max_grad_norm=0.5, **SIZES)
    proving.lived(alone, layered_toy.DryLayers)
    for name, value in torch.load(Path(alone.run_dir) / "result" / "toy.pt").items():
        if not name.endswith("seen"):
            assert torch.allclose(exported[name], value, atol=1e-5), name


@pytest.mark.distributed
def test_held_out_rows_are_scored_through_all_stages(tmp_path):
    """The last rank has the output, every rank the numbers."""
    two = proving.lived(toy.job_in(tmp_path / "two", strategy="pipeline", **SIZES), layered_toy.DryLayers, world=2)
    one = proving.lived(toy.job_in(tmp_path / "one", **SIZES), layered_toy.DryLayers)
    found, expected = ([body for body in said if body["type"] == "eval"] for said in (two, one))
    assert len(found) == len(expected) > 1
    assert [body["loss"] for body in found] == pytest.approx([body["loss"] for body in expected], rel=1e-4)
    assert found[0]["rowLosses"] == pytest.approx(expected[0]["rowLosses"], rel=1e-5)
    samples = [[float(body["output"]) for body in said if body["type"] == "sample"] for said in (two, one)]
    assert samples[0] == pytest.approx(samples[1], rel=1e-4) and samples[0]


@pytest.mark.distributed
@pytest.mark.exactness
def test_dropout_and_buffers_are_resumed(tmp_path):
    """A schedule that is new after the resume asks the layers for shapes: that must leave no trace."""

    def make(folder):
        return layered_toy.no_held_out(toy.job_in(folder, samples=False, strategy="pipeline", **SIZES))

    proving.proved(make, tmp_path, at=4, about=layered_toy.LayeredToy, world=2)


@pytest.mark.distributed
def test_tied_weights_are_refused(tmp_path):
    job = toy.job_in(tmp_path, strategy="pipeline", **SIZES)
    with pytest.raises(AssertionError, match="share a weight"):
        proving.lived(job, layered_toy.TiedLayers, world=2)


def test_it_needs_a_model_in_layers():
    lacking = pieces.missing(toy.Toy, pieces.adaptation("full"), pieces.objective("squares"), pieces.strategy("pipeline"))
    assert lacking == {"layers"}
    assert {"generation"} <= pieces.missing(
        layered_toy.LayeredToy, pieces.adaptation("full"), pieces.objective("grpo"), pieces.strategy("pipeline")
    )
