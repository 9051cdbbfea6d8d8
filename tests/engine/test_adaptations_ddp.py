"""Adaptations that look at gradients do the same on every rank: two ranks learn what one learns."""

import lives
import pytest
import tiny
import toy

from kriptik.engine.train import train
from kriptik.spec.job import LoraSettings, StageSettings

pytestmark = pytest.mark.distributed
OWN = {
    "adalora": {"init_rank": 4, "warmup_share": 0.2, "final_share": 0.3},
    "galore": {"rank": 8, "update_every": 2},
}


def job_in(folder, kind, world):
    folder.mkdir()
    settings = StageSettings(
        max_steps=5,
        micro_batch=1,
        accumulation=4 // world,
        learning_rate=2e-2 if kind == "adalora" else 2e-3,
        max_seq_len=96,
        lora=LoraSettings(rank=2, alpha=16),
        adaptation=OWN[kind],
    )
    strategy = "single" if world == 1 else "ddp"
    return tiny.tiny_job(folder, rows=tiny.chat_rows(40), adaptation=kind, strategy=strategy, settings=settings)


@pytest.mark.parametrize("kind", sorted(OWN))
def test_two_ranks_learn_what_one_learns(tmp_path, kind):
    said = []
    train(job_in(tmp_path / "one", kind, 1), said.append, toy.running)
    alone = lives.losses([body.document() for body in said])
    codes, together = lives.live_together(job_in(tmp_path / "two", kind, 2))
    assert codes == [0, 0], [one.read_text() for one in (tmp_path / "two/run").glob("error-*")]
    found = lives.losses(together)
    assert len(found) == len(alone) == 5
    for place, numbers in alone.items():
        assert found[place][:2] == pytest.approx(numbers[:2], rel=2e-3), place
