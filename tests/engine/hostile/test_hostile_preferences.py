"""Preference objectives however work is cut: one micro-batch = four = two ranks; a freeze while references are made."""

import proving
import pytest
import tiny
import torch
from test_exact import freeze_at

from kriptik.engine.checkpoint import Checkpoints
from kriptik.engine.text import reference
from kriptik.engine.train import train
from kriptik.spec.errors import DataError, WorkerError
from kriptik.spec.job import LoraSettings, StageSettings

ROWS = {"dpo": tiny.preference_rows, "orpo": tiny.preference_rows, "kto": tiny.feedback_rows, "reward": tiny.preference_rows}


def job_in(folder, objective, adaptation="full", micro=2, accumulation=2, strategy="single", rows=None, **changes):
    folder.mkdir(parents=True, exist_ok=True)
    settings = StageSettings(
        epochs=2,
        micro_batch=micro,
        accumulation=accumulation,
        learning_rate=1e-3,
        schedule="constant",
        max_seq_len=96,
        packing=False,
        lora=LoraSettings(rank=4, alpha=8),
    )
    made = ROWS[objective]
    return tiny.tiny_job(
        folder,
        rows=rows or made(14),
        eval_rows=made(5, 9),
        objective=objective,
        adaptation=adaptation,
        strategy=strategy,
        settings=settings,
        **changes,
    )


@pytest.mark.exactness
@pytest.mark.parametrize("objective", ["dpo", "orpo", "kto", "reward"])
def test_the_cut_of_an_update_does_not_matter(tmp_path, objective):
    """The same four rows in one micro-batch or in four, one after another: the same loss and gradient norm. KTO's KL too."""
    found = []
    for micro, accumulation in ((4, 1), (1, 4)):
        job = job_in(tmp_path / str(micro), objective, micro=micro, accumulation=accumulation, rows=ROWS[objective](4))
        first = next(body for body in proving.lived(job) if body["type"] == "metrics")
        found.append((first["loss"], first["gradientNorm"]))
    assert found[0] == pytest.approx(found[1], rel=1e-4)


@pytest.mark.distributed
@pytest.mark.exactness
@pytest.mark.parametrize("objective", ["dpo", "kto", "reward"])
def test_two_ranks_are_one(tmp_path, objective):
    """DPO in full: each rank scores half of the references; KTO: the KL is over both ranks. Frozen in the second epoch."""
    alone = proving.lived(job_in(tmp_path / "alone", objective))
    make = lambda folder: job_in(folder, objective, accumulation=1, strategy="ddp")  # noqa: E731
    together, job = proving.proved(make, tmp_path, at=5, world=2, control=freeze_at(5))
    assert proving.metrics(together) == pytest.approx(proving.metrics(alone), rel=1e-4)
    assert [body["loss"] for body in together if body["type"] == "eval"] == pytest.approx(
        [body["loss"] for body in alone if body["type"] == "eval"], rel=1e-4
    )
    if objective == "dpo":
        store = Checkpoints(job.run_dir)
        tables = [store.tensors(store.ids()[-1], "loop", rank)["objective/references/train"] for rank in (0, 1)]
        assert torch.equal(*tables) and not tables[0].isnan().any()


@pytest.mark.exactness
def test_frozen_while_references_are_made(tmp_path, monkeypatch):
    monkeypatch.setattr(reference, "CHUNK", 3)
    straight = job_in(tmp_path / "straight", "dpo")
    losses = proving.lives.losses(proving.lived(straight))
    job = job_in(tmp_path / "frozen", "dpo")
    outcome = train(job, lambda body: None, proving.toy.Wish(4))
    assert (outcome.state, outcome.step) == ("frozen", 0)
    kept = Checkpoints(job.run_dir).tensors(outcome.checkpoint_id, "loop", 0)["objective/references/train"]
    assert 0 < int(kept[:, 0].isnan().sum()) < 14, "some rows are scored, some are not"
    late = proving.lived(job.model_copy(update={"generation": 2, "resume_from": outcome.checkpoint_id}))
    assert proving.lives.losses(late) == losses
    assert proving.lives.final_tensors(job.run_dir) == proving.lives.final_tensors(straight.run_dir)


@pytest.mark.exactness
def test_the_second_stage_is_held_to_the_first(tmp_path):
    """Stage 1 moves the model, stage 2 begins with no log-ratio: its reference is the model that stage 1 left."""
    job = job_in(tmp_path, "dpo", "lora")
    first, second = job.stages[0], job.stages[0].model_copy(update={"index": 1})
    moved = first.model_copy(update={"point": first.point.model_copy(update={"objective": "causal_lm"})})
    said = proving.lived(job.model_copy(update={"stages": [moved, second]}))
    metrics = [body for body in said if body["type"] == "metrics"]
    assert metrics[0]["loss"] > metrics[6]["loss"]
    start = next(body for body in metrics if body["stage"] == 1)
    assert start["loss"] == pytest.approx(0.6931, abs=1e-3) and abs(start["custom"]["margin"]) < 1e-3


@pytest.mark.parametrize(
    ("objective", "row", "words"),
    [
        ("dpo", {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]}, "no messages in 'prompt'"),
        ("kto", {"prompt": [{"role": "user", "content": "x"}], "completion": [{"role": "assistant", "content": "y"}]}, "no label"),
        ("reward", {"prompt": [{"role": "user", "content": "x"}], "chosen": "y", "rejected": "z"}, "no messages in 'chosen'"),
    ],
)
def test_rows_of_another_kind_are_named(tmp_path, objective, row, words):
    with pytest.raises(DataError, match=words) as refused:
        train(job_in(tmp_path, objective, rows=[row]), lambda body: None, proving.toy.running)
    assert refused.value.fields == {"row": 1}


def test_kto_needs_a_reference(tmp_path):
    with pytest.raises(WorkerError, match="KTO needs the model as it was"):
        train(job_in(tmp_path, "kto", "relora"), lambda body: None, proving.toy.running)
