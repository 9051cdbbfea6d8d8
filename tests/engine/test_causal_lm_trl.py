"""The supervised loss against TRL's own trainer as oracle: the same rows in one batch, the same number."""

import pytest
import torch
from datasets import Dataset
from tiny import chat_rows, tiny_job
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer

from kriptik.engine.adaptations.lora import Lora
from kriptik.engine.cursor import Rows
from kriptik.engine.interfaces import Encoded, OptimizerSpec, ParamGroup, Session
from kriptik.engine.modalities.text import Text
from kriptik.engine.objectives.causal_lm import CausalLm
from kriptik.engine.strategies.single import SingleRuntime


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    root = tmp_path_factory.mktemp("oracle")
    rows = [{"messages": row["messages"]} for row in chat_rows(6)]
    job = tiny_job(root, rows=rows)
    config = SFTConfig(
        output_dir=str(root / "trl"), per_device_train_batch_size=len(rows), max_length=96, report_to=[], use_cpu=True, bf16=False,
        gradient_checkpointing=False, completion_only_loss=True, save_strategy="no", disable_tqdm=True, dataset_num_proc=None,
    )
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(root / "base", dtype=torch.float32),
        processing_class=AutoTokenizer.from_pretrained(root / "base"),
        args=config,
        train_dataset=Dataset.from_list([{"prompt": row["messages"][:-1], "completion": row["messages"][-1:]} for row in rows]),
    )
    modality = Text(job)
    return trainer, modality, modality.load(), job, rows


def their_batch(trainer):
    return trainer.data_collator([trainer.train_dataset[number] for number in range(len(trainer.train_dataset))])


def our_micro(modality, bundle, job, rows):
    encoded = [modality.encode(bundle, row, n, "completion", job.stages[0].settings) for n, row in enumerate(rows)]
    return modality.collate(bundle, [encoded[:4], encoded[4:]], 0, 0)


def without_line_breaks(batch, eos):
    """TRL also learns the line break that the template writes behind the last end-of-turn mark; the product does not."""
    labels = batch["labels"]
    after = torch.cumsum((batch["input_ids"] == eos) & (labels != -100), 1) - ((batch["input_ids"] == eos) & (labels != -100)).int()
    return {**batch, "labels": torch.where(after > 0, -100, labels)}


def test_the_same_tokens_are_learnt(both):
    trainer, modality, bundle, job, rows = both
    batch = without_line_breaks(their_batch(trainer), bundle.tokenizer.eos_token_id)
    theirs = [line[line != -100].tolist() for line in batch["labels"]]
    micro = our_micro(modality, bundle, job, rows)
    ours = [part.tolist() for part in micro.extra["targets"].split(micro.extra["counts"])]
    assert sorted(ours) == sorted(theirs)
    assert all(line[-1] == bundle.tokenizer.eos_token_id for line in ours)


def test_loss_and_gradient_equal_trl(both):
    trainer, modality, bundle, job, rows = both
    batch = without_line_breaks(their_batch(trainer), bundle.tokenizer.eos_token_id)
    trainer.model.train()
    theirs = trainer.compute_loss(trainer.model, dict(batch), num_items_in_batch=None)
    theirs.backward()
    micro = our_micro(modality, bundle, job, rows)
    total, _ = CausalLm(job.stages[0].settings).loss(modality.forward(bundle.trainee, micro), micro)
    ours = total / micro.weight
    ours.backward()
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-5)
    expected = dict(trainer.model.named_parameters())
    for name, parameter in bundle.trainee.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name].grad, atol=1e-5, rtol=1e-4)


def test_held_out_rows_are_scored_as_each_alone(both):
    _trainer, modality, bundle, job, rows = both
    objective = CausalLm(job.stages[0].settings)
    encoded = [modality.encode(bundle, row, n, "completion", job.stages[0].settings) for n, row in enumerate(rows)]
    encoded.insert(2, Encoded(9, 3, 0.0, {"ids": [5, 6, 7], "learnt": [False] * 3, "cut": 0}))  # nothing to learn is left of it
    runtime = SingleRuntime(bundle, modality, OptimizerSpec([ParamGroup([next(iter(dict(bundle.trainee.named_parameters())))])]))
    settings = job.stages[0].settings
    session = Session(job, 0, settings, bundle, modality, Lora(settings), objective, Rows([], dict), runtime=runtime)
    bundle.trainee.eval()
    together = objective.evaluate(encoded, session)
    alone = [objective.evaluate([row], session) for row in encoded]
    assert together.weights == [row.weight for row in encoded]
    assert together.sums == pytest.approx([one.sums[0] for one in alone], rel=1e-5) and together.sums[2] == 0.0
