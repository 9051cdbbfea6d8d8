"""The smoke test as its own command: it measures, keeps to its time, fixes the settings once. What it refuses: test_liveness.py."""

import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
import test_conformance as suite
from subjects import SUBJECTS
from tiny import chat_rows, tiny_job
from transformers.models.llama.modeling_llama import LlamaModel

from kriptik.catalogue.load import load_catalogue
from kriptik.catalogue.points import stage_defaults
from kriptik.engine import cuts, lock, pieces
from kriptik.engine import probe as probing
from kriptik.engine.probe import probe
from kriptik.engine.stage import load
from kriptik.engine.text.chat import encode_prompt
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


SLOWLY = 2e-4
"""A rate by which it learns, but never so clearly that the smoke test ends early."""


class Clock:
    """Time that passes only while the model is at work: so many seconds for each forward (and its backward)."""

    def __init__(self, seconds):
        self.seconds, self.now = seconds, 0.0
        self.updates, self.looks = [], []
        """When forwards of updates and of everything else ended."""

    def __call__(self):
        return self.now

    def install(self, monkeypatch):
        forward = LlamaModel.forward

        def slow(model, *args, **kwargs):
            self.now += self.seconds
            (self.updates if model.training else self.looks).append(self.now)
            return forward(model, *args, **kwargs)

        monkeypatch.setattr(LlamaModel, "forward", slow)
        for module in (probing, cuts):
            monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=self, time=time.time))


def at_rate(job, rate, **changes):
    """The same job whose first stage has another learning rate."""
    settings = job.stages[0].settings.model_copy(update={"learning_rate": rate, **changes})
    return job.model_copy(update={"stages": [job.stages[0].model_copy(update={"settings": settings}), *job.stages[1:]]})


@pytest.mark.parametrize("seconds", [0.02, 0.2, 0.45, 0.7])
def test_nothing_is_planned_that_would_end_after_its_time(job, monkeypatch, seconds):
    """However slow the machine: all ends in 15 s, updates in their part of it, which they use."""
    clock = Clock(seconds)
    clock.install(monkeypatch)
    result = probe(at_rate(job, SLOWLY))
    assert clock.now <= probing.LEAST_S
    most = probing.UPDATES * (probing.LEAST_S - probing.LEAVING_S)
    assert clock.updates[-1] <= most
    assert result.chosen["steps"] > 2 and result.learns
    if seconds >= 0.45:  # on quicker ones it has seen enough before
        assert clock.updates[-1] + result.chosen["accumulation"] * seconds > most, "another update would have fitted"


def test_a_long_run_may_be_tested_for_longer(job, monkeypatch):
    clock = Clock(0.5)
    clock.install(monkeypatch)
    result = probe(at_rate(job, SLOWLY, max_steps=2000))
    assert result.total_steps == [2000]
    assert probing.LEAST_S < clock.now <= probing.SHARE * 2000 * 2 * 0.5


def test_on_a_machine_that_is_too_slow_the_least_is_done(job, monkeypatch):
    clock = Clock(100.0)
    clock.install(monkeypatch)
    result = probe(job)
    assert result.chosen["steps"] == 2 and len(clock.updates) == 4 and result.fitted_updates == 1
    assert len(clock.looks) <= 8, "two held-out rows and the beginning of one answer, twice"


class PerToken(Clock):
    """A forward takes a while, where nothing is learnt longer the more it reads; the first of all also what is done once."""

    once, each = 3.0, 0.01

    def install(self, monkeypatch):
        super().install(monkeypatch)
        forward = LlamaModel.forward

        def slow(model, *args, **kwargs):
            given = next(kwargs[name] for name in ("inputs_embeds", "input_ids") if kwargs.get(name) is not None)
            self.now += 0.0 if model.training else self.each * given.shape[1]
            self.now += 0.0 if self.updates or self.looks else self.once
            return forward(model, *args, **kwargs)

        monkeypatch.setattr(LlamaModel, "forward", slow)


def test_reading_a_long_prompt_is_not_taken_for_the_answer_and_what_is_done_once_counts_once(job, monkeypatch):
    clock = PerToken(0.1)
    clock.install(monkeypatch)
    long = SamplePrompt(messages=[{"role": "user", "content": "Repeat in reverse: " + "json text " * 60}])
    result = probe(at_rate(job, SLOWLY).model_copy(update={"samples": [long]}))
    read = len(encode_prompt(load(job, pieces.modality("text")).bundle.tokenizer, list(long.messages)))
    asked = min(read, job.stages[0].settings.max_seq_len)
    whole = clock.each * (asked + 63) + 64 * clock.seconds
    assert clock.now < probing.LEAST_S and asked * clock.each > 3 * clock.seconds
    assert result.sample_s == pytest.approx(whole, rel=0.05)
    assert result.load_s > clock.once, "it is expected beside the updates"
    assert result.seconds_per_step < clock.once


def first_of_each():
    """The first case of the conformance suite with each objective of a modality, and with each adaptation, in this process.

    A run that a judge helps has no smoke test.
    """
    met, found = set(), []
    for name, strategy, modality, method, points, capabilities in suite.cases():
        new = {(modality, points[0].objective), points[0].adaptation} - met
        if strategy == "single" and new and name not in ("constitutional_ai", "rlaif"):
            met |= new
            found.append(pytest.param(method, points, capabilities[0], modality, id=f"{name}-{modality}"))
    return found


@pytest.mark.parametrize(("method", "points", "capability", "modality"), first_of_each())
def test_every_kind_can_be_measured_and_none_is_refused(tmp_path, method, points, capability, modality):
    """The pieces of every modality and method go through the smoke test as they are planned, at the catalogue's own rate."""
    job = suite.job_of(tmp_path, method, points, capability, modality=modality)
    recipe = stage_defaults(method, capability, load_catalogue().ways.get(SUBJECTS[modality].modality))[0]
    job = at_rate(job, StageSettings.model_validate(recipe).learning_rate)
    result = probe(job.model_copy(update={"samples": [], "threads": 1}))
    assert result.seconds_per_step > 0 and result.checkpoint_bytes > 0 and result.eval_s > 0
    assert result.total_steps[0] > 0
    assert result.learns and result.moved_fraction > 0, result
