"""A Llama cut into stages: in a row they are the whole model, and the pipeline trains it as one process does."""

import proving
import pytest
import tiny
import torch

from kriptik.engine import stage
from kriptik.engine.modalities.text import Text
from kriptik.engine.text.layers import cut
from kriptik.spec.errors import WorkerError
from kriptik.spec.job import LoraSettings, StageSettings


def job_in(folder, adaptation="full", strategy="single", *, tied=False, held_out=None):
    folder.mkdir(parents=True, exist_ok=True)
    tiny.tiny_model(folder / "base", layers=3, tied=tied)
    settings = StageSettings(
        max_steps=6, micro_batch=1, accumulation=3, learning_rate=2e-3, max_seq_len=64, packing=False,
        lora=LoraSettings(rank=4, alpha=8, dropout=0.0),
    )
    return tiny.tiny_job(
        folder, rows=tiny.chat_rows(14), eval_rows=held_out, adaptation=adaptation, strategy=strategy, settings=settings
    )


@pytest.mark.parametrize("adaptation", ["full", "lora"])
@pytest.mark.parametrize("stages", [1, 2, 3])
def test_stages_in_a_row_are_the_model(tmp_path, adaptation, stages):
    run = stage.load(job_in(tmp_path, adaptation), Text)
    session, place = stage.open_stage(run, 0, None)
    _, group = place.cursor.next()
    for bins in group:
        micro = session.collate(bins)
        parts = run.modality.layers(run.bundle, stages)
        with torch.no_grad():
            whole = run.modality.forward(run.bundle.trainee, micro)
            output = parts[0](**micro.inputs)
            for part in parts[1:]:
                output = part(output, **micro.inputs)
        assert torch.equal(parts[-1].result(output).hidden, whole.hidden)
        assert parts[-1].result(output).head is whole.head


def test_too_many_stages_are_refused(tmp_path):
    run = stage.load(job_in(tmp_path), Text)
    with pytest.raises(WorkerError, match="3 layers"):
        cut(run.bundle.trainee, 4)


@pytest.mark.distributed
@pytest.mark.exactness
@pytest.mark.parametrize(("adaptation", "tied"), [("full", False), ("lora", True)])
def test_a_llama_trains_in_a_pipeline(tmp_path, adaptation, tied):
    """Micro-batches of differing lengths; with LoRA the tied embedding is frozen, so both ends may hold it."""
    alone = proving.lived(job_in(tmp_path / "alone", adaptation, tied=tied))
    said, _ = proving.proved(lambda folder: job_in(folder, adaptation, "pipeline", tied=tied), tmp_path, at=3, world=2)
    assert proving.metrics(said) == pytest.approx(proving.metrics(alone), rel=1e-4)
    assert proving.metrics(said, "gradientNorm") == pytest.approx(proving.metrics(alone, "gradientNorm"), rel=1e-3)
    assert proving.metrics(said, "tokens") == proving.metrics(alone, "tokens")


@pytest.mark.distributed
def test_held_out_rows_score_alike(tmp_path):
    alone, piped = (
        proving.lived(job_in(tmp_path / kind, strategy=kind, held_out=tiny.chat_rows(5, 9)), world=world)
        for kind, world in (("single", 1), ("pipeline", 2))
    )
    losses = [[body["loss"] for body in said if body["type"] == "eval"] for said in (alone, piped)]
    assert len(losses[0]) == 2 and losses[1] == pytest.approx(losses[0], rel=1e-4)
    assert losses[0][1] < losses[0][0]
