"""A second copy of a model for what is saved: it is another model with the same weights, and a full GPU gets none."""

from types import SimpleNamespace

import tiny
import torch
from torch import nn
from transformers import AutoModelForCausalLM

from kriptik.engine import copies


def test_a_copy_in_main_memory_is_the_same_model_and_another(tmp_path):
    model = AutoModelForCausalLM.from_pretrained(tiny.tiny_model(tmp_path / "base")).requires_grad_(False)
    next(model.parameters()).requires_grad_(True)
    ids = torch.tensor([[5, 6, 7, 8]])
    made = copies.in_main_memory(model)
    with torch.no_grad():
        assert torch.equal(made(ids).logits, model(ids).logits)
    before = {name: one.clone() for name, one in model.state_dict().items()}
    pairs = list(zip(model.named_parameters(), made.named_parameters(), strict=True))
    assert all(a[0] == b[0] and a[1].requires_grad == b[1].requires_grad and a[1] is not b[1] for a, b in pairs)
    assert made.lm_head.weight is made.model.embed_tokens.weight, "what shares weights goes on sharing them"
    with torch.no_grad():
        for one in made.parameters():
            one.add_(1.0)
    assert all(torch.equal(before[name], one) for name, one in model.state_dict().items())


def test_a_copy_goes_to_main_memory_where_a_gpu_has_no_room(monkeypatch):
    there = SimpleNamespace(device=torch.device("cuda"), numel=lambda: 1000, element_size=lambda: 4)
    module = nn.Linear(2, 2)
    made = []
    monkeypatch.setattr(copies, "in_main_memory", lambda one: made.append(one) or "main memory")
    monkeypatch.setattr(copies.copy, "deepcopy", lambda one: "beside it")
    monkeypatch.setattr(nn.Linear, "parameters", lambda self: iter([there]))
    for free, where in ((4000, "main memory"), (5000, "beside it")):
        monkeypatch.setattr(copies, "_free", lambda device, free=free: free)
        assert copies.spare(module) == where
    assert made == [module]
