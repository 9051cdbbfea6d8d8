"""A mixture of LoRA experts: the formula written out token by token, the start, the balance, its own files, what came before."""

import json
from types import SimpleNamespace

import pytest
import torch
from adapted import adapted, logits
from tiny import tiny_job
from torch import nn
from transformers import AutoModelForCausalLM

from kriptik.engine.adaptations.lora_moe import ExpertsLinear
from kriptik.engine.adapters import attach
from kriptik.engine.interfaces import Runtime
from kriptik.engine.text.result import write_result
from kriptik.spec.errors import WorkerError


def layer(experts=4, top_k=2, rank=3, alpha=6.0):
    torch.manual_seed(0)
    found = ExpertsLinear(nn.Linear(8, 5), experts, top_k, rank, alpha)
    for one in (found.router, found.expert_A, found.expert_B):
        nn.init.normal_(one)
    return found


def written_out(one, x):
    """One token through the best experts by score + bias, each by itself, weighted by its share among them."""
    shares = torch.softmax(one.router @ x, 0)
    best = sorted(range(one.experts), key=lambda e: -float((shares[e] + one.bias[e]).detach()))[: one.top_k]
    rank = len(one.expert_A) // one.experts
    out = one.base_layer(x)
    for e in best:
        down, up = one.expert_A[e * rank : (e + 1) * rank], one.expert_B[:, e * rank : (e + 1) * rank]
        out = out + 2.0 * shares[e] / sum(shares[b] for b in best) * (up @ (down @ x))
    return out


@pytest.mark.parametrize("bias", [[0.0] * 4, [0.9, -0.5, 0.2, 0.0]], ids=["even", "biased"])
def test_it_computes_the_published_formula(bias):
    one = layer()
    one.bias.copy_(torch.tensor(bias))
    x = torch.randn(7, 8)
    torch.testing.assert_close(one(x), torch.stack([written_out(one, token) for token in x]), atol=1e-5, rtol=1e-5)


def test_a_bias_changes_the_choice_and_never_the_share():
    one = layer(top_k=4)
    x = torch.randn(7, 8)
    plain = one(x)
    one.bias.copy_(torch.tensor([5.0, -5.0, 0.0, 1.0]))
    torch.testing.assert_close(one(x), plain)


def test_the_start_is_the_base_and_only_experts_and_routers_are_trained(tmp_path):
    bundle, _ = adapted(tmp_path, "lora_moe", steps=0)
    base = AutoModelForCausalLM.from_pretrained(tiny_job(tmp_path).base_model.path, dtype=torch.float32)
    assert torch.equal(logits(bundle.trainee), logits(base))
    trained = {name.rsplit(".", 1)[-1] for name, one in bundle.trainee.named_parameters() if one.requires_grad}
    assert trained == {"router", "expert_A", "expert_B"}


def test_experts_that_had_too_little_are_chosen_more(tmp_path):
    bundle, adaptation = adapted(tmp_path, "lora_moe", steps=1, adaptation={"experts": 4, "top_k": 1, "balance": 0.25})
    layers = [one for one in bundle.trainee.modules() if isinstance(one, ExpertsLinear)]
    loads = [one.load.clone() for one in layers]
    assert all(float(load.sum()) > 0 for load in loads)
    adaptation.after_step(0, 1, SimpleNamespace(runtime=Runtime(), bundle=bundle))
    for one, load in zip(layers, loads, strict=True):
        assert torch.equal(one.bias, 0.25 * torch.sign(load.mean() - load)) and not one.load.any()
    assert 1.0 <= adaptation.measured()["experts_used"] <= 4.0


def test_its_own_files_put_it_back_and_a_model_of_another_size_is_refused(tmp_path):
    job = tiny_job(tmp_path, adaptation="lora_moe")
    bundle, adaptation = adapted(tmp_path, "lora_moe", job=job)
    done = write_result(bundle, adaptation, tmp_path, job)
    assert (done.adapter_path, done.model_path) == ("result/adapter", None)
    assert "attach" in (tmp_path / "result/adapter/README.md").read_text()
    base = AutoModelForCausalLM.from_pretrained(job.base_model.path, dtype=torch.float32)
    assert torch.equal(logits(attach(base, tmp_path / "result/adapter")), logits(bundle.trainee))
    config = tmp_path / "result/adapter/lora_moe_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"rank": 3}))
    with pytest.raises(ValueError, match="another size"):
        attach(AutoModelForCausalLM.from_pretrained(job.base_model.path, dtype=torch.float32), tmp_path / "result/adapter")


@pytest.mark.parametrize("later", [False, True], ids=["first", "second stage"])
def test_the_reference_is_the_model_before_the_stage(tmp_path, later):
    bundle, adaptation = adapted(tmp_path, "lora_moe", steps=3 if later else 0)
    if later:
        adaptation.finish(bundle)
        adaptation = type(adaptation)(adaptation.settings)
        adaptation.keep_reference = True
        adaptation.apply(bundle)
    before = logits(bundle.trainee)
    with torch.no_grad():
        for one in bundle.trainee.modules():
            if isinstance(one, ExpertsLinear):
                one.expert_B += 0.1
                one.bias += torch.arange(one.experts) * 0.5
    now = logits(bundle.trainee)
    assert not torch.equal(now, before)
    with adaptation.reference(bundle):
        assert torch.equal(logits(bundle.trainee), before)
    assert torch.equal(logits(bundle.trainee), now)


@pytest.mark.parametrize(
    ("options", "targets", "code"), [({"experts": 2, "top_k": 3}, "all-linear", "bad_setting"), ({}, ["nowhere"], "no_such_layers")]
)
def test_what_cannot_be_is_refused(tmp_path, options, targets, code):
    with pytest.raises(WorkerError) as refused:
        adapted(tmp_path, "lora_moe", steps=0, adaptation=options, targets=targets)
    assert refused.value.code == code
