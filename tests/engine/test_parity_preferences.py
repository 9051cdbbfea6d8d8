"""TRL's trainers as oracles of the preference objectives: same base, same adapter that has already moved, same rows, in fp32."""

import lives
import near
import pytest
import tiny
import torch
from datasets import Dataset
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer, RewardConfig, RewardTrainer
from trl.experimental.cpo import CPOConfig, CPOTrainer
from trl.experimental.orpo import ORPOConfig, ORPOTrainer

from kriptik.engine import stage
from kriptik.engine.interfaces import Update
from kriptik.engine.modalities.text import Text
from kriptik.engine.text.forms import documents_of, mismatched
from kriptik.spec.job import LoraSettings, StageSettings

COMMON = {"use_cpu": True, "bf16": False, "gradient_checkpointing": False, "report_to": [], "max_length": None}
CONVERSATIONS = {
    "prompt": [{"role": "user", "content": "list"}],
    "chosen": [{"role": "assistant", "content": "hash"}],
    "rejected": [{"role": "assistant", "content": "text"}],
    "completion": [{"role": "assistant", "content": "hash"}],
    "label": True,
}


def opened(root, objective, rows, **options):
    """A stage whose adapter is no longer zero, its first update prepared, and that adapter in PEFT's format."""
    settings = StageSettings(
        micro_batch=4, learning_rate=1e-3, max_seq_len=96, packing=False, lora=LoraSettings(rank=4, alpha=8), objective=options
    )
    job = tiny.tiny_job(root, rows=rows, objective=objective, settings=settings)
    run = stage.load(job, Text)
    session, place = stage.open_stage(run, 0, None)
    torch.manual_seed(6)
    with torch.no_grad():
        for name, one in session.bundle.trainee.named_parameters():
            if "lora_B" in name or "score" in name:
                one.normal_(std=0.1)
    session.objective.begin(session, lambda: None)
    _, group = place.cursor.next()
    with torch.no_grad():
        (update,) = session.objective.refill(group, session)
        update = session.objective.prepare(update, session)
    session.modality.export(session.bundle, session.adaptation, root / "run")
    return session, update


def measured(session, update: Update):
    """(loss, gradient by the name that PEFT's own model has)."""
    session.bundle.trainee.train()
    stats = session.objective.run(update, session, update.weight)
    return stats, near.gradients(session.bundle.trainee)


def peft_model(root, kind=AutoModelForCausalLM, **options):
    base = kind.from_pretrained(root / "base", dtype=torch.float32, attn_implementation="eager", **options)
    return PeftModel.from_pretrained(base, root / "run/result/adapter", is_trainable=True)


def trainer_of(kind, config, root, model, **options):
    """TRL's trainer around the model; its own rows are only there because it wants some."""
    columns = {"dpo": ("prompt", "chosen", "rejected"), "kto": ("prompt", "completion", "label")}[
        "kto" if kind is KTOTrainer else "dpo"
    ]
    rows = Dataset.from_list([{name: CONVERSATIONS[name] for name in columns}] * 4)
    arguments = config(output_dir=str(root / "trl"), **COMMON, **options)
    extra = {}
    if kind in (DPOTrainer, KTOTrainer):  # else a copy of the adapter as it is would be the reference
        extra["ref_model"] = AutoModelForCausalLM.from_pretrained(root / "base", dtype=torch.float32, attn_implementation="eager")
    return kind(
        model=model, **extra, args=arguments, train_dataset=rows, processing_class=AutoTokenizer.from_pretrained(root / "base")
    )


def split(document):
    return document["ids"][: document["asked"]], document["ids"][document["asked"] :]


def pair_batches(session, update):
    """Rows of the update as TRL's DPO collator takes them."""
    found = []
    for row in update.rows:
        better, worse = documents_of(session.rows.encoded[row])
        (prompt, chosen), (_, rejected) = split(better), split(worse)
        found.append({"prompt_ids": prompt, "chosen_ids": chosen, "rejected_ids": rejected})
    return found


def assert_same(theirs, model, ours, gradients):
    assert ours == pytest.approx(theirs.item(), rel=1e-5)
    theirs.backward()
    near.assert_near(gradients, near.gradients(model))


@pytest.mark.parametrize("loss", ["sigmoid", "hinge", "ipo"])
def test_dpo(tmp_path, loss):
    session, update = opened(tmp_path, "dpo", tiny.preference_rows(4), beta=0.3, loss=loss)
    trainer = trainer_of(DPOTrainer, DPOConfig, tmp_path, peft_model(tmp_path), beta=0.3, loss_type=[loss])
    batch = trainer.data_collator(pair_batches(session, update))
    theirs = trainer.compute_loss(trainer.model, batch)
    stats, gradients = measured(session, update)
    assert stats.metrics["preference_accuracy"] == trainer._metrics["train"]["rewards/accuracies"][-1]
    assert stats.metrics["margin"] == pytest.approx(trainer._metrics["train"]["rewards/margins"][-1], abs=1e-4)
    assert_same(theirs, trainer.model, stats.loss, gradients)


def labelled(ids, asked):
    return {"input_ids": ids, "attention_mask": [1] * len(ids), "labels": [-100] * asked + ids[asked:]}


def one_pair(better, worse):
    """A batch of one pair in the columns that ORPO and CPO take."""
    batch = {}
    for side, document in (("chosen", better), ("rejected", worse)):
        for name, values in labelled(document["ids"], document["asked"]).items():
            batch[f"{side}_{name}"] = torch.tensor([values])
    return batch


def mean_over_pairs(trainer, session, update):
    """The trainer's loss of each pair alone: its supervised term is a mean over tokens of a batch, ours over rows."""
    losses = []
    for row in update.rows:
        batch = one_pair(*documents_of(session.rows.encoded[row]))
        losses.append(trainer.get_batch_loss_metrics(trainer.model, batch)[0])
    return sum(losses) / len(losses)


def test_orpo(tmp_path):
    session, update = opened(tmp_path, "orpo", tiny.preference_rows(4), beta=0.2, supervised="all")
    trainer = trainer_of(ORPOTrainer, ORPOConfig, tmp_path, peft_model(tmp_path), beta=0.2)
    stats, gradients = measured(session, update)
    assert_same(mean_over_pairs(trainer, session, update), trainer.model, stats.loss, gradients)


def test_simpo(tmp_path):
    session, update = opened(tmp_path, "simpo", tiny.preference_rows(4), beta=2.5, gamma=0.7)
    options = {"loss_type": "simpo", "beta": 2.5, "simpo_gamma": 0.7, "cpo_alpha": 0.0}
    trainer = trainer_of(CPOTrainer, CPOConfig, tmp_path, peft_model(tmp_path), **options)
    stats, gradients = measured(session, update)
    assert_same(mean_over_pairs(trainer, session, update), trainer.model, stats.loss, gradients)


def test_kto(tmp_path):
    """The same mismatched answers on both sides; the KL is above 0, else it would not count."""
    weights = {"desirable_weight": 1.3, "undesirable_weight": 0.8, "beta": 0.2}
    session, update = opened(tmp_path, "kto", tiny.feedback_rows(4), **weights)
    trainer = trainer_of(KTOTrainer, KTOConfig, tmp_path, peft_model(tmp_path), per_device_train_batch_size=4, **weights)
    examples = []
    for row, other in update.state["others"]:
        (document,) = documents_of(session.rows.encoded[row])
        (crossed,) = documents_of(mismatched(session.rows.encoded[row], session.rows.encoded[other], 96))
        prompt, completion = split(document)
        rest = crossed["ids"][len(prompt) :]
        examples.append({"prompt_ids": prompt, "completion_ids": completion, "KL_completion_ids": rest, "label": document["label"]})
    assert [other for _, other in update.state["others"]] == [*update.rows[1:], update.rows[0]]
    theirs = trainer.compute_loss(trainer.model, trainer.data_collator(examples))
    stats, gradients = measured(session, update)
    assert stats.metrics["kl"] == pytest.approx(trainer._metrics["train"]["kl"][-1], rel=1e-5) and stats.metrics["kl"] > 0
    assert_same(theirs, trainer.model, stats.loss, gradients)


def test_reward_model(tmp_path):
    """The adapter that was exported, read by PEFT onto a classification model, is the model in TRL's trainer."""
    session, update = opened(tmp_path, "reward", tiny.preference_rows(4), centre=0.01)
    model = peft_model(tmp_path, AutoModelForSequenceClassification, num_labels=1)
    trainer = trainer_of(RewardTrainer, RewardConfig, tmp_path, model, center_rewards_coefficient=0.01)
    examples = []
    for row in update.rows:
        better, worse = documents_of(session.rows.encoded[row])
        examples.append({"chosen_ids": better["ids"], "rejected_ids": worse["ids"]})
    theirs = trainer.compute_loss(trainer.model, trainer.data_collator(examples))
    stats, gradients = measured(session, update)
    assert stats.metrics["preference_accuracy"] == trainer._metrics["train"]["accuracy"][-1]
    renamed = {name.replace("score.weight", "score.modules_to_save.default.weight"): one for name, one in gradients.items()}
    assert_same(theirs, trainer.model, stats.loss, renamed)


def test_the_reference_is_the_same_however_it_is_come_by(tmp_path):
    """Shown by the adapter when asked, or scored before the first update (full fine-tuning)."""
    tables = []
    for adaptation in ("lora", "full"):
        root = tmp_path / adaptation
        root.mkdir()
        settings = StageSettings(micro_batch=2, accumulation=2, learning_rate=1e-3, max_seq_len=96, packing=False)
        held = tiny.preference_rows(5, 9)
        job = tiny.tiny_job(
            root, rows=tiny.preference_rows(7), eval_rows=held, objective="dpo", adaptation=adaptation, settings=settings
        )
        code, _ = lives.live(job)
        assert code == 0
        store = stage.Checkpoints(job.run_dir)
        tables.append(store.tensors(store.ids()[-1], "loop", 0))
    assert {name: tuple(one.shape) for name, one in tables[0].items()} == {
        "objective/references/eval": (5, 2),
        "objective/references/train": (7, 2),
    }
    for name, one in tables[0].items():
        torch.testing.assert_close(one, tables[1][name], rtol=1e-5, atol=1e-4)
