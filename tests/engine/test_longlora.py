"""LongLoRA: the paper's shifted attention without its leak, documents apart, full attention afterwards, positions and files."""

import json
from types import SimpleNamespace

import pytest
import torch
from adapted import adapted, loss_of
from peft import PeftModel
from tiny import tiny_job, tiny_model
from torch.nn import functional
from transformers import AutoModelForCausalLM

from kriptik.engine.adapters import attach
from kriptik.engine.text import documents, shifted
from kriptik.engine.text.result import write_result
from kriptik.spec.errors import WorkerError

GROUP, HEADS, SIZE = 8, 4, 6


def module(training=True, group=GROUP):
    return SimpleNamespace(training=training, config=SimpleNamespace(kriptik_group=group))


def qkv(tokens, heads=HEADS, kv_heads=HEADS, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return [torch.randn(1, count, tokens, SIZE, generator=draw) for count in (heads, kv_heads, kv_heads)]


def paper(query, key, value, leak):
    """Algorithm 1 of the paper. `leak` False masks what its wrapped group would show of the other end of the text."""
    tokens = query.shape[2]
    half = HEADS // 2

    def cut(one):
        one = torch.cat([one[:, :half], one[:, half:].roll(-GROUP // 2, 2)], 1)
        return one[0].reshape(HEADS, tokens // GROUP, GROUP, SIZE).transpose(0, 1)

    mask = torch.ones(GROUP, GROUP, dtype=torch.bool).tril().repeat(tokens // GROUP, HEADS, 1, 1)
    if not leak:
        mask[-1, half:, GROUP // 2 :, : GROUP // 2] = False
    out = functional.scaled_dot_product_attention(cut(query), cut(key), cut(value), attn_mask=mask)
    out = out.transpose(0, 1).reshape(1, HEADS, tokens, SIZE)
    return torch.cat([out[:, :half], out[:, half:].roll(GROUP // 2, 2)], 1).transpose(1, 2)


def test_it_is_the_papers_attention_without_the_leak():
    one = qkv(32)
    found, _ = shifted.attend(module(), *one, None, doc_lengths=[32])
    torch.testing.assert_close(found, paper(*one, leak=False))
    wrapped = paper(*one, leak=True)
    torch.testing.assert_close(found[:, GROUP // 2 :], wrapped[:, GROUP // 2 :])
    torch.testing.assert_close(found[:, :, : HEADS // 2], wrapped[:, :, : HEADS // 2])
    assert not torch.allclose(found[:, : GROUP // 2, HEADS // 2 :], wrapped[:, : GROUP // 2, HEADS // 2 :])


@pytest.mark.parametrize("lengths", [[32], [19, 3, 29]], ids=str)
def test_no_token_sees_a_later_one_or_another_document(lengths):
    query, key, value = (one.requires_grad_() for one in qkv(sum(lengths)))
    found, _ = shifted.attend(module(), query, key, value, None, doc_lengths=lengths)
    start = 0
    for length in lengths:
        for place in range(start, start + length):
            slopes = torch.autograd.grad(found[:, place].square().sum(), [key, value], retain_graph=True)
            seen = sum(one.abs().sum((0, 1, 3)) for one in slopes) > 0
            assert not seen[place + 1 :].any() and not seen[:start].any()
            assert seen[place] or place == start  # the only key one sees has no slope
        start += length


def test_documents_are_as_if_alone():
    lengths = [19, 3, 29]
    whole = qkv(sum(lengths))
    together, _ = shifted.attend(module(), *whole, None, doc_lengths=lengths)
    start = 0
    for length in lengths:
        alone = [one[:, :, start : start + length] for one in whole]
        found, _ = shifted.attend(module(), *alone, None, doc_lengths=[length])
        torch.testing.assert_close(together[:, start : start + length], found)
        start += length


def test_heads_that_share_keys_across_the_halves():
    """SmolLM2 has 9 heads over 3 keys: the halves are 4 and 5 heads."""
    query, key, value = qkv(20, heads=9, kv_heads=3)
    found, _ = shifted.attend(module(), query, key, value, None, doc_lengths=[20])
    repeated = [one.repeat_interleave(3, 1) for one in (key, value)]
    torch.testing.assert_close(found, shifted.attend(module(), query, *repeated, None, doc_lengths=[20])[0])
    full, _ = documents.attend(module(), query, key, value, None, doc_lengths=[20])
    torch.testing.assert_close(found[:, : GROUP // 2], full[:, : GROUP // 2])
    assert not torch.allclose(found, full)


def test_short_documents_and_eval_have_full_attention():
    whole = qkv(24)
    short = {"doc_lengths": [GROUP, 5, 8, 3]}
    assert torch.equal(shifted.attend(module(), *whole, None, **short)[0], documents.attend(module(), *whole, None, **short)[0])
    for lengths in ([24], None):
        calm = shifted.attend(module(training=False), *whole, None, doc_lengths=lengths)[0]
        assert torch.equal(calm, documents.attend(module(), *whole, None, doc_lengths=lengths)[0])


def stretched(root, tied=True, longest=96, positions=40, steps=3, **own):
    """LongLoRA on a base of 40 positions, to 96 tokens: a factor of 3."""
    tiny_model(root / "base", positions=positions, tied=tied)
    job = tiny_job(root, adaptation="longlora")
    settings = job.stages[0].settings.model_copy(update={"max_seq_len": longest})
    stage = job.stages[0].model_copy(update={"settings": settings})
    job = job.model_copy(update={"stages": [stage]})
    bundle, adaptation = adapted(root, "longlora", job=job, steps=steps, rate=0.2, adaptation=own)
    return bundle, adaptation, job


def long_logits(model):
    ids = torch.randint(3, 500, (1, 90), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return model.eval()(input_ids=ids).logits


def test_adapters_embeddings_and_norms_are_trained(tmp_path):
    bundle, adaptation, _ = stretched(tmp_path, steps=0)
    trained = [name for name, one in bundle.trainee.named_parameters() if one.requires_grad]
    beside = {name.split(".")[-2] for name in trained if "lora_" not in name}
    assert beside == {"embed_tokens", "input_layernorm", "post_attention_layernorm", "norm"}
    assert any("lora_A" in name for name in trained) and not any("base_layer" in name for name in trained)
    assert {name for group in adaptation.optimizer(bundle).groups for name in group.names} == set(trained)


def test_training_goes_through_the_shifted_attention(tmp_path, monkeypatch):
    bundle, _, job = stretched(tmp_path, steps=0, group=8)
    settings = job.stages[0].settings
    bundle.trainee.train()
    sparse = loss_of(bundle, job, settings).item()
    bundle.trainee.eval()
    full = loss_of(bundle, job, settings).item()
    assert abs(sparse - full) > 1e-4 and bundle.info["attention"] == shifted.NAME
    monkeypatch.setattr(shifted, "parts_of", lambda length, group, first: [length])
    bundle.trainee.train()
    assert loss_of(bundle, job, settings).item() == pytest.approx(full, rel=1e-5)


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_saved_and_merged_it_answers_the_same_beyond_the_old_context(tmp_path, tied):
    bundle, adaptation, job = stretched(tmp_path, tied=tied)
    before = long_logits(bundle.trainee)
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    assert float((before - long_logits(base)).abs().max()) > 0.1
    exported = write_result(bundle, adaptation, tmp_path / "run", job)
    assert torch.equal(long_logits(bundle.trainee), before), "writing the result changed the trainee"
    whole = AutoModelForCausalLM.from_pretrained(tmp_path / "run" / exported.model_path)
    torch.testing.assert_close(long_logits(whole), before, atol=1e-4, rtol=1e-4)
    text = (tmp_path / "run/result/model/config.json").read_text()
    facts = json.loads(text)
    assert facts["rope_parameters"]["rope_type"] == "linear" and facts["rope_parameters"]["factor"] == 3.0
    assert facts["tie_word_embeddings"] == tied and "kriptik" not in text, "what only training needs is no part of the result"
    adapter = tmp_path / "run" / exported.adapter_path
    torch.testing.assert_close(long_logits(attach(base, adapter)), before, atol=1e-5, rtol=1e-5)
    assert "attach" in (adapter / "README.md").read_text()


def test_without_a_longer_context_the_adapter_is_plain_peft(tmp_path):
    bundle, adaptation, job = stretched(tmp_path, positions=512)
    write_result(bundle, adaptation, tmp_path / "run", job)
    folder = tmp_path / "run/result/adapter"
    assert not (folder / "positions.json").exists() and "attach" not in (folder / "README.md").read_text()
    facts = json.loads((tmp_path / "run/result/model/config.json").read_text())
    assert facts["rope_parameters"]["rope_type"] == "default"
    again = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tmp_path / "base"), folder)
    torch.testing.assert_close(long_logits(again), long_logits(bundle.trainee), atol=1e-5, rtol=1e-5)


def test_folded_in_it_attends_fully_and_remembers_what_moved(tmp_path):
    bundle, adaptation, job = stretched(tmp_path)
    before = long_logits(bundle.trainee)
    adaptation.finish(bundle)
    torch.testing.assert_close(long_logits(bundle.trainee), before, atol=1e-4, rtol=1e-4)
    touched = {name for name, one in bundle.trainee.named_parameters() if id(one) in bundle.modified}
    assert touched == {name for name, _ in bundle.trainee.named_parameters()}, "linear layers, norms and embeddings"
    bundle.trainee.train()
    sparse = loss_of(bundle, job, job.stages[0].settings).item()
    bundle.trainee.eval()
    assert sparse == loss_of(bundle, job, job.stages[0].settings).item()


def test_what_cannot_be_stretched_is_refused(tmp_path):
    tiny_model(tmp_path / "base", positions=40)
    config = json.loads((tmp_path / "base/config.json").read_text())
    config["rope_parameters"] |= {"rope_type": "linear", "factor": 2.0}
    (tmp_path / "base/config.json").write_text(json.dumps(config))
    for own, code in (({}, "cannot_stretch"), ({"group": 1}, "bad_group")):
        with pytest.raises(WorkerError) as refused:
            adapted(tmp_path, "longlora", steps=0, adaptation=own, job=tiny_job(tmp_path, adaptation="longlora"))
        assert refused.value.code == code and refused.value.next_step
