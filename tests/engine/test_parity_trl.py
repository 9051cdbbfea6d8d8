"""TRL's own trainer as the oracle of supervised learning: on the same rows and weights its loss and gradients are ours."""

import pytest
from datasets import Dataset
from near import assert_near, gradients
from tiny import chat_rows, tiny_job
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer

from kriptik.engine.adaptations.lora import Lora
from kriptik.engine.interfaces import Encoded, OptimizerSpec, ParamGroup, Session
from kriptik.engine.modalities.text import Text
from kriptik.engine.objectives.causal_lm import CausalLm
from kriptik.engine.rows import Rows
from kriptik.engine.strategies.single import SingleRuntime


@pytest.fixture
def ours(tmp_path):
    job = tiny_job(tmp_path)
    modality = Text(job)
    bundle = modality.load()
    rows = [modality.encode(bundle, row, n, "completion", job.stages[0].settings) for n, row in enumerate(chat_rows(6))]
    return job, modality, bundle, rows


def trainer_of(root, rows, **options):
    config = SFTConfig(
        output_dir=str(root / "trl"),
        use_cpu=True,
        bf16=False,
        per_device_train_batch_size=len(rows),
        gradient_checkpointing=False,
        completion_only_loss=True,
        report_to=[],
        max_length=None,
        shuffle_dataset=False,
        **options,
    )
    return SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(root / "base", attn_implementation="eager"),
        args=config,
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(root / "base"),
    )


@pytest.mark.parametrize("padding_free", [False, True], ids=["padded", "packed_by_trl"])
def test_supervised_loss_and_gradient_equal_those_of_trl(tmp_path, ours, padding_free):
    _, modality, bundle, rows = ours
    micro = modality.collate(bundle, [rows[:2], rows[2:]], 0, 0)
    marked = [{"input_ids": row.fields["ids"], "completion_mask": [int(on) for on in row.fields["learnt"]]} for row in rows]
    trainer = trainer_of(tmp_path, marked, padding_free=padding_free)
    theirs = trainer.compute_loss(trainer.model.train(), next(iter(trainer.get_train_dataloader())))
    theirs.backward()
    names = [name for name, _ in bundle.trainee.named_parameters()]
    runtime = SingleRuntime(bundle, modality, OptimizerSpec([ParamGroup(names)]))
    stats = runtime.forward_backward([micro], CausalLm(ours[0].stages[0].settings).loss, micro.weight)
    assert stats.loss == pytest.approx(theirs.item(), rel=1e-5)
    assert_near(gradients(bundle.trainee), gradients(trainer.model))


def test_the_same_tokens_are_learnt(tmp_path, ours):
    """TRL also learns the line break that the template writes behind the last end-of-turn mark; the product does not."""
    _, modality, bundle, rows = ours
    chats = [{"prompt": row["messages"][:-1], "completion": row["messages"][-1:]} for row in chat_rows(6)]
    trainer = trainer_of(tmp_path, chats)
    labels = trainer.data_collator([trainer.train_dataset[number] for number in range(len(chats))])["labels"]
    theirs = [line[line != -100].tolist() for line in labels]
    micro = modality.collate(bundle, [rows], 0, 0)
    ends = bundle.tokenizer("\n", add_special_tokens=False)["input_ids"]
    assert [part.tolist() + ends for part in micro.extra["targets"].split(micro.extra["counts"])] == theirs


def test_held_out_rows_are_scored_as_each_alone(ours):
    job, modality, bundle, encoded = ours
    settings = job.stages[0].settings
    objective = CausalLm(settings)
    encoded.insert(2, Encoded(9, 3, 0.0, {"ids": [5, 6, 7], "learnt": [False] * 3, "cut": 0}))  # nothing to learn is left of it
    runtime = SingleRuntime(bundle, modality, OptimizerSpec([ParamGroup([next(iter(dict(bundle.trainee.named_parameters())))])]))
    session = Session(job, 0, settings, bundle, modality, Lora(settings), objective, Rows([], []), runtime=runtime)
    bundle.trainee.eval()
    together = objective.evaluate(encoded, session)
    alone = [objective.evaluate([row], session) for row in encoded]
    assert together.weights == [row.weight for row in encoded]
    assert together.sums == pytest.approx([one.sums[0] for one in alone], rel=1e-5) and together.sums[2] == 0.0
