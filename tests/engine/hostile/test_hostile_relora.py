"""ReLoRA: merge and restart, empty optimizer, jagged rate; equal to plain tensors and plain AdamW written here."""

import math

import proving
import pytest
import tiny
import torch
from near import assert_near, gradients, off
from peft import PeftModel
from safetensors import safe_open
from torch.func import functional_call
from transformers import AutoModelForCausalLM

from kriptik.engine import stage
from kriptik.engine.modalities.text import Text
from kriptik.engine.rng import derive
from kriptik.engine.schedule import learning_rate
from kriptik.spec.job import LoraSettings, StageSettings

STEPS, RESETS, SCALE = 12, (4, 8), 2.0


def job_in(folder, **changes):
    folder.mkdir(parents=True, exist_ok=True)
    settings = StageSettings(
        max_steps=STEPS,
        micro_batch=2,
        accumulation=2,
        learning_rate=5e-3,
        max_seq_len=96,
        weight_decay=0.01,
        lora=LoraSettings(rank=4, alpha=8, targets=["q_proj", "down_proj"]),
        adaptation={"resets": 2, "rewarmup": 2, **changes},
    )
    return tiny.tiny_job(folder, rows=tiny.chat_rows(24), adaptation="relora", settings=settings)


def factors_of(run):
    """Layer → (A, B) as they are before the first update; layer names are those of the plain model."""
    named = dict(run.bundle.trainee.named_parameters())
    found = {}
    for name, tensor in named.items():
        if ".lora_A." in name:
            layer = name.removeprefix("base_model.model.").split(".lora_A.")[0]
            found[layer] = (tensor.detach().clone(), named[name.replace("lora_A", "lora_B")].detach().clone())
    return found


def merged(dense, low):
    """Names → weights as they count: W + scale × B·A where there are factors."""
    return dict(dense) | {f"{name}.weight": dense[f"{name}.weight"] + SCALE * b @ a for name, (a, b) in low.items()}


def by_hand(job):
    """(losses, weights at the end, names of those that moved) of W + scale × B·A as plain tensors, rows one by one."""
    run = stage.load(job, Text)
    session, place = stage.open_stage(run, 0, None)
    session.total = STEPS
    plain = AutoModelForCausalLM.from_pretrained(job.base_model.path, dtype=torch.float32, attn_implementation="eager")
    dense = {name: one.detach().clone() for name, one in plain.named_parameters()}
    low = {name: [one.requires_grad_() for one in pair] for name, pair in factors_of(run).items()}
    optimizer, losses = None, []
    for step in range(STEPS):
        if optimizer is None:
            optimizer = torch.optim.AdamW([one for pair in low.values() for one in pair], weight_decay=0.01, foreach=False)
        _, group = place.cursor.next()
        rows = [session.rows.encoded[row] for bins in group for one in bins for row in one]
        total = sum(row.weight for row in rows)
        loss = sum(row_loss(plain, merged(dense, low), row) for row in rows) / total
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_([one for pair in low.values() for one in pair], 1.0)
        since = step - max([one for one in RESETS if one <= step], default=-99)
        optimizer.param_groups[0]["lr"] = learning_rate(job.stages[0].settings, step, STEPS) * min(1.0, (since + 1) / 3)
        optimizer.step()
        losses.append(loss.item())
        if step + 1 in RESETS:
            optimizer = None
            for name, (a, b) in low.items():
                with torch.no_grad():
                    dense[f"{name}.weight"] += SCALE * b @ a
                    seed = derive(job.seed, "relora", 0, step, f"base_model.model.{name}")
                    bound = 1 / math.sqrt(a.shape[1])
                    a.uniform_(-bound, bound, generator=torch.Generator().manual_seed(seed))
                    b.zero_()
    whole = {name: one.detach() for name, one in merged(dense, low).items()}
    return losses, whole, {f"{name}.weight" for name in low}


def row_loss(plain, weights, row):
    ids = torch.tensor([row.fields["ids"]])
    logits = functional_call(plain, weights, kwargs={"input_ids": ids}, tie_weights=False).logits[0]
    keep = torch.tensor(row.fields["learnt"][1:])
    return torch.nn.functional.cross_entropy(logits[:-1][keep], ids[0, 1:][keep], reduction="sum")


@pytest.mark.exactness
def test_losses_are_those_of_plain_tensors(tmp_path):
    """And a run frozen behind the first reset, resumed before the second, comes to the same bits."""
    said, job = proving.proved(job_in, tmp_path, at=6)
    losses, whole, changed = by_hand(job)
    assert proving.metrics(said) == pytest.approx(losses, rel=2e-4)
    rates = proving.metrics(said, "learningRate")
    assert rates[4] < rates[5] < rates[6] and rates[8] < rates[9]
    base = AutoModelForCausalLM.from_pretrained(job.base_model.path, dtype=torch.float32)
    frozen = dict(base.named_parameters())
    for name in changed:
        moved = whole[name] - frozen[name].detach()
        assert 4 < torch.linalg.matrix_rank(moved, rtol=1e-4) <= 12
    tuned = PeftModel.from_pretrained(base, tmp_path / "straight/run/result/adapter").merge_and_unload()
    for name, one in tuned.named_parameters():
        assert torch.allclose(one, whole[name], atol=3e-3), name


@pytest.mark.exactness
def test_updates_about_a_reset_are_those_of_plain_tensors_to_rounding(tmp_path):
    """Loss and gradient in fp32 against fp64: of the first update, of one whose factors have moved, of the one behind a merge."""
    job = job_in(tmp_path)
    run = stage.load(job, Text)
    session, place = stage.open_stage(run, 0, None)
    plain = AutoModelForCausalLM.from_pretrained(job.base_model.path, dtype=torch.float64, attn_implementation="eager")
    dense = {name: one.detach().clone() for name, one in plain.named_parameters()}
    _same_update(session, place, plain, dense)
    _move(session)
    _same_update(session, place, plain, dense)
    before = factors_of(run)
    dense = merged(dense, {name: (a.double(), b.double()) for name, (a, b) in before.items()})
    session.adaptation.after_step(RESETS[0] - 1, STEPS, session)
    for name, (a, b) in factors_of(run).items():
        assert not b.any() and off(a, before[name][0]) > 0.1, "begun anew"
    _same_update(session, place, plain, dense)
    _move(session)
    _same_update(session, place, plain, dense)


def _move(session):
    """Both factors, since the gradient of one is nothing where the other is."""
    torch.manual_seed(6)
    with torch.no_grad():
        for name, one in session.bundle.trainee.named_parameters():
            if ".lora_" in name:
                one.add_(0.05 * torch.randn_like(one))


def _same_update(session, place, plain, dense):
    low = {name: [one.double().requires_grad_() for one in pair] for name, pair in factors_of(session).items()}
    _, group = place.cursor.next()
    rows = [session.rows.encoded[row] for bins in group for one in bins for row in one]
    loss = sum(row_loss(plain, merged(dense, low), row) for row in rows) / sum(row.weight for row in rows)
    loss.backward()
    with torch.no_grad():
        (update,) = session.objective.refill(group, session)
    stats = session.objective.run(update, session, update.weight)
    assert stats.loss == pytest.approx(loss.item(), rel=1e-5)
    expected = {}
    for name, (a, b) in low.items():
        found = f"base_model.model.{name}"
        expected |= {f"{found}.lora_A.default.weight": a.grad, f"{found}.lora_B.default.weight": b.grad}
    assert_near(gradients(session.bundle.trainee), expected)
    session.runtime.clear_gradients()


@pytest.mark.exactness
def test_merged_weights_stay_in_later_checkpoints(tmp_path):
    """A reset before the freeze, none after it: the resumed run's own checkpoints still hold what was merged."""
    proving.proved(lambda folder: job_in(folder, reset_every=7), tmp_path, at=8)
    (file,) = (tmp_path / "frozen/run/checkpoints").glob("s0-000012-g2/model-r0.safetensors")
    with safe_open(file, "pt") as tensors:
        assert any("base_layer" in name for name in tensors.keys())  # noqa: SIM118 - a file is no dict


def test_without_a_reset_it_is_lora(tmp_path):
    relora, lora = (proving.lived(tiny_one(tmp_path / kind, kind)) for kind in ("relora", "lora"))
    assert proving.metrics(relora) == proving.metrics(lora)


def tiny_one(folder, kind):
    folder.mkdir()
    settings = StageSettings(max_steps=3, micro_batch=2, max_seq_len=96, adaptation={"resets": 0})
    return tiny.tiny_job(folder, rows=tiny.chat_rows(8), adaptation=kind, settings=settings)
