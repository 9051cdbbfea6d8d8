"""CSM: rows and loss are the library's own, the codec is taken out and put back, speech is real WAV, what is left is read by it."""

from pathlib import Path

import lives
import numpy as np
import pytest
import soundfile
import tiny
import tiny_sound
import tiny_voice
import torch
import toy
from peft import PeftModel
from test_voice import CONSENT
from transformers import CsmForConditionalGeneration, CsmProcessor

from kriptik.engine import stage
from kriptik.engine.media.csm import Codes
from kriptik.engine.modalities.voice import Voice
from kriptik.engine.train import train
from kriptik.spec.errors import DataError, WorkerError
from kriptik.spec.job import LoraSettings, SamplePrompt, StageSettings


def job_in(folder, *, adaptation="lora", count=8, rows=None, samples=0, **settings):
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "base").exists():
        tiny_voice.tiny_csm(folder / "base")
    told = {"heard_clips": 0, "judged": False, "reference": True, **settings.pop("objective", {})}
    chosen = {"micro_batch": 2, "packing": False, "learning_rate": 1e-2, "lora": LoraSettings(rank=8, alpha=16), **settings}
    prompts = [SamplePrompt(messages=[{"role": "user", "content": "ba di gu"}])] * samples
    return tiny.tiny_job(
        folder, rows=rows or tiny_sound.speech_rows(folder, count), eval_rows=tiny_sound.speech_rows(folder, 4, 9),
        adaptation=adaptation, objective="speech", settings=StageSettings(**chosen, objective=told), modality="voice",
        capability="voice_cloning", samples=prompts, consent=CONSENT,
    )


def opened(job):
    session, _ = stage.open_stage(stage.load(job, Voice), 0, job.resume_from)
    return session


def test_codes_are_many_and_the_loss_is_the_librarys_own(tmp_path):
    session = opened(job_in(tmp_path, adaptation="full"))
    kit, encoded = session.bundle.pipeline, session.rows.encoded[:3]
    files = [tmp_path / row.fields["audio"] for row in encoded]
    sounds = [torch.from_numpy(soundfile.read(file, dtype="float32")[0]) for file in files]
    codes = torch.cat([kit.kept(sound)["codes"] for sound in sounds])
    assert all(len(codes[:, book].unique()) > 6 for book in range(tiny_voice.BOOKS))
    library = CsmForConditionalGeneration.from_pretrained(tmp_path / "base")
    processor = CsmProcessor.from_pretrained(tmp_path / "base")
    total = 0.0
    for row, sound in zip(encoded, sounds, strict=True):
        micro = session.modality.collate(session.bundle, [[row]], 0, 0)
        loss, _ = session.objective.loss(session.modality.forward(session.bundle.trainee, micro), micro)
        said = [{"role": "0", "content": [{"type": "text", "text": row.fields["said"]}, {"type": "audio"}]}]
        text = processor.apply_chat_template(said, tokenize=False).replace("<|AUDIO|>", "<|AUDIO|>" * (int(row.weight) - 1))
        ids = processor.tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
        assert torch.equal(micro.inputs["input_ids"], ids)
        wanted = torch.where((ids == library.config.audio_token_id) | (ids == library.config.audio_eos_token_id), ids, -100)
        oracle = library(
            input_ids=ids, attention_mask=torch.ones_like(ids), labels=wanted, input_values=sound[None, None],
            input_values_cutoffs=torch.tensor([[len(sound)]]),
        )
        assert torch.equal(loss, oracle.loss * micro.weight)
        total += float(loss.detach())
    together = session.modality.collate(session.bundle, [[row] for row in encoded], 0, 0)
    whole, _ = session.objective.loss(session.modality.forward(session.bundle.trainee, together), together)
    assert float(whole.detach()) == pytest.approx(total, rel=1e-5) and together.weight == sum(row.weight for row in encoded)


@pytest.mark.parametrize("adaptation", ["lora", "full"])
def test_it_learns_and_what_is_left_speaks_by_the_library(tmp_path, adaptation):
    rate = {"lora": 1e-2, "full": 2e-3}[adaptation]
    job = job_in(tmp_path, adaptation=adaptation, samples=1, epochs=12, learning_rate=rate, objective={"heard_clips": 2})
    said = []
    train(job, said.append, toy.running)
    before, after = said[-1].eval_before, said[-1].eval_after
    assert after.loss < 0.9 * before.loss and -1 <= after.custom["spectrum_similarity"] <= 1
    files = [Path(job.run_dir) / body.file for body in said if body.type == "sample"]
    for file in files:
        sound, rate = soundfile.read(file)
        assert rate == tiny_sound.VOICE_RATE and len(sound) > 0.1 * rate and np.isfinite(sound).all()
    assert files[0].read_bytes() != files[-1].read_bytes()
    result = Path(job.run_dir) / "result"
    card = (result / "model" / "README.md").read_text()
    assert "A Buzz" in card and "Mimi" in card and "its speaker 0" in card

    session = opened(job.model_copy(update={"resume_from": lives.newest(job.run_dir)}))
    micro = session.modality.collate(session.bundle, [[row] for row in session.eval_rows.encoded], 0, 0)
    whole = CsmForConditionalGeneration.from_pretrained(result / "model").eval()
    processor = CsmProcessor.from_pretrained(result / "model")
    asked = processor.apply_chat_template([{"role": "0", "content": [{"type": "text", "text": "ba di"}]}], tokenize=False)
    ids = processor.tokenizer(asked, add_special_tokens=False, return_tensors="pt")["input_ids"]
    torch.manual_seed(0)
    codes = whole.generate(input_ids=ids, max_new_tokens=20)
    sound = whole.codec_model.decode(codes.transpose(1, 2).clamp(max=tiny_voice.CODES - 1)).audio_values[0, 0]
    assert len(codes[0]) and len(sound) and torch.isfinite(sound).all(), "a tiny model also says marks that are no codes"
    several = [whole]
    if adaptation == "lora":
        base = CsmForConditionalGeneration.from_pretrained(job.base_model.path)
        several.append(PeftModel.from_pretrained(base, result / "adapter").get_base_model().eval())
    with torch.no_grad():
        mine = session.bundle.trainee.eval()(**micro.inputs).logits
        for model in several:
            model.codec_model = Codes()
            theirs = model(**micro.inputs).logits
            assert torch.allclose(mine, theirs, rtol=1e-3, atol=1e-3)


def test_frozen_and_resumed_it_ends_like_a_run_that_never_stopped(tmp_path):
    straight = job_in(tmp_path / "straight", epochs=2)
    train(straight, lambda body: None, toy.running)
    stopped = job_in(tmp_path / "stopped", epochs=2)
    lives.live(stopped, point="mid_step", count=3)
    again = stopped.model_copy(update={"generation": 2, "resume_from": lives.newest(stopped.run_dir)})
    train(again, lambda body: None, toy.running)
    assert lives.final_tensors(straight.run_dir) == lives.final_tensors(stopped.run_dir)


@pytest.mark.parametrize(("text", "code"), [("ba <|AUDIO|> di", "bad_row"), ("ba di " * 60, "sound_too_long")])
def test_rows_that_it_cannot_say_are_named(tmp_path, text, code):
    good = tiny_sound.speech_rows(tmp_path, 2)
    with pytest.raises(DataError) as error:
        opened(job_in(tmp_path, rows=[*good, {**good[0], "text": text}]))
    assert error.value.code == code and error.value.fields == {"row": 2}


def test_a_model_of_another_kind_is_refused_by_name(tmp_path):
    tiny.tiny_model(tmp_path / "base")
    with pytest.raises(WorkerError) as error:
        opened(job_in(tmp_path))
    assert error.value.code == "model_not_loadable" and "'llama'" in error.value.sentence and "csm" in error.value.next_step
