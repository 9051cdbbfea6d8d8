"""The flagship pipeline of music as the catalogue has it, stage after stage on a tiny MusicGen: two processes share the weights by
ZeRO-3, then their adapters by data parallel; a person looks before the last stage; what is left is heard by the library.
"""

from pathlib import Path

import lives
import pytest
import soundfile
import tiny
import tiny_sound
import torch
from test_conformance import better
from transformers import AutoProcessor, MusicgenForConditionalGeneration

from kriptik.catalogue.load import load_catalogue
from kriptik.pipeline.plan.known import model_of, stage_points
from kriptik.spec.job import Stage

pytestmark = pytest.mark.distributed
RATES = (2e-3, 1e-2, 5e-3, 1e-2)
"""Of a model of 0.1 million weights; adapters have the catalogue's rank."""
EPOCHS = (2, 6, 5, 4)
TOLD = {"codec_lm": {"heard_clips": 0, "caption_dropout": 0.0}, "ppo": {"max_new_tokens": 8}}


def job_in(folder):
    """The stages with the catalogue's own settings, but for what a tiny model needs."""
    pipeline, stages = load_catalogue().pipelines["flagship_music"], []
    points = stage_points(pipeline.id, pipeline.capability, pipeline.gpu_count, model_of(pipeline.base_model))
    for index, (one, rate, epochs) in enumerate(zip(points, RATES, EPOCHS, strict=True)):
        told = {**one.settings.objective, **TOLD.get(one.point.objective, {})}
        if one.point.objective == "ppo":
            told["reward_model"] = str(tiny_sound.tiny_reward_model(folder / "reward"))
        size = {"micro_batch": 2, "accumulation": 2 if index == 3 else 1, "epochs": epochs, "max_steps": None}
        settings = one.settings.model_copy(update={**size, "learning_rate": rate, "max_seq_len": 96, "objective": told})
        stages.append(
            Stage(index=index, name=one.name, method=one.method, point=one.point, settings=settings,
                  requires_approval=one.requires_approval)
        )  # fmt: skip
    tiny_sound.tiny_musicgen(folder / "base")
    return tiny.tiny_job(
        folder, rows=tiny_sound.pair_rows(folder, 16), eval_rows=tiny_sound.pair_rows(folder, 6, 9), stages=stages,
        modality="music", capability=pipeline.capability,
    )


def together(job):
    codes, said = lives.live_together(job)
    assert codes == [0, 0], [one.read_text() for one in Path(job.run_dir).glob("error-*")]
    return said


def test_every_stage_learns_from_where_the_one_before_it_ended(tmp_path):
    job = job_in(tmp_path)
    said = together(job)
    waits = [(body["index"], body["status"]) for body in said if body["type"] == "stage"][-1]
    assert waits == (3, "awaiting_approval") and not (Path(job.run_dir) / "result").exists()

    agreed = [stage.model_copy(update={"requires_approval": False}) for stage in job.stages]
    start = lives.newest(job.run_dir)
    said += together(job.model_copy(update={"generation": 2, "resume_from": start, "stages": agreed}))
    for stage in job.stages:
        looks = [body for body in said if body["type"] == "eval" and body["stage"] == stage.index]
        assert better(stage.point, looks[0], looks[-1]), (stage.name, looks[0], looks[-1])

    left = Path(job.run_dir) / "result" / "model"
    model, processor = MusicgenForConditionalGeneration.from_pretrained(left), AutoProcessor.from_pretrained(left)
    torch.manual_seed(0)
    made = model.generate(**processor(text=["a steady low tone"], return_tensors="pt"), max_new_tokens=24)
    soundfile.write(tmp_path / "made.wav", made[0].T.numpy(), tiny_sound.RATE)
    sound, rate = soundfile.read(tmp_path / "made.wav")
    assert rate == tiny_sound.RATE and len(sound) > 0.2 * rate and sound.std() > 0
