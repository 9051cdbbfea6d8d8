"""A base in 4 bits: the traps of bitsandbytes are shut, merges are exact, resumes too; what cannot stand on it is refused."""

import json

import lives
import pytest
import tiny
import torch
import toy
from adapted import adapted, logits
from bitsandbytes import functional as bits
from bitsandbytes.nn import Linear4bit, Params4bit
from peft import PeftModel
from test_exact import freeze_at
from transformers import AutoModelForCausalLM

from kriptik.engine import pieces
from kriptik.engine.modalities.text import Text
from kriptik.engine.text import quantised
from kriptik.engine.text.result import write_result
from kriptik.spec.errors import WorkerError
from kriptik.spec.job import LoraSettings, StageSettings


def layer(settled):
    """(layer with 4-bit weights, the numbers they stand for)."""
    torch.manual_seed(0)
    found = Linear4bit(192, 64, bias=False, compute_dtype=torch.float32, quant_type="nf4")
    found.weight = Params4bit(torch.randn(64, 192), requires_grad=False, quant_type="nf4", module=found)
    found.to("cpu")
    if settled:
        assert quantised.settle(torch.nn.Sequential(found)) == ["0"]
    return found, bits.dequantize_4bit(found.weight.data, found.weight.quant_state)


def after_eval(found):
    """(weights as they dequantise after a forward in eval mode, output of a forward in training mode after that, its input)."""
    x = torch.randn(3, 192, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found.eval()(x)
    then = bits.dequantize_4bit(found.weight.data, found.weight.quant_state).float()
    return then, found.train()(x.clone().requires_grad_()), x


def test_a_forward_in_eval_mode_changes_nothing():
    found, weight = layer(settled=True)
    then, made, x = after_eval(found)
    assert torch.equal(then, weight) and torch.equal(made, torch.nn.functional.linear(x, weight))


@pytest.mark.skipif(not bits.has_avx512bf16(), reason="bitsandbytes repacks weights on processors with AVX512-BF16 alone")
def test_without_us_it_would():
    """What `settle` is for. When this fails, bitsandbytes has mended it and `settle` may go."""
    found, weight = layer(settled=False)
    then, made, x = after_eval(found)
    assert float((then - weight).abs().max()) > 1.0
    assert float((made.detach() - torch.nn.functional.linear(x, weight)).abs().max()) > 1e-2


def on_four_bits(root, kind, **options):
    return adapted(root, kind, job=tiny.tiny_job(root, adaptation=kind, precision="nf4"), **options)


@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_the_base_is_frozen_in_four_bits_and_only_adapters_are_trained(tmp_path, kind):
    bundle, _ = on_four_bits(tmp_path, kind, steps=0)
    held = dict(quantised.layers(bundle.trainee))
    assert len(held) == 14 and all(one.weight.dtype == torch.uint8 for one in held.values())
    assert sum(one.weight.numel() for one in held.values()) * 8 == sum(
        4 * one.in_features * one.out_features for one in held.values()
    )
    trained = [name for name, one in bundle.trainee.named_parameters() if one.requires_grad]
    assert trained and all("lora_" in name for name in trained)


@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_the_merge_after_an_evaluation_is_what_was_trained(tmp_path, kind):
    """Evaluated, trained on, evaluated again: the adapters, merged into the numbers the bits stand for, answer the same."""
    bundle, adaptation = on_four_bits(tmp_path, kind)
    logits(bundle.trainee)
    bundle.trainee.train()
    before = logits(bundle.trainee)
    job = tiny.tiny_job(tmp_path, adaptation=kind, precision="nf4")
    exported = write_result(bundle, adaptation, tmp_path / "run", job)
    assert torch.equal(logits(bundle.trainee), before), "writing the result changed the trainee"
    whole = AutoModelForCausalLM.from_pretrained(tmp_path / "run" / exported.model_path)
    torch.testing.assert_close(logits(whole), before, atol=1e-4, rtol=1e-4)
    assert "quantization_config" not in json.loads((tmp_path / "run/result/model/config.json").read_text())
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "base", **quantised.options(torch.float32, "cpu"))
    quantised.settle(base)
    again = PeftModel.from_pretrained(base, tmp_path / "run/result/adapter")
    torch.testing.assert_close(logits(again), before, atol=1e-5, rtol=1e-5)
    plain = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tmp_path / "base"), tmp_path / "run/result/adapter")
    off = float((logits(plain) - before).abs().max())
    assert off > 1e-2, "on the unquantised base it is another model, as the card says"
    assert "4 bits" in (tmp_path / "run/result/adapter/README.md").read_text()


def test_doras_norms_are_those_of_the_numbers_in_use(tmp_path):
    bundle, _ = on_four_bits(tmp_path, "dora")
    logits(bundle.trainee)
    one = bundle.trainee.base_model.model.model.layers[0].mlp.down_proj
    weight = bits.dequantize_4bit(one.base_layer.weight.data, one.base_layer.weight.quant_state)
    weight = weight + 2 * one.lora_B["default"].weight @ one.lora_A["default"].weight
    weight = one.lora_magnitude_vector["default"].weight[:, None] * weight / weight.norm(dim=1, keepdim=True)
    x = torch.randn(4, 192)
    with torch.no_grad():
        torch.testing.assert_close(one.eval()(x), torch.nn.functional.linear(x, weight), atol=1e-4, rtol=1e-4)


def job_in(folder, stages=1, **changes):
    folder.mkdir(parents=True, exist_ok=True)
    settings = StageSettings(
        max_steps=6,
        micro_batch=2,
        learning_rate=5e-3,
        max_seq_len=96,
        eval_every=2,
        lora=LoraSettings(rank=4, alpha=8, dropout=0.1, targets=["q_proj", "down_proj"]),
    )
    job = tiny.tiny_job(
        folder, rows=tiny.chat_rows(16), eval_rows=tiny.chat_rows(4, 9), adaptation="dora", settings=settings, precision="nf4"
    )
    return job.model_copy(update={"stages": [job.stages[0].model_copy(update={"index": n}) for n in range(stages)], **changes})


def lived(job, control=toy.running):
    code, said = lives.live(job, control=control)
    error = next(iter(job_errors(job)), "")
    assert code == 0, error
    return said


def job_errors(job):
    from pathlib import Path

    return [one.read_text() for one in Path(job.run_dir).glob("error-*.txt")]


@pytest.mark.exactness
@pytest.mark.parametrize(("stages", "at"), [(1, 3), (2, 8)], ids=["between evaluations", "in a second stage"])
def test_frozen_and_resumed(tmp_path, stages, at):
    """Evaluations in between go through the same arithmetic; a second stage stands on the merged weights, no longer in 4 bits."""
    lives.preload(None, job=job_in(tmp_path / "preload"))
    straight, job = job_in(tmp_path / "straight", stages), job_in(tmp_path / "frozen", stages)
    said = lived(straight)
    early = lived(job, freeze_at(at))
    start = lives.newest(job.run_dir)
    assert start.startswith(f"s{stages - 1}-")
    late = lived(job.model_copy(update={"generation": 2, "resume_from": start}))
    assert lives.losses(early) | lives.losses(late) == lives.losses(said)
    assert lives.final_tensors(job.run_dir) == lives.final_tensors(straight.run_dir)


def test_folded_in_the_base_is_plain(tmp_path):
    bundle, adaptation = on_four_bits(tmp_path, "lora")
    before = logits(bundle.trainee)
    adaptation.finish(bundle)
    torch.testing.assert_close(logits(bundle.trainee), before, atol=1e-4, rtol=1e-4)
    assert bundle.unquantised is None and not list(quantised.layers(bundle.trainee))
    assert all(id(one) in bundle.modified for one in bundle.trainee.parameters())
    pieces.adaptation("full")(adaptation.settings).apply(bundle)


@pytest.mark.parametrize("kind", ["full", "galore", "adalora", "vera", "relora", "mora", "longlora"])
def test_what_cannot_stand_on_it_is_refused(tmp_path, kind):
    with pytest.raises(WorkerError) as refused:
        on_four_bits(tmp_path, kind, steps=0)
    assert refused.value.code in ("quantised_base", "cannot_train") and refused.value.next_step


def test_without_bitsandbytes_it_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("transformers.utils.is_bitsandbytes_available", lambda: False)
    with pytest.raises(WorkerError) as refused:
        Text(tiny.tiny_job(tmp_path, precision="nf4")).load()
    assert refused.value.code == "no_bitsandbytes" and refused.value.next_step
