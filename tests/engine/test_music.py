"""Music models: loss and delayed codes are the library's own; samples are real WAV; what the codec cannot hear is refused."""

import io
from pathlib import Path

import lives
import numpy as np
import pytest
import soundfile
import tiny
import tiny_sound
import torch
import toy
from peft import PeftModel
from transformers import MusicgenForConditionalGeneration

from kriptik.engine import stage, testing
from kriptik.engine.media import hearing
from kriptik.engine.modalities.music import Music
from kriptik.engine.train import train
from kriptik.spec.errors import DataError, WorkerError
from kriptik.spec.job import LoraSettings, SamplePrompt, StageSettings
from kriptik.spec.testing import TestRequest


def job_in(folder, *, adaptation="lora", count=6, rows=None, fitted=True, samples=0, **settings):
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "base").exists():
        tiny_sound.tiny_musicgen(folder / "base", fitted=fitted)
    told = {"heard_clips": 0, "sample_seconds": 0.5, "caption_dropout": 0.0, **settings.pop("objective", {})}
    chosen = {"micro_batch": 2, "packing": False, "learning_rate": 2e-2, "lora": LoraSettings(rank=4, alpha=8), **settings}
    prompts = [SamplePrompt(messages=[{"role": "user", "content": "a steady low tone"}])] * samples
    return tiny.tiny_job(
        folder, rows=rows or tiny_sound.tone_rows(folder, count), eval_rows=tiny_sound.tone_rows(folder, 6, 9),
        adaptation=adaptation, objective="codec_lm", settings=StageSettings(**chosen, objective=told),
        modality="music", capability="music_generation",
        samples=prompts,
    )


def opened(job):
    session, place = stage.open_stage(stage.load(job, Music), 0, job.resume_from)
    return session, place


def test_the_loss_is_the_librarys_on_the_same_codes(tmp_path):
    session, _ = opened(job_in(tmp_path, adaptation="full"))
    model = session.bundle.pipeline.model.eval()
    for row in session.rows.encoded[:3]:
        micro = session.modality.collate(session.bundle, [[row]], 0, 0)
        loss, metrics = session.objective.loss(session.modality.forward(model.decoder, micro), micro)
        labels = micro.extra["labels"].transpose(1, 2)
        asked = session.bundle.pipeline.processor(text=[row.fields["said"]], return_tensors="pt")
        oracle = model(**asked, labels=labels.masked_fill(labels == -100, tiny_sound.CODES)).loss
        assert torch.allclose(loss / micro.weight, oracle, rtol=1e-5)
        assert micro.weight == (labels != -100).sum() and 0 <= metrics["code_accuracy"] <= micro.weight


def test_a_batch_weighs_as_its_rows_alone(tmp_path):
    rows = [*tiny_sound.tone_rows(tmp_path, 2, 1), *tiny_sound.tone_rows(tmp_path, 2, 2, seconds=0.9)]
    session, _ = opened(job_in(tmp_path, adaptation="full", rows=rows))
    decoder, encoded = session.bundle.trainee.eval(), session.rows.encoded
    together = session.modality.collate(session.bundle, [[row] for row in encoded], 0, 0)
    whole, _ = session.objective.loss(decoder(**together.inputs), together)
    alone = [session.modality.collate(session.bundle, [[row]], 0, 0) for row in encoded]
    parts = sum(session.objective.loss(decoder(**micro.inputs), micro)[0] for micro in alone)
    assert torch.allclose(whole, parts, rtol=1e-5) and together.weight == sum(micro.weight for micro in alone)


def test_codes_are_delayed_as_the_library_does_it(tmp_path):
    session, _ = opened(job_in(tmp_path, count=2))
    row = session.rows.encoded[0]
    micro = session.modality.collate(session.bundle, [[row]], 0, 0)
    decoder = session.bundle.pipeline.model.decoder
    codes = session.modality._cache(session.bundle).read(row.fields["codes"])["codes"].long()
    pad = tiny_sound.CODES
    start = torch.cat([torch.full((len(codes), 1), pad), codes], 1)
    steps = micro.extra["labels"].shape[2] + 1
    _, pattern = decoder.build_delay_pattern_mask(start, pad, max_length=steps)
    mine = torch.cat([micro.inputs["input_ids"][0], micro.extra["labels"][0, :, -1:]], 1).masked_fill_(
        torch.cat([micro.inputs["input_ids"][0], micro.extra["labels"][0, :, -1:]], 1) == -100, pad
    )
    given = pattern != -1
    assert torch.equal(mine[given], pattern[given]) and torch.equal(mine[:, 0], torch.full((len(codes),), pad))


def test_a_codec_that_hears_no_difference_is_refused(tmp_path):
    job = job_in(tmp_path, fitted=False)
    with pytest.raises(WorkerError) as error:
        train(job, lambda body: None, toy.running)
    assert error.value.code == "degenerate_codec" and error.value.next_step


def test_a_row_without_a_recording_and_one_that_cannot_be_read_are_named(tmp_path):
    for row, code in (({"text": "a tone"}, "bad_row"), ({"audio": "media/none.wav", "text": "a tone"}, "bad_sound")):
        job = job_in(tmp_path, rows=[*tiny_sound.tone_rows(tmp_path, 2), row])
        with pytest.raises(DataError) as error:
            opened(job)
        assert error.value.code == code and error.value.fields == {"row": 2}


def test_samples_are_wav_and_the_tuned_model_sounds_otherwise(tmp_path):
    job, said = job_in(tmp_path, samples=1, epochs=4, objective={"heard_clips": 2, "heard_seconds": 0.4}), []
    train(job, said.append, toy.running)
    samples = [body for body in said if body.type == "sample"]
    files = [Path(job.run_dir) / body.file for body in samples]
    for file in files:
        sound, rate = soundfile.read(file)
        assert rate == tiny_sound.RATE and abs(len(sound) / rate - 0.5) < 0.1 and np.abs(sound).max() > 0
    assert files[0].read_bytes() != files[-1].read_bytes()
    evals = [body.custom for body in said if body.type == "eval"]
    assert all({"code_accuracy", "frechet_codec", "kernel_codec", "distinct_codes"} <= set(one) for one in evals)
    current = next(body for body in said if body.type == "current_sample")
    assert soundfile.info(Path(job.run_dir) / current.file).samplerate == 16_000 and current.content.startswith("a ")
    models = testing.load(job.model_copy(update={"resume_from": lives.newest(job.run_dir), "data": None}))
    answers = [models.answer(TestRequest(text_prompt="a steady low tone", target=target, seed=4)) for target in ("base", "tuned")]
    shown = [(Path(job.run_dir) / one.output_url).read_bytes() for one in answers]
    assert shown[0] != shown[1] and all(one.startswith(b"RIFF") for one in shown)


def test_the_adapter_makes_the_same_sound_on_the_librarys_model(tmp_path):
    job = job_in(tmp_path, epochs=2)
    train(job, lambda body: None, toy.running)
    run, _ = testing.restored(job.model_copy(update={"resume_from": lives.newest(job.run_dir)}))
    mine = run.modality.imagine(run.bundle, "a pulsing high tone", 5, job.stages[0].settings)
    base = MusicgenForConditionalGeneration.from_pretrained(job.base_model.path)
    tuned = PeftModel.from_pretrained(base, Path(job.run_dir) / "result" / "adapter").eval()
    whole = MusicgenForConditionalGeneration.from_pretrained(Path(job.run_dir) / "result" / "model").eval()
    for model in (tuned.get_base_model(), whole):
        run.bundle.pipeline.model, run.bundle.trainee = model, model.decoder
        again = run.modality.imagine(run.bundle, "a pulsing high tone", 5, job.stages[0].settings)
        sounds = [soundfile.read(io.BytesIO(one))[0] for one in (mine, again)]
        assert np.abs(sounds[0] - sounds[1]).max() < 1e-3


def test_only_the_decoder_is_trained(tmp_path):
    session, _ = opened(job_in(tmp_path, adaptation="full", count=2))
    model = session.bundle.pipeline.model
    trained = {name for name, one in model.named_parameters() if one.requires_grad}
    assert trained and all(name.startswith("decoder.") for name in trained)


def test_the_distances_know_alike_from_different():
    dice = torch.Generator().manual_seed(0)
    one, same = (torch.randn(400, 8, generator=dice) for _ in range(2))
    other = torch.randn(400, 8, generator=dice) * 2 + 1
    assert hearing.frechet(one, one) == pytest.approx(0, abs=1e-6)
    assert hearing.frechet(one, other) == pytest.approx(8 * (1 + 1), rel=0.15), "means 1 apart, deviations 1 and 2, in 8 numbers"
    assert hearing.kernel(one, same) < 0.05 < hearing.kernel(one, other)
    few = [hearing.kernel(one[:20], same[start : start + 20]) for start in range(0, 400, 20)]
    assert abs(sum(few) / len(few)) < 0.2 * hearing.kernel(one, other), "without bias, however few"
