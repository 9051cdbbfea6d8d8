"""The one loop with a toy modality: what it does, what it says, and that a resumed run goes on bit for bit."""

import pytest
import torch
import toy

from kriptik.engine.train import train


@pytest.fixture(autouse=True)
def tables(monkeypatch):
    toy.install(monkeypatch)


def go(job, control=toy.running, about=toy.Toy):
    said = []
    return train(job, said.append, control, about), said


def of(said, kind):
    return [body for body in said if body.type == kind]


def weights(folder):
    return torch.load(folder / "result" / "toy.pt")


def losses(said):
    return [(body.stage, body.step, body.loss, body.gradient_norm, body.learning_rate) for body in of(said, "metrics")]


def test_a_run_says_what_it_does(tmp_path):
    outcome, said = go(toy.job_in(tmp_path))
    assert (outcome.state, outcome.step) == ("completed", 12)
    assert [body.step for body in of(said, "metrics")] == list(range(1, 13))
    assert of(said, "metrics")[-1].epoch == 2.0 and of(said, "metrics")[-1].samples_processed == 44
    assert [body.step for body in of(said, "eval")] == [0, 4, 8, 12]
    assert len(of(said, "eval")[0].row_losses) == 6 and of(said, "eval")[1].row_losses is None
    assert [(body.step, body.base) for body in of(said, "sample")] == [(0, True), (12, False)]
    (result,) = of(said, "result")
    assert result.eval_after.loss < 0.8 * result.eval_before.loss
    assert result.tokens == 44 and result.model_path == "result/toy.pt"
    assert of(said, "checkpoint")[-1].reason == "stage_end" and of(said, "worker")[0].state == "ready"


@pytest.mark.parametrize("objective", ["squares", "rolled"])
@pytest.mark.parametrize("steps", [1, 3, 5, 7])
def test_frozen_and_resumed_equals_straight(tmp_path, objective, steps):
    straight = toy.job_in(tmp_path / "a", objective=objective)
    _, said = go(straight)
    job = toy.job_in(tmp_path / "b", objective=objective)
    outcome, before = go(job, toy.Wish(steps + 4))
    assert outcome.state == "frozen" and 0 < outcome.step < of(said, "metrics")[-1].step
    _, after = go(job.model_copy(update={"generation": 2, "resume_from": outcome.checkpoint_id}))
    assert losses(before) + losses(after) == losses(said)
    assert [one.loss for one in of(before, "eval") + of(after, "eval")] == [one.loss for one in of(said, "eval")]
    one, other = weights(tmp_path / "a"), weights(tmp_path / "b")
    assert all(torch.equal(one[name], other[name]) for name in one)
    restored = next(body for body in of(after, "worker") if body.state == "restored")
    assert restored.exact is True
    (first,), (second,) = of(said, "result"), of(after, "result")
    assert first.eval_before == second.eval_before and first.tokens == second.tokens
