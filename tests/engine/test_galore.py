"""GaLore: Algorithm 2 of the paper in plain tensors, what is projected, how small the state is, resumed around a new subspace."""

import lives
import pytest
import tiny
import torch
from adapted import adapted
from test_exact import freeze_at

from kriptik.engine import pieces
from kriptik.engine.interfaces import OptimizerSpec, ParamGroup
from kriptik.engine.modalities.text import Text
from kriptik.engine.strategies.optim import NamedOptimizer
from kriptik.spec.errors import WorkerError
from kriptik.spec.job import StageSettings

RATE, DECAY, RANK, EVERY, SCALE = 1e-2, 0.1, 3, 4, 0.5


class Three(torch.nn.Module):
    def __init__(self):
        super().__init__()
        draw = torch.Generator().manual_seed(0)
        self.wide, self.tall, self.plain = (
            torch.nn.Parameter(torch.randn(*shape, generator=draw)) for shape in ((6, 10), (10, 6), (5, 5))
        )


def gradients(steps):
    draw = torch.Generator().manual_seed(1)
    return [{"wide": torch.randn(6, 10, generator=draw), "tall": torch.randn(10, 6, generator=draw),
             "plain": torch.randn(5, 5, generator=draw)} for _ in range(steps)]  # fmt: skip


def optimizer(module):
    options = {"rank": RANK, "update_every": EVERY, "scale": SCALE}
    groups = [ParamGroup(["wide", "tall"], 1.0, DECAY, options), ParamGroup(["plain"], 1.0, DECAY)]
    return NamedOptimizer(module, OptimizerSpec(groups, "galore"))


def moved(module, found, every_gradient):
    for slopes in every_gradient:
        for name, one in module.named_parameters():
            one.grad = slopes[name].clone()
        found.step(RATE)
    return {name: one.detach().clone() for name, one in module.named_parameters()}


def by_hand(weight, slopes):
    """Wide: P = U_r, R = PᵀG; tall: Q = V_r, R = GQ (a singular vector has an arbitrary sign: no transpose for a short cut)."""
    wide = weight.shape[0] <= weight.shape[1]
    m = v = None
    for t, gradient in enumerate(slopes):
        if t % EVERY == 0:
            p = torch.linalg.svd(gradient).U[:, :RANK] if wide else torch.linalg.svd(gradient).Vh[:RANK].T
        r = p.T @ gradient if wide else gradient @ p
        m = (0.0 if m is None else 0.9 * m) + 0.1 * r
        v = (0.0 if v is None else 0.999 * v) + 0.001 * r * r
        n = (m / (1 - 0.9 ** (t + 1))) / ((v / (1 - 0.999 ** (t + 1))).sqrt() + 1e-8)
        weight = weight * (1 - RATE * DECAY) - RATE * SCALE * (p @ n if wide else n @ p.T)
    return weight


def test_it_is_algorithm_2_of_the_paper():
    module, slopes = Three(), gradients(11)
    start = {name: one.detach().clone() for name, one in module.named_parameters()}
    got = moved(module, optimizer(module), slopes)
    for name in ("wide", "tall"):
        torch.testing.assert_close(got[name], by_hand(start[name], [one[name] for one in slopes]))


def test_what_is_not_projected_has_adamw():
    module, slopes = Three(), gradients(5)
    got = moved(module, optimizer(module), slopes)
    other = Three()
    plain = NamedOptimizer(other, OptimizerSpec([ParamGroup(["wide", "tall", "plain"], 1.0, DECAY)]))
    torch.testing.assert_close(got["plain"], moved(other, plain, slopes)["plain"])


def test_state_is_small_plain_tensors_and_comes_back():
    module, slopes = Three(), gradients(12)
    found = optimizer(module)
    moved(module, found, slopes[:6])
    state = found.state()
    assert {name: tuple(one.shape) for name, one in state.items() if name.startswith("wide/")} == {
        "wide/step": (), "wide/projector": (6, 3), "wide/exp_avg": (3, 10), "wide/exp_avg_sq": (3, 10)
    }  # fmt: skip
    other = Three()
    with torch.no_grad():
        for name, one in other.named_parameters():
            one.copy_(dict(module.named_parameters())[name])
    again = optimizer(other)
    again.load_state({name: one.clone() for name, one in state.items()})
    one, two = moved(module, found, slopes[6:]), moved(other, again, slopes[6:])
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_linear_layers_are_projected_and_nothing_else(tmp_path):
    bundle, adaptation = adapted(tmp_path, "galore", steps=0, adaptation={"rank": 8})
    spec = adaptation.optimizer(bundle)
    low = [name for group in spec.groups if group.options for name in group.names]
    assert spec.kind == "galore" and len(low) == 14 and all("_proj.weight" in name for name in low)
    everything = [name for group in spec.groups for name in group.names]
    assert sorted(everything) == sorted(name for name, _ in bundle.trainee.named_parameters())
    assert any("embed_tokens" in name for name in everything)


@pytest.mark.parametrize(("own", "code"), [({"layerwise": True}, "layerwise_refused"), ({"rank": 64}, "bad_ranks")])
def test_what_cannot_be_is_refused(tmp_path, own, code):
    bundle, adaptation = adapted(tmp_path, "galore", steps=0, adaptation=own)
    with pytest.raises(WorkerError) as refused:
        adaptation.optimizer(bundle)
    assert refused.value.code == code and refused.value.next_step
    about = (Text, pieces.adaptation("galore"), pieces.objective("causal_lm"))
    assert "whole_weights" in pieces.missing(*about, pieces.strategy("deepspeed"))


@pytest.mark.exactness
@pytest.mark.parametrize("at", [2, 3], ids=["between subspaces", "where one begins"])
def test_frozen_around_a_new_subspace(tmp_path, at):
    def job_in(folder):
        folder.mkdir()
        own = {"rank": 8, "update_every": 3}
        settings = StageSettings(max_steps=6, micro_batch=2, learning_rate=2e-3, max_seq_len=96, adaptation=own)
        return tiny.tiny_job(folder, rows=tiny.chat_rows(24), adaptation="galore", settings=settings)

    lives.preload(None, job=job_in(tmp_path / "preload"))
    straight, job = job_in(tmp_path / "straight"), job_in(tmp_path / "frozen")
    _, said = lives.live(straight)
    early = lives.live(job, control=freeze_at(at))
    late = lives.live(job.model_copy(update={"generation": 2, "resume_from": lives.newest(job.run_dir)}))
    assert len(lives.losses(late[1])) == 6 - at
    assert lives.losses(early[1]) | lives.losses(late[1]) == lives.losses(said)
    assert lives.final_tensors(job.run_dir) == lives.final_tensors(straight.run_dir)
