"""The worker's verification stage with the real smoke test: its line for people, and runs that are not begun."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "engine"))

import test_liveness as liveness
import tiny
from transformers import AutoTokenizer

from kriptik.spec.errors import WorkerError
from kriptik.spec.events import ProbeDone
from kriptik.spec.job import ProbeResult
from kriptik.worker import kinds
from kriptik.worker.control import Control
from kriptik.worker.pieces import Engine


def work_of(job):
    """(the worker's work on a job that is to be verified, what it says)."""
    said, file = [], Path(job.run_dir) / "job.json"
    job = job.model_copy(update={"probe": True})
    file.write_text(job.model_dump_json(by_alias=True))
    return kinds.Work(job, file, said.append, Control(None), Engine()), said


def test_its_line_says_what_was_learnt_and_that_turns_do_not_end(tmp_path):
    base = tiny.tiny_model(tmp_path / "base")
    words = AutoTokenizer.from_pretrained(base)
    words.chat_template = liveness.ENDLESS
    words.save_pretrained(base)
    work, said = work_of(liveness.job_in(tmp_path))
    line = kinds._verify(work)
    result = said[0].result
    assert f"loss on 4 rows {result.loss_first:.4g} to {result.loss_last:.4g} in {result.fitted_updates} update" in line
    assert f"{result.supervised_fraction:.0%} of tokens teach" in line
    assert "the end of a turn is NOT learnt" in line


def test_a_run_that_would_learn_nothing_is_not_begun(tmp_path):
    work, said = work_of(liveness.job_in(tmp_path, learning_rate=1e-12))
    with pytest.raises(WorkerError, match="did not learn: loss on 4 rows") as refused:
        kinds._verify(work)
    assert refused.value.code == "does_not_learn" and "learning rate" in refused.value.next_step
    assert isinstance(said[0], ProbeDone) and not said[0].result.learns


def test_what_the_smoke_test_refuses_keeps_its_own_words(tmp_path):
    rows = tiny.chat_rows(24)
    for row in rows:
        row["messages"][-1]["weight"] = 0
    work, said = work_of(liveness.job_in(tmp_path, rows=rows))
    with pytest.raises(WorkerError, match="None of the rows has a token that is learnt") as refused:
        kinds._verify(work)
    assert refused.value.code == "nothing_supervised" and not said


def test_weights_that_stay_and_answers_of_its_own_are_called_so():
    measured = dict.fromkeys(("seconds_per_step", "step_seconds_spread", "tokens_per_second", "peak_memory_gb", "load_s"), 1.0)
    looked = {"eval_s": 1, "sample_s": 1, "checkpoint_s": 1, "checkpoint_bytes": 1, "total_steps": [6]}
    result = ProbeResult(
        **measured, **looked, loss_first=2.5, loss_last=None, learns=False, fitted="answers", fitted_rows=1, fitted_updates=1
    )
    assert kinds._fitted(result) == "loss on 1 answer of its own 2.5 to no number in 1 update"
    assert kinds._taught(result) == []
    still = kinds._learnt_nothing(result.model_copy(update={"moved_fraction": 0.0}))
    assert still.sentence == "The smoke test did not learn: none of the weights that are trained moved."
