"""TRL's own trainer as the oracle: on the same rows and weights its loss and gradients are ours."""

import pytest
import torch
from datasets import Dataset
from tiny import chat_rows, tiny_job
from transformers import AutoModelForCausalLM
from trl import SFTConfig, SFTTrainer

from kriptik.engine.interfaces import Update
from kriptik.engine.modalities.text import Text
from kriptik.engine.objectives.causal_lm import CausalLm
from kriptik.engine.strategies.single import Single
from kriptik.spec.job import StageSettings


@pytest.mark.parametrize("padding_free", [False, True], ids=["padded", "packed_by_trl"])
def test_supervised_loss_and_gradient_equal_those_of_trl(tmp_path, padding_free):
    job = tiny_job(tmp_path)
    modality = Text(job)
    bundle = modality.load()
    rows = [modality.encode(bundle, row, n, "completion", job.stages[0].settings) for n, row in enumerate(chat_rows(6))]
    micro = modality.collate(bundle, [rows[:2], rows[2:]], 0, 0)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "base", attn_implementation="eager")
    marked = [{"input_ids": row.fields["ids"], "completion_mask": [int(on) for on in row.fields["learnt"]]} for row in rows]
    config = SFTConfig(
        output_dir=str(tmp_path / "trl"),
        use_cpu=True,
        bf16=False,
        per_device_train_batch_size=len(rows),
        gradient_checkpointing=False,
        completion_only_loss=True,
        padding_free=padding_free,
        report_to=[],
        max_length=None,
        shuffle_dataset=False,
    )
    trainer = SFTTrainer(model=plain, args=config, train_dataset=Dataset.from_list(marked), processing_class=bundle.tokenizer)
    batch = next(iter(trainer.get_train_dataloader()))
    theirs = trainer.compute_loss(trainer.model.train(), batch)
    theirs.backward()

    bundle.trainee.requires_grad_(True)
    adamw = Single(StageSettings()).start(bundle, modality, _all(bundle))
    update = Update([micro])
    stats = adamw.forward_backward(update.micros, CausalLm(StageSettings()).loss, update.weight)
    assert abs(stats.loss - theirs.item()) <= 1e-5 * abs(theirs.item())
    expected = dict(trainer.model.named_parameters())
    for name, mine in bundle.trainee.named_parameters():
        torch.testing.assert_close(mine.grad, expected[name].grad, rtol=1e-3, atol=1e-5)


def _all(bundle):
    from kriptik.engine.adaptations.full import Full

    return Full(StageSettings()).optimizer(bundle)
