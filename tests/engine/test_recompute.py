"""Activations computed again: the same bits for less memory, refused where a forward counts; the smoke test falls back on it."""

import types

import pytest
import torch
from tiny import chat_rows, tiny_job

from kriptik.engine import cuts, pieces, recompute
from kriptik.engine.adaptations.lora_moe import LoraMoe
from kriptik.engine.cuts import Cut, Timed, compared
from kriptik.engine.interfaces import Runtime
from kriptik.engine.modalities.text import Text
from kriptik.engine.pieces import ADAPTATIONS
from kriptik.engine.stage import load, open_stage
from kriptik.engine.train import train
from kriptik.pipeline.plan.memory import NOT_TWICE
from kriptik.spec.errors import WorkerError
from kriptik.spec.events import Desired, EvalResult, Metrics
from kriptik.spec.job import LoraSettings, StageSettings


def job_in(folder, adaptation="lora", **settings):
    folder.mkdir(parents=True, exist_ok=True)
    lora = LoraSettings(rank=4, alpha=8, dropout=0.1 if adaptation == "lora" else 0.0)
    made = StageSettings(micro_batch=2, learning_rate=5e-3, max_seq_len=96, lora=lora, **settings)
    return tiny_job(folder, adaptation=adaptation, eval_rows=chat_rows(6, seed=3), settings=made, threads=1)


@pytest.mark.parametrize("adaptation", ["lora", "full"])
def test_the_same_bits(tmp_path, adaptation):
    """With dropout: the random numbers of the second forward are those of the first."""

    def numbers(name, **settings):
        said = []
        train(job_in(tmp_path / name, adaptation, **settings), said.append, lambda: Desired(version=1))
        assert any(isinstance(body, EvalResult) for body in said)
        return [(body.loss, body.gradient_norm) for body in said if isinstance(body, Metrics)]

    assert numbers("again", recompute=True) == numbers("kept")


def test_far_less_is_kept(tmp_path):
    def kept(name, **settings):
        job = job_in(tmp_path / name, **settings)
        session, place = open_stage(load(job, pieces.modality("text")), 0, None)
        micro = session.collate(place.cursor.plan(0)[0][0])
        held = []

        def keep(tensor):
            held.append(tensor.nbytes)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            session.runtime.forward(micro)
        return sum(held)

    assert kept("again", recompute=True) < kept("kept") / 2


def test_what_counts_its_forwards_is_refused(tmp_path):
    job = job_in(tmp_path, "lora_moe", recompute=True)
    with pytest.raises(WorkerError, match="compute activations again") as raised:
        open_stage(load(job, pieces.modality("text")), 0, None)
    assert raised.value.code == "cannot_recompute"


def test_the_planner_knows_which_these_are():
    assert {name for name in ADAPTATIONS if not pieces.adaptation(name).repeatable} == set(NOT_TWICE)


class Fits:
    """A session whose updates fit as `fits` says, and take the seconds of `speed`."""

    def __init__(self, fits, speed=lambda cut: 1.0, repeatable=True):
        self.fits, self.speed, self.tried = fits, speed, []
        self.settings = StageSettings()
        self.adaptation = types.SimpleNamespace(repeatable=repeatable)
        self.bundle = types.SimpleNamespace(trainee=torch.nn.Linear(1, 1))
        self.runtime, self.modality = Runtime(), Text
        self.runtime.clear_gradients = lambda: None

    def update(self, cut):
        self.tried.append(cut)
        if not self.fits(cut):
            raise torch.OutOfMemoryError
        return Timed(self.speed(cut), 10, 1.0)


@pytest.fixture
def able(monkeypatch):
    monkeypatch.setattr(recompute, "able", lambda trainee, adaptation: adaptation.repeatable)
    monkeypatch.setattr(recompute, "settle", lambda *_: None)
    monkeypatch.setattr(cuts, "FULL", 1.1)


@pytest.mark.usefixtures("able")
def test_where_memory_runs_out_the_smoke_test_goes_on():
    session = Fits(lambda cut: cut.recompute)
    found = compared(Cut(8, 1), session, session.update, lambda first: float("inf"))
    assert next(iter(found)) == Cut(8, 1, recompute=True) and session.tried[:2] == [Cut(8, 1), Cut(4, 2)]

    session = Fits(lambda cut: cut.micro_batch == 1, repeatable=False)
    assert list(compared(Cut(8, 1), session, session.update, lambda first: float("inf"))) == [Cut(1, 8)]

    session = Fits(lambda cut: False)
    with pytest.raises(torch.OutOfMemoryError):
        compared(Cut(2, 1), session, session.update, lambda first: float("inf"))


@pytest.mark.usefixtures("able")
def test_the_fastest_that_fits_is_among_those_compared():
    session = Fits(lambda cut: True, lambda cut: 1.0 if cut.recompute else 0.7)
    found = compared(Cut(4, 2, recompute=True), session, session.update, lambda first: float("inf"))
    assert min(found, key=lambda cut: found[cut].seconds) == Cut(4, 2, recompute=False)
    session = Fits(lambda cut: True, lambda cut: 0.99 if cut.micro_batch == 2 else 1.0)
    assert list(compared(Cut(4, 2), session, session.update, lambda first: float("inf"))) == [Cut(4, 2)], "not clearly faster"
    session = Fits(lambda cut: True)
    compared(Cut(4, 2), session, session.update, lambda first: 0.0)
    assert set(session.tried) == {Cut(4, 2)}, "no time for others"


def test_a_run_goes_on_as_the_lock_says(tmp_path):
    from kriptik.engine import lock

    job = job_in(tmp_path)
    first = job.stages[0].settings.model_copy(update={"recompute": True})
    chosen = job.model_copy(update={"stages": [job.stages[0].model_copy(update={"settings": first})]})
    lock.write(job.run_dir, lock.describe(chosen, {}, 1, [6]))
    assert lock.applied(job, lock.read(job.run_dir)).stages[0].settings.recompute
    assert LoraMoe.repeatable is False
