"""The smoke test as its own command: it measures, fixes the settings once, and says when nothing is learnt."""

import json
import subprocess
import sys
import time

import pytest
import test_conformance as suite
from subjects import SUBJECTS
from tiny import chat_rows, tiny_job

from kriptik.engine import lock, pieces
from kriptik.engine.probe import probe
from kriptik.engine.stage import load
from kriptik.engine.train import train
from kriptik.spec.events import Desired, EvalResult
from kriptik.spec.job import ProbeResult, SamplePrompt, StageSettings


@pytest.fixture
def job(tmp_path):
    prompt = SamplePrompt(messages=[{"role": "user", "content": "Repeat in reverse: json text"}])
    return tiny_job(tmp_path, eval_rows=chat_rows(20, seed=3), samples=[prompt], threads=1)


def test_the_command_measures_and_fixes_the_settings(job, tmp_path):
    file, out = tmp_path / "job.json", tmp_path / "probe.json"
    file.write_text(job.model_dump_json(by_alias=True))
    command = [sys.executable, "-m", "kriptik.engine.probe", str(file), str(out)]
    done = subprocess.run(command, timeout=120, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    result = ProbeResult.model_validate_json(out.read_text())
    assert result.learns and result.loss_last < result.loss_first
    assert result.eos_supervised and 0 < result.supervised_fraction < 1
    measured = result.model_dump(include={"seconds_per_step", "tokens_per_second", "peak_memory_gb", "eval_s", "sample_s"})
    assert min(measured.values()) > 0 and result.checkpoint_s > 0 and result.checkpoint_bytes > 0
    fixed = lock.read(job.run_dir)
    assert fixed.total_steps == result.total_steps
    assert fixed.micro_batch * fixed.accumulation == 4
    assert not (tmp_path / "run" / "checkpoints").exists(), "its checkpoint was only for the clock"


def test_training_is_the_same_with_and_without_it(tmp_path):
    def losses(root, probed):
        root.mkdir()
        settings = StageSettings(micro_batch=1, learning_rate=5e-3, max_seq_len=96)
        job = tiny_job(root, eval_rows=chat_rows(8, seed=3), settings=settings)
        if probed:
            probe(job)
        said = []
        train(job, said.append, lambda: Desired(version=1))
        return [body.loss for body in said if isinstance(body, EvalResult)]

    assert losses(tmp_path / "a", True) == losses(tmp_path / "b", False)


def test_without_time_it_does_the_least_that_is_a_test(job):
    """Two updates on the longest rows, some held-out rows, a part of an answer, a checkpoint: nothing else."""
    late = probe(job, since=time.time() - 3600)
    assert late.chosen["steps"] == 2 and late.chosen["updatesTimed"] == 1 and len(late.tried) == 1
    assert late.learns and min(late.eval_s, late.sample_s, late.checkpoint_s, late.tokens_per_second) > 0
    early = probe(job, since=time.time())
    assert early.chosen["steps"] > 2 and early.chosen["updatesTimed"] > 1


def test_a_brief_answer_is_the_beginning_of_the_whole(job):
    run = load(job, pieces.modality("text"))
    settings, prompt = job.stages[0].settings.with_objective(sample_tokens=16), job.samples[0]
    run.bundle.trainee.eval()
    whole, brief = (run.modality.sample(run.bundle, prompt, one) for one in (settings, run.modality.brief(settings, 1 / 4)))
    count = lambda text: len(run.bundle.tokenizer(text).input_ids)  # noqa: E731
    assert whole.startswith(brief) and count(brief) <= 5 < count(whole) <= 16


def test_what_does_not_learn_is_said(job):
    settings = job.stages[0].settings.model_copy(update={"learning_rate": 1e-12})
    stage = job.stages[0].model_copy(update={"settings": settings})
    broken = job.model_copy(update={"stages": [stage]})
    result = probe(broken)
    assert result.loss_last == pytest.approx(result.loss_first, abs=1e-3)
    assert json.loads(result.model_dump_json(by_alias=True))["chosen"]["microBatch"] >= 1


def first_of_each():
    """One case of the conformance suite per modality and objective of its first stage, in this process."""
    found = {}
    for name, strategy, modality, method, points, capabilities in suite.cases():
        if strategy == "single":
            found.setdefault((modality, points[0].objective), (name, method, points, capabilities[0]))
    return found


EACH = first_of_each()


@pytest.mark.parametrize("modality, objective", [*EACH], ids=lambda one: one)
def test_rows_of_every_kind_can_be_measured(tmp_path, modality, objective):
    """The pieces of every modality go through the smoke test as they are planned."""
    _, method, points, capability = EACH[modality, objective]
    job = suite.job_of(tmp_path, method, points, capability, modality=modality)
    result = probe(job.model_copy(update={"samples": [], "threads": 1}))
    assert result.seconds_per_step > 0 and result.checkpoint_bytes > 0 and result.eval_s > 0
    assert result.total_steps[0] > 0 and modality in SUBJECTS
