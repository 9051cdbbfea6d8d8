"""Image models: each family's denoiser is called as its own pipeline calls it; buckets, caches, averages, what others read."""

import io
import json
import re
from pathlib import Path

import diffusers
import lives
import pytest
import tiny
import tiny_diffusion
import torch
import toy
from PIL import Image as Pictures
from safetensors.torch import load_file

from kriptik.engine import noise, stage, testing
from kriptik.engine.media import diffusers_result
from kriptik.engine.media.families import FAMILIES
from kriptik.engine.modalities.image import Image
from kriptik.engine.objectives.denoise import Denoise
from kriptik.engine.train import train
from kriptik.spec.job import LoraSettings, SamplePrompt, StageSettings
from kriptik.spec.testing import TestRequest


def job_in(folder, family="FluxPipeline", *, adaptation="lora", count=6, rows=None, samples=0, **settings):
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "base").exists():
        tiny_diffusion.tiny_pipeline(folder / "base", family)
    objective = {"resolution": 16, "sample_steps": 2, **settings.pop("objective", {})}
    chosen = {
        "micro_batch": 2, "accumulation": 1, "packing": False, "learning_rate": 5e-3, "epochs": 2, "max_seq_len": 64,
        "lora": LoraSettings(rank=4, alpha=8), **settings,
    }
    prompts = [SamplePrompt(messages=[{"role": "user", "content": "a red disc"}])] * samples
    return tiny.tiny_job(
        folder, rows=rows or tiny_diffusion.shape_rows(folder, count), adaptation=adaptation, objective="denoise",
        settings=StageSettings(**chosen, objective=objective), modality="image", capability="image_generation", samples=prompts,
    )


def opened(job):
    run = stage.load(job, Image)
    session, place = stage.open_stage(run, 0, job.resume_from)
    return run, session, place


FIRST = ("FluxPipeline", "StableDiffusionPipeline")
"""Families that every run of the tests learns with; the others are in the slow part."""
LEARN = [pytest.param(name, marks=() if name in FIRST else pytest.mark.slow) for name in sorted(FAMILIES)]


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_the_denoiser_is_called_as_the_pipeline_calls_it(tmp_path, monkeypatch, family):
    """At the first step of sampling, at the same sample, level and text, both get the same prediction."""
    job = job_in(tmp_path, family, count=2)
    modality = Image(job)
    bundle = modality.load()
    settings, pipe, seen = job.stages[0].settings, bundle.pipeline, {}
    row = {"image": json.loads((tmp_path / "train.jsonl").read_text().splitlines()[0])["image"], "caption": "a red disc"}
    encoded = modality.encode(bundle, row, 0, "image", settings)

    def hook(module, args, kwargs, output):
        seen.setdefault("call", (args, kwargs, output))

    handle = bundle.trainee.register_forward_hook(hook, with_kwargs=True)
    options = {"guidance_scale": 1.0} if family != "ZImagePipeline" else {"guidance_scale": 0.0}
    more = {"max_sequence_length": 64} if FAMILIES[family].longest > 77 else {}
    pipe(
        prompt="a red disc", height=16, width=16, num_inference_steps=3, output_type="latent",
        generator=torch.Generator().manual_seed(1), **options, **more,
    )
    handle.remove()
    args, kwargs, output = seen["call"]
    micro = modality.collate(bundle, [[encoded]], 0, 0)
    told = {name: one for name, one in kwargs.items() if isinstance(one, torch.Tensor | list)}
    sample = args[0] if args else told.get("hidden_states", told.get("x"))
    level = args[1] if len(args) > 1 else kwargs.get("timestep", kwargs.get("t"))
    found = FAMILIES[family]
    clean = micro.extra["clean"]
    text = micro.extra["text"]
    time = torch.as_tensor(level).reshape(-1)[:1]
    if isinstance(sample, list):
        flat = torch.stack(sample).squeeze(2)
        mine = found.call(pipe, flat[:1], 1 - time, text, micro.extra["sizes"])
    else:
        scale = 1000 if family == "StableDiffusion3Pipeline" else 1
        mine = found.call(pipe, torch.zeros_like(clean), time / scale, text, micro.extra["sizes"])
        place = "sample" if found.part == "unet" else "hidden_states"
        assert mine[place].shape == sample[:1].shape
        mine[place] = sample[:1]
    for name in ("img_ids", "txt_ids", "pooled_projections", "encoder_hidden_states", "img_shapes"):
        if name in kwargs and isinstance(kwargs[name], torch.Tensor):
            assert torch.allclose(mine[name].float(), kwargs[name][: len(mine[name])].float(), atol=1e-5), name
    if "guidance" in mine and mine["guidance"] is not None:
        mine["guidance"] = kwargs["guidance"][:1]
    if "added_cond_kwargs" in mine:
        mine["added_cond_kwargs"]["time_ids"] = kwargs["added_cond_kwargs"]["time_ids"][:1]
    with torch.no_grad():
        prediction = bundle.trainee(**mine)[0]
    theirs = output[0]
    one, other = (torch.stack(list(item)) if isinstance(item, list) else item for item in (prediction, theirs))
    assert torch.allclose(one[:1], other[:1], atol=1e-4)


@pytest.mark.parametrize("family", LEARN)
def test_an_adapter_learns_and_is_read_by_the_pipeline(tmp_path, family):
    """Loss on fixed noise falls, and the pipeline's own loader draws the very picture that the trained model draws."""
    job = job_in(tmp_path, family, count=4, epochs=3, accumulation=2, learning_rate=1e-2)
    said = []
    train(job, said.append, toy.running)
    run, session, _ = opened(job_of_newest(job))
    fixed = Denoise(job.stages[0].settings)
    after = sum(fixed.evaluate(session.rows.encoded, session).sums)
    with session.adaptation.reference(run.bundle):
        before = sum(fixed.evaluate(session.rows.encoded, session).sums)
    assert after < before
    pipe = diffusers.DiffusionPipeline.from_pretrained(job.base_model.path)
    pipe.load_lora_weights(str(Path(job.run_dir) / "result" / "adapter"), weight_name="pytorch_lora_weights.safetensors")
    modality = Image(job)
    mine = modality.imagine(run.bundle, "a red disc", 5, job.stages[0].settings)
    base = modality.load()
    base.pipeline = pipe
    pipe.set_progress_bar_config(disable=True)
    base.trainee = getattr(pipe, FAMILIES[family].part)
    theirs = modality.imagine(base, "a red disc", 5, job.stages[0].settings)
    assert pixels(mine) == pytest.approx(pixels(theirs), abs=1)


def job_of_newest(job):
    return job.model_copy(update={"resume_from": lives.newest(job.run_dir), "generation": 2})


def pixels(content):
    return torch.tensor(list(Pictures.open(io.BytesIO(content)).convert("RGB").tobytes())).float().tolist()


def test_pictures_of_one_micro_batch_are_of_one_size_and_each_comes_once(tmp_path):
    job = job_in(tmp_path, count=11, rows=None)
    _, session, place = opened(job)
    sizes = {tuple(row.fields["bucket"]) for row in session.rows.encoded}
    assert len(sizes) > 1
    plan = place.cursor.plan(0)
    seen = [row for update in plan for micro in update for one in micro for row in one]
    assert sorted(seen) == list(range(11))
    for update in plan:
        for micro in update:
            assert len({tuple(session.rows.encoded[row].fields["bucket"]) for one in micro for row in one}) == 1
    assert plan != place.cursor.plan(1)


def test_what_was_encoded_once_is_not_encoded_again(tmp_path, monkeypatch):
    job = job_in(tmp_path, count=3)
    opened(job)
    monkeypatch.setattr(Image, "_moments", None)
    monkeypatch.setattr(Image, "_pipeline", Image._pipeline)
    run = stage.load(job, Image)
    run.bundle.pipeline.encode_prompt = None
    _, session = run, stage.open_stage(run, 0, None)[0]
    assert session.collate([[0]]).extra["clean"].shape[1] == 4


@pytest.mark.parametrize("family", ["StableDiffusionPipeline", "StableDiffusionXLPipeline"])
def test_a_unets_adapter_has_the_names_that_other_programs_expect(tmp_path, family):
    job = job_in(tmp_path, family, count=2, epochs=1)
    train(job, lambda body: None, toy.running)
    folder = Path(job.run_dir) / "result" / "adapter"
    ours, theirs = load_file(folder / "pytorch_lora_weights.safetensors"), load_file(folder / "kohya.safetensors")
    name = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
    other = f"lora_unet_{name.replace('.', '_')}"
    assert {f"unet.{name}.lora_A.weight", f"unet.{name}.lora_B.weight"} <= ours.keys()
    assert {f"{other}.lora_down.weight", f"{other}.lora_up.weight", f"{other}.alpha"} <= theirs.keys()
    assert float(theirs[f"{other}.alpha"]) == 4, "the strength is in the weights: alpha is the rank"
    assert torch.equal(ours[f"unet.{name}.lora_B.weight"], theirs[f"{other}.lora_up.weight"])
    pipes = [diffusers.DiffusionPipeline.from_pretrained(job.base_model.path) for _ in range(2)]
    for pipe, file in zip(pipes, ("pytorch_lora_weights.safetensors", "kohya.safetensors"), strict=True):
        pipe.load_lora_weights(str(folder), weight_name=file)
        pipe.fuse_lora()
    one, two = (dict(pipe.unet.named_parameters()) for pipe in pipes)
    assert one.keys() == two.keys() and all(torch.allclose(one[key], two[key], atol=1e-6) for key in one)


BOTH = "attn.to_q attn.to_k attn.to_v attn.to_out.0 attn.add_q_proj attn.add_k_proj attn.add_v_proj attn.to_add_out"
FEED = "ff.net.0.proj ff.net.2 ff_context.net.0.proj ff_context.net.2"
Z = "attention.to_q attention.to_k attention.to_v attention.to_out.0 feed_forward.w1 feed_forward.w2 feed_forward.w3"
MAPPED = {
    "StableDiffusion3Pipeline": {"transformer_blocks": f"{BOTH} {FEED}"},
    "FluxPipeline": {
        "transformer_blocks": f"{BOTH} {FEED}", "single_transformer_blocks": "attn.to_q attn.to_k attn.to_v proj_mlp proj_out",
    },
    "Flux2KleinPipeline": {
        "transformer_blocks": f"{BOTH} ff.linear_in ff.linear_out ff_context.linear_in ff_context.linear_out",
        "single_transformer_blocks": "attn.to_qkv_mlp_proj attn.to_out",
    },
    "QwenImagePipeline": {"transformer_blocks": f"{BOTH} img_mlp.net.0.proj img_mlp.net.2 txt_mlp.net.0.proj txt_mlp.net.2"},
    "ZImagePipeline": {"layers": Z, "noise_refiner": Z, "context_refiner": Z},
}
"""What ComfyUI's `model_lora_keys_unet` maps under `transformer.` of those families (comfy/utils.py: `mmdit_to_diffusers`,
`flux_to_diffusers`, `z_image_to_diffusers`; of Qwen-Image its own names), in block 0."""


@pytest.mark.parametrize(("family", "adaptation"), [("FluxPipeline", "lora"), *((one, "dora") for one in sorted(MAPPED))])
def test_a_transformers_adapter_has_the_names_that_comfyui_maps(tmp_path, family, adaptation):
    _, session, _ = opened(job_in(tmp_path, family, adaptation=adaptation, count=1))
    bundle, folder = session.bundle, tmp_path / "adapter"
    diffusers_result.save_adapter(bundle.trainee, bundle.pipeline, FAMILIES[family], folder)
    ours = load_file(folder / diffusers_result.WEIGHTS)
    layers = {name.partition(".lora_")[0] for name in ours}
    wanted = {f"transformer.{block}.0.{one}" for block, several in MAPPED[family].items() for one in several.split()}
    assert {re.sub(r"\.\d+\.", ".0.", one, count=1) for one in layers} == wanted
    file = folder / diffusers_result.COMFY
    assert file.exists() == (adaptation == "dora"), "ComfyUI has another name for magnitudes alone"
    if file.exists():
        theirs = load_file(file)
        kinds = ("lora_A.weight", "lora_B.weight", "dora_scale")
        assert theirs.keys() == {f"{layer}.{kind}" for layer in layers for kind in kinds}
        assert all(torch.equal(one, theirs[name]) for name, one in ours.items() if name in theirs)
        for layer in layers:
            magnitude = ours[f"{layer}.lora_magnitude_vector"]
            assert torch.equal(theirs[f"{layer}.dora_scale"], magnitude.reshape(-1, 1)) and magnitude.ndim == 1


def test_min_snr_is_the_librarys(tmp_path):
    plan = diffusers.DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    steps = torch.tensor([0, 10, 300, 700, 999])
    from diffusers.training_utils import compute_snr

    theirs = compute_snr(plan, steps)
    level = plan.alphas_cumprod[steps]
    snr = level / (1 - level)
    assert torch.allclose(snr, theirs, rtol=1e-4)
    five = torch.full_like(snr, 5.0)
    assert torch.allclose(noise.min_snr(snr, 5.0, "epsilon"), torch.minimum(theirs, five) / theirs, rtol=1e-4)
    assert torch.allclose(noise.min_snr(snr, 5.0, "v_prediction"), torch.minimum(theirs, five) / (theirs + 1), rtol=1e-4)


def test_samples_are_pictures_in_the_runs_folder(tmp_path):
    job, said = job_in(tmp_path, count=4, samples=2, sample_every=2), []
    train(job, said.append, toy.running)
    samples = [body for body in said if body.type == "sample"]
    assert {body.base for body in samples} == {True, False} and len(samples) >= 4
    for body in samples:
        assert body.output == "" and body.file.startswith("samples/")
        with Pictures.open(Path(job.run_dir) / body.file) as picture:
            assert picture.format == "PNG" and picture.size == (16, 16)
    steps = [(Path(job.run_dir) / body.file).read_bytes() for body in samples if body.input == "a red disc"]
    assert steps[0] != steps[-1]
    models = testing.load(job_of_newest(job))
    answers = [models.answer(TestRequest(text_prompt="a red disc", target=target, seed=4)) for target in ("base", "tuned")]
    shown = [(Path(job.run_dir) / one.output_url).read_bytes() for one in answers]
    assert shown[0] != shown[1] and shown[0].startswith(b"\x89PNG")
    current = next(body for body in said if body.type == "current_sample")
    assert (Path(job.run_dir) / current.file).is_file() and current.content.startswith("a ")


def test_the_average_is_what_is_left_and_measured(tmp_path):
    job, said = job_in(tmp_path, adaptation="full", count=4, ema=0.9, learning_rate=1e-3), []
    train(job, said.append, toy.running)
    by_hand = load_file(Path(job.run_dir) / "result" / "model" / "transformer" / "diffusion_pytorch_model.safetensors")
    run, session, _ = opened(job_of_newest(job))
    weights = dict(run.bundle.trainee.named_parameters())
    assert any(not torch.equal(by_hand[name], one) for name, one in weights.items())
    with session.shown():
        assert all(torch.equal(by_hand[name], one) for name, one in run.bundle.trainee.named_parameters())
    assert any(not torch.equal(by_hand[name], one) for name, one in run.bundle.trainee.named_parameters())


def test_a_new_word_is_all_that_moves(tmp_path):
    rows = tiny_diffusion.shape_rows(tmp_path, 4, 2, captions=False, only=("gold", "disc"))
    job = job_in(
        tmp_path, "StableDiffusionPipeline", adaptation="textual_inversion", rows=rows, learning_rate=5e-2,
        objective={"instance_prompt": "a <subject>"},
    )
    train(job, lambda body: None, toy.running)
    folder = Path(job.run_dir) / "result"
    learnt = load_file(folder / "adapter" / "learned_embeds.safetensors")
    assert list(learnt) == ["<subject>"] and learnt["<subject>"].shape == (1, 32)
    assert not (folder / "model").exists()
    saved = load_file(next((Path(job.run_dir) / "checkpoints").glob("*/model-r0.safetensors")))
    assert len(saved) == 1
    pipe = diffusers.DiffusionPipeline.from_pretrained(job.base_model.path)
    pipe.load_textual_inversion(str(folder / "adapter"), weight_name="learned_embeds.safetensors")
    row = pipe.text_encoder.get_input_embeddings().weight[pipe.tokenizer.convert_tokens_to_ids("<subject>")]
    assert torch.equal(row, learnt["<subject>"][0])


@pytest.mark.parametrize("vectors", [1, 2])
def test_a_new_word_of_two_encoders_is_read_as_the_library_reads_it(tmp_path, vectors):
    rows = tiny_diffusion.shape_rows(tmp_path, 4, 2, captions=False, only=("gold", "disc"))
    job = job_in(
        tmp_path, "StableDiffusionXLPipeline", adaptation="textual_inversion", rows=rows, learning_rate=5e-2,
        objective={"instance_prompt": "a <subject>"},
    )
    settings = job.stages[0].settings.model_copy(update={"adaptation": {"vectors": vectors}})
    job = job.model_copy(update={"stages": [job.stages[0].model_copy(update={"settings": settings})]})
    train(job, lambda body: None, toy.running)
    run, session, _ = opened(job_of_newest(job))
    folder = Path(job.run_dir) / "result" / "adapter"
    learnt = load_file(folder / "learned_embeds.safetensors")
    assert {name: tuple(one.shape) for name, one in learnt.items()} == {"clip_l": (vectors, 32), "clip_g": (vectors, 32)}
    moved = [name for name, one in run.bundle.trainee.named_parameters() if one.requires_grad]
    assert len(moved) == 2 and all(name.endswith(".vectors") for name in moved)

    pipe = diffusers.DiffusionPipeline.from_pretrained(job.base_model.path)
    for name, encoder, tokenizer in (
        ("clip_l", pipe.text_encoder, pipe.tokenizer), ("clip_g", pipe.text_encoder_2, pipe.tokenizer_2),
    ):
        pipe.load_textual_inversion(learnt[name], token="<subject>", text_encoder=encoder, tokenizer=tokenizer)
    states, _, pooled, _ = pipe.encode_prompt("a <subject>", None, "cpu", 1, False)
    update = session.objective.prepare(session.objective.refill([[[0]]], session)[0], session)
    told = run.bundle.trainee.text_encoder.eval()(update.micros[0].inputs["token_ids"])
    assert torch.allclose(told["encoder_hidden_states"], states, atol=1e-5)
    assert torch.allclose(told["added_cond_kwargs"]["text_embeds"], pooled, atol=1e-5)
    before = diffusers.DiffusionPipeline.from_pretrained(job.base_model.path).encode_prompt("a o", None, "cpu", 1, False)[0]
    assert not torch.allclose(states, before, atol=1e-3)


def test_the_prior_is_made_once_and_held(tmp_path):
    rows = tiny_diffusion.shape_rows(tmp_path, 4, 2, captions=False, only=("gold", "disc"))
    prior = {"prior_preservation": True, "prior_images": 3, "class_prompt": "a disc", "instance_prompt": "a subject disc"}
    job, said = job_in(tmp_path, rows=rows, objective=prior), []
    held = tiny.write_rows(tmp_path / "eval.jsonl", rows[:2])
    job = job.model_copy(update={"data": job.data.model_copy(update={"eval_path": held.train_path, "eval_rows": 2})})
    train(job, said.append, toy.running)
    made = sorted((Path(job.run_dir) / "prior").glob("*.png"))
    assert len(made) == 3 and len({one.read_bytes() for one in made}) == 3
    assert all(body.custom["prior_loss"] > 0 for body in said if body.type in ("metrics", "eval"))
    before = [one.stat().st_mtime_ns for one in made]
    _, session, _ = opened(job_of_newest(job))
    session.objective.begin(session, lambda: None)
    assert [one.stat().st_mtime_ns for one in made] == before
    lost = made[1].read_bytes()
    made[1].unlink()
    session.objective.prior.clear()
    session.objective.begin(session, lambda: None)
    assert made[1].read_bytes() == lost, "made again by the model as it was, though it has learnt since"
