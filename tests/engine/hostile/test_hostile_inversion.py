"""Textual inversion on a toy diffusion model: two new words learn what no word of the base names; nothing else moves."""

import diffusion_toy
import proving
import pytest
import torch
from safetensors.torch import load_file

from kriptik.engine import stage
from kriptik.engine.rng import reseed, row_generator
from kriptik.engine.schedule import learning_rate
from kriptik.spec.errors import WorkerError

KINDS = [diffusion_toy.FlowToy, diffusion_toy.EpsilonToy]


def by_hand(job, about, adaptation):
    """Losses of a reference with one whole table of words, whose old rows are put back after each step (as in diffusers)."""
    run = stage.load(job, about)
    session, place = stage.open_stage(run, 0, None)
    denoiser, encoder = run.modality.load().trainee, run.modality.load().parts["text_encoder"]
    table = encoder.embedding.weight.detach().clone()
    if adaptation == "textual_inversion":
        table = torch.cat([table, run.bundle.trainee.text_encoder.embedding.vectors.detach()])
        trained = [table.requires_grad_()]
    else:
        trained = list(denoiser.parameters())
    kept = table[: len(diffusion_toy.WORDS)].detach().clone()
    optimizer = torch.optim.AdamW(trained, weight_decay=0.0, foreach=False)
    losses = []
    for step in range(session.total):
        epoch, group = place.cursor.next()
        reseed(job.seed, "update", 0, step, 0)
        loss, count = 0.0, sum(len(one) for bins in group for one in bins)
        for bins in group:
            rows = [session.rows.encoded[row] for one in bins for row in one]
            draws = [row_generator(job.seed, epoch, row.row, "noise") for row in rows]
            times, noise = zip(*[(torch.rand((), generator=one), torch.randn(2, generator=one)) for one in draws], strict=True)
            times, noise = torch.stack(times), torch.stack(noise)
            clean = torch.tensor([row.fields["clean"] for row in rows])
            if about.kind == "flow":
                sample, target = clean + times[:, None] * (noise - clean), noise - clean
            else:
                level = torch.stack([diffusion_toy.LEVELS[int(one * 50)] for one in times])[:, None]
                sample, target = level**0.5 * clean + (1 - level) ** 0.5 * noise, noise
            text = encoder.mix(table[torch.tensor([row.fields["ids"] for row in rows])].mean(1))
            loss = loss + ((denoiser(text, sample, times) - target) ** 2).mean(1).sum() / count
        optimizer.zero_grad()
        loss.backward()
        if adaptation == "textual_inversion":
            table.grad[: len(kept)] = 0
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.param_groups[0]["lr"] = learning_rate(job.stages[0].settings, step, session.total)
        optimizer.step()
        with torch.no_grad():
            table[: len(kept)] = kept
        losses.append(loss.item())
    return losses


@pytest.mark.exactness
@pytest.mark.parametrize("about", KINDS)
def test_losses_are_those_of_a_whole_table(tmp_path, about):
    said, job = proving.proved(lambda folder: diffusion_toy.no_held_out(diffusion_toy.job_in(folder)), tmp_path, 13, about)
    assert proving.metrics(said) == pytest.approx(by_hand(job, about, "textual_inversion"), rel=1e-4)
    (newest,) = (tmp_path / "straight/checkpoints").glob("s0-000040-g1/model-r0.safetensors")
    assert list(load_file(newest)) == ["text_encoder.embedding.vectors"]
    learnt = load_file(tmp_path / "straight/result/learned_embeds.safetensors")["<subject>"]
    assert torch.equal(learnt, load_file(newest)["text_encoder.embedding.vectors"]) and learnt.shape == (2, 6)


@pytest.mark.exactness
def test_a_denoiser_in_full_keeps_its_text_encoder_frozen(tmp_path):
    rows = [{"caption": "a gold", "picture": one["picture"]} for one in diffusion_toy.picture_rows(10, 1)]

    def make(folder):
        return diffusion_toy.no_held_out(diffusion_toy.job_in(folder, adaptation="full", rows=rows, learning_rate=3e-3))

    said, job = proving.proved(make, tmp_path, 13, diffusion_toy.FlowToy)
    assert proving.metrics(said) == pytest.approx(by_hand(job, diffusion_toy.FlowToy, "full"), rel=1e-4)


@pytest.mark.parametrize("about", KINDS)
def test_the_word_is_learnt(tmp_path, about):
    said = proving.lived(diffusion_toy.job_in(tmp_path, max_steps=80), about)
    first, *_, last = [body["loss"] for body in said if body["type"] == "eval"]
    assert last < 0.6 * first


@pytest.mark.distributed
@pytest.mark.exactness
def test_two_ranks_draw_the_same_noise(tmp_path):
    """Without dropout a row's time and noise do not depend on the rank it falls to."""
    alone = proving.lived(diffusion_toy.no_held_out(diffusion_toy.job_in(tmp_path / "alone", max_steps=6)), Dry)

    def make(folder):
        return diffusion_toy.no_held_out(diffusion_toy.job_in(folder, strategy="ddp", accumulation=1, max_steps=6))

    together, _ = proving.proved(make, tmp_path, 3, Dry, world=2)
    assert proving.metrics(together) == pytest.approx(proving.metrics(alone), rel=1e-5)


class Dry(diffusion_toy.FlowToy):
    def load(self):
        bundle = super().load()
        bundle.trainee.dropout.p = 0.0
        return bundle


def test_an_unknown_first_word_is_refused(tmp_path):
    run = stage.load(unknown(tmp_path), Dry)
    with pytest.raises(WorkerError, match="a red"):
        stage.open_stage(run, 0, None)


def unknown(folder):
    job = diffusion_toy.job_in(folder)
    settings = job.stages[0].settings.model_copy(update={"adaptation": {"initializer": "a red"}})
    return job.model_copy(update={"stages": [job.stages[0].model_copy(update={"settings": settings})]})
