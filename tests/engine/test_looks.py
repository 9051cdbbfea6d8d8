"""What the server says is still to come is what the loop then does: updates, held-out rows, answers, checkpoints."""

from collections import Counter

import pytest
import tiny

from kriptik.engine.train import train
from kriptik.pipeline.looks import Looks, looks_of
from kriptik.spec.events import Desired, Metrics, RunResult
from kriptik.spec.job import ProbeResult, SamplePrompt, StageSettings

QUICK = ProbeResult(
    seconds_per_step=0.1, step_seconds_spread=0.1, tokens_per_second=100, peak_memory_gb=1, load_s=1, eval_s=0.1, sample_s=0.1,
    checkpoint_s=0.1, checkpoint_bytes=10, total_steps=[6, 6], loss_first=3, loss_last=2, learns=True, supervised_fraction=0.5,
    eos_supervised=True,
)  # fmt: skip


def two_stages(root, **every):
    settings = StageSettings(micro_batch=2, accumulation=2, learning_rate=5e-3, max_seq_len=96, packing=False, **every)
    asked = SamplePrompt(messages=[{"role": "user", "content": "Repeat in reverse: json text"}])
    job = tiny.tiny_job(root, eval_rows=tiny.chat_rows(4, seed=4), settings=settings, samples=[asked])
    return job.model_copy(update={"stages": [job.stages[0], job.stages[0].model_copy(update={"index": 1})]})


@pytest.mark.parametrize("every", [{}, {"eval_every": 2, "sample_every": 3, "checkpoint_every": 4}, {"eval_every": 6}])
def test_a_run_looks_as_often_as_is_counted(tmp_path, every):
    job, said = two_stages(tmp_path, **every), []
    train(job, said.append, lambda: Desired(version=1))
    totals = [next(one.total_steps for one in said if isinstance(one, Metrics) and one.stage == stage) for stage in (0, 1)]
    assert totals == [6, 6]

    def left(stage=0, step=0):
        return looks_of([one.settings for one in job.stages], totals, QUICK, stage, step)

    for at, body in enumerate(said):
        if isinstance(body, Metrics):
            assert left(body.stage, body.step) == counted(said[at + 1 :]), f"after step {body.step} of stage {body.stage}"
    assert left() == counted(said)
    (result,) = (one for one in said if isinstance(one, RunResult))
    assert 0.05 < result.peak_memory_gb < 64


def counted(bodies):
    kinds = Counter(body.type for body in bodies)
    return Looks(kinds["metrics"], kinds["eval"], kinds["sample"], kinds["checkpoint"])


def test_checkpoints_come_by_the_clock_as_well():
    slow = QUICK.model_copy(update={"seconds_per_step": 30.0})
    found = looks_of([StageSettings(checkpoint_every_s=60)], [6], slow)
    assert found.checkpoints == 1 + 3, "180 s of updates, and the end of the stage"
    assert found.seconds(slow) == pytest.approx(180 + 2 * 0.1 + 2 * 0.1 + 4 * 0.1)
