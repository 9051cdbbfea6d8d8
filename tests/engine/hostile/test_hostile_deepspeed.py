"""ZeRO by DeepSpeed on two processes: losses of plain autograd, state really cut in two, frozen and resumed to the bit."""

from importlib import import_module
from pathlib import Path

import layered_toy
import lives
import proving
import pytest
import toy
from safetensors.torch import load_file

from kriptik.engine import pieces
from kriptik.engine.strategies import zero
from kriptik.spec.job import StageSettings

SIZES = {"micro_batch": 2, "epochs": 2, "max_grad_norm": 0.5}
"""22 rows, 11 micro-batches an epoch: in the last update of each the second rank has one micro-batch less, so it idles once."""


@pytest.fixture(scope="module", autouse=True)
def imported():
    """Once, before lives are forked: nearly all of a life's time would be imports."""
    pytest.importorskip("deepspeed")
    zero.library()
    import_module("deepspeed.runtime.zero.muon.muon_optimizer")


@pytest.fixture(autouse=True)
def tables(monkeypatch):
    toy.install(monkeypatch)


def job_in(folder, stage, **changes):
    job = toy.job_in(folder, samples=False, strategy="deepspeed", accumulation=2, **{**SIZES, **changes})
    (only,) = job.stages
    settings = only.settings.model_copy(update={"strategy": {"stage": stage}})
    return layered_toy.no_held_out(job.model_copy(update={"stages": [only.model_copy(update={"settings": settings})]}))


def by_hand(folder):
    return layered_toy.by_hand(toy.job_in(folder, accumulation=4, **SIZES), layered_toy.DryLayers)


def norms(said):
    return [(body["loss"], body["gradientNorm"]) for body in said if body["type"] == "metrics"]


def same(measured, expected):
    assert len(measured) == len(expected) == 6
    for one, other in zip(measured, expected, strict=True):
        assert one == pytest.approx(other, rel=1e-4)


@pytest.mark.distributed
@pytest.mark.exactness
def test_zero_2_is_one_process_and_resumes(tmp_path):
    said, job = proving.proved(lambda folder: job_in(folder, 2), tmp_path, at=4, about=layered_toy.DryLayers, world=2)
    expected = by_hand(tmp_path / "hand")
    assert any(norm > 0.5 for _, norm in expected), "clipping over ranks is at work"
    same(norms(said), expected)
    folder = Path(job.run_dir) / "checkpoints" / lives.newest(job.run_dir)
    parts = [load_file(folder / f"optimizer-r{rank}.safetensors") for rank in (0, 1)]
    weights = sum(one.numel() for one in load_file(folder / "model-r0.safetensors").values()) - 1  # without the buffer
    for one in parts:
        kept = sum(value.numel() for name, value in one.items() if name.endswith("exp_avg"))
        assert weights / 2 <= kept <= weights / 2 + 8, "each rank keeps half of the optimizer's state"
    assert any(not value.equal(parts[1][name]) for name, value in parts[0].items())


@pytest.mark.distributed
@pytest.mark.exactness
def test_dropout_is_resumed(tmp_path):
    proving.proved(lambda folder: job_in(folder, 2), tmp_path, at=2, about=layered_toy.LayeredToy, world=2)


@pytest.mark.distributed
def test_zero_1_is_one_process(tmp_path):
    same(norms(proving.lived(job_in(tmp_path / "run", 1), layered_toy.DryLayers, world=2)), by_hand(tmp_path / "hand"))


@pytest.mark.distributed
def test_zero_3_is_one_process(tmp_path):
    same(norms(proving.lived(job_in(tmp_path / "run", 3), layered_toy.DryLayers, world=2)), by_hand(tmp_path / "hand"))


def test_what_there_is_not_is_refused(tmp_path):
    with pytest.raises(AssertionError, match="no ZeRO stage 4"):
        proving.lived(job_in(tmp_path / "four", 4), layered_toy.DryLayers)
    job = job_in(tmp_path / "offload", 3)
    (only,) = job.stages
    settings = only.settings.model_copy(update={"strategy": {"stage": 3, "offload": "cpu"}})
    with pytest.raises(AssertionError, match="knows no 'offload'"):
        proving.lived(job.model_copy(update={"stages": [only.model_copy(update={"settings": settings})]}), layered_toy.DryLayers)


def test_one_process_is_refused(tmp_path):
    with pytest.raises(AssertionError, match="two processes or more"):
        proving.lived(job_in(tmp_path, 2), layered_toy.DryLayers)


def test_what_needs_whole_weights_does_not_go_with_it():
    def lacking(adaptation, objective, stage=2):
        return pieces.missing(
            layered_toy.LayeredToy,
            pieces.adaptation(adaptation),
            pieces.objective(objective),
            pieces.strategy("deepspeed"),
            StageSettings(strategy={"stage": stage}),
        )

    assert lacking("full", "squares") == frozenset()
    assert {"whole_weights", "reset_optimizer"} <= lacking("relora", "squares")
    assert "own_backward" in lacking("full", "contrastive")
    assert "alone" not in lacking("full", "kto")
    assert "alone" in lacking("full", "kto", 3)
    assert "generation" in lacking("lora", "grpo", 3)
