"""MoRA: the paper's compressions written out number by number, its size, the merge, its own files, switched off and folded in."""

import json
import math

import pytest
import torch
from adapted import adapted, logits
from tiny import tiny_job
from torch import nn
from transformers import AutoModelForCausalLM

from kriptik.engine.adaptations.mora import MoraLinear
from kriptik.engine.adapters import attach
from kriptik.engine.text.result import write_result
from kriptik.spec.errors import WorkerError

SHAPES = [(12, 7, 3), (7, 12, 3), (9, 20, 1), (4, 4, 8)]
"""(in, out, rank): output shorter and longer than the input, and a matrix that is larger than both."""


def layer(inputs, outputs, rank, compress):
    torch.manual_seed(0)
    found = MoraLinear(nn.Linear(inputs, outputs), rank, compress)
    nn.init.normal_(found.mora_M)
    return found


def share(x, matrix, outputs):
    """Equation 7: the groups are those equal modulo the size."""
    size = len(matrix)
    small = torch.stack([sum((x[i] for i in range(group, len(x), size)), torch.zeros(())) for group in range(size)])
    y = matrix @ small
    return torch.stack([y[i % size] for i in range(outputs)])


def rotate(x, matrix, outputs):
    """Equations 8 and 9: pieces, each turned by the rotations a^i, through the same matrix, end to end."""
    size = len(matrix)
    x = torch.cat([x, torch.zeros(-len(x) % size)])
    made = []
    for number in range(len(x) // size):
        turn = torch.zeros(size, size)
        for j in range(size // 2):
            angle = number * 10000 ** (-2 * j / size)
            turn[2 * j : 2 * j + 2, 2 * j : 2 * j + 2] = torch.tensor(
                [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
            )
        made.append(matrix @ (turn @ x[number * size : (number + 1) * size]))
    y = torch.cat(made)
    return torch.stack([y[i % len(y)] for i in range(outputs)])


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("formula", [share, rotate])
def test_it_computes_the_published_formula(formula, shape):
    inputs, outputs, rank = shape
    one = layer(*shape, formula.__name__)
    size = math.floor(math.sqrt((inputs + outputs) * rank))
    assert one.mora_M.shape == (size - size % 2,) * 2 if formula is rotate else (size,) * 2
    x = torch.randn(inputs)
    torch.testing.assert_close(one(x), one.base_layer(x) + formula(x, one.mora_M, outputs), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(one.delta() @ x, formula(x, one.mora_M, outputs), atol=1e-5, rtol=1e-5)


def test_the_change_has_a_higher_rank_than_loras_of_the_same_size():
    one = layer(64, 64, 2, "rotate")
    assert one.mora_M.numel() <= 2 * (64 + 64)
    assert torch.linalg.matrix_rank(one.delta()) > 8
    assert torch.linalg.matrix_rank(layer(64, 64, 2, "share").delta()) > 8


def test_a_small_rank_rotates_and_a_large_one_shares(tmp_path):
    for rank, compress in ((4, "rotate"), (64, "share")):
        bundle, _ = adapted(tmp_path, "mora", steps=0, rank=rank)
        assert bundle.trainee.model.layers[0].mlp.up_proj.compress == compress


def test_only_the_matrices_are_trained_and_the_start_is_the_base(tmp_path):
    bundle, adaptation = adapted(tmp_path, "mora", steps=0)
    trained = [name for name, one in bundle.trainee.named_parameters() if one.requires_grad]
    assert len(trained) == 14 and all(name.endswith(".mora_M") for name in trained)
    assert {name for group in adaptation.optimizer(bundle).groups for name in group.names} == set(trained)
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    torch.testing.assert_close(logits(bundle.trainee), logits(base), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("compress", ["share", "rotate"])
def test_saved_reloaded_switched_off_and_folded_in(tmp_path, compress):
    bundle, adaptation = adapted(tmp_path, "mora", adaptation={"compress": compress})
    before = logits(bundle.trainee)
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    plain = logits(base)
    assert float((before - plain).abs().max()) > 0.1, "the matrices must have learnt something"
    exported = write_result(bundle, adaptation, tmp_path / "run", tiny_job(tmp_path, adaptation="mora"))
    assert torch.equal(logits(bundle.trainee), before), "writing the result changed the trainee"
    assert exported.adapter_path == "result/adapter"
    folder = tmp_path / "run/result/adapter"
    torch.testing.assert_close(logits(attach(base, folder)), before, atol=1e-6, rtol=1e-6)
    facts = json.loads((folder / "mora_config.json").read_text())
    assert facts["rank"] == 4 and facts["compress"] == compress and facts["base_model_name_or_path"] == "tiny"
    card = (folder / "README.md").read_text()
    assert "attach" in card and "peft" not in card.split("---")[1], "the card must not send people to PEFT"
    whole = AutoModelForCausalLM.from_pretrained(tmp_path / "run/result/model")
    torch.testing.assert_close(logits(whole), before, atol=1e-4, rtol=1e-4)
    with adaptation.reference(bundle):
        torch.testing.assert_close(logits(bundle.trainee), plain, atol=1e-5, rtol=1e-5)
    assert torch.equal(logits(bundle.trainee), before)
    adaptation.finish(bundle)
    torch.testing.assert_close(logits(bundle.trainee), before, atol=1e-4, rtol=1e-4)
    assert len([one for one in bundle.trainee.parameters() if id(one) in bundle.modified]) == 14


def test_an_adapter_of_another_model_is_refused(tmp_path):
    bundle, adaptation = adapted(tmp_path, "mora", steps=0)
    adaptation.save(bundle, tmp_path / "adapter")
    other = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    other.model.layers[0].mlp.up_proj = nn.Linear(64, 100, bias=False)
    with pytest.raises(ValueError, match="another size"):
        attach(other, tmp_path / "adapter")


def test_targets_can_be_named_and_unknown_ones_are_refused(tmp_path):
    bundle, _ = adapted(tmp_path, "mora", steps=0, targets=["q_proj"])
    trained = [name for name, one in bundle.trainee.named_parameters() if one.requires_grad]
    assert trained and all("q_proj" in name for name in trained)
    for own, lora, code in (({}, {"targets": ["none"]}, "no_such_layers"), ({"compress": "zip"}, {}, "bad_setting")):
        with pytest.raises(WorkerError) as refused:
            adapted(tmp_path, "mora", steps=0, adaptation=own, **lora)
        assert refused.value.code == code and refused.value.next_step
