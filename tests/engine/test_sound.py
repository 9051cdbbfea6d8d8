"""Sound by diffusion: the denoiser is called as the library's pipeline calls it, what is predicted is what its sampler takes it
for, samples are real WAV, and what a run leaves makes the same sound in the library's own class."""

import io
import json
import re
from pathlib import Path

import lives
import numpy as np
import pytest
import soundfile
import tiny
import tiny_audio
import tiny_sound
import torch
import toy
from peft import PeftModel
from transformers.audio_utils import hertz_to_mel, mel_filter_bank

from kriptik.engine import stage, testing
from kriptik.engine.media import mel
from kriptik.engine.media.cosine_solver import USUAL, CosineSolver
from kriptik.engine.media.sound_families import SOUND_FAMILIES
from kriptik.engine.media.states import states_of
from kriptik.engine.modalities.sound import Sound
from kriptik.engine.objectives.denoise import Denoise
from kriptik.engine.train import train
from kriptik.spec.errors import DataError, WorkerError
from kriptik.spec.job import LoraSettings, SamplePrompt, StageSettings
from kriptik.spec.testing import TestRequest

STABLE, ACE, LDM = "StableAudioPipeline", "AceStepPipeline", "AudioLDM2Pipeline"
ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
SECONDS = tiny_audio.FRAMES * tiny_audio.HOP / tiny_audio.RATE


def job_in(folder, family=STABLE, *, adaptation="lora", count=6, rows=None, samples=0, objective="denoise", told=(), **settings):
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "base").exists():
        tiny_audio.tiny_pipeline(folder / "base", family)
    options = {"heard_clips": 0, "sample_seconds": 0.3, "sample_steps": 2, **dict(told)}
    chosen = {"micro_batch": 2, "packing": False, "learning_rate": 2e-2, "lora": LoraSettings(rank=4, alpha=8), **settings}
    prompts = [SamplePrompt(messages=[{"role": "user", "content": "a steady low tone"}])] * samples
    return tiny.tiny_job(
        folder, rows=rows or tiny_sound.tone_rows(folder, count), eval_rows=tiny_sound.tone_rows(folder, 3, 9),
        adaptation=adaptation, objective=objective, settings=StageSettings(**chosen, objective=options), modality="sound",
        capability="music_generation", samples=prompts,
    )


def opened(job):
    return stage.open_stage(stage.load(job, Sound), 0, job.resume_from)[0]


def of_newest(job):
    return job.model_copy(update={"resume_from": lives.newest(job.run_dir), "generation": 2})


@pytest.mark.parametrize(("family", "halves"), [(STABLE, (1, 0)), (ACE, (0, 1)), (LDM, (1, 0))])
def test_the_denoiser_is_called_as_the_pipeline_calls_it(tmp_path, family, halves):
    """Both halves of the guided call: the one that is told what to make, and the one that is told nothing."""
    rows = tiny_sound.tone_rows(tmp_path, 2, seconds=0.3)
    session = opened(job_in(tmp_path, family, rows=rows, told={"caption_dropout": 0.5}))
    bundle, row, seen = session.bundle, session.rows.encoded[0], []
    pipe, found = bundle.pipeline, SOUND_FAMILIES[family]
    denoiser = bundle.trainee.get_base_model()
    hook = denoiser.register_forward_hook(lambda *call: seen.append(call[1:]), with_kwargs=True)
    setattr(pipe, found.part, denoiser.eval())
    pipe(row.fields["caption"], num_inference_steps=1, generator=torch.Generator().manual_seed(1), **{found.asks: 0.3})
    hook.remove()
    args, kwargs, (theirs,) = seen[0]
    sample = args[0] if args else kwargs["hidden_states"].transpose(1, 2)
    time = (args[1] if args else kwargs["timestep"]).reshape(-1)[:1]
    assert any(isinstance(one, torch.Tensor) for one in kwargs.values())
    for half, name in zip(halves, ("text", "silence"), strict=True):
        states = states_of([session.modality._cache(bundle).read(row.fields[name])], torch.device("cpu"))
        mine = found.call(pipe, sample[half : half + 1], time, states, [row.fields["sides"][0]["sizes"]])
        for told in set(mine) & set(kwargs):
            if isinstance(kwargs[told], torch.Tensor):
                assert mine[told].shape == kwargs[told][half : half + 1].shape
                assert torch.allclose(mine[told], kwargs[told][half : half + 1], atol=1e-6), told
        with torch.no_grad():
            assert torch.allclose(denoiser(**mine)[0], theirs[half : half + 1], atol=1e-5)


def test_what_is_predicted_is_what_the_sampler_takes_it_for(tmp_path):
    """Its noise level of a time, its scaled input and its clean sound are those that the target was made from."""
    session = opened(job_in(tmp_path, count=3))
    solver, modality, bundle = session.bundle.pipeline.scheduler, session.modality, session.bundle
    micro = modality.collate(bundle, [[row] for row in session.rows.encoded], 0, 0)
    clean, dice = micro.extra["clean"], torch.Generator().manual_seed(0)
    noise, times = torch.randn(clean.shape, generator=dice), torch.tensor([0.05, 0.5, 0.95])
    noised = modality.add_noise(bundle, micro, noise, times)
    for row, time in enumerate(times):
        sigma = torch.tan(time * torch.pi / 2)
        assert torch.allclose(solver.precondition_noise(sigma), noised.inputs["timestep"][row], atol=1e-6)
        raw = clean[row] + sigma * noise[row]
        assert torch.allclose(solver.precondition_inputs(raw, sigma), noised.inputs["hidden_states"][row], atol=1e-5)
        found = solver.precondition_outputs(raw, noised.extra["target"][row], sigma)
        assert torch.allclose(found, clean[row], atol=1e-4)
    assert "snr" not in noised.extra and modality.noise_times(bundle) == "uniform"


def test_steps_are_those_of_the_folders_own_sampler(tmp_path):
    session = opened(job_in(tmp_path, LDM, count=3, told={"caption_dropout": 0}))
    pipe, modality, bundle = session.bundle.pipeline, session.modality, session.bundle
    micro = modality.collate(bundle, [[row] for row in session.rows.encoded], 0, 0)
    clean, dice = micro.extra["clean"], torch.Generator().manual_seed(0)
    assert clean.shape == (3, 4, tiny_audio.FRAMES // 2, 4) and not micro.extra["text"]["mask"].all()
    assert len({str(row.fields["bucket"]) for row in session.rows.encoded}) == 1, "texts of several lengths meet"
    noise, times = torch.randn(clean.shape, generator=dice), torch.tensor([0.0, 0.5, 0.999])
    noised = modality.add_noise(bundle, micro, noise, times)
    steps = torch.tensor([0, 500, 999])
    assert torch.equal(noised.inputs["timestep"], steps) and torch.equal(noised.extra["target"], noise)
    assert torch.allclose(noised.inputs["sample"], pipe.scheduler.add_noise(clean, noise, steps), atol=1e-6)
    unet = bundle.trainee.get_base_model().eval()
    with torch.no_grad():
        mine = modality.forward(unet, noised)
        for row, encoded in enumerate(session.rows.encoded):
            states, mask, made = pipe.encode_prompt(encoded.fields["caption"], "cpu", 1, False)
            sample = pipe.scheduler.add_noise(clean, noise, steps)[row : row + 1]
            told = {"encoder_hidden_states": made, "encoder_hidden_states_1": states, "encoder_attention_mask_1": mask}
            assert torch.allclose(mine[row : row + 1], unet(sample, steps[row], **told).sample, atol=1e-5)
    pipe.scheduler.set_timesteps(1000)
    assert torch.allclose(pipe.scheduler.step(noise[1], 500, noised.inputs["sample"][1]).pred_original_sample, clean[1], atol=1e-4)
    assert modality.noise_times(bundle) == "uniform" and noised.extra["predicts"] == "epsilon"


def test_a_spectrogram_is_that_which_the_vocoder_reads(tmp_path):
    """As librosa's way of the makers has it; the rest of a short recording is silence, the part that is heard at their loudness."""
    rows = [{"audio": "tone.wav", "text": "a tone"}]
    tone = 0.1 * np.sin(2 * np.pi * 1000 * np.arange(4800) / 16_000) + 0.02
    soundfile.write(tmp_path / "tone.wav", tone, 16_000, subtype="FLOAT")
    session = opened(job_in(tmp_path, LDM, rows=rows))
    (row,), pipe = session.rows.encoded, session.bundle.pipeline
    whole = np.zeros(7680)
    whole[:4800] = 0.5 * (tone - tone.mean()) / np.abs(tone - tone.mean()).max()
    mirrored, window = np.pad(whole, 432, mode="reflect"), np.hanning(1025)[:-1]
    loud = np.stack([np.abs(np.fft.rfft(window * mirrored[at : at + 1024])) for at in range(0, 7680, 160)])
    for bands in (16, 64):
        found = mel.spectrogram(torch.from_numpy(whole[None]), 16_000, 160, bands)
        filters = mel_filter_bank(513, bands, 0.0, 8000.0, 16_000, norm="slaney", mel_scale="slaney")
        assert found.shape == (1, 48, bands)
        assert np.allclose(found[0].numpy(), np.log(np.maximum(loud @ filters, 1e-5)), atol=1e-3)
        heard = hertz_to_mel(1000.0, "slaney") / hertz_to_mel(8000.0, "slaney") * (bands + 1) - 1
        assert abs(int(found[0, 10].argmax()) - heard) <= 1 and np.allclose(found[0, -4:].numpy(), np.log(1e-5), atol=1e-3)
    mine = session.modality._cache(session.bundle).read(row.fields["sides"][0]["latent"])
    with torch.no_grad():
        theirs = pipe.vae.encode(mel.spectrogram(torch.from_numpy(whole[None]), 16_000, 160, 16)[None]).latent_dist
    scale = pipe.vae.config.scaling_factor
    assert torch.allclose(mine["mean"], scale * theirs.mean[0], atol=1e-4) and row.fields["sides"][0]["sizes"] == [0.0, 0.3]
    with torch.no_grad():
        assert pipe.vocoder(mel.spectrogram(torch.from_numpy(whole[None]), 16_000, 160, 16)).shape == (1, 7680)


def test_the_sampler_solves_the_equation_it_is_for():
    """Of numbers that are normal with deviation s, a perfect model takes x at σ to x · s ÷ √(s² + σ²)."""
    solver, deviation = CosineSolver(**USUAL), 0.5
    solver.set_timesteps(100)
    assert solver.timesteps.min() > 0 and solver.timesteps.max() < 1
    begin = torch.randn(64, generator=torch.Generator().manual_seed(0)) * solver.init_noise_sigma
    x = begin
    for time in solver.timesteps:
        scaled = solver.scale_model_input(x, time)
        angle = time * torch.pi / 2
        share = angle.cos() ** 2 * deviation**2 + angle.sin() ** 2
        clean = angle.cos() * deviation**2 / share * scaled
        noise = angle.sin() / share * scaled
        x = solver.step(angle.cos() * noise - angle.sin() * clean, time, x).prev_sample
    exact = begin * deviation / (deviation**2 + solver.config.sigma_max**2) ** 0.5
    assert float((x / exact - 1).abs().max()) < 0.2, "its last step, from the least noise to none, is Euler's"
    assert float((x / exact - 1).abs().max()) > 0


@pytest.mark.parametrize(("family", "adaptation"), [
    (STABLE, "lora"), (STABLE, "full"), (ACE, "lora"), (ACE, "full"), (LDM, "lora"), (LDM, "full"),
])  # fmt: skip
def test_the_result_makes_the_same_sound_in_the_librarys_own_class(tmp_path, family, adaptation):
    job = job_in(tmp_path, family, adaptation=adaptation, epochs=2, learning_rate=1e-2)
    train(job, lambda body: None, toy.running)
    run, _ = testing.restored(of_newest(job))
    settings, result = job.stages[0].settings, Path(job.run_dir) / "result"
    mine = sound_of(run.modality.imagine(run.bundle, "a pulsing high tone", 5, settings))
    base = tiny_audio.library_pipeline(job.base_model.path)
    before = made_by(base)
    assert np.abs(mine - before).max() > 1e-3, "it sounds otherwise than before"
    for part in ("model_index.json", "scheduler/scheduler_config.json") if family == STABLE else ():
        kept, made = (json.loads((folder / part).read_text()) for folder in (Path(job.base_model.path), result / "model"))
        assert {**made, "_diffusers_version": ""} == {**kept, "_diffusers_version": ""}, "the base's own sampler"
    assert np.abs(made_by(tiny_audio.library_pipeline(result / "model")) - mine).max() < 1e-3
    if adaptation == "lora" and family != ACE:
        part, card = SOUND_FAMILIES[family].part, (result / "adapter" / "README.md").read_text()
        PeftModel.from_pretrained(getattr(base, part), result / "adapter")
        assert f"`PeftModel.from_pretrained(pipe.{part}, folder)`" in card and ("torchsde" in card) == (family == STABLE)
    elif adaptation == "lora":
        base.load_lora_weights(str(result / "adapter"), weight_name="pytorch_lora_weights.safetensors")
    if adaptation == "lora":
        assert np.abs(made_by(base) - mine).max() < 1e-3


def made_by(pipe):
    asked = {SOUND_FAMILIES[type(pipe).__name__].asks: 0.3, "output_type": "pt"}
    made = pipe("a pulsing high tone", num_inference_steps=2, generator=torch.Generator().manual_seed(5), **asked)
    return torch.atleast_2d(made.audios[0]).clamp(-1, 1).T.numpy()


def sound_of(content):
    return soundfile.read(io.BytesIO(content), always_2d=True)[0]


@pytest.mark.parametrize(("family", "layers"), [
    (STABLE, {*(f"attn{n}.{one}" for n in (1, 2) for one in ATTENTION), "ff.net.0.proj", "ff.net.2"}),
    (ACE, {*(f"{n}_attn.{one}" for n in ("self", "cross") for one in ATTENTION), "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"}),
    (LDM, {*(f"attn{n}.{one}" for n in (1, 2) for one in ATTENTION), "ff.net.0.proj", "ff.net.2"}),
])  # fmt: skip
def test_the_loss_on_fixed_noise_falls_and_only_the_adapter_moves(tmp_path, family, layers):
    job = job_in(tmp_path, family, epochs=4)
    train(job, lambda body: None, toy.running)
    session = opened(of_newest(job))
    fixed = Denoise(job.stages[0].settings)
    after = fixed.evaluate(session.rows.encoded, session).sums
    assert after == fixed.evaluate(session.rows.encoded, session).sums, "the same draws every time"
    with session.adaptation.reference(session.bundle):
        before = sum(fixed.evaluate(session.rows.encoded, session).sums)
    assert sum(after) < 0.95 * before
    trained = {name for name, one in session.bundle.trainee.named_parameters() if one.requires_grad}
    assert {re.sub(r".*(transformer_blocks|layers)\.\d+\.(.*)\.lora_.*", r"\2", name) for name in trained} == layers


@pytest.mark.parametrize("family", [STABLE, LDM])
def test_activations_computed_again_give_the_same_bits(tmp_path, family):
    """Of AudioLDM 2 descriptions of several lengths meet, so that states of a text are masked."""

    def numbers(name, **settings):
        said, rows = [], tiny_sound.tone_rows(tmp_path / name, 4)
        train(job_in(tmp_path / name, family, rows=rows, epochs=1, **settings), said.append, toy.running)
        return [(body.loss, body.gradient_norm) for body in said if body.type == "metrics"]

    assert numbers("again", recompute=True) == numbers("kept")


@pytest.mark.parametrize(("family", "told"), [(STABLE, (tiny_audio.RATE, 2)), (LDM, (16_000, 1))])
def test_samples_are_wav_and_what_is_heard_is_measured(tmp_path, family, told):
    job, said = job_in(tmp_path, family, samples=1, epochs=2, told={"heard_clips": 2, "heard_seconds": 0.4}), []
    train(job, said.append, toy.running)
    files = [Path(job.run_dir) / body.file for body in said if body.type == "sample"]
    for file in files:
        sound, rate = soundfile.read(file, always_2d=True)
        assert (rate, sound.shape[1]) == told and len(sound) == round(0.3 * rate) and np.abs(sound).max() > 0
    assert files[0].read_bytes() != files[-1].read_bytes()
    evals = [body.custom for body in said if body.type == "eval"]
    assert all({"frechet_codec", "kernel_codec"} == set(one) and one["frechet_codec"] > 0 for one in evals)
    assert evals[0] != evals[-1]
    current = next(body for body in said if body.type == "current_sample")
    assert soundfile.info(Path(job.run_dir) / current.file).samplerate == 16_000 and current.content.startswith("a ")
    models = testing.load(job.model_copy(update={"resume_from": lives.newest(job.run_dir), "data": None}))
    answers = [models.answer(TestRequest(text_prompt="a steady low tone", target=target, seed=4)) for target in ("base", "tuned")]
    shown = [(Path(job.run_dir) / one.output_url).read_bytes() for one in answers]
    assert shown[0] != shown[1] and all(one.startswith(b"RIFF") for one in shown)


def test_the_rest_of_a_short_recording_is_silence_and_its_end_is_told(tmp_path):
    rows = [*tiny_sound.tone_rows(tmp_path, 1, 1, seconds=0.3), *tiny_sound.tone_rows(tmp_path, 1, 2, seconds=0.9)]
    session = opened(job_in(tmp_path, rows=[*rows, {**rows[1], "text": ""}]))
    short, long, untold = session.rows.encoded
    assert [one.fields["sides"][0]["sizes"] for one in (short, long)] == [[0.0, 0.3], [0.0, SECONDS]]
    vae, cache = session.bundle.pipeline.vae, session.modality._cache(session.bundle)
    samples, _ = soundfile.read(tmp_path / rows[0]["audio"], dtype="float32")
    whole = np.zeros((1, 2, tiny_audio.FRAMES * tiny_audio.HOP), np.float32)
    whole[0, :, : len(samples)] = samples
    with torch.no_grad():
        theirs = vae.encode(torch.from_numpy(whole)).latent_dist
    mine = cache.read(short.fields["sides"][0]["latent"])
    assert torch.allclose(mine["mean"], theirs.mean[0], atol=1e-5) and torch.allclose(mine["std"], theirs.std[0], atol=1e-5)
    assert mine["mean"].shape == (8, tiny_audio.FRAMES)
    for name in ("text", "silence"):
        assert not cache.read(untold.fields[name])["told"].any() and not cache.read(untold.fields[name])["states"].any()
    cut = opened(job_in(tmp_path, rows=rows, told={"clip_seconds": 0.2}))
    assert [one.fields["sides"][0]["sizes"][1] for one in cut.rows.encoded] == [0.2, 0.2]


def test_a_family_of_any_length_is_told_seconds_and_lyrics(tmp_path):
    rows = [*tiny_sound.tone_rows(tmp_path, 1, 1, seconds=0.3), *tiny_sound.tone_rows(tmp_path, 1, 2, seconds=1.3)]
    session = opened(job_in(tmp_path, ACE, rows=[*rows, {**rows[1], "lyrics": "la la la"}]))
    short, long, sung = session.rows.encoded
    assert [one.fields["bucket"][0] for one in (short, long)] == [15, 65], "50 frames a second"
    assert sung.fields["bucket"] == [65, long.fields["bucket"][1] + len("la la la")] and sung.fields["text"] != long.fields["text"]
    plan = session.modality.plan_epoch(session.rows.encoded, 0, 0, session.settings, 1)
    assert all(len(micro) == 1 for update in plan for micro in update), "rows of other lengths do not meet"
    clean = torch.zeros(20000, 1)
    times = session.modality.mixed(session.bundle, clean, clean, torch.randn(20000).sigmoid())[2].logit()
    assert abs(float(times.mean()) + 0.4) < 0.05 and abs(float(times.std()) - 1) < 0.05


def test_what_was_encoded_once_is_not_encoded_again(tmp_path, monkeypatch):
    job = job_in(tmp_path, count=3)
    opened(job)
    monkeypatch.setattr(Sound, "_moments", None)
    run = stage.load(job, Sound)
    run.bundle.pipeline.encode_prompt = None
    session, _ = stage.open_stage(run, 0, None)
    assert session.collate([[0], [1]]).extra["clean"].shape == (2, 8, tiny_audio.FRAMES)


def test_pairs_are_compared_at_one_time_and_noise(tmp_path):
    job, said = job_in(tmp_path, rows=tiny_audio.pair_rows(tmp_path, 8), objective="diffusion_dpo", epochs=4), []
    job = job.model_copy(update={"data": job.data.model_copy(update={"eval_path": None})})
    train(job, said.append, toy.running)
    margins = [body.custom["margin"] for body in said if body.type == "metrics"]
    assert margins[0] == 0 and margins[-1] > 0


def test_a_row_without_a_recording_and_one_that_cannot_be_read_are_named(tmp_path):
    for row, code in (({"text": "a tone"}, "bad_row"), ({"audio": "media/none.wav", "text": "a tone"}, "bad_sound")):
        job = job_in(tmp_path, rows=[*tiny_sound.tone_rows(tmp_path, 2), row])
        with pytest.raises(DataError) as error:
            opened(job)
        assert error.value.code == code and error.value.fields == {"row": 2}


def test_a_pipeline_with_another_sampler_is_refused(tmp_path):
    job = job_in(tmp_path, count=2)
    file = tmp_path / "base" / "scheduler" / "scheduler_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "_class_name": "EDMDPMSolverMultistepScheduler"}))
    with pytest.raises(WorkerError) as error:
        opened(job)
    assert error.value.code == "model_not_loadable" and "EDMDPMSolverMultistepScheduler" in error.value.sentence
