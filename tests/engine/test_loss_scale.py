"""The loss scale of fp16: small gradients are not lost, an overflow costs one update, a resumed run has the same scale."""

import pytest
import torch
from tiny import chat_rows, tiny_job
from torch import nn
from toy import running

from kriptik.engine.interfaces import Bundle, MicroBatch, Modality, OptimizerSpec, ParamGroup
from kriptik.engine.strategies import loss_scale
from kriptik.engine.strategies.loss_scale import FIRST, GROW_AFTER, LEAST, MOST, LossScale, refuse
from kriptik.engine.strategies.single import SingleRuntime
from kriptik.engine.train import train
from kriptik.spec.errors import WorkerError

MICRO = MicroBatch(inputs={}, weight=1.0, rows=[0], tokens=1)


class Beside(nn.Module):
    """A frozen layer and a trained one before it, as an adapter lies before the layers above it."""

    def __init__(self, dtype):
        super().__init__()
        torch.manual_seed(0)
        self.trained = nn.Parameter(torch.randn(8, 8))
        self.register_parameter("frozen", nn.Parameter(torch.randn(8, 8).to(dtype), requires_grad=False))

    def forward(self, x):
        """[n, 8] → [n, 8]."""
        return x.to(self.frozen.dtype) @ self.trained.to(self.frozen.dtype) @ self.frozen


class Plain(Modality):
    """Hands out the trainee's own answer."""

    def __init__(self):
        pass

    def forward(self, module, micro):
        """See Modality."""
        return module(torch.ones(2, 8))


def runtime(dtype, names=("trained",)):
    module = Beside(dtype)
    return SingleRuntime(Bundle(trainee=module), Plain(), OptimizerSpec([ParamGroup(list(names))], "sgd")), module


def gradient(dtype, times):
    """Of the sum of the answers × `times`, as the optimizer sees it."""
    one, module = runtime(dtype)
    before = module.trained.detach().clone()
    one.forward_backward([MICRO], lambda output, micro: (output.float().sum() * times, {}), 1.0)
    one.step(1.0, float("inf"))
    return before - module.trained.detach(), one


def test_gradients_too_small_for_fp16_are_not_lost(monkeypatch):
    exact, _ = gradient(torch.float32, 1e-3)
    close, one = gradient(torch.float16, 1e-3)
    torch.testing.assert_close(close, exact, rtol=5e-3, atol=2e-6)
    assert not one.rescaled
    seen = []
    for first in (1.0, FIRST):
        monkeypatch.setattr(loss_scale, "FIRST", first)
        one, module = runtime(torch.float16)
        one.forward_backward([MICRO], lambda output, micro: (output.float().sum() * 1e-9, {}), 1.0)
        seen.append(float(module.trained.grad.abs().max()))
    assert seen[0] == 0 < seen[1], "without a scale the gradient is zero"


def test_an_overflow_leaves_all_as_it_was_and_halves_the_scale():
    moved, one = gradient(torch.float16, 1e3)
    assert one.rescaled and not moved.any()
    assert one.state()[1] == {"loss_scale": {"value": FIRST / 2, "good": 0}}
    moved, one = gradient(torch.float32, 1e3)
    assert not one.rescaled and moved.any() and one.state()[1] == {}


def test_what_no_scale_mends_is_not_called_mended():
    scale = LossScale()
    halved = [scale.judge(finite=False) for _ in range(20)]
    assert halved == [True] * 16 + [False] * 4 and scale.value == LEAST


def test_the_scale_grows_again_and_is_part_of_the_state():
    scale, again = LossScale(), LossScale()
    for _ in range(GROW_AFTER - 1):
        assert scale.judge(finite=True) is False
    again.load_state(scale.state())
    assert (scale.value, again.value) == (FIRST, FIRST)
    for one in (scale, again):
        one.judge(finite=True)
        assert (one.value, one.good) == (2 * FIRST, 0)
    scale.value, scale.good = MOST, GROW_AFTER
    scale.judge(finite=True)
    assert scale.value == MOST


def test_weights_in_fp16_are_not_trained_and_not_cut():
    with pytest.raises(WorkerError, match="fp16 cannot be trained"):
        runtime(torch.float16, ("trained", "frozen"))
    with pytest.raises(WorkerError, match="one GPU"):
        refuse(Beside(torch.float16))
    refuse(Beside(torch.bfloat16))


def test_a_run_finds_its_scale_without_failing_or_alarming(tmp_path, monkeypatch):
    monkeypatch.setattr(loss_scale, "FIRST", 2.0**34)
    said = []
    outcome = train(tiny_job(tmp_path, precision="fp16", rows=chat_rows(120)), said.append, running)
    dropped = [one for one in said if one.type == "log" and "loss scale" in one.message]
    losses = [one for one in said if one.type == "metrics"]
    assert outcome.state == "completed" and 5 < len(dropped) < len(losses)
    assert not [one for one in said if one.type == "alarm"]
