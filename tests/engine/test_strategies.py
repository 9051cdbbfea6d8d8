"""Strategies over two processes, for text: the gradients of one process, cut in two where they say so, resumed to the bit, exported
to one model. Six cases meet every pair of library, objective and adaptation; `make test-strategies` runs all of them.
"""

import functools
from itertools import product
from pathlib import Path

import lives
import pytest
import tiny
import toy
from safetensors.torch import load_file
from test_conformance import reloaded
from test_exact import freeze_at

from kriptik.engine import pieces
from kriptik.engine.strategies import fsdp
from kriptik.engine.text import documents
from kriptik.engine.train import train
from kriptik.spec.job import LoraSettings, StageSettings

STRATEGIES = {
    "ddp": ("ddp", {}),
    "fsdp": ("fsdp", {}),
    "fsdp_whole_until_backward": ("fsdp", {"reshard": False}),
    "zero1": ("deepspeed", {"stage": 1}),
    "zero2": ("deepspeed", {"stage": 2}),
    "zero3": ("deepspeed", {"stage": 3}),
}
PAIRWISE = {
    ("ddp", "causal_lm", "full"),
    ("ddp", "dpo", "lora"),
    ("fsdp", "causal_lm", "lora"),
    ("fsdp", "dpo", "full"),
    ("zero3", "causal_lm", "lora"),
    ("zero2", "dpo", "full"),
}
ALL = sorted(product(STRATEGIES, ("causal_lm", "dpo"), ("full", "lora")))
ROWS = {"causal_lm": tiny.chat_rows, "dpo": tiny.preference_rows}
pytestmark = pytest.mark.distributed


def job_in(folder, strategy, objective, adaptation, *, accumulation=4, options=None):
    """11 rows: every second update has three micro-batches, so the second rank has one less."""
    folder.mkdir(parents=True)
    settings = StageSettings(
        micro_batch=1,
        accumulation=accumulation,
        learning_rate=1e-3 if adaptation == "full" else 5e-3,
        max_seq_len=96,
        packing=False,
        epochs=2,
        max_grad_norm=0.5,
        lora=LoraSettings(rank=4, alpha=8),
        strategy=options or {},
        weight_decay=0.01,
    )
    rows = ROWS[objective]
    job = tiny.tiny_job(folder, rows=rows(11), eval_rows=rows(4, 9), adaptation=adaptation, settings=settings)
    (stage,) = job.stages
    point = stage.point.model_copy(update={"objective": objective, "strategy": strategy})
    return job.model_copy(update={"stages": [stage.model_copy(update={"point": point})]})


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Loss and gradient norm of every update of one process that takes eight micro-batches for each."""
    assert documents.NAME

    @functools.cache
    def of(objective, adaptation):
        said = []
        folder = tmp_path_factory.mktemp("alone") / "run"
        train(job_in(folder, "single", objective, adaptation, accumulation=8), said.append, toy.running)
        return lives.losses([body.document() for body in said])

    return of


def together(job, control=toy.running):
    codes, said = lives.live_together(job, control=control)
    assert codes == [0, 0], [one.read_text() for one in Path(job.run_dir).glob("error-*")]
    return said


def sizes(run_dir, group):
    """Numbers that each rank keeps in the newest checkpoint."""
    folder = Path(run_dir) / "checkpoints" / lives.newest(run_dir)
    files = sorted(folder.glob(f"{group}-r*.safetensors"))
    return [sum(one.numel() for name, one in load_file(file).items() if not name.endswith("step")) for file in files]


@pytest.mark.parametrize(
    ("name", "objective", "adaptation"),
    [pytest.param(*one, marks=[] if one in PAIRWISE else [pytest.mark.slow], id="-".join(one)) for one in ALL],
)
def test_two_ranks_are_one_and_resume(tmp_path, alone, name, objective, adaptation):
    strategy, options = STRATEGIES[name]
    straight = job_in(tmp_path / "straight", strategy, objective, adaptation, options=options)
    said = together(straight)
    losses, expected = lives.losses(said), alone(objective, adaptation)
    assert len(losses) == len(expected) == 4
    for place, numbers in expected.items():
        assert losses[place][:2] == pytest.approx(numbers[:2], rel=1e-5 if place == (0, 1) else 2e-3), place

    job = job_in(tmp_path / "frozen", strategy, objective, adaptation, options=options)
    early = together(job, freeze_at(2))
    start = lives.newest(job.run_dir)
    assert start.startswith("s0-000002")
    late = together(job.model_copy(update={"generation": 2, "resume_from": start}))
    assert lives.losses(early) | lives.losses(late) == losses and len(lives.losses(late)) == 2
    assert lives.final_tensors(job.run_dir) == lives.final_tensors(straight.run_dir)

    whole, half = sizes(straight.run_dir, "model"), sizes(straight.run_dir, "parts")
    cut = name.startswith("fsdp") or name == "zero3"
    assert bool(half) == cut and bool(whole) != cut
    trained = sum(half) if cut else whole[0]
    kept = half + [one / 2 for one in sizes(straight.run_dir, "optimizer")]
    if name == "ddp":
        assert kept == [trained, trained]
    else:
        assert all(trained / 2 * 0.97 <= one <= trained / 2 * 1.03 for one in kept), "a rank keeps its half"
    adapter, model = reloaded(straight)
    assert model < 1e-4 and (adapter or 0.0) < 1e-5


def test_a_wrapper_that_does_not_cut_is_noticed(tmp_path, monkeypatch):
    """As where a library takes plain data parallel on a CPU for what was asked."""
    monkeypatch.setattr(fsdp, "fully_shard", lambda module, **options: module)
    job = job_in(tmp_path / "run", "fsdp", "causal_lm", "full")
    codes, _ = lives.live_together(job)
    assert codes == [1, 1]
    assert all("The weights were not cut over 2 processes" in one.read_text() for one in Path(job.run_dir).glob("error-*"))


def test_objectives_that_want_a_forward_of_their_own_are_refused():
    def lacking(objective, strategy, **options):
        settings = StageSettings(strategy=options)
        spread = pieces.strategy(strategy)
        return pieces.missing(pieces.modality("text"), pieces.adaptation("lora"), pieces.objective(objective), spread, settings)

    for strategy, options in (("fsdp", {}), ("deepspeed", {"stage": 3})):
        assert lacking("kto", strategy, **options) == {"alone"}
        assert "generation" in lacking("grpo", strategy, **options)
        assert not lacking("orpo", strategy, **options)
    assert not lacking("kto", "ddp") and not lacking("kto", "deepspeed", stage=2)
