"""Pictures that are made at evaluations: what their distance tells, who judges them, and that a run is the same with them and
without. What an evaluation makes is made once, and the smoke test counts it once."""

import json
from pathlib import Path
from types import SimpleNamespace

import lives
import pytest
import test_video
import tiny
import tiny_diffusion
import torch
import toy
from test_exact import freeze_at
from torch.nn import functional
from transformers import AutoTokenizer, CLIPImageProcessorPil, CLIPModel

from kriptik.engine import base, probe, stage, telling
from kriptik.engine.media import likeness, making, viewing
from kriptik.engine.media.diffusion import SAMPLE_SEED
from kriptik.engine.modalities.image import Image
from kriptik.engine.modalities.video import Video
from kriptik.engine.train import train
from kriptik.spec.job import LoraSettings, ModelRef, StageSettings

CLIP = "openai/clip-vit-base-patch32"


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def job_in(folder, *, held=5, pictures=2, steps=2, **objective):
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "base").exists():
        tiny_diffusion.tiny_pipeline(folder / "base", "StableDiffusionPipeline")
    told = {"resolution": 16, "sample_steps": steps, "watched_pictures": pictures, **objective}
    chosen = {
        "micro_batch": 2, "packing": False, "learning_rate": 1e-2, "epochs": 2, "max_seq_len": 64,
        "lora": LoraSettings(rank=4, alpha=8, dropout=0.1),
    }  # fmt: skip
    return tiny.tiny_job(
        folder, rows=tiny_diffusion.shape_rows(folder, 6), objective="denoise", modality="image", capability="image_generation",
        eval_rows=tiny_diffusion.shape_rows(folder, held, 9), settings=StageSettings(**chosen, objective=told),
    )  # fmt: skip


def kept_clip(cache):
    """A tiny CLIP where one of that name lies once it was fetched."""
    folder = tiny_diffusion.tiny_clip(cache / "models" / base._name_of(ModelRef(id=CLIP)))
    sha256 = base.weights_sha256(folder)
    (folder / base.FACTS).write_text(json.dumps({"id": CLIP, "source": "test", "sha256": sha256}))
    return folder, sha256


def opened(job, kind=Image):
    return stage.open_stage(stage.load(job, kind), 0, job.resume_from)


def evals(said):
    return [body.custom for body in said if body.type == "eval"]


def drawn(dice, count, *, mean=0.0, deviation=1.0, left=0.0):
    """Latents of several sizes; `left`: what is added to their left halves."""
    found = []
    for number in range(count):
        one = mean + deviation * torch.randn(4, *((16, 16), (24, 12), (12, 20))[number % 3], generator=dice)
        one[..., : one.shape[2] // 2] += left
        found.append(one)
    return found


def test_features_are_what_is_in_each_cell():
    flat = torch.arange(16.0).view(1, 4, 4).repeat_interleave(2, 1).repeat_interleave(2, 2)
    found = likeness.features([torch.cat([flat, -flat]), torch.ones(2, 5, 9)])
    assert found.shape == (2, 16, 4) and torch.equal(found[0, :, 0], torch.arange(16.0).double()), "[pictures, cells, channels × 2]"
    assert torch.equal(found[0, :, 1], -found[0, :, 0]) and not found[0, :, 2:].any() and not found[1, :, 2:].any()
    striped = torch.tensor([1.0, -1.0]).repeat(4).expand(1, 8, 8)
    assert torch.equal(likeness.features([striped])[0], torch.tensor([[0.0, 1.0]]).expand(16, 2).double())


def test_the_distance_knows_alike_from_different_however_few():
    dice = torch.Generator().manual_seed(0)
    real = drawn(dice, 24)
    alike = [likeness.kernel_vae(real, drawn(dice, 4)) for _ in range(200)]
    others = {
        "brighter": {"mean": 1.0}, "of less contrast": {"deviation": 0.5}, "brighter on the left": {"left": 1.0},
    }  # fmt: skip
    assert abs(sum(alike) / len(alike)) < 0.05, "without bias, on four pictures"
    for kind, how in others.items():
        assert likeness.kernel_vae(real, drawn(dice, 4, **how)) > 5 * max(map(abs, alike)), kind
    assert likeness.kernel_vae(real, drawn(dice, 1) * 4) > 5 * max(map(abs, alike)), "one picture, four times"
    scaled = [[100 * one for one in several] for several in (real, drawn(dice, 4, mean=1.0))]
    assert likeness.kernel_vae(*scaled) == pytest.approx(likeness.kernel_vae(real, [one / 100 for one in scaled[1]]), rel=1e-6)


def test_an_evaluation_measures_pictures_and_the_card_says_how(tmp_path, monkeypatch):
    """Two pictures per evaluation, in their rows' sizes, at fixed seeds, however many chunks the rows are scored in."""
    monkeypatch.setattr(telling, "EVAL_CHUNK", 2)
    asked, draw = [], Image.drawn
    monkeypatch.setattr(Image, "drawn", lambda self, *told, **size: (asked.append((told[2], size)), draw(self, *told, **size))[1])
    job, said = job_in(tmp_path), []
    train(job, said.append, toy.running)
    found = evals(said)
    assert len(found) == 2 and all(set(one) == {"kernel_vae"} for one in found) and found[0] != found[1]
    assert [seed for seed, _ in asked] == [SAMPLE_SEED, SAMPLE_SEED + 1] * 2
    buckets = [row.fields["bucket"] for row in opened(job)[0].eval_rows.encoded[:2]]
    assert [[size["height"], size["width"]] for _, size in asked[:2]] == buckets
    for part in ("adapter", "model"):
        card = (tmp_path / "run" / "result" / part / "README.md").read_text()
        assert "substitute for KID" in card and "(caption_similarity) was not measured: no model that could was at hand" in card


def test_without_pictures_nothing_is_made_and_the_training_is_the_same(tmp_path):
    runs, tensors = {}, {}
    for pictures in (0, 2):
        job, said = job_in(tmp_path / str(pictures), pictures=pictures), []
        train(job, said.append, toy.running)
        runs[pictures], tensors[pictures] = said, lives.final_tensors(job.run_dir)
    assert evals(runs[0]) == [{}, {}] and tensors[0] == tensors[2]
    losses = [[(body.loss, body.row_losses) for body in said if body.type == "eval"] for said in runs.values()]
    assert losses[0] == losses[1]
    assert "No pictures were made at evaluations" in (tmp_path / "0" / "run" / "result" / "adapter" / "README.md").read_text()


@pytest.mark.exactness
def test_a_resumed_run_is_the_same_to_the_bit(tmp_path):
    straight, frozen = (job_in(tmp_path / name) for name in ("straight", "frozen"))
    for job in (straight, frozen):
        kept_clip(Path(job.cache_dir))
    code, said = lives.live(straight)
    assert code == 0
    early = lives.live(frozen, control=freeze_at(3))
    late = lives.live(frozen.model_copy(update={"generation": 2, "resume_from": lives.newest(frozen.run_dir)}))
    assert lives.losses(early[1]) | lives.losses(late[1]) == lives.losses(said)
    assert lives.final_tensors(frozen.run_dir) == lives.final_tensors(straight.run_dir)
    whole, parts = ([body["custom"] for body in lines if body["type"] == "eval"] for lines in (said, early[1] + late[1]))
    assert whole == parts and len(whole) == 2 and all(set(one) == {"kernel_vae", "caption_similarity"} for one in whole)


def test_a_model_that_is_at_hand_judges_and_the_training_is_the_same(tmp_path):
    _, sha256 = kept_clip(tmp_path / "judged" / "cache")
    found = {}
    for name, judged in (("judged", True), ("alone", False)):
        job, said = job_in(tmp_path / name, judged=judged), []
        train(job, said.append, toy.running)
        found[name] = (evals(said), lives.final_tensors(job.run_dir))
    assert all(-1 <= one.pop("caption_similarity") <= 1 for one in found["judged"][0])
    assert found["judged"] == found["alone"]
    cards = [(tmp_path / name / "run" / "result" / "adapter" / "README.md").read_text() for name in ("judged", "alone")]
    assert f"was measured by CLIP ViT-B/32 ({sha256[:8]})" in cards[0]
    assert "(caption_similarity) was not measured: it was switched off" in cards[1]


def test_the_similarity_is_the_librarys_cosine_and_draws_nothing(tmp_path):
    folder, _ = kept_clip(tmp_path)
    pictures = [tiny_diffusion.draw(colour, "disc") for colour in ("red", "blue")]
    captions = ["a red disc", "a blue disc " * 9]
    before = torch.get_rng_state()
    found = viewing.viewing(tmp_path).judged(pictures, captions)["caption_similarity"]
    assert torch.equal(before, torch.get_rng_state())
    model, tokenizer = CLIPModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    seen = CLIPImageProcessorPil.from_pretrained(folder)(images=pictures, return_tensors="pt")
    told = tokenizer(captions, padding=True, truncation=True, max_length=24, return_tensors="pt")
    with torch.no_grad():
        one, other = (given.pooler_output for given in (model.get_image_features(**seen), model.get_text_features(**told)))
    assert found == pytest.approx(float(functional.cosine_similarity(one, other).mean()), abs=1e-5)


def test_what_cannot_be_told_is_not_said(tmp_path):
    kept_clip(tmp_path / "kept")
    judge, pictures = viewing.viewing(tmp_path / "kept"), [tiny_diffusion.draw("red", "disc")] * 2
    foreign = ["eine rote Scheibe auf hellem Grund, daneben ein Schatten", "ein goldenes Quadrat, das über dem Wasser schwebt"]
    assert judge.named() and judge.judged(pictures, foreign) == {} and judge.judged(pictures, ["", ""]) == {}
    assert judge.judged(pictures, ["", "a red disc"]) == judge.judged(pictures[:1], ["a red disc"]) != {}
    none = viewing.viewing(tmp_path / "empty")
    assert none.named() == {} and none.judged(pictures, ["a red disc", "a disc"]) == {}


def test_one_picture_alone_tells_no_distance(tmp_path):
    for name, about in (("held", {"held": 1}), ("made", {"pictures": 1})):
        session = opened(job_in(tmp_path / name, **about))[0]
        assert making.count(session) == 1 and making.measured(session) == {}


def by_the_clock(monkeypatch, kind, steps):
    """Time passes only while something is made: one second per file of so many steps. Returns the clock and what was made."""
    clock, made, draw = [0.0], [], kind.drawn

    def slow(self, bundle, prompt, seed, settings, **size):
        share = settings.objective["sample_steps"] / steps
        clock[0] += share
        made.append(share)
        return draw(self, bundle, prompt, seed, settings, **size)

    monkeypatch.setattr(kind, "drawn", slow)
    monkeypatch.setattr(probe, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    return clock, made


def bench_of(job, kind):
    run = stage.load(job, kind)
    return probe._Bench(run, *stage.open_stage(run, 0, None), probe.Taught())


@pytest.mark.parametrize(("left", "made"), [(1e9, [1 / 4, 1 / 4, 1.0]), (0.0, [1 / 4]), (1.2, [1 / 4, 1 / 4, 1 / 2])])
def test_the_smoke_test_counts_every_picture_once(tmp_path, monkeypatch, left, made):
    """Whole, or by a part where time is short: never one per chunk of the rows, and what an evaluation then takes."""
    bench = bench_of(job_in(tmp_path, held=8, pictures=3, steps=16), Image)
    clock, shares = by_the_clock(monkeypatch, Image, 16)
    bench.until = left
    assert bench._evaluation() == pytest.approx(3.0) and shares == made
    shares.clear()
    before = clock[0]
    telling.Teller(bench.session, bench.place, lambda body: None, lambda: None).evaluate(rows_too=False)
    assert shares == [1.0] * 3 and clock[0] - before == pytest.approx(3.0)


def test_the_smoke_test_counts_a_clip_once(tmp_path, monkeypatch):
    job = test_video.job_in(tmp_path, held=True, objective={"watched_clips": 1})
    bench = bench_of(job, Video)
    _, shares = by_the_clock(monkeypatch, Video, 2)
    assert bench._evaluation() == pytest.approx(1.0) and shares[-1] == 1.0 and len(shares) == 3
