"""Experts out of a dense diffusion model: an exact copy at the start, balanced, told of the noise, put back by hand."""

import copy
import re
from pathlib import Path

import pytest
import test_sound
import test_video
import tiny_audio
import tiny_diffusion
import tiny_video
import torch
import toy
from diffusers import FluxTransformer2DModel
from test_image import job_in, job_of_newest, opened

from kriptik.engine import stage
from kriptik.engine.adaptations import moe
from kriptik.engine.modalities.image import Image
from kriptik.engine.modalities.sound import Sound
from kriptik.engine.modalities.video import Video
from kriptik.engine.train import train
from kriptik.spec.errors import WorkerError

FAMILIES = [
    *(("image", one) for one in sorted(tiny_diffusion.MAKERS)), *(("video", one) for one in sorted(tiny_video.MAKERS)),
    *(("sound", one) for one in sorted(tiny_audio.MAKERS)),
]  # fmt: skip
MAKERS = {"image": (job_in, Image), "video": (test_video.job_in, Video), "sound": (test_sound.job_in, Sound)}


def with_experts(job, **options):
    settings = job.stages[0].settings.model_copy(update={"adaptation": {"experts": 4, "top_k": 2, **options}})
    return job.model_copy(update={"stages": [job.stages[0].model_copy(update={"settings": settings})]})


def moe_job(folder, family="FluxPipeline", **options):
    job = job_in(folder, family, adaptation="moe", count=6, epochs=4, learning_rate=2e-3, accumulation=3)
    return with_experts(job, **options)


@pytest.mark.parametrize(("kind", "family"), FAMILIES)
def test_experts_of_every_family_begin_as_the_dense_model_and_learn(tmp_path, kind, family):
    made, modality = MAKERS[kind]
    job = with_experts(made(tmp_path, family, adaptation="moe", count=4))
    session, _ = stage.open_stage(stage.load(job, modality), 0, None)
    dense, trainee = modality(job).load().trainee, session.bundle.trainee
    layers = {name: one for name, one in trainee.named_modules() if isinstance(one, moe.Experts)}
    assert layers and not any(re.search("context|token_refiner|txt", name) for name in layers), "text streams stay as they are"
    update = session.objective.prepare(session.objective.refill([[[row]] for row in range(4)], session)[0], session)
    loss = 0.0
    for micro in update.micros:
        mine = session.modality.forward(trainee, micro)
        with torch.no_grad():
            theirs = session.modality.forward(dense, micro)
        assert float((mine.detach() - theirs).abs().max() / theirs.abs().max()) < 1e-5
        loss = loss + session.objective.loss(mine, micro)[0]
    met = [one for one in layers.values() if one.use.low is not None]
    assert met and (len(met) == len(layers) or family == "WanPipeline-two"), "a denoiser of two meets the rows of its own noise"
    assert all(int(((one.use.low + one.use.high) > 0).sum()) >= 2 for one in met)
    penalty = session.adaptation.penalty(session.bundle)
    (loss + penalty).backward()
    assert bool(torch.isfinite(penalty)) and 0.5 < session.adaptation.seen["balance"] < 4
    for one in met:
        used = (one.use.low + one.use.high).nonzero()[:, 0].tolist()
        assert float(one.router.grad.abs().sum()) > 0
        assert all(any(float(p.grad.abs().sum()) > 0 for p in one.experts[number].parameters()) for number in used)
    session.adaptation.after_step(1, 1, session)
    shares = [value for name, value in session.adaptation.measured().items() if name.startswith("expert_")]
    assert sum(shares) == pytest.approx(len(shares) / 4)


def test_a_copy_that_is_none_is_refused(tmp_path, monkeypatch):
    original = moe.Experts.__init__

    def broken(self, *args, **kwargs):
        original(self, *args, **kwargs)
        with torch.no_grad():
            next(self.experts[1].parameters()).add_(0.5)

    monkeypatch.setattr(moe.Experts, "__init__", broken)
    with pytest.raises(WorkerError, match="off by"):
        opened(moe_job(tmp_path))


def test_use_is_told_by_noise_level_and_balance_is_near_even(tmp_path):
    job, said = moe_job(tmp_path), []
    train(job, said.append, toy.running)
    last = [body for body in said if body.type == "metrics"][-1].custom
    for side in ("low", "high"):
        shares = [last[f"expert_{number}_{side}_noise"] for number in range(4)]
        assert sum(shares) == pytest.approx(1, abs=1e-4)
    assert last["expert_0_low_noise"] > last["expert_0_high_noise"], "expert 0 begins with little noise"
    assert last["expert_3_high_noise"] > last["expert_3_low_noise"]
    assert 0.9 < last["balance"] < 2


def test_the_penalty_pulls_a_lopsided_router_back():
    torch.manual_seed(0)  # the layer's weights are drawn
    layer = moe.Experts(torch.nn.Sequential(torch.nn.Linear(8, 8)), 8, 4, 1, moe.Level(), by_noise=False).train()
    with torch.no_grad():
        layer.router[0] += 1.0
    x = torch.rand(4, 16, 8, generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.SGD([layer.router], lr=0.3)
    piece = moe.Moe.__new__(moe.Moe)
    piece.layers, piece.count, piece.balance, piece.seen = [layer], 4, 1.0, {}
    values = []
    for _ in range(120):
        layer.use = moe.Use()
        layer(x)
        term = piece.penalty(None)
        optimizer.zero_grad()
        term.backward()
        optimizer.step()
        values.append(piece.seen["balance"])
    assert values[0] > 2.5 and sum(values[-10:]) / 10 < 1.3


def test_what_is_saved_is_put_back_on_the_dense_model(tmp_path):
    job = moe_job(tmp_path)
    train(job, lambda body: None, toy.running)
    run, session, _ = opened(job_of_newest(job))
    folder = Path(job.run_dir) / "result" / "adapter"
    plain = FluxTransformer2DModel.from_pretrained(Path(job.base_model.path) / "transformer")
    again = moe.attach(copy.deepcopy(plain), folder).eval()
    update = session.objective.prepare(session.objective.refill([[[0], [1]]], session)[0], session)
    run.bundle.trainee.eval()
    with torch.no_grad():
        mine, theirs = run.bundle.trainee(**update.micros[0].inputs)[0], again(**update.micros[0].inputs)[0]
    assert torch.equal(mine, theirs)
    assert not torch.equal(theirs, plain(**update.micros[0].inputs)[0])

