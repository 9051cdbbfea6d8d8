"""Video models: each family's denoiser is called as its pipeline calls it, every adapter is read by it, samples are real MP4."""

import io
import json
from fractions import Fraction
from pathlib import Path

import av
import diffusers
import lives
import numpy as np
import pytest
import tiny
import tiny_video
import torch
import toy
from safetensors.torch import load_file

from kriptik.data import reel
from kriptik.engine import stage, testing
from kriptik.engine.media import diffusion
from kriptik.engine.media.diffusers_result import COMFY, COMFY_LOW, LOW_NOISE, WEIGHTS, save_adapter
from kriptik.engine.media.footage import consistency, taken
from kriptik.engine.media.noise_experts import LOW, NoiseExperts, denoisers
from kriptik.engine.media.video_families import VIDEO_FAMILIES
from kriptik.engine.modalities.image import Image
from kriptik.engine.modalities.video import Video
from kriptik.engine.objectives.denoise import Denoise
from kriptik.engine.pieces import adaptation, missing, objective, strategy
from kriptik.engine.train import train
from kriptik.spec.errors import DataError, WorkerError
from kriptik.spec.job import LoraSettings, ModelRef, SamplePrompt, StageSettings
from kriptik.spec.testing import TestRequest

TOLD = {"resolution": 24, "sample_steps": 2, "frames": 9, "fps": 8, "watched_clips": 0}
KINDS = sorted(tiny_video.MAKERS)
FIRST = ("WanPipeline-two", "LTXPipeline")
LEARN = [pytest.param(kind, marks=() if kind in FIRST else pytest.mark.slow) for kind in KINDS]


def job_in(folder, kind="WanPipeline-two", *, adaptation="lora", count=4, rows=None, samples=0, held=False, **settings):
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "base").exists():
        tiny_video.tiny_pipeline(folder / "base", kind)
    chosen = {
        "micro_batch": 2, "accumulation": 2, "packing": False, "learning_rate": 1e-2, "epochs": 3, "max_seq_len": 32,
        "lora": LoraSettings(rank=4, alpha=8), **settings, "objective": {**TOLD, **settings.get("objective", {})},
    }
    prompts = [SamplePrompt(messages=[{"role": "user", "content": "a red disc moves left"}])] * samples
    return tiny.tiny_job(
        folder, rows=rows or tiny_video.motion_rows(folder, count), adaptation=adaptation, objective="denoise",
        eval_rows=tiny_video.motion_rows(folder, 2, 9) if held else None, settings=StageSettings(**chosen), modality="video",
        capability="video_generation", samples=prompts,
    )


def opened(job):
    run = stage.load(job, Video)
    return run, *stage.open_stage(run, 0, job.resume_from)


def newest(job):
    return job.model_copy(update={"resume_from": lives.newest(job.run_dir), "generation": 2})


def read(content):
    """(frames, frames a second) of a file's bytes, by another reader than that of the product's own data."""
    with av.open(io.BytesIO(content)) as found:
        stream = found.streams.video[0]
        return np.stack([frame.to_ndarray(format="rgb24") for frame in found.decode(stream)]), stream.average_rate


@pytest.mark.parametrize("kind", KINDS)
def test_the_denoiser_is_called_as_the_pipeline_calls_it(tmp_path, kind):
    """At the first step of sampling, at the same sample, level and text, both call it with the same numbers."""
    job = job_in(tmp_path, kind, count=1)
    modality = Video(job)
    bundle = modality.load()
    family, pipe, seen = VIDEO_FAMILIES[kind.partition("-")[0]], bundle.pipeline, {}
    settings = job.stages[0].settings
    row = {**json.loads((tmp_path / "train.jsonl").read_text()), "caption": "a red disc moves left"}
    micro = modality.collate(bundle, [[modality.encode(bundle, row, 0, "image", settings)]], 0, 0)

    def hook(module, args, kwargs, output):
        seen.setdefault("call", (kwargs, output[0]))

    handle = pipe.transformer.register_forward_hook(hook, with_kwargs=True)
    longest = modality._longest(bundle, settings)
    pipe(
        prompt=row["caption"], height=32, width=32, num_frames=9, num_inference_steps=3, output_type="latent", guidance_scale=1.0,
        max_sequence_length=longest, generator=torch.Generator().manual_seed(1), **family.more(8.0),
    )
    handle.remove()
    kwargs, output = seen["call"]
    time = kwargs["timestep"].reshape(-1)[:1].float()
    shape = micro.extra["clean"].shape
    mine = family.call(pipe, torch.zeros(shape), time / 1000 if family.flow else time, micro.extra["text"], micro.extra["sizes"])
    assert mine["hidden_states"].shape == kwargs["hidden_states"].shape
    mine["hidden_states"] = kwargs["hidden_states"]
    assert mine.keys() == kwargs.keys() - {"attention_kwargs"}
    for name in mine.keys() - {"return_dict", "guidance"}:
        same(name, mine[name], kwargs[name])
    if "guidance" in mine:
        assert float(mine["guidance"]) == float(kwargs["guidance"]) == 1000.0
    with torch.no_grad():
        assert torch.allclose(pipe.transformer(**mine)[0], output, atol=1e-5)


def same(name, mine, theirs):
    if isinstance(mine, tuple):
        for one, other in zip(mine, theirs, strict=True):
            same(name, one, other)
    elif isinstance(mine, torch.Tensor):
        assert torch.allclose(mine.float(), theirs.float(), atol=1e-5), name
    else:
        assert mine == pytest.approx(theirs), name


@pytest.mark.parametrize("kind", KINDS)
def test_a_latent_decodes_to_what_was_encoded(tmp_path, monkeypatch, kind):
    """The pipeline's own way back from what the denoiser is taught: units, channels and the order of frames are the library's."""
    modality = Video(job_in(tmp_path, kind, count=1))
    bundle = modality.load()
    pipe, family = bundle.pipeline, VIDEO_FAMILIES[kind.partition("-")[0]]
    clip = taken(tmp_path / "media" / "0-0.mp4", 0, 0.0, 8, 9, (32, 32))
    mean = modality._moments(bundle, lambda: clip)["mean"][None]
    seen, plain = [], pipe.vae.decode

    def decode(found, *args, **kwargs):
        seen.append(found)
        return plain(found, *args, **kwargs)

    monkeypatch.setattr(pipe.vae, "decode", decode)
    monkeypatch.setattr(pipe.scheduler, "step", lambda *args, **kwargs: (family.pack(mean),))
    pipe(
        prompt="a", height=32, width=32, num_frames=9, num_inference_steps=1, guidance_scale=1.0, output_type="np",
        max_sequence_length=16,
    )
    with torch.no_grad():
        assert torch.allclose(seen[0], pipe.vae.encode(clip[None]).latent_dist.mean, atol=1e-4)


@pytest.mark.parametrize("kind", LEARN)
def test_an_adapter_learns_and_is_read_by_the_pipeline(tmp_path, kind):
    """Loss on fixed noise falls, and the pipeline's own loader makes the very clip that the trained model makes."""
    job = job_in(tmp_path, kind)
    train(job, lambda body: None, toy.running)
    run, session, _ = opened(newest(job))
    fixed = Denoise(job.stages[0].settings)
    after = sum(fixed.evaluate(session.rows.encoded, session).sums)
    with session.adaptation.reference(run.bundle):
        before = sum(fixed.evaluate(session.rows.encoded, session).sums)
    assert after < before
    folder = Path(job.run_dir) / "result" / "adapter"
    mine = drawn(job, run.bundle)
    base = Video(job).load()
    assert np.abs(mine - drawn(job, base)).max() > 0.02
    base.pipeline.load_lora_weights(str(folder), weight_name=WEIGHTS)
    if kind.endswith("-two"):
        base.pipeline.load_lora_weights(str(folder), weight_name=LOW_NOISE, load_into_transformer_2=True)
    else:
        assert not (folder / LOW_NOISE).exists()
    assert np.abs(mine - drawn(job, base)).max() < 1e-4


def drawn(job, bundle):
    """[frames, height, width, 3] from 0 to 1."""
    return Video(job).drawn(bundle, "a red disc moves left", 5, job.stages[0].settings).frames[0]


def test_each_expert_has_its_part_of_the_noise_and_a_file_of_its_own(tmp_path):
    job = job_in(tmp_path, count=6)
    train(job, lambda body: None, toy.running)
    folder = Path(job.run_dir) / "result" / "adapter"
    high, low = load_file(folder / WEIGHTS), load_file(folder / LOW_NOISE)
    assert high.keys() == low.keys() and all(name.startswith("transformer.blocks.") for name in high)
    assert any(not torch.equal(high[name], low[name]) for name in high if ".lora_B." in name)
    bundle = Video(job).load()
    pair = bundle.trainee
    assert isinstance(pair, NoiseExperts) and pair.boundary == 700 and set(denoisers(pair, VIDEO_FAMILIES["WanPipeline"])) == {
        "transformer", LOW,
    }
    met = {name: [] for name in ("transformer", LOW)}
    for name, one in pair.named_children():
        note = lambda _, args, told, name=name: met[name].extend(told["timestep"].tolist())  # noqa: E731
        one.register_forward_pre_hook(note, with_kwargs=True)
    rows = torch.randn(4, 4, 3, 4, 4), torch.tensor([900.0, 100.0, 700.0, 699.0]), torch.randn(4, 8, 32)
    with torch.no_grad():
        together = pair(hidden_states=rows[0], timestep=rows[1], encoder_hidden_states=rows[2], return_dict=False)[0]
        assert met == {"transformer": [900.0, 700.0], LOW: [100.0, 699.0]}
        for row, expert in enumerate((pair.transformer, pair.transformer_2, pair.transformer, pair.transformer_2)):
            hidden, time, text = (one[row : row + 1] for one in rows)
            alone = expert(hidden_states=hidden, timestep=time, encoder_hidden_states=text, return_dict=False)[0]
            assert torch.allclose(alone, together[row : row + 1], atol=1e-6)


ATTENTION = ("q", "k", "v", "o")
COMFYUI = {
    "WanPipeline-two": ("blocks", [*(f"{one}_attn.{part}" for one in ("self", "cross") for part in ATTENTION), "ffn.0", "ffn.2"]),
    "LTXPipeline": (
        "transformer_blocks",
        [*(f"attn{n}.to_{part}" for n in (1, 2) for part in ("q", "k", "v", "out.0")), "ff.net.0.proj", "ff.net.2"],
    ),
}
"""ComfyUI's names of the layers in a block (comfy/ldm/wan/model.py, comfy/ldm/lightricks/model.py), which its
`model_lora_keys_unet` takes under `diffusion_model.`."""


@pytest.mark.parametrize("kind", sorted(COMFYUI))
def test_an_adapter_has_a_file_with_comfyuis_names_that_says_the_same(tmp_path, kind):
    """The library reads the makers' names too, and finds the very weights of its own file in them."""
    run, session, _ = opened(job_in(tmp_path, kind, count=1))
    folder, pipe = tmp_path / "adapter", run.bundle.pipeline
    for name, one in session.bundle.trainee.named_parameters():
        if ".lora_B." in name:
            torch.nn.init.normal_(one)
    save_adapter(session.bundle.trainee, pipe, VIDEO_FAMILIES[kind.partition("-")[0]], folder)
    blocks, layers = COMFYUI[kind]
    wanted = {f"diffusion_model.{blocks}.{n}.{one}.lora_{half}.weight" for n in range(2) for one in layers for half in "AB"}
    pairs = [(WEIGHTS, COMFY), *([(LOW_NOISE, COMFY_LOW)] if kind.endswith("-two") else [])]
    for file, other in pairs:
        assert load_file(folder / other).keys() == wanted
        ours, theirs = (type(pipe).lora_state_dict(str(folder), weight_name=name) for name in (file, other))
        assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert len(list(folder.iterdir())) == 2 * len(pairs)


def test_magnitudes_have_comfyuis_name(tmp_path):
    _, session, _ = opened(job_in(tmp_path, "WanPipeline", adaptation="dora", count=1))
    save_adapter(session.bundle.trainee, session.bundle.pipeline, VIDEO_FAMILIES["WanPipeline"], tmp_path / "adapter")
    found = load_file(tmp_path / "adapter" / COMFY)
    assert found["diffusion_model.blocks.1.ffn.0.dora_scale"].shape == (64, 1)
    assert not any("magnitude" in name for name in found)


@pytest.mark.parametrize("kind", KINDS)
def test_temporal_adaptation_moves_attention_over_frames_alone(tmp_path, kind):
    job = job_in(tmp_path, kind, adaptation="temporal", count=2, epochs=1)
    train(job, lambda body: None, toy.running)
    found = load_file(Path(job.run_dir) / "result" / "adapter" / WEIGHTS)
    layers = {name.partition(".lora_")[0] for name in found}
    assert layers and all(".attn1." in one or ".attn.to_" in one for one in layers)
    whole = diffusers.DiffusionPipeline.from_pretrained(Path(job.run_dir) / "result" / "model").transformer.state_dict()
    base = diffusers.DiffusionPipeline.from_pretrained(job.base_model.path).transformer.state_dict()
    moved = {name for name in base if not torch.equal(base[name], whole[name])}
    assert moved and {one.rpartition(".")[0] for one in moved} <= {one.removeprefix("transformer.") for one in layers}


def test_temporal_adaptation_goes_with_clips_alone():
    others = adaptation("temporal"), objective("denoise"), strategy("single")
    assert not missing(Video, *others) and missing(Image, *others) == {"motion"}


def test_frames_and_rate_are_those_that_were_asked_for(tmp_path):
    """Of a counter at 24 frames a second, every third is seen at 8, from the middle; a sample is as long as it was asked to be."""
    folder = tmp_path / "media"
    folder.mkdir(parents=True)
    frames = [np.full((64, 64, 3), 10 + 5 * number, np.uint8) for number in range(48)]
    (folder / "a.mp4").write_bytes(reel.written(frames, 24))
    job = job_in(tmp_path, rows=[{"video": "media/a.mp4", "caption": "a"}], samples=1, objective={"frames": 12})
    modality = Video(job)
    bundle = modality.load()
    row = modality.encode(bundle, {"video": "media/a.mp4"}, 0, "image", job.stages[0].settings)
    assert row.fields["bucket"] == [9, 32, 32] and row.fields["sides"][0]["sizes"] == [9, 8.0, 32, 32]
    start = (2 - 9 / 8) / 2
    seen = (taken(folder / "a.mp4", 0, start, 8, 9, (32, 32)).mean((0, 2, 3)) + 1) * 127.5
    wanted = [10 + 5 * int((start + number / 8) * 24 + 0.03) for number in range(9)]
    assert seen.tolist() == pytest.approx(wanted, abs=3)
    made, rate = read(modality.sample(bundle, job.samples[0], job.stages[0].settings))
    assert made.shape == (9, 32, 32, 3) and rate == 8
    own = job.stages[0].settings.model_copy(update={"objective": {}, "adaptation": {"frames": 5, "fps": 4}})
    assert modality._length(bundle, own) == (5, 4.0) and modality._length(bundle, StageSettings()) == (81, 16.0)


def test_a_clip_that_is_too_short_for_the_model_is_named(tmp_path):
    (tmp_path / "media").mkdir()
    (tmp_path / "media" / "a.mp4").write_bytes(reel.written(tiny_video.moving("red", "disc", "left", frames=4), 8))
    job = job_in(tmp_path, rows=[{"video": "media/a.mp4", "caption": "a"}])
    with pytest.raises(DataError, match="row 1 has 4 frames") as refused:
        opened(job)
    assert refused.value.code == "clip_too_short"


def test_what_was_encoded_once_is_neither_decoded_nor_encoded_again(tmp_path, monkeypatch):
    job = job_in(tmp_path, count=3)
    opened(job)
    monkeypatch.setattr(Video, "_moments", None)
    run = stage.load(job, Video)
    run.bundle.pipeline.encode_prompt = None
    session, _ = stage.open_stage(run, 0, None)
    assert session.collate([[0]]).extra["clean"].shape == (1, 4, 3, 4, 4)


def test_samples_are_clips_in_the_runs_folder_and_are_measured(tmp_path):
    job, said = job_in(tmp_path, samples=1, sample_every=2, held=True, objective={"watched_clips": 1}), []
    train(job, said.append, toy.running)
    shown = [body for body in said if body.type == "sample"]
    assert {body.base for body in shown} == {True, False}
    for body in shown:
        frames, rate = read((Path(job.run_dir) / body.file).read_bytes())
        assert body.output == "" and frames.shape == (9, 32, 32, 3) and rate == Fraction(8)
    held = [body for body in said if body.type == "eval"]
    assert held and all(0 < body.custom["temporal_consistency"] <= 1 for body in held)
    models = testing.load(newest(job))
    answers = [models.answer(TestRequest(text_prompt="a red disc moves left", target=one, seed=4)) for one in ("base", "tuned")]
    made = [(Path(job.run_dir) / one.output_url).read_bytes() for one in answers]
    assert made[0] != made[1] and all(one[4:8] == b"ftyp" for one in made)
    current = next(body for body in said if body.type == "current_sample")
    small, _ = read((Path(job.run_dir) / current.file).read_bytes())
    assert max(small.shape[1:3]) == 160 and current.content.startswith("a ")


def test_consistency_is_one_at_rest_and_falls_with_noise():
    moving = np.stack(tiny_video.moving("red", "disc", "left", side=64))
    dice = np.random.default_rng(0)
    noise = dice.integers(0, 256, moving.shape).astype(np.uint8)
    still = np.repeat(moving[:1], 9, axis=0)
    assert consistency(still) == pytest.approx(1)
    assert abs(consistency(noise)) < 0.05 < consistency(moving) < 0.99
    assert consistency(still.clip(0, 200) + noise // 8) < consistency(still)


@pytest.mark.parametrize("kind", ["WanPipeline-two", "HunyuanVideoPipeline"])
def test_activations_computed_again_give_the_same_bits(tmp_path, kind):
    def numbers(name, **settings):
        said = []
        train(job_in(tmp_path / name, kind, epochs=1, **settings), said.append, toy.running)
        return [(body.loss, body.gradient_norm) for body in said if body.type == "metrics"]

    assert numbers("again", recompute=True) == numbers("kept")


def test_weights_come_from_the_repository_that_the_catalogue_names(tmp_path, monkeypatch):
    """The model's own repository holds another form of them."""
    asked = []

    def find(ref, cache, *, pipeline):
        asked.append(ref.id)
        raise WorkerError("model_not_found", "It was only asked for.", "Nothing.")

    monkeypatch.setattr(diffusion, "find", find)
    for name in ("Wan-AI/Wan2.2-T2V-A14B", "zai-org/CogVideoX-5b"):
        job = job_in(tmp_path, count=1).model_copy(update={"base_model": ModelRef(id=name)})
        with pytest.raises(WorkerError):
            Video(job).load()
    assert asked == ["Wan-AI/Wan2.2-T2V-A14B-Diffusers", "zai-org/CogVideoX-5b"]
