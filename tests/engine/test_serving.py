"""Result and testing: what was exported is what was trained, checkpoints answer, base and tuned are told apart."""

import pytest
import torch
from tiny import chat_rows, tiny_job
from transformers import AutoModelForCausalLM, AutoTokenizer

from kriptik.engine.adapters import attach
from kriptik.engine.testing import load
from kriptik.engine.train import train
from kriptik.spec.errors import KriptikError
from kriptik.spec.events import CheckpointCommitted, Desired
from kriptik.spec.job import StageSettings
from kriptik.spec.testing import TestRequest

PROMPT = "Repeat in reverse: json text"


@pytest.fixture(scope="module", params=["lora", "dora", "full", "mora", "longlora"])
def trained(request, tmp_path_factory):
    root = tmp_path_factory.mktemp(request.param)
    settings = StageSettings(micro_batch=2, epochs=3, learning_rate=1e-2, max_seq_len=96, checkpoint_every=3)
    job = tiny_job(root, rows=chat_rows(40), adaptation=request.param, settings=settings)
    said = []
    outcome = train(job, said.append, lambda: Desired(version=1))
    checkpoints = [body.checkpoint_id for body in said if isinstance(body, CheckpointCommitted)]
    return job, outcome, checkpoints, root


def logits(model, tokenizer):
    model.eval()
    ids = tokenizer.apply_chat_template(
        [{"role": "user", "content": PROMPT}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    with torch.no_grad():
        return model(**ids).logits


def test_the_exported_model_answers_like_the_checkpoint(trained):
    job, outcome, _, root = trained
    models = load(job.model_copy(update={"resume_from": outcome.checkpoint_id}))
    tokenizer = AutoTokenizer.from_pretrained(root / "run/result/model")
    merged = AutoModelForCausalLM.from_pretrained(root / "run/result/model")
    torch.testing.assert_close(logits(merged, tokenizer), logits(models.run.bundle.trainee, tokenizer), atol=1e-4, rtol=1e-4)
    if job.stages[0].method != "full":
        base = AutoModelForCausalLM.from_pretrained(root / "base")
        adapter = attach(base, root / "run/result/adapter")
        torch.testing.assert_close(logits(adapter, tokenizer), logits(merged, tokenizer), atol=1e-4, rtol=1e-4)


def test_base_and_tuned_are_told_apart(trained):
    job, outcome, _, root = trained
    models = load(job.model_copy(update={"resume_from": outcome.checkpoint_id}))
    tuned = models.answer(TestRequest(text_prompt=PROMPT, max_tokens=12))
    base = models.answer(TestRequest(text_prompt=PROMPT, max_tokens=12, target="base"))
    assert tuned.metadata["weights"] != base.metadata["weights"]
    assert tuned.output != base.output
    again = models.answer(TestRequest(text_prompt=PROMPT, max_tokens=12))
    assert again.output == tuned.output and again.tokens_used == tuned.tokens_used
    plain = AutoModelForCausalLM.from_pretrained(root / "base")
    tokenizer = AutoTokenizer.from_pretrained(root / "base")
    ids = tokenizer.apply_chat_template(
        [{"role": "user", "content": PROMPT}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    made = plain.generate(**ids, max_new_tokens=12, do_sample=False)[0, ids["input_ids"].shape[1] :]
    assert base.output == tokenizer.decode(made, skip_special_tokens=True).strip()


def test_a_checkpoint_in_mid_run_answers_as_itself(trained):
    job, outcome, checkpoints, _ = trained
    early = load(job.model_copy(update={"resume_from": checkpoints[-2]}))
    late = load(job.model_copy(update={"resume_from": outcome.checkpoint_id}))
    assert early.hashes["tuned"] != late.hashes["tuned"]
    assert early.hashes["base"] == late.hashes["base"]


def test_without_a_name_the_newest_checkpoint_answers(trained):
    job, outcome, _, _ = trained
    assert load(job).hashes == load(job.model_copy(update={"resume_from": outcome.checkpoint_id})).hashes


def test_nothing_trained_and_nothing_asked_say_so(trained, tmp_path):
    job, outcome, _, _ = trained
    with pytest.raises(KriptikError) as refused:
        load(job.model_copy(update={"run_dir": str(tmp_path)}))
    assert refused.value.code == "no_checkpoint"
    models = load(job.model_copy(update={"resume_from": outcome.checkpoint_id}))
    with pytest.raises(KriptikError) as refused:
        models.answer(TestRequest(text_prompt="  "))
    assert refused.value.code == "empty_prompt"
