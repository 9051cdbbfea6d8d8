"""TRL's GRPOTrainer as the oracle of the clipped surrogate: same answers, advantages, old and reference log-probabilities."""

import pytest
import tiny
import torch
from datasets import Dataset
from near import assert_near, gradients
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOConfig, GRPOTrainer

from kriptik.engine import stage
from kriptik.engine.modalities.text import Text
from kriptik.engine.rng import reseed
from kriptik.engine.text import sharing
from kriptik.spec.job import StageSettings

LONGEST = 8


def opened(root, **options):
    """A full fine-tune that has moved since it gave its answers; its one update."""
    rule = {"verifier": "share", "pattern": "[aeiou]", "group_size": 3, "max_new_tokens": LONGEST, "iterations": 2}
    settings = StageSettings(micro_batch=6, learning_rate=1e-3, max_seq_len=64, packing=False, objective={**rule, **options})
    job = tiny.tiny_job(root, rows=tiny.chat_rows(4), adaptation="full", objective="grpo", settings=settings)
    run = stage.load(job, Text)
    session, place = stage.open_stage(run, 0, None)
    _, group = place.cursor.next()
    reseed(3)
    with torch.no_grad():
        update = session.objective.refill(group[:1], session)[0]
        for one in session.bundle.trainee.parameters():
            one.add_(0.02 * torch.randn_like(one))
    return session, update


def batch_of(session, update):
    """The update's micro-batches side by side, as TRL's trainer takes them: prompts padded left, answers right."""
    eos, parts = session.bundle.tokenizer.eos_token_id, {}
    lines = []
    for micro in update.micros:
        ids, at = micro.inputs["input_ids"][0], 0
        for length, count in zip(micro.inputs["doc_lengths"], micro.extra["counts"], strict=True):
            lines.append((ids[at : at + length - count], ids[at + length - count : at + length]))
            at += length
    prompts, answers = zip(*lines, strict=True)
    longest = max(map(len, prompts))
    parts["prompt_ids"] = torch.stack([torch.cat([torch.full((longest - len(one),), eos), one]) for one in prompts])
    parts["prompt_mask"] = torch.stack([(torch.arange(longest) >= longest - len(one)).long() for one in prompts])
    parts["completion_ids"] = pad_sequence(answers, batch_first=True, padding_value=eos)
    width = parts["completion_ids"].shape[1]
    parts["completion_mask"] = torch.stack([(torch.arange(width) < len(one)).long() for one in answers])
    for ours, theirs in (("past", "old_per_token_logps"), ("reference", "ref_per_token_logps")):
        if ours in update.micros[0].extra:
            found = [micro.extra[ours] for micro in update.micros]
            wide = [torch.nn.functional.pad(one, (0, width - one.shape[1])) for one in found]
            parts[theirs] = torch.cat(wide)
    parts["advantages"] = torch.cat([micro.extra["advantage"] for micro in update.micros]).float()
    parts["num_items_in_batch"] = parts["completion_mask"].sum()
    return parts


@pytest.mark.parametrize(("loss", "unbiased"), [("grpo", False), ("dr_grpo", False), ("dapo", False), ("grpo", True)])
def test_loss_and_gradient_equal_those_of_trl(tmp_path, monkeypatch, loss, unbiased):
    monkeypatch.setattr(sharing, "LEAST", 10**6)  # `batch_of` wants whole documents; test_sharing.py has the rest
    session, update = opened(tmp_path, loss=loss, beta=0.1, temperature=0.8, clip=0.1, clip_high=0.3, unbiased_kl=unbiased)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "base", dtype=torch.float32, attn_implementation="eager")
    model.load_state_dict(session.bundle.trainee.state_dict())
    config = GRPOConfig(
        output_dir=str(tmp_path / "trl"),
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        report_to=[],
        loss_type=loss,
        beta=0.1,
        use_bias_correction_kl=unbiased,
        temperature=0.8,
        epsilon=0.1,
        epsilon_high=0.3,
        num_generations=3,
        per_device_train_batch_size=6,
        max_completion_length=LONGEST,
        num_iterations=2,
        steps_per_generation=1,
    )
    trainer = GRPOTrainer(
        model=model,
        reward_funcs=lambda completions, **_: [0.0] * len(completions),
        args=config,
        train_dataset=Dataset.from_list([{"prompt": "list"}] * 4),
        processing_class=AutoTokenizer.from_pretrained(tmp_path / "base"),
    )
    trainer.current_gradient_accumulation_steps = 1
    trainer.model.train()
    theirs = trainer._compute_loss(trainer.model, batch_of(session, update))
    theirs.backward()
    stats = session.objective.run(update, session, update.weight)
    assert stats.loss == pytest.approx(theirs.item(), rel=1e-5)
    assert 0 < stats.metrics["clipped"] < 1, "some tokens are clipped, some are not"
    assert_near(gradients(session.bundle.trainee), gradients(trainer.model))
