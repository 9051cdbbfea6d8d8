"""Diffusion DPO: the paper's equation by hand, the reference that never moves, exact resumes, and a preference that is learnt."""

import lives
import pytest
import tiny
import tiny_diffusion
import torch
import toy
from PIL import Image as Pictures
from test_exact import freeze_at
from torch.nn import functional

from kriptik.engine import noise, pieces, stage
from kriptik.engine.interfaces import Update
from kriptik.engine.media.diffusion import SIDES
from kriptik.engine.modalities.image import Image
from kriptik.engine.rng import row_generator
from kriptik.engine.train import train
from kriptik.pipeline.plan.known import NO_REFERENCE
from kriptik.spec.errors import DataError, WorkerError
from kriptik.spec.job import LoraSettings, StageSettings

FAMILIES = ("StableDiffusionPipeline", "FluxPipeline")


def job_in(folder, family="StableDiffusionPipeline", *, adaptation="lora", count=8, held=3, rows=None, **settings):
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "base").exists():
        tiny_diffusion.tiny_pipeline(folder / "base", family)
    objective = {"resolution": 16, "sample_steps": 2, "watched_pictures": 0, **settings.pop("objective", {})}
    chosen = {
        "micro_batch": 2, "accumulation": 2, "packing": False, "epochs": 3, "max_seq_len": 64, "checkpoint_every": 2,
        "learning_rate": 5e-3 if adaptation == "lora" else 1e-3, "lora": LoraSettings(rank=4, alpha=8, dropout=0.1), **settings,
    }  # fmt: skip
    return tiny.tiny_job(
        folder, rows=rows or tiny_diffusion.pair_rows(folder, count), eval_rows=tiny_diffusion.pair_rows(folder, held, 9),
        adaptation=adaptation, objective="diffusion_dpo", settings=StageSettings(**chosen, objective=objective), modality="image",
        capability="image_generation",
    )  # fmt: skip


def opened(job):
    run = stage.load(job, Image)
    session, place = stage.open_stage(run, 0, job.resume_from)
    return run, session, place


def moved(session, adaptation):
    """The trainee is no longer the reference."""
    torch.manual_seed(6)
    with torch.no_grad():
        for name, one in session.bundle.trainee.named_parameters():
            if "lora_B" in name or (adaptation == "full" and one.requires_grad):
                one.add_(torch.randn_like(one) * (0.05 if adaptation == "lora" else 0.01))


def prepared(session, place):
    _, group = place.cursor.next()
    with torch.no_grad():
        (update,) = session.objective.refill(group, session)
        return session.objective.prepare(update, session)


def by_the_paper(pipe, trained, before, clean, mixed, times, text, beta):
    """Losses [pairs] as the papers write them. `clean`: better, worse, better, worse …; `mixed` (noise) and `times`: one per side.

    x_t = α_t x_0 + σ_t ε and its noise; for flows x_t = (1 − t) x_0 + t ε and ε − x_0.
    """
    found = []
    for model in (trained, before):
        if hasattr(pipe, "transformer"):
            share, sides, shape = times.view(-1, 1, 1, 1), len(clean), clean.shape[1:]
            made = model(
                hidden_states=pipe._pack_latents((1 - share) * clean + share * mixed, sides, *shape), timestep=times,
                img_ids=pipe._prepare_latent_image_ids(1, shape[1] // 2, shape[2] // 2, "cpu", clean.dtype),
                txt_ids=torch.zeros(text["states"].shape[1], 3), encoder_hidden_states=text["states"],
                guidance=torch.ones(sides), pooled_projections=text["pooled"],
            ).sample  # fmt: skip
            target = pipe._pack_latents(mixed - clean, sides, *shape)
        else:
            level = pipe.scheduler.alphas_cumprod[times].view(-1, 1, 1, 1)
            made, target = model(level.sqrt() * clean + (1 - level).sqrt() * mixed, times, text["states"]).sample, mixed
        found.append((target - made).pow(2).flatten(1).mean(1))
    better, worse = (found[0][side::2] - found[1][side::2] for side in (0, 1))
    return -functional.logsigmoid(-beta / 2 * (better - worse))


@pytest.mark.parametrize("adaptation", ["lora", "full"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_loss_is_the_papers_equation(tmp_path, family, adaptation):
    """And its gradient, of an update of four pairs in two micro-batches, with the library's own model as reference."""
    beta, settings = 300.0, {"lora": LoraSettings(rank=4, alpha=8)}
    job = job_in(tmp_path, family, adaptation=adaptation, count=4, objective={"beta": beta}, **settings)
    _, session, place = opened(job)
    moved(session, adaptation)
    update, bundle = prepared(session, place), session.bundle
    part = "unet" if family == FAMILIES[0] else "transformer"
    before = getattr(type(bundle.pipeline).from_pretrained(job.base_model.path), part).requires_grad_(False)
    bundle.trainee.train()
    theirs = torch.zeros(())
    for micro in update.micros:
        raw = session.collate([[row] for row in micro.rows]).extra
        assert len(raw["clean"]) == 2 * len(micro.rows)
        one = torch.Size((1, *raw["clean"].shape[1:]))
        how = session.modality.noise_times(bundle)
        draws = [noise.drawn(one, [row_generator(job.seed, 0, row, "noise")], how)[0] for row in micro.rows]
        both = torch.cat([draw for draw in draws for _ in SIDES])
        times = micro.inputs["timestep"]
        assert torch.equal(times[::2], times[1::2]), "both sides at the same time"
        theirs = theirs + by_the_paper(bundle.pipeline, bundle.trainee, before, raw["clean"], both, times, raw["text"], beta).sum()
    (theirs / len(update.rows)).backward()
    expected = {name: one.grad.clone() for name, one in bundle.trainee.named_parameters() if one.grad is not None}
    bundle.trainee.zero_grad()
    stats = session.objective.run(update, session, update.weight)
    assert stats.loss == pytest.approx(theirs.item() / len(update.rows), rel=1e-5) and abs(stats.loss - 0.6931) > 1e-3
    found = {name: one.grad for name, one in bundle.trainee.named_parameters() if one.grad is not None}
    assert found.keys() == expected.keys() and found
    for name, one in found.items():
        torch.testing.assert_close(one, expected[name], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("adaptation", ["lora", "full"])
def test_the_reference_is_the_model_before_the_stage_and_gets_no_gradient(tmp_path, adaptation):
    _, session, place = opened(job_in(tmp_path, adaptation=adaptation, count=4))
    first = prepared(session, place)
    kept = [micro.extra["reference"].clone() for micro in first.micros]
    moved(session, adaptation)
    again = [session.objective._compared(session.collate([[row] for row in micro.rows]), session, session.epoch, "noise")
             for micro in first.micros]  # fmt: skip
    for before, micro in zip(kept, again, strict=True):
        assert torch.equal(before, micro.extra["reference"]) and not micro.extra["reference"].requires_grad
        now = session.modality.forward(session.bundle.trainee, micro)
        assert not torch.allclose(before, (now - micro.extra["target"]).square().flatten(1).mean(1))
    session.objective.run(Update(again), session, 4.0)
    frozen = [one for name, one in session.bundle.trainee.named_parameters() if adaptation == "lora" and "lora_" not in name]
    frozen += [one for part in session.bundle.parts.values() for one in part.parameters()]
    assert frozen and all(one.grad is None for one in frozen)
    assert all(module.training for module in session.bundle.trainee.modules()), "as it was before it was asked"


@pytest.mark.exactness
@pytest.mark.parametrize(("family", "adaptation"), [(FAMILIES[0], "lora"), (FAMILIES[0], "full")])
def test_a_resumed_run_is_the_same_to_the_bit(tmp_path, family, adaptation):
    straight = job_in(tmp_path / "straight", family, adaptation=adaptation, epochs=2)
    code, said = lives.live(straight)
    assert code == 0
    frozen = job_in(tmp_path / "frozen", family, adaptation=adaptation, epochs=2)
    early = lives.live(frozen, control=freeze_at(3))
    late = lives.live(frozen.model_copy(update={"generation": 2, "resume_from": lives.newest(frozen.run_dir)}))
    assert lives.losses(early[1]) | lives.losses(late[1]) == lives.losses(said)
    assert lives.final_tensors(frozen.run_dir) == lives.final_tensors(straight.run_dir)


@pytest.mark.parametrize("family", FAMILIES)
def test_held_out_pairs_tell_more_than_the_loss(tmp_path, family):
    job, said = job_in(tmp_path, family, count=16, held=8, epochs=4, objective={"watched_pictures": 2}), []
    train(job, said.append, toy.running)
    before, after = said[-1].eval_before, said[-1].eval_after
    assert before.loss == pytest.approx(0.6931, abs=1e-3) and before.custom["preference_accuracy"] == 0.5
    assert before.custom["margin"] == before.custom["chosen_gain"] == 0
    assert before.custom["kernel_vae"] != after.custom["kernel_vae"], "against the pictures that are preferred"
    assert after.custom["preference_accuracy"] >= 0.75 and after.custom["margin"] > 0 and after.loss < before.loss
    steps = [body for body in said if body.type == "metrics"]
    assert steps[0].preference_accuracy == 0.5 and sum(one.preference_accuracy for one in steps[-8:]) / 8 > 0.5
    assert {"margin", "chosen_gain"} <= steps[0].custom.keys()


def test_both_pictures_of_a_pair_are_of_one_size_and_shown_side_by_side(tmp_path):
    tiny_diffusion.draw("red", "disc", (16, 32)).save(tmp_path / "tall.png")
    tiny_diffusion.draw("red", "disc", (48, 24)).save(tmp_path / "wide.png")
    row = {"chosen_image": "tall.png", "rejected_image": "wide.png", "caption": "a red disc"}
    _, session, _ = opened(job_in(tmp_path, count=2, rows=[row, row]))
    encoded = session.rows.encoded[0]
    better, worse = encoded.fields["sides"]
    assert better["sizes"][4:] == worse["sizes"][4:] == encoded.fields["bucket"] and better["latent"] != worse["latent"]
    assert encoded.fields["bucket"][0] > encoded.fields["bucket"][1], "the better one's shape"
    small = tmp_path / "small.png"
    small.write_bytes(session.modality.thumbnail(row))
    with Pictures.open(small) as picture:
        assert picture.size == (16 + 48, 32)
    assert session.modality.preview(row) == "a red disc"
    plain = session.modality.encode(session.bundle, row, 0, "image", session.settings)
    assert [side["latent"] for side in plain.fields["sides"]] == [better["latent"]], "of a pair the better one can be learnt"


@pytest.mark.parametrize(
    ("broken", "said"), [({"rejected_image": None}, "names no rejected_image"), ({"chosen_image": "lost.png"}, "row 1")]
)
def test_a_row_that_is_no_pair_is_named(tmp_path, broken, said):
    rows = [{**row, **broken} for row in tiny_diffusion.pair_rows(tmp_path, 1)]
    with pytest.raises(DataError) as error:
        opened(job_in(tmp_path, rows=rows))
    assert said in error.value.sentence and error.value.fields["row"] == 0


def test_what_shows_no_reference_is_refused(tmp_path):
    job = job_in(tmp_path, adaptation="textual_inversion", count=2)
    with pytest.raises(WorkerError) as error:
        train(job, lambda body: None, toy.running)
    assert error.value.code == "unfit_pieces" and "reference" in error.value.sentence
    without = {name for name in pieces.ADAPTATIONS if "reference" not in pieces.adaptation(name).provides}
    assert without == NO_REFERENCE, "what the planner says beforehand"
