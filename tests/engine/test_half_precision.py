"""bf16: the LoRA layer of fewer passes, weights moved through fp32 copies, attention widened on a CPU."""

import peft
import pytest
import torch
from adapted import adapted
from peft.tuners.lora.layer import Linear
from torch import nn

from kriptik.engine.adaptations.lora_linear import LoraLinear, settle
from kriptik.engine.interfaces import OptimizerSpec, ParamGroup
from kriptik.engine.strategies.optim import NamedOptimizer
from kriptik.engine.text.documents import attend

CLOSE = {torch.float32: 1e-5, torch.bfloat16: 2e-2}


def layers(dtype):
    """PEFT's own layer and ours, with the same weights."""
    found = []
    for make in (lambda model: None, settle):
        torch.manual_seed(0)
        base = nn.Sequential(nn.Linear(48, 32, dtype=dtype))
        model = peft.get_peft_model(base, peft.LoraConfig(r=4, lora_alpha=12, target_modules=["0"]))
        nn.init.normal_(model.base_model.model[0].lora_B["default"].weight)
        make(model)
        found.append(model.base_model.model[0])
    return found


@pytest.mark.parametrize("dtype", CLOSE, ids=str)
def test_the_layer_gives_what_that_of_peft_gives(dtype):
    results = []
    for layer, kind in zip(layers(dtype), (Linear, LoraLinear), strict=True):
        assert type(layer) is kind
        torch.manual_seed(1)
        x = torch.randn(2, 7, 48, dtype=dtype, requires_grad=True)
        y = layer(x)
        y.float().square().mean().backward()
        a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
        assert y.dtype == x.grad.dtype == dtype and a.grad.dtype == b.grad.dtype == torch.float32
        results.append([y, x.grad, a.grad, b.grad])
    for peft_s, our_s in zip(*results, strict=True):
        assert float(((peft_s - our_s).norm() / peft_s.norm()).detach()) < CLOSE[dtype]


def test_adapters_off_several_and_merged_are_left_to_peft():
    _, layer = layers(torch.float32)
    x = torch.randn(3, 48)
    with torch.no_grad():
        adapted_y = layer(x)
        layer.enable_adapters(False)
        assert torch.equal(layer(x), layer.base_layer(x))
        layer.enable_adapters(True)
        layer.merge()
        torch.testing.assert_close(layer(x), adapted_y, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("kind", "plain"), [("lora", True), ("dora", False)])
def test_which_layers_are_ours(tmp_path, kind, plain):
    bundle, _ = adapted(tmp_path, kind, steps=0)
    kinds = {type(one) for one in bundle.trainee.modules() if isinstance(one, Linear)}
    assert kinds == {LoraLinear}, "DoRA's layers step aside by themselves"
    layer = next(one for one in bundle.trainee.modules() if isinstance(one, LoraLinear))
    assert bool(layer.lora_variant) is not plain


def optimizer_of(module, kind="adamw"):
    names = [name for name, _ in module.named_parameters()]
    return NamedOptimizer(module, OptimizerSpec([ParamGroup(names)], kind))


@pytest.mark.parametrize("kind", ["adamw", "sgd", "galore"])
def test_updates_too_small_for_bf16_are_not_lost(kind):
    moved = {}
    for dtype in (torch.float32, torch.bfloat16):
        torch.manual_seed(0)
        module = nn.Linear(8, 8, bias=False).to(torch.bfloat16).to(dtype)
        start = module.weight.detach().float()
        optimizer = optimizer_of(module, kind)
        for _ in range(100):
            module.weight.grad = torch.ones_like(module.weight)
            optimizer.step(1e-5)
            optimizer.zero()
            assert module.weight.grad is None
        moved[dtype] = (module.weight.detach().float(), start)
    exact, half = moved[torch.float32][0], moved[torch.bfloat16][0]
    assert torch.equal(half, exact.to(torch.bfloat16).float())
    assert (half != moved[torch.bfloat16][1]).any()


def test_the_copy_is_part_of_the_state():
    torch.manual_seed(0)
    weights = [nn.Linear(4, 4, bias=False).to(torch.bfloat16) for _ in range(2)]
    one, other = map(optimizer_of, weights)

    def step(module, optimizer, by):
        module.weight.grad = torch.full_like(module.weight, by)
        optimizer.step(1e-4)

    for by in (1.0, -0.5, 2.0):
        step(weights[0], one, by)
    weights[1].load_state_dict(weights[0].state_dict())
    other.load_state({name: tensor.clone() for name, tensor in one.state().items()})
    assert "weight/master" in one.state() and one.state()["weight/master"].dtype == torch.float32
    for by in (0.3, -1.0):
        step(weights[0], one, by)
        step(weights[1], other, by)
    assert torch.equal(weights[0].weight, weights[1].weight)
    assert all(torch.equal(tensor, other.state()[name]) for name, tensor in one.state().items())


def test_attention_in_half_precision_is_that_of_fp32_rounded():
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, heads, 20, 16, dtype=torch.bfloat16) for heads in (4, 2, 2))
    wide, _ = attend(nn.Module(), query.float(), key.float(), value.float(), None, doc_lengths=[12, 8])
    half, _ = attend(nn.Module(), query, key, value, None, doc_lengths=[12, 8])
    assert half.dtype == torch.bfloat16 and torch.equal(half, wide.to(torch.bfloat16))
