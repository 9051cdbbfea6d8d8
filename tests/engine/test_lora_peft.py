"""LoRA and DoRA: the formulas in plain tensors, what is trained, saving, reloading, merging; no path of this machine in files."""

import json

import pytest
import torch
from adapted import adapted, logits
from peft import PeftModel
from tiny import tiny_job
from torch.nn import functional
from transformers import AutoModelForCausalLM

from kriptik.engine.adaptations.lora import Lora
from kriptik.engine.text.result import write_result
from kriptik.spec.errors import WorkerError

KINDS = ("dora", "lora")


@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_computes_the_published_formula(tmp_path, kind):
    bundle, _ = adapted(tmp_path, kind)
    layer = bundle.trainee.base_model.model.model.layers[0].self_attn.q_proj
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    weight = layer.base_layer.weight + (8 / 4) * b @ a
    if kind == "dora":
        magnitude = layer.lora_magnitude_vector["default"].weight
        weight = magnitude[:, None] * weight / weight.norm(dim=1, keepdim=True)
    x = torch.randn(3, 5, 64)
    layer.eval()
    torch.testing.assert_close(layer(x), functional.linear(x, weight), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(layer(x), layer.base_layer(x), atol=1e-3), "the adapter must have learnt something"


@pytest.mark.parametrize("kind", KINDS)
def test_only_adapters_are_trained_and_the_start_is_the_base(tmp_path, kind):
    bundle, adaptation = adapted(tmp_path, kind, steps=0)
    names = [name for name, parameter in bundle.trainee.named_parameters() if parameter.requires_grad]
    assert names and all("lora_" in name for name in names)
    assert any("magnitude" in name for name in names) == (kind == "dora")
    assert {name for group in adaptation.optimizer(bundle).groups for name in group.names} == set(names)
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    torch.testing.assert_close(logits(bundle.trainee), logits(base), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_adapters(tmp_path, kind):
    one, two, other = (adapted(tmp_path, kind, seed=seed, steps=0)[0].trainee.state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(value, two[name]) for name, value in one.items())
    assert any(not torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.parametrize("kind", KINDS)
def test_saved_adapters_reload_in_peft_alone(tmp_path, kind):
    bundle, adaptation = adapted(tmp_path, kind)
    adaptation.save(bundle, tmp_path / "adapter")
    loaded = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tmp_path / "base"), tmp_path / "adapter")
    torch.testing.assert_close(logits(loaded), logits(bundle.trainee), atol=1e-6, rtol=1e-6)
    facts = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert facts["r"] == 4 and facts["use_dora"] == (kind == "dora")
    assert facts["base_model_name_or_path"] == "tiny", "the model's name, not a folder of the machine that trained it"
    files = [file for file in (tmp_path / "adapter").rglob("*") if file.is_file()]
    assert files and not any(str(tmp_path).encode() in file.read_bytes() for file in files)


@pytest.mark.parametrize("kind", KINDS)
def test_adapters_off_is_the_base_and_folding_in_keeps_the_answers(tmp_path, kind):
    bundle, adaptation = adapted(tmp_path, kind)
    before = logits(bundle.trainee)
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "base", attn_implementation=bundle.trainee.config._attn_implementation)
    with adaptation.reference(bundle):
        assert torch.equal(logits(bundle.trainee), logits(base))
    assert torch.equal(logits(bundle.trainee), before)
    adaptation.finish(bundle)
    torch.testing.assert_close(logits(bundle.trainee), before, atol=1e-4, rtol=1e-4)
    touched = [name for name, one in bundle.trainee.named_parameters() if id(one) in bundle.modified]
    assert len(touched) == 14 and not any("lora" in name for name, _ in bundle.trainee.named_parameters())


def test_the_adapter_of_a_later_stage_is_not_left_as_a_result(tmp_path):
    bundle, adaptation = adapted(tmp_path, "lora")
    job = tiny_job(tmp_path)
    first = write_result(bundle, adaptation, tmp_path / "run", job)
    assert first.adapter_path == "result/adapter"
    assert (tmp_path / "run" / "result" / "adapter" / "adapter_model.safetensors").is_file()
    adaptation.finish(bundle)
    second = Lora(adaptation.settings)
    second.apply(bundle)
    with torch.no_grad():
        for name, parameter in bundle.trainee.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    before = logits(bundle.trainee)
    exported = write_result(bundle, second, tmp_path / "run", job.model_copy(update={"stages": job.stages * 2}))
    assert exported.adapter_path is None and not (tmp_path / "run" / "result" / "adapter").exists()
    assert torch.equal(logits(bundle.trainee), before), "writing the result changed the trainee"
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "result" / "model")
    torch.testing.assert_close(logits(again), before, atol=1e-4, rtol=1e-4)


def test_targets_can_be_named_and_unknown_ones_are_refused(tmp_path):
    bundle, _ = adapted(tmp_path, "lora", steps=0, targets=["q_proj"])
    trained = [name for name, parameter in bundle.trainee.named_parameters() if parameter.requires_grad]
    assert {name.split(".lora_")[0].rsplit(".", 1)[1] for name in trained} == {"q_proj"}
    with pytest.raises(WorkerError) as refused:
        adapted(tmp_path, "lora", steps=0, targets=["no_such_layer"])
    assert refused.value.code == "no_such_layers" and refused.value.next_step
