"""VeRA: the paper's formula in plain tensors, what is trained, reloading in PEFT alone, folding in."""

import torch
from adapted import adapted, logits
from peft import PeftModel
from torch.nn import functional
from transformers import AutoModelForCausalLM


def test_a_layer_computes_the_published_formula(tmp_path):
    bundle, _ = adapted(tmp_path, "vera", rank=32)
    layer = bundle.trainee.base_model.model.model.layers[0].mlp.down_proj
    b, d = layer.vera_lambda_b["default"], layer.vera_lambda_d["default"]
    big_a, big_b = layer.vera_A["default"][:, :192], layer.vera_B["default"][:64]
    x = torch.randn(3, 5, 192)
    layer.eval()
    weight = layer.base_layer.weight + torch.diag(b) @ big_b @ torch.diag(d) @ big_a
    torch.testing.assert_close(layer(x), functional.linear(x, weight), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(layer(x), layer.base_layer(x), atol=1e-3), "the vectors must have learnt something"


def test_only_vectors_are_trained_and_all_layers_share_the_matrices(tmp_path):
    bundle, adaptation = adapted(tmp_path, "vera", steps=0, rank=32)
    trained = {name: one for name, one in bundle.trainee.named_parameters() if one.requires_grad}
    assert trained and all("vera_lambda_" in name and one.dim() == 1 for name, one in trained.items())
    assert {name for group in adaptation.optimizer(bundle).groups for name in group.names} == set(trained)
    layers = bundle.trainee.base_model.model.model.layers
    assert layers[0].self_attn.q_proj.vera_A["default"] is layers[1].mlp.up_proj.vera_A["default"]
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    torch.testing.assert_close(logits(bundle.trainee), logits(base), atol=1e-5, rtol=1e-5)


def test_saved_reloaded_switched_off_and_folded_in(tmp_path):
    bundle, adaptation = adapted(tmp_path, "vera", rank=32)
    before = logits(bundle.trainee)
    adaptation.save(bundle, tmp_path / "adapter")
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    plain = logits(base)
    torch.testing.assert_close(logits(PeftModel.from_pretrained(base, tmp_path / "adapter")), before, atol=1e-6, rtol=1e-6)
    with adaptation.reference(bundle):
        torch.testing.assert_close(logits(bundle.trainee), plain, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(logits(adaptation.merged(bundle)), before, atol=1e-4, rtol=1e-4)
    assert torch.equal(logits(bundle.trainee), before)
    adaptation.finish(bundle)
    torch.testing.assert_close(logits(bundle.trainee), before, atol=1e-4, rtol=1e-4)
    touched = [name for name, one in bundle.trainee.named_parameters() if id(one) in bundle.modified]
    assert len(touched) == 14, "what was folded into must go into checkpoints"
