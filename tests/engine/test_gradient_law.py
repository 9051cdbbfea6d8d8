"""One gradient law: 8 × 1 = 1 × 8 = 2 ranks × 4; and two ranks freeze and resume like one."""

from pathlib import Path

import lives
import pytest
import tiny
import torch
import toy

from kriptik.engine import ranks
from kriptik.engine.strategies.optim import NamedOptimizer
from kriptik.engine.train import train
from kriptik.spec.job import StageSettings


@pytest.fixture(autouse=True)
def tables(monkeypatch):
    toy.install(monkeypatch)


@pytest.fixture
def recorded(monkeypatch):
    """Every update's gradients go to a file in the folder given."""
    original = NamedOptimizer.step

    def into(folder):
        count = [0]

        def step(self, lr):
            if ranks.rank() == 0:
                gradients = {name: one.grad.clone() for name, one in self.parameters.items()}
                torch.save(gradients, Path(folder) / f"gradients-{count[0]}.pt")
            count[0] += 1
            original(self, lr)

        monkeypatch.setattr(NamedOptimizer, "step", step)

    return into


def first_gradients(folder):
    return torch.load(Path(folder) / "gradients-0.pt")


def run_toy(folder, recorded, micro_batch, accumulation, **changes):
    job = toy.job_in(folder, micro_batch=micro_batch, accumulation=accumulation, max_steps=2, max_grad_norm=1e9, **changes)
    recorded(folder)
    train(job, lambda body: None, toy.running, toy.PlainToy)
    return first_gradients(folder)


def close(one, other, tolerance=1e-6):
    assert one.keys() == other.keys()
    return all(torch.allclose(one[name], other[name], rtol=tolerance, atol=tolerance) for name in one)


def test_rows_count_by_weight_however_they_are_cut(tmp_path, recorded):
    """22 rows of weights 1 to 3: a mean of means would differ."""
    one = run_toy(tmp_path / "8x1", recorded, 8, 1)
    other = run_toy(tmp_path / "1x8", recorded, 1, 8)
    uneven = run_toy(tmp_path / "3x3", recorded, 3, 3)
    assert close(one, other) and not close(one, uneven)


def run_text(folder, recorded, micro_batch, accumulation):
    settings = StageSettings(
        micro_batch=micro_batch, accumulation=accumulation, max_seq_len=96, packing=False, max_steps=1, max_grad_norm=1e9
    )
    folder.mkdir()
    recorded(folder)
    train(tiny.tiny_job(folder, rows=tiny.chat_rows(8), adaptation="full", settings=settings), lambda body: None, toy.running)
    return first_gradients(folder)


def test_text_counts_supervised_tokens(tmp_path, recorded):
    """All eight rows are one update, whatever the micro-batch."""
    one, other = run_text(tmp_path / "8x1", recorded, 8, 1), run_text(tmp_path / "1x8", recorded, 1, 8)
    assert close(one, other, 2e-5)


@pytest.mark.distributed
def test_two_ranks(tmp_path, recorded):
    alone = run_toy(tmp_path / "alone", recorded, 1, 8)
    folder = tmp_path / "two"
    job = toy.job_in(folder, micro_batch=1, accumulation=4, max_steps=2, max_grad_norm=1e9, strategy="ddp")
    recorded(folder)
    codes, said = lives.live_together(job, about=toy.PlainToy)
    assert codes == [0, 0], [one.read_text() for one in folder.glob("error-*")]
    assert close(alone, first_gradients(folder))
    assert [body["type"] for body in said].count("metrics") == 2


@pytest.mark.distributed
def test_two_ranks_freeze_and_resume(tmp_path):
    """11 micro-batches an epoch: in the last update of each the second rank has nothing to do."""
    settings = {"micro_batch": 2, "accumulation": 1, "strategy": "ddp"}
    straight = toy.job_in(tmp_path / "a", **settings)
    codes, said = lives.live_together(straight, about=toy.Toy)
    assert codes == [0, 0], [one.read_text() for one in (tmp_path / "a").glob("error-*")]
    assert len(lives.losses(said)) == 12
    job = toy.job_in(tmp_path / "b", **settings)
    codes, early = lives.live_together(job, about=toy.Toy, control=toy.Wish(8))
    start = lives.newest(job.run_dir)
    assert codes == [0, 0] and start and not start.startswith(("s0-000000", "s0-000012"))
    codes, late = lives.live_together(job.model_copy(update={"generation": 2, "resume_from": start}), about=toy.Toy)
    assert codes == [0, 0]
    assert lives.losses(early) | lives.losses(late) == lives.losses(said)
    assert lives.final_tensors(job.run_dir) == lives.final_tensors(straight.run_dir)
