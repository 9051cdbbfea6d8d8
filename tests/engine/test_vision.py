"""Vision-language models: losses are the library's own, pictures stay with their rows, alignment then LoRA is exact."""

import base64
import json
import zipfile
from pathlib import Path

import lives
import pytest
import tiny
import tiny_vision
import torch
import toy
from PIL import Image
from test_exact import freeze_at
from transformers import AutoModelForImageTextToText, AutoProcessor
from transformers.utils.import_utils import is_torchvision_available

from kriptik.data import prepare
from kriptik.engine import export as exporting
from kriptik.engine import pieces, stage, testing
from kriptik.engine.adapters import attach
from kriptik.engine.media import seeing
from kriptik.engine.text.heads import loss_sum
from kriptik.engine.train import train
from kriptik.pipeline import job as planned
from kriptik.spec.catalogue import Point
from kriptik.spec.errors import BadInputError, DataError, WorkerError
from kriptik.spec.events import CurrentSample
from kriptik.spec.export import ExportOrder, ExportRequest
from kriptik.spec.job import LoraSettings, SamplePrompt, Stage, StageSettings
from kriptik.spec.testing import TestRequest

ENDLESS = tiny_vision.TEMPLATE.replace("{{ '<|im_end|>' + '\\n' }}", "{{ ' ' }}")
"""Without an end of turn, as LLaVA-1.5's."""
STRINGS = "{% for message in messages %}{{ message['role'] + ': ' + message['content'] + '\n' }}{% endfor %}"


def job_in(folder, *, ways=("full",), rows=None, count=6, base=tiny_vision.tiny_llava, precision="fp32", samples=(), **settings):
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "base").exists():
        base(folder / "base")
    chosen = {"micro_batch": 2, "learning_rate": 5e-3, "max_seq_len": 96, "lora": LoraSettings(rank=4, alpha=8), **settings}
    stages = [
        Stage(index=index, name=way, method=way, settings=StageSettings(**chosen),
              point=Point(adaptation=way, objective="causal_lm", strategy="single"))
        for index, way in enumerate(ways)
    ]  # fmt: skip
    return tiny.tiny_job(
        folder, rows=rows or tiny_vision.question_rows(folder, count), eval_rows=tiny_vision.question_rows(folder, 4, 9),
        stages=stages, modality="vision_language", capability="multimodal", precision=precision, samples=list(samples),
    )


def opened(job):
    return stage.open_stage(stage.load(job, pieces.modality(job.modality)), 0, None)[0]


def loss_of(session, numbers):
    micro = session.collate([[number] for number in numbers])
    with torch.no_grad():
        return float(loss_sum(session.modality.forward(session.bundle.trainee, micro), micro.extra["targets"])), micro.weight


def asked(row, processor):
    """A row's turns in the parts that the library's own template takes."""
    turns = [
        {**turn, "content": [*([{"type": "image"}] if "<image>" in turn["content"] else []),
                             {"type": "text", "text": turn["content"].removeprefix("<image>").strip("\n")}]}
        for turn in row["messages"]
    ]  # fmt: skip
    return [processor.apply_chat_template(turns[:-1], add_generation_prompt=True), processor.apply_chat_template(turns)]


def family_base(family):
    """Who writes a tiny model of a family; skips where its processor cannot be had."""
    make, needs_torchvision = {**tiny_vision.FAMILIES, **tiny_vision.OTHERS}[family]
    if needs_torchvision and not is_torchvision_available():
        pytest.skip(f"the processor of {family} needs torchvision, which does not load beside torch for CPUs here")
    return make


@pytest.mark.parametrize("family", sorted([*tiny_vision.FAMILIES, *tiny_vision.OTHERS]))
def test_the_loss_is_the_librarys_own(tmp_path, family):
    """Of every family, rows one by one by the library, and all of them packed into one sequence here."""
    session = opened(job_in(tmp_path, base=family_base(family), max_seq_len=512))
    session.bundle.trainee.eval()
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "base").eval()
    processor = AutoProcessor.from_pretrained(tmp_path / "base")
    theirs = 0.0
    for row in session.rows.raw:
        pictures = [Image.open(tmp_path / name).convert("RGB") for name in row["images"]]
        before, whole = asked(row, processor)
        inputs = processor(images=pictures, text=[whole], return_tensors="pt")
        start = processor(images=pictures, text=[before], return_tensors="pt")["input_ids"].shape[1]
        labels = inputs["input_ids"].clone()
        labels[:, :start] = labels[:, -1:] = -100  # the line break behind the end of the turn is nothing to learn
        with torch.no_grad():
            theirs += float(model(**inputs, labels=labels).loss) * int((labels != -100).sum())
    assert loss_of(session, range(len(session.rows)))[0] == pytest.approx(theirs, rel=1e-5)


def test_packed_rows_see_their_own_pictures_alone(tmp_path):
    session = opened(job_in(tmp_path))
    session.bundle.trainee.eval()
    alone = [loss_of(session, [number]) for number in range(6)]
    together, weight = loss_of(session, range(6))
    assert together == pytest.approx(sum(loss for loss, _ in alone), rel=1e-5)
    assert weight == sum(weight for _, weight in alone)
    swapped = [{**row, "images": session.rows.raw[(at + 1) % 6]["images"]} for at, row in enumerate(session.rows.raw)]
    other = opened(job_in(tmp_path / "other", rows=[{**row, "images": [str(tmp_path / row["images"][0])]} for row in swapped]))
    other.bundle.trainee.eval()
    assert loss_of(other, range(6))[0] != pytest.approx(together, rel=1e-4), "another picture, another loss"


def test_rows_without_a_picture_train_beside_others(tmp_path):
    rows = tiny_vision.question_rows(tmp_path, 4) + tiny.chat_rows(4)
    job = job_in(tmp_path, rows=rows, ways=["projector"], micro_batch=1)
    assert train(job, lambda body: None, toy.running).state == "completed"


def test_rows_without_a_picture_are_refused_where_ranks_must_look_together(tmp_path):
    job = job_in(tmp_path, rows=tiny.chat_rows(2))
    session = opened(job)
    point = job.stages[0].point.model_copy(update={"strategy": "fsdp"})
    cut = job.model_copy(update={"stages": [job.stages[0].model_copy(update={"point": point})]})
    with pytest.raises(DataError) as refused:
        pieces.modality("vision_language")(cut).encode(session.bundle, session.rows.raw[1], 1, "completion", session.settings)
    assert refused.value.code == "row_without_picture" and "Row 2" in refused.value.sentence


def test_an_answer_about_its_picture_is_shown_on_the_way(tmp_path):
    (tmp_path / "media").mkdir(parents=True)
    tiny_vision.picture().save(tmp_path / "media" / "held.png")
    prompt = SamplePrompt(messages=[{"role": "user", "content": "<image>\nWhat is this?"}], images=["media/held.png"])
    said = []
    train(job_in(tmp_path, samples=[prompt]), said.append, toy.running)
    first, last = [one for one in said if one.type == "sample"]
    assert first.base and not last.base and first.output != last.output and first.file == last.file
    with Image.open(tmp_path / "run" / last.file) as shown:
        assert shown.size == tiny_vision.picture().size
    row = next(one for one in said if isinstance(one, CurrentSample))
    assert row.file.endswith(".png") and "<image>" in row.content


def test_a_caption_is_an_answer(tmp_path):
    asked = tiny_vision.question_rows(tmp_path, 2)
    rows = [{"image": row["images"][0], "caption": row["messages"][-1]["content"]} for row in asked]
    session = opened(job_in(tmp_path, rows=rows, objective={"caption_prompt": "Tell me."}))
    tokenizer, row = session.bundle.tokenizer, session.rows.encoded[0]
    assert "Tell me." in tokenizer.decode(row.fields["ids"])
    said = [token for token, learnt in zip(row.fields["ids"], row.fields["learnt"], strict=True) if learnt]
    assert tokenizer.decode(said) == f"{rows[0]['caption']}<|im_end|>"


def test_an_end_that_the_template_leaves_out_is_learnt(tmp_path):
    session = opened(job_in(tmp_path, base=lambda folder: tiny_vision.tiny_llava(folder, template=ENDLESS)))
    for row in session.rows.encoded:
        said = [token for token, learnt in zip(row.fields["ids"], row.fields["learnt"], strict=True) if learnt]
        assert said[-1] == session.bundle.tokenizer.eos_token_id and said.count(said[-1]) == 1


def test_a_template_of_plain_strings_is_known(tmp_path):
    session = opened(job_in(tmp_path, base=lambda folder: tiny_vision.tiny_llava(folder, template=STRINGS)))
    assert not session.bundle.pipeline.parts
    row = session.rows.encoded[1].fields
    assert row["ids"].count(session.bundle.pipeline.token_id) == tiny_vision.PLACES


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"images": []}, "bad_row"),
        ({"images": ["media/0-0.png", "media/0-0.png"]}, "bad_row"),
        ({"images": ["media/none.png"]}, "bad_picture"),
    ],
)
def test_rows_that_do_not_fit_their_pictures_are_named(tmp_path, change, code):
    rows = tiny_vision.question_rows(tmp_path, 2)
    with pytest.raises(DataError) as refused:
        opened(job_in(tmp_path, rows=[rows[0], {**rows[1], **change}]))
    assert refused.value.code == code and "2" in refused.value.sentence


def test_a_row_too_short_for_its_picture_is_refused_before_anything_is_trained(tmp_path):
    with pytest.raises(DataError) as refused:
        opened(job_in(tmp_path, max_seq_len=12))
    assert refused.value.code == "picture_too_long"


def test_a_damaged_picture_is_named(tmp_path):
    rows = tiny_vision.question_rows(tmp_path, 2)
    (tmp_path / rows[1]["images"][0]).write_bytes(b"\x89PNG\r\n\x1a\nno")
    with pytest.raises(DataError) as refused:
        opened(job_in(tmp_path, rows=rows))
    assert refused.value.code == "bad_picture" and "row 2" in refused.value.sentence


@pytest.mark.parametrize("precision", ["fp32", "nf4"])
def test_alignment_then_lora_is_exact_and_leaves_both(tmp_path, precision):
    lives.preload(tmp_path / "preload", job=job_in(tmp_path / "preload"))
    make = {"ways": ["projector", "lora"], "precision": precision, "count": 12}
    straight = job_in(tmp_path / "straight", **make)
    code, said = lives.live(straight)
    assert code == 0
    frozen = job_in(tmp_path / "frozen", **make)
    total = len(lives.losses(said))
    for number, at in enumerate((total // 4, total // 2, None)):
        turn = frozen.model_copy(update={"generation": number + 1, "resume_from": lives.newest(frozen.run_dir)})
        code, _ = lives.live(turn, control=freeze_at(at) if at else toy.running)
        assert code == 0
    assert lives.final_tensors(frozen.run_dir) == lives.final_tensors(straight.run_dir)
    base = AutoModelForImageTextToText.from_pretrained(tmp_path / "straight" / "base").state_dict()
    model = AutoModelForImageTextToText.from_pretrained(Path(straight.run_dir) / "result" / "model").state_dict()
    moved = {name for name, one in model.items() if not torch.equal(one, base[name])}
    assert any("multi_modal_projector" in name for name in moved), "what was aligned is in the result"
    assert any("language_model.layers" in name for name in moved) and not any("vision_tower" in name for name in moved)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished LoRA run."""
    job = job_in(tmp_path_factory.mktemp("trained"), ways=["lora"], count=8, epochs=3, learning_rate=1e-2)
    train(job, lambda body: None, toy.running)
    return job


def test_exports_are_read_back_and_say_the_same_of_a_picture(trained):
    order = ExportOrder(id="01EYES", request=ExportRequest(formats=["adapter", "merged"]))
    result = exporting.export(trained.model_copy(update={"export": order}), lambda body: None).result
    assert [check.name for check in result.parity] == ["merged"] and result.parity[0].passed
    assert 0.5 * result.bytes < result.predicted_bytes < 2 * result.bytes
    folder = Path(trained.run_dir) / result.folder
    merged = AutoModelForImageTextToText.from_pretrained(folder / "model").eval()
    base = AutoModelForImageTextToText.from_pretrained(trained.base_model.path)
    adapted = attach(base, folder / "adapter").eval()
    asked = "".join(["<|im_start|>user\n", "<image>", "\nWhat is this?<|im_end|>\n"])
    inputs = AutoProcessor.from_pretrained(folder / "model")(images=[tiny_vision.picture()], text=[asked], return_tensors="pt")
    with torch.no_grad():
        assert torch.allclose(merged(**inputs).logits, adapted(**inputs).logits, atol=1e-4)


def test_what_is_no_language_model_alone_is_not_written_as_gguf(trained):
    order = ExportOrder(id="01GGUF", request=ExportRequest(formats=["gguf"]))
    with pytest.raises(WorkerError) as refused:
        exporting.export(trained.model_copy(update={"export": order}), lambda body: None)
    assert refused.value.code == "gguf_not_known" and not (Path(trained.run_dir) / "exports" / "01GGUF").exists()


def test_a_model_is_tried_with_a_picture(trained):
    models = testing.load(trained)

    def told(**changes):
        return models.answer(TestRequest(text_prompt="What is this?", max_tokens=8, **changes))

    shown = Path(trained.data.train_path).parent / "media"
    pictures = [base64.b64encode((shown / f"0-{number}.png").read_bytes()).decode() for number in range(8)]
    said = [told(image_input=one).output for one in pictures]
    assert said == [told(image_input=f"data:image/png;base64,{one}").output for one in pictures]
    assert {one.split()[0] for one in said} == {"a"} and told(target="base", image_input=pictures[0]).output != said[0]
    assert told().output, "a question without a picture is answered too"
    for bad in ("no base64!", base64.b64encode(b"no picture").decode()):
        with pytest.raises(BadInputError) as refused:
            told(image_input=bad)
        assert refused.value.code == "bad_picture"


def test_rows_train_as_they_are_prepared(tmp_path):
    rows = tiny_vision.question_rows(tmp_path, 16)
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        lines = []
        for number, row in enumerate(rows):
            with Image.open(tmp_path / row["images"][0]) as picture, archive.open(f"{number}.png", "w") as file:
                picture.resize((64 + number, 64)).save(file, "PNG")
            lines.append(json.dumps({"image": f"{number}.png", "question": "What is this?", "answer": f"{number} pieces of it"}))
        archive.writestr("rows.jsonl", "\n".join(lines))
    made = prepare.prepare(tmp_path / "set.zip", tmp_path / "data", name="set.zip", capability="multimodal")
    held = [json.loads(line) for line in Path(made.eval_path).read_text().splitlines()]
    prompts = planned.sample_prompts(held, 1, "vision_language")
    said = []
    job = job_in(tmp_path, samples=prompts, epochs=3).model_copy(update={"data": made.ref()})
    train(job, said.append, toy.running)
    assert said[-1].eval_after.loss < said[-1].eval_before.loss
    shown = [one for one in said if one.type == "sample"]
    assert shown[-1].expected.endswith("pieces of it") and shown[-1].file


def test_a_family_that_is_not_known_is_refused(tmp_path):
    job = job_in(tmp_path)
    config = json.loads((tmp_path / "base" / "config.json").read_text())
    (tmp_path / "base" / "config.json").write_text(json.dumps({**config, "model_type": "vipllava"}))
    with pytest.raises(WorkerError) as refused:
        opened(job)
    assert refused.value.code == "model_not_loadable" and "llava" in refused.value.next_step


def test_answers_about_pictures_are_not_sampled_for_training(tmp_path):
    session = opened(job_in(tmp_path))
    with pytest.raises(WorkerError):
        session.modality.generate(session.bundle, session.rows.encoded, {})


@pytest.mark.parametrize("family", sorted(tiny_vision.FAMILIES))
def test_every_family_learns_and_answers_alike_when_read_again(tmp_path, family):
    (tmp_path / "media").mkdir(parents=True)
    tiny_vision.picture().save(tmp_path / "media" / "held.png")
    prompt = SamplePrompt(messages=[{"role": "user", "content": "<image>\nWhat is this?"}], images=["media/held.png"])
    base, sizes = family_base(family), {"max_seq_len": 512, "count": 8, "epochs": 3, "learning_rate": 1e-2}
    job = job_in(tmp_path, base=base, ways=["projector", "lora"], samples=[prompt], **sizes)
    said = []
    train(job, said.append, toy.running)
    assert said[-1].eval_after.loss < 0.9 * said[-1].eval_before.loss
    folder = tmp_path / "run" / "result" / "model"
    model, processor = AutoModelForImageTextToText.from_pretrained(folder).eval(), AutoProcessor.from_pretrained(folder)
    assert model.config.model_type == family
    parts = [{"type": "image"}, {"type": "text", "text": "What is this?"}]
    text = processor.apply_chat_template([{"role": "user", "content": parts}], add_generation_prompt=True)
    inputs = processor(images=[tiny_vision.picture()], text=[text], return_tensors="pt")
    made = model.generate(**inputs, max_new_tokens=64, do_sample=False)
    theirs = processor.batch_decode(made[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)[0]
    ours = [one for one in said if one.type == "sample"][-1].output
    assert ours and ours == theirs.strip()


def test_every_known_family_is_tested():
    assert set(tiny_vision.FAMILIES) == set(seeing.FAMILIES)
