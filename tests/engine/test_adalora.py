"""AdaLoRA: formula, penalty and allocation by the paper's equations; ranks move; frozen in each phase, resumed to the same bits."""

import lives
import pytest
import tiny
import torch
from adapted import adapted, logits
from peft import PeftModel
from test_exact import freeze_at
from torch.nn import functional
from transformers import AutoModelForCausalLM

from kriptik.engine import pieces, stage
from kriptik.engine.interfaces import Update
from kriptik.engine.modalities.text import Text
from kriptik.spec.errors import WorkerError
from kriptik.spec.job import LoraSettings, StageSettings

STEPS, WARMUP, FINAL = 12, 2, 3
OWN = {"init_rank": 4, "warmup_share": 0.2, "final_share": 0.25}


def job_in(folder, **own):
    folder.mkdir(parents=True, exist_ok=True)
    settings = StageSettings(
        max_steps=STEPS,
        micro_batch=2,
        accumulation=2,
        learning_rate=2e-2,
        max_seq_len=96,
        lora=LoraSettings(rank=2, alpha=16, dropout=0.1),
        adaptation={**OWN, **own},
    )
    return tiny.tiny_job(folder, rows=tiny.chat_rows(24), adaptation="adalora", settings=settings)


def opened(folder, **own):
    run = stage.load(job := job_in(folder, **own), Text)
    session, place = stage.open_stage(run, 0, None)
    session.total = STEPS
    return session, place, job


def update(session, place, step):
    """One update as the loop makes it, up to the adaptation's turn."""
    _, group = place.cursor.next()
    made = Update([session.collate(bins) for bins in group])
    session.objective.run(made, session, made.weight)
    session.runtime.step(2e-2, 1.0)


def test_a_layer_computes_the_published_formula(tmp_path):
    bundle, _ = adapted(tmp_path, "adalora", steps=0, adaptation={"init_rank": 6})
    layer = bundle.trainee.base_model.model.model.layers[0].self_attn.q_proj
    left, values, right = (getattr(layer, f"lora_{one}")["default"] for one in "BEA")
    for one in (left, values, right):
        torch.nn.init.normal_(one)  # they begin near or at zero
    x = torch.randn(3, 5, 64)
    layer.eval()
    weight = layer.base_layer.weight + (8 / 6) * left @ torch.diag(values[:, 0]) @ right
    torch.testing.assert_close(layer(x), functional.linear(x, weight), atol=1e-4, rtol=1e-4)
    assert not torch.allclose(layer(x), layer.base_layer(x), atol=1e-3)


def test_the_penalty_is_what_peft_adds_to_a_loss_of_its_own(tmp_path):
    bundle, adaptation = adapted(tmp_path, "adalora", adaptation={"init_rank": 6, "orthogonality": 0.3})
    model = bundle.trainee
    ids = torch.randint(3, 500, (1, 12), generator=torch.Generator().manual_seed(0))
    with_it = model(input_ids=ids, labels=ids).loss
    model.peft_config["default"].orth_reg_weight = 0.0
    without = model(input_ids=ids, labels=ids).loss
    model.peft_config["default"].orth_reg_weight = 0.3
    mine = adaptation.penalty(bundle)
    assert mine.item() == pytest.approx((with_it - without).item(), rel=1e-5) and mine.item() > 0.1
    (slope,) = torch.autograd.grad(mine, model.base_model.model.model.layers[0].self_attn.q_proj.lora_A["default"])
    assert float(slope.abs().max()) > 0


def test_the_penalty_reaches_the_gradient(tmp_path):
    plain, pushed = (opened(tmp_path / str(weight), orthogonality=weight) for weight in (0.0, 5.0))
    found = []
    for session, place, _ in (plain, pushed):
        update(session, place, 0)
        found.append(torch.cat([one.grad.flatten() for name, one in named(session) if ".lora_A." in name]))
    assert not torch.allclose(*found)


def named(session):
    return [(name, one) for name, one in session.bundle.trainee.named_parameters() if one.requires_grad]


def budget(step, most, least):
    """The paper's equation 12: cubic from the first budget to the last."""
    left = 1 - (step - WARMUP) / (STEPS - FINAL - WARMUP)
    return int((most - least) * left**3 + least)


def test_rank_goes_where_the_paper_sends_it(tmp_path):
    """Sensitivity, its mean, its uncertainty, and the triplets' scores (equations 8 to 11) from every update's gradients."""
    session, place, _ = opened(tmp_path)
    mean, unsure = {}, {}
    ranks = []
    for step in range(1, STEPS + 1):
        update(session, place, step - 1)
        weights = {name: (one.detach().clone(), one.grad.clone()) for name, one in named(session)}
        session.adaptation.after_step(step - 1, STEPS, session)
        assert all(one.grad is None for _, one in named(session)), "gradients must not leak into the next update"
        now = {name: one.detach() for name, one in named(session) if ".lora_E." in name}
        ranks.append([int((one != 0).sum()) for one in now.values()])
        if step < STEPS - FINAL + 1:
            if step < STEPS - FINAL:
                for name, (weight, slope) in weights.items():
                    seen = (weight * slope).abs()
                    mean[name] = 0.85 * mean.get(name, torch.zeros_like(seen)) + 0.15 * seen
                    unsure[name] = 0.85 * unsure.get(name, torch.zeros_like(seen)) + 0.15 * (seen - mean[name]).abs()
            if step <= WARMUP:
                assert min(ranks[-1]) == 4
                continue
            scores = {name: score(name, mean, unsure) for name in now}
            kept = budget(step, 4 * len(now), 2 * len(now))
            least = torch.cat(list(scores.values())).sort(descending=True).values[kept - 1]
            for name, one in now.items():
                assert torch.equal(one[:, 0] != 0, scores[name] >= least), (step, name)
    assert sum(ranks[-1]) == 2 * len(ranks[-1]) and ranks[-1] == ranks[STEPS - FINAL - 1]
    assert len(set(ranks[-1])) > 1, "no rank was moved from one layer to another"


def score(name, mean, unsure):
    values, right, left = (mean[one] * unsure[one] for one in (name.replace("lora_E", f"lora_{kind}") for kind in "EAB"))
    return values[:, 0] + right.mean(1) + left.mean(0)


def test_what_is_pruned_is_not_saved_and_the_rest_reloads(tmp_path):
    session, place, job = opened(tmp_path, every=4)
    for step in range(7):
        update(session, place, step)
        session.adaptation.after_step(step, STEPS, session)
    before = logits(session.bundle.trainee)
    pattern = session.adaptation.state()["pattern"]
    session.adaptation.save(session.bundle, tmp_path / "adapter")
    assert session.adaptation.state()["pattern"] is pattern
    base = AutoModelForCausalLM.from_pretrained(job.base_model.path)
    again = PeftModel.from_pretrained(base, tmp_path / "adapter")
    torch.testing.assert_close(logits(again), before, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(logits(session.adaptation.merged(session.bundle)), before, atol=1e-4, rtol=1e-4)


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    job = job_in(tmp_path_factory.mktemp("straight"))
    lives.preload(None, job=job_in(tmp_path_factory.mktemp("preload")))
    code, said = lives.live(job)
    assert code == 0
    return lives.losses(said), lives.final_tensors(job.run_dir)


@pytest.mark.exactness
@pytest.mark.parametrize("at", [1, 5, 10], ids=["before pruning", "while pruning", "after pruning"])
def test_frozen_in_each_phase(tmp_path, straight, at):
    job = job_in(tmp_path)
    early = lives.live(job, control=freeze_at(at))
    late = lives.live(job.model_copy(update={"generation": 2, "resume_from": lives.newest(job.run_dir)}))
    assert (lives.losses(early[1]) | lives.losses(late[1]), lives.final_tensors(job.run_dir)) == straight


def test_refused_where_it_cannot_be(tmp_path):
    found = [pieces.adaptation("adalora"), pieces.objective("causal_lm")]
    assert not pieces.missing(Text, *found, pieces.strategy("ddp"))
    assert {"gradients", "whole_weights"} <= pieces.missing(Text, *found, pieces.strategy("deepspeed"))
    with pytest.raises(WorkerError) as refused:
        adapted(tmp_path, "adalora", adaptation={"init_rank": 4}, rank=4)
    assert refused.value.code == "bad_ranks" and refused.value.next_step


@pytest.mark.parametrize("rank", [1, 8, 33])
def test_begins_above_any_rank_set_by_hand(tmp_path, rank):
    bundle, _ = adapted(tmp_path, "adalora", steps=0, adaptation={}, rank=rank)
    config = bundle.trainee.peft_config["default"]
    assert config.init_r > config.target_r == rank
