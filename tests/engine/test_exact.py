"""Uninterrupted = frozen and resumed ≠ cold start, bit for bit: a real tokenizer and Llama, dropout on, packed, accumulation 2."""

import subprocess
import sys
from pathlib import Path

import lives
import pytest
import tiny
import toy

from kriptik.engine.cursor import Cursor
from kriptik.engine.strategies.optim import NamedOptimizer
from kriptik.engine.telling import Teller
from kriptik.engine.train import train
from kriptik.spec.job import LoraSettings, StageSettings

pytestmark = pytest.mark.exactness
ADAPTATIONS = ["full", "lora", "dora"]
HALF = ["full bf16", "lora bf16", "lora fp16"]
PLACES = ["second step", "before the boundary", "after the boundary", "last step"]


def job_in(folder, adaptation, **changes):
    folder.mkdir(parents=True, exist_ok=True)
    adaptation, _, precision = adaptation.partition(" ")
    changes = {"precision": precision or "fp32", **changes}
    settings = StageSettings(
        epochs=2,
        micro_batch=1,
        accumulation=2,
        learning_rate=2e-3 if adaptation == "full" else 5e-3,
        max_seq_len=96,
        lora=LoraSettings(rank=4, alpha=8, dropout=0.1),
        eval_every=3,
    )
    return tiny.tiny_job(
        folder, rows=tiny.chat_rows(16), eval_rows=tiny.chat_rows(4, 9), adaptation=adaptation, settings=settings, **changes
    )


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """Uninterrupted runs by adaptation, made when first asked for."""
    found = {}

    def of(adaptation):
        if adaptation not in found:
            job = job_in(tmp_path_factory.mktemp(adaptation), adaptation)
            said = []
            train(job, said.append, toy.running)
            found[adaptation] = (lives.losses([body.document() for body in said]), lives.final_tensors(job.run_dir))
        return found[adaptation]

    return of


def steps_per_epoch(losses):
    return len(losses) // 2


@pytest.mark.parametrize(
    ("adaptation", "where"), [(one, where) for one in ADAPTATIONS for where in PLACES] + [(one, PLACES[2]) for one in HALF]
)
def test_frozen_and_resumed(tmp_path, straight, adaptation, where):
    losses, tensors = straight(adaptation)
    half = steps_per_epoch(losses)
    step = {"second step": 2, "before the boundary": half - 1, "after the boundary": half + 1, "last step": 2 * half - 1}[where]
    job = job_in(tmp_path, adaptation)
    early = lives.live(job, control=freeze_at(step))
    assert early[0] == 0
    frozen = lives.newest(job.run_dir)
    assert frozen == f"s0-{step:06d}-g1"
    late = lives.live(job.model_copy(update={"generation": 2, "resume_from": frozen}))
    assert late[0] == 0
    assert lives.losses(early[1]) | lives.losses(late[1]) == losses
    assert len(lives.losses(late[1])) == len(losses) - step
    assert lives.final_tensors(job.run_dir) == tensors


@pytest.mark.parametrize("adaptation", ADAPTATIONS)
def test_cold_start_from_the_same_weights_differs(tmp_path, straight, monkeypatch, adaptation):
    losses, tensors = straight(adaptation)
    job = job_in(tmp_path, adaptation)
    lives.live(job, control=freeze_at(3))
    monkeypatch.setattr(NamedOptimizer, "load_state", lambda self, tensors: None)
    monkeypatch.setattr(Cursor, "load_state", lambda self, state: None)
    code, said = lives.live(job.model_copy(update={"generation": 2, "resume_from": lives.newest(job.run_dir)}))
    assert code == 0
    cold = lives.losses(said)
    assert all(cold[place] != losses[place] for place in cold)
    assert lives.final_tensors(job.run_dir) != tensors


def test_resumed_in_a_process_of_its_own(tmp_path, straight):
    """A fresh interpreter: other addresses, other hash seeds, nothing warmed up."""
    _, tensors = straight("lora")
    job = job_in(tmp_path, "lora")
    lives.live(job, control=freeze_at(4))
    resumed = job.model_copy(update={"generation": 2, "resume_from": lives.newest(job.run_dir)})
    (tmp_path / "job.json").write_text(resumed.model_dump_json())
    script = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import toy\nfrom pathlib import Path\nfrom kriptik.engine.train import train\nfrom kriptik.spec.job import TrainJob\n"
        f"train(TrainJob.model_validate_json(Path({str(tmp_path / 'job.json')!r}).read_bytes()), lambda body: None, toy.running)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)
    assert lives.final_tensors(job.run_dir) == tensors


def freeze_at(step):
    """Wants a freeze once so many updates are done: they are counted by what is told of them in that very process."""
    done = [0]
    original = Teller.metrics

    def counted(self, *numbers):
        original(self, *numbers)
        done[0] += 1

    def control():
        Teller.metrics = counted
        return toy.Wish(0 if done[0] >= step else 1)()

    return control
