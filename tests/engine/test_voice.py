"""Voices: the loss is the library's own, consent comes first, speech is real WAV with a vocoder and without, the print stays."""

from pathlib import Path

import lives
import numpy as np
import pytest
import soundfile
import tiny
import tiny_sound
import torch
import toy
from safetensors.torch import load_file
from transformers import SpeechT5ForTextToSpeech, SpeechT5HifiGan, SpeechT5Processor

from kriptik.engine import stage, testing
from kriptik.engine.media import judges, voices
from kriptik.engine.modalities.voice import Voice
from kriptik.engine.train import train
from kriptik.spec.consent import Consent
from kriptik.spec.errors import DataError, WorkerError
from kriptik.spec.job import LoraSettings, SamplePrompt, StageSettings
from kriptik.spec.testing import TestRequest

CONSENT = Consent(person="A Buzz", statement="My voice may be learnt by this test.")


def job_in(folder, *, adaptation="lora", count=6, rows=None, vocoder=True, samples=0, consent=CONSENT, **settings):
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "base").exists():
        tiny_sound.tiny_speecht5(folder / "base", vocoder=vocoder)
    told = {"heard_clips": 0, "judged": False, "reference": True, **settings.pop("objective", {})}
    chosen = {"micro_batch": 2, "packing": False, "learning_rate": 1e-2, "lora": LoraSettings(rank=4, alpha=8), **settings}
    prompts = [SamplePrompt(messages=[{"role": "user", "content": "ba di gu"}])] * samples
    return tiny.tiny_job(
        folder, rows=rows or tiny_sound.speech_rows(folder, count), eval_rows=tiny_sound.speech_rows(folder, 3, 9),
        adaptation=adaptation, objective="speech", settings=StageSettings(**chosen, objective=told),
        modality="voice", capability="voice_cloning",
        samples=prompts, consent=consent,
    )


def opened(job):
    session, _ = stage.open_stage(stage.load(job, Voice), 0, job.resume_from)
    return session


def test_no_voice_is_learnt_without_consent(tmp_path):
    with pytest.raises(WorkerError) as error:
        train(job_in(tmp_path, consent=None), lambda body: None, toy.running)
    assert error.value.code == "consent_missing" and "statement" in error.value.next_step
    assert not (tmp_path / "run" / "checkpoints").exists()
    for words in ("", "yes, fine"):
        with pytest.raises(ValueError, match="at least 5 words"):
            Consent(person="A Buzz", statement=words)


def test_the_loss_is_the_librarys_and_a_batch_weighs_as_its_frames(tmp_path):
    session = opened(job_in(tmp_path, adaptation="full"))
    model, encoded = session.bundle.trainee.eval(), session.rows.encoded[:3]
    micro = session.modality.collate(session.bundle, [[row] for row in encoded], 0, 0)
    torch.manual_seed(1)
    loss, _ = session.objective.loss(session.modality.forward(model, micro), micro)
    torch.manual_seed(1)
    oracle = model(**micro.inputs).loss
    assert torch.allclose(loss / micro.weight, oracle) and micro.weight == (micro.inputs["labels"][..., 0] != -100).sum()
    assert micro.inputs["attention_mask"].sum() == sum(len(row.fields["letters"]) for row in encoded)


def test_a_row_does_not_change_the_statistics_of_the_base(tmp_path):
    session = opened(job_in(tmp_path))
    before = {name: one.clone() for name, one in session.bundle.trainee.named_buffers()}
    session.bundle.trainee.train()
    session.modality.forward(session.bundle.trainee, session.modality.collate(session.bundle, [[session.rows.encoded[0]]], 0, 0))
    assert before and all(torch.equal(before[name], one) for name, one in session.bundle.trainee.named_buffers())


@pytest.mark.parametrize(
    ("changes", "code"), [({"text": " "}, "bad_row"), ({"audio": None}, "bad_sound"), ({"text": "ba " * 40}, "text_too_long")]
)
def test_rows_without_words_or_with_too_many_are_named(tmp_path, changes, code):
    good = tiny_sound.speech_rows(tmp_path, 2)
    with pytest.raises(DataError) as error:
        opened(job_in(tmp_path, rows=[*good, {**good[0], **changes}]))
    assert error.value.code == code and error.value.fields == {"row": 2} and "row 3" in error.value.sentence.lower()


def test_speech_is_wav_and_the_card_says_whose_voice_it_is(tmp_path):
    job, said = job_in(tmp_path, samples=1, epochs=6, objective={"heard_clips": 2}), []
    train(job, said.append, toy.running)
    files = [Path(job.run_dir) / body.file for body in said if body.type == "sample"]
    for file in files:
        sound, rate = soundfile.read(file)
        assert rate == tiny_sound.VOICE_RATE and len(sound) > 0.1 * rate and np.abs(sound).max() > 0
    assert files[0].read_bytes() != files[-1].read_bytes()
    assert all(-1 <= body.custom["spectrum_similarity"] <= 1 for body in said if body.type == "eval")
    result = Path(job.run_dir) / "result"
    prints = [load_file(result / part / "speaker_embedding.safetensors")["speaker_embedding"] for part in ("adapter", "model")]
    assert torch.equal(*prints) and prints[0].norm() == pytest.approx(1, abs=1e-5)
    for part in ("adapter", "model"):
        card = (result / part / "README.md").read_text()
        assert "A Buzz" in card and CONSENT.statement in card and "not watermarked" in card and "HiFi-GAN" in card
        assert "Speaker similarity was not measured" in card and "Word error rate was not measured" in card
    speak(result / "model", prints[0])
    models = testing.load(job.model_copy(update={"resume_from": lives.newest(job.run_dir), "data": None}))
    answers = [models.answer(TestRequest(text_prompt="ba di gu", target=target, seed=4)) for target in ("base", "tuned")]
    shown = [(Path(job.run_dir) / one.output_url).read_bytes() for one in answers]
    assert shown[0] != shown[1] and all(one.startswith(b"RIFF") for one in shown)


@pytest.mark.real_weights
def test_speech_is_judged_by_the_packaged_models_and_the_run_stays_as_it_was(tmp_path):
    if judges.at_hand(judges.listening_facts().speakers, tmp_path / "kept") is None:
        pytest.skip("resemblyzer is not installed")
    runs, said = [], []
    for name, judged in (("judged", True), ("alone", False)):
        job = job_in(tmp_path / name, objective={"heard_clips": 2, "judged": judged})
        said.append([])
        train(job, said[-1].append, toy.running)
        runs.append(load_file(next((Path(job.run_dir) / "result" / "adapter").glob("adapter_model.safetensors"))))
    scores, alone = ([body.custom for body in one if body.type == "eval"] for one in said)
    assert all(0 <= one.pop("speaker_similarity") <= 1 for one in scores), "and no errors of words that are of no language"
    assert scores == alone and all(torch.equal(one, runs[1][name]) for name, one in runs[0].items())
    card = (tmp_path / "judged" / "run" / "result" / "adapter" / "README.md").read_text()
    assert "Speaker similarity was measured by Resemblyzer" in card


def speak(folder, speaker):
    """What the card's reader would do, by the library alone."""
    model = SpeechT5ForTextToSpeech.from_pretrained(folder)
    assert model.config.use_guided_attention_loss, "as its base has it"
    words = SpeechT5Processor.from_pretrained(folder)(text="ba di gu", return_tensors="pt")
    sound = model.generate_speech(words["input_ids"], speaker[None], vocoder=SpeechT5HifiGan.from_pretrained(folder / "vocoder"))
    assert sound.dim() == 1 and len(sound) > 0 and torch.isfinite(sound).all()


def test_without_a_vocoder_speech_is_made_from_the_spectrum(tmp_path):
    session = opened(job_in(tmp_path, vocoder=False, count=3))
    assert session.bundle.info["vocoder"] == "Griffin-Lim"
    made = session.modality.imagine(session.bundle, "ba di", 3, session.settings)
    assert made == session.modality.imagine(session.bundle, "ba di", 3, session.settings) and made.startswith(b"RIFF")


def test_griffin_lim_gives_the_sound_back():
    extractor = tiny_sound.SpeechT5FeatureExtractor(num_mel_bins=80, sampling_rate=16_000)
    sound = tiny_sound.syllables(["ba", "di", "gu"], 16_000, width=400.0)
    mel = torch.from_numpy(extractor(audio_target=sound, sampling_rate=16_000)["input_values"][0])
    window = torch.from_numpy(extractor.window).float()
    made = voices.griffin_lim(mel, torch.from_numpy(extractor.mel_filters), extractor.n_fft, extractor.sample_stride, window)
    again = torch.from_numpy(extractor(audio_target=made.numpy(), sampling_rate=16_000)["input_values"][0])
    frames = min(len(mel), len(again))
    loud = mel[:frames] > mel.max() - 1.5
    assert (again[:frames] - mel[:frames])[loud].abs().mean() < 0.15, "log10 of amplitudes, where there is sound"


def test_the_print_tells_voices_apart_by_their_colour(tmp_path):
    extractor = tiny_sound.SpeechT5FeatureExtractor(num_mel_bins=80, sampling_rate=16_000)

    def heard(words, **voice):
        sound = tiny_sound.syllables(words, 16_000, **voice)
        return voices.print_of(torch.from_numpy(extractor(audio_target=sound, sampling_rate=16_000)["input_values"][0]), 512)

    one, louder = heard(["ba", "di", "gu", "mo"]), heard(["mo", "gu", "ba", "di"], loud=0.4, seed=3)
    other = heard(["ba", "di", "gu", "mo"], pitch=260.0, width=600.0)
    assert one.shape == (512,) and one.norm() == pytest.approx(1, abs=1e-5)
    assert one @ louder > 0.95 > 0.9 > one @ other
