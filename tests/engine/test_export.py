"""Exports: every form written from a real checkpoint and read back; what differs, does not fit or is not known is refused."""

import hashlib
import json
import os
import shutil
import subprocess
from collections import namedtuple
from types import SimpleNamespace

import pytest
import torch
from tiny import PAD, TEMPLATE, chat_rows, tiny_job, tiny_model, tiny_tokenizer
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from kriptik.engine import export as exporting
from kriptik.engine.adapters import attach
from kriptik.engine.text import gguf_read, gguf_write, modelfile, parity
from kriptik.engine.text.chat import encode_prompt, render
from kriptik.engine.train import train
from kriptik.spec.errors import KriptikError
from kriptik.spec.events import Desired, ExportMoved
from kriptik.spec.export import ExportOrder, ExportRequest
from kriptik.spec.job import StageSettings

ALL = ["adapter", "merged", "gguf", "ollama"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    root = tmp_path_factory.mktemp("lora")
    settings = StageSettings(micro_batch=2, max_steps=4, learning_rate=1e-2, max_seq_len=96)
    job = tiny_job(root, rows=chat_rows(8), settings=settings)
    train(job, lambda body: None, lambda: Desired(version=1))
    return job, root


def order(job, number, **request):
    told = ExportOrder(id=number, request=ExportRequest(**request), loss_before=3.5, loss_after=1.25, eval_rows=20)
    return job.model_copy(update={"export": told})


def refused(job):
    with pytest.raises(KriptikError) as error:
        exporting.export(job, lambda body: None)
    assert error.value.sentence.endswith(".") and error.value.next_step
    return error.value


def logits(model, ids):
    with torch.no_grad():
        return model.eval()(input_ids=torch.tensor([ids])).logits


def test_every_form_is_written_checked_and_answers_alike(trained):
    job, root = trained
    said = []
    result = exporting.export(order(job, "01ALL", formats=ALL, gguf_type="f32"), said.append).result
    folder = root / "run" / result.folder
    assert [check.name for check in result.parity] == ["template", "merged", "gguf_template", "gguf", "modelfile"]
    assert all(check.passed and check.measured <= check.limit for check in result.parity)
    moved = [body.progress for body in said if isinstance(body, ExportMoved)]
    assert moved == sorted(moved) and len(moved) >= 5
    for file in result.files:
        data = (root / "run" / file.path).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (file.bytes, file.sha256)
    assert set(json.loads((folder / "export.json").read_text())["files"]) == {f.path.split("/", 2)[2] for f in result.files}
    assert 0.5 * result.bytes < result.predicted_bytes < 2 * result.bytes
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    ids = encode_prompt(tokenizer, [{"role": "user", "content": "Repeat in reverse: json text"}])
    merged = AutoModelForCausalLM.from_pretrained(folder / "model")
    adapter = attach(AutoModelForCausalLM.from_pretrained(root / "base"), folder / "adapter")
    gguf = AutoModelForCausalLM.from_pretrained(folder / "gguf", gguf_file="model-f32.gguf", dtype=torch.float32)
    wanted = logits(merged, ids)
    torch.testing.assert_close(logits(adapter, ids), wanted, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(logits(gguf, ids), wanted, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(logits(AutoModelForCausalLM.from_pretrained(root / "base"), ids), wanted, atol=1e-3)
    card = (folder / "model" / "README.md").read_text()
    assert "Loss on 20 held-out rows: 3.5000 before, 1.2500 after." in card
    assert "Licence: not stated" in card and "vllm serve" in card
    assert str(root) not in card and str(root) not in (folder / "gguf" / "Modelfile").read_text()
    assert refused(order(job, "01ALL", formats=["merged"])).code == "export_exists"


def test_llama_cpp_reads_the_file_as_it_was_trained(trained):
    llama_cpp = pytest.importorskip("llama_cpp")
    job, root = trained
    exporting.export(order(job, "01CPP", formats=["merged", "gguf"], gguf_type="f32"), lambda body: None)
    folder = root / "run/exports/01CPP"
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    merged = AutoModelForCausalLM.from_pretrained(folder / "model").eval()
    model = llama_cpp.Llama(str(folder / "gguf/model-f32.gguf"), n_ctx=256, n_threads=1, logits_all=True, verbose=False)
    assert model.metadata["tokenizer.chat_template"] == TEMPLATE and model.token_eos() == tokenizer.eos_token_id
    for messages in parity.usable(tokenizer):
        ids = encode_prompt(tokenizer, messages)
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        assert model.tokenize(text.encode(), add_bos=False, special=True) == ids
        model.reset()
        model.eval(ids)
        got, wanted = torch.tensor(model.scores[: len(ids)]), logits(merged, ids)[0]
        assert float((got - wanted).abs().max() / wanted.abs().max()) < 1e-2
        made = merged.generate(torch.tensor([ids]), max_new_tokens=8, do_sample=False, pad_token_id=0)[0, len(ids) :].tolist()
        model.reset()
        stream = model.generate(ids, temp=0.0)
        assert [next(stream) for _ in made] == made


@pytest.mark.parametrize("kind", ["f32", "f16", "bf16", "q8_0"])
@pytest.mark.parametrize("name", ["llama", "llama3", "qwen2", "qwen3"])
def test_families_and_types_stay_within_their_limits(tmp_path, name, kind):
    tokenizer = tiny_tokenizer()
    if name.startswith("llama"):
        tiny_model(tmp_path / "m", tied=name == "llama")
        if name == "llama3":
            config = AutoConfig.from_pretrained(tmp_path / "m")
            config.rope_parameters = {
                "rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                "original_max_position_embeddings": 64,
            }  # fmt: skip
            config.save_pretrained(tmp_path / "m")
    else:
        make, about = (Qwen2ForCausalLM, Qwen2Config) if name == "qwen2" else (Qwen3ForCausalLM, Qwen3Config)
        more = {"head_dim": 32} if name == "qwen3" else {}
        torch.manual_seed(0)
        make(about(
            vocab_size=len(tokenizer) + 8, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=256, initializer_range=0.1, tie_word_embeddings=True, **more,
        )).save_pretrained(tmp_path / "m")  # fmt: skip
        tokenizer.save_pretrained(tmp_path / "m")
    config = AutoConfig.from_pretrained(tmp_path / "m")
    gguf_write.write_gguf(tmp_path / "m", tokenizer, config, tmp_path / "m.gguf", kind, "tiny", begins=False)
    rows = parity.token_rows(tokenizer)
    one = parity.logits_of(AutoModelForCausalLM.from_pretrained(tmp_path / "m", dtype=torch.float32), rows)
    two = parity.logits_of(gguf_read.read_model(tmp_path / "m.gguf", config), rows)
    check = parity.same_logits("gguf", kind, one, two, parity.GGUF_LIMITS[kind])
    assert check.passed, check.sentence
    if name == "llama3":
        reader = gguf_read.GGUFReader(tmp_path / "m.gguf")
        factors = next(t for t in reader.tensors if t.name == "rope_freqs.weight").data
        assert factors[0] == pytest.approx(1) and factors[-1] == pytest.approx(8) and len(factors) == 8


def broken_gguf(monkeypatch, change):
    real = gguf_write.write_gguf

    def write(folder, tokenizer, config, path, kind, name, *, begins):
        return real(folder, *change(tokenizer, config), path, kind, name, begins=begins)

    monkeypatch.setattr(gguf_write, "write_gguf", write)


def test_a_file_that_differs_is_refused_and_not_kept(trained, monkeypatch):
    job, root = trained
    with monkeypatch.context() as patch:
        patch.setattr(gguf_write, "_interleaved", lambda name, numbers, config: numbers)
        error = refused(order(job, "01ROT", formats=["gguf"]))
    assert error.code == "gguf_differs" and "limit 0.01" in error.sentence

    def other_template(tokenizer, config):
        other = tiny_tokenizer()
        other.chat_template = TEMPLATE.replace("<|im_end|>", "<|im_end|> ")
        return other, config

    with monkeypatch.context() as patch:
        broken_gguf(patch, other_template)
        assert refused(order(job, "01TPL", formats=["gguf"])).code == "template_differs"
    with monkeypatch.context() as patch:
        patch.setattr(parity, "MERGED_FP32", -1.0)
        assert refused(order(job, "01MRG", formats=["merged"])).code == "merge_differs"
    left = {path.name for path in (root / "run/exports").glob("*")}
    assert not left & {"01ROT", "01TPL", "01MRG", ".01ROT", ".01TPL", ".01MRG"}


def test_a_full_disk_is_said_before_and_while_writing(trained, monkeypatch):
    job, root = trained
    disk = namedtuple("disk", "total used free")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: disk(10, 9, 1 << 20))
        error = refused(order(job, "01DSK", formats=["gguf"]))
    assert error.code == "disk_full" and "MB are free" in error.sentence
    with monkeypatch.context() as patch:

        def full(*args, **more):
            raise OSError(28, "No space left on device")

        patch.setattr(exporting.scoring, "save_model", full)
        error = refused(order(job, "01DSK", formats=["merged"]))
    assert error.code == "disk_full" and "No space left" in error.sentence
    assert not (root / "run/exports/01DSK").exists() and not (root / "run/exports/.01DSK").exists()


def test_what_cannot_be_is_said_before_anything_is_written(trained, tmp_path):
    job, _ = trained
    assert refused(job).code == "nothing_ordered"
    missing = order(job, "01NO", formats=["merged"]).model_copy(update={"resume_from": "s9-000009-g9"})
    assert refused(missing).code in ("checkpoint_missing", "bad_checkpoint", "no_checkpoint")
    settings = StageSettings(micro_batch=2, max_steps=1, max_seq_len=96)
    whole = tiny_job(tmp_path, rows=chat_rows(4), adaptation="full", settings=settings)
    train(whole, lambda body: None, lambda: Desired(version=1))
    assert refused(order(whole, "01FUL", formats=["adapter"])).code == "no_adapter"
    assert exporting.export(order(whole, "01FUL", formats=["merged"]), lambda body: None).result.parity[1].measured == 0
    with pytest.raises(KriptikError) as error:
        gguf_write.family_of(SimpleNamespace(model_type="mamba"))
    assert error.value.code == "gguf_not_known" and "llama" in error.value.sentence


def test_a_tokenizer_that_gguf_has_no_name_for_is_refused():
    from tokenizers import pre_tokenizers

    tokenizer = tiny_tokenizer()
    assert gguf_write.pre_tokenizer_of(tokenizer) == "gpt-2"
    steps = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    assert gguf_write.pre_tokenizer_of(tokenizer) == "smollm"
    for other in (pre_tokenizers.Whitespace(), pre_tokenizers.ByteLevel(add_prefix_space=True), pre_tokenizers.Metaspace()):
        tokenizer.backend_tokenizer.pre_tokenizer = other
        with pytest.raises(KriptikError) as error:
            gguf_write.pre_tokenizer_of(tokenizer)
        assert error.value.code == "gguf_not_known"


DEFAULT_SYSTEM = "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are \"Tiny\".<|im_end|>\n' }}{% endif %}"
LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}{{ '<|start|>' + m['role'] + '<|mid|>\n\n' + m['content'] + '<|im_end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start|>assistant<|mid|>\n\n' }}{% endif %}"
)
NO_SYSTEM = (
    "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    "{% if m['role'] == 'user' %}[INST] {{ m['content'] }} [/INST]{% else %} {{ m['content'] }}<|im_end|>{% endif %}{% endfor %}"
)
FIRST_ONLY = (
    "{% for m in messages %}{{ 'FIRST ' if loop.first else 'LATER ' }}{{ m['role'] + ': ' + m['content'] + '\n' }}"
    "{% endfor %}assistant:"
)


@pytest.mark.parametrize("template", [TEMPLATE, DEFAULT_SYSTEM + TEMPLATE, LLAMA3, NO_SYSTEM, None])
def test_a_template_of_turns_becomes_a_modelfile(template):
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = template
    if template == LLAMA3:
        tokenizer.bos_token = PAD
    turns = modelfile.take_apart(tokenizer)
    check = modelfile.check(tokenizer, turns)
    assert check.passed, (turns, check.sentence)
    text = modelfile.write_modelfile(turns, "model-f16.gguf", ["<|im_end|>"], 512)
    assert text.startswith("FROM ./model-f16.gguf\n") and 'PARAMETER stop "<|im_end|>"' in text and "num_ctx 512" in text
    assert ('SYSTEM """You are "Tiny"."""' in text) == (template == DEFAULT_SYSTEM + TEMPLATE)
    assert turns.bos == (PAD if template == LLAMA3 else "") and PAD not in text


def test_a_template_that_ollama_cannot_write_is_refused(trained, monkeypatch):
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = FIRST_ONLY
    assert not modelfile.check(tokenizer, modelfile.take_apart(tokenizer)).passed
    job, _ = trained
    monkeypatch.setattr(modelfile, "take_apart", lambda tokenizer: None)
    assert refused(order(job, "01OLL", formats=["ollama"])).code == "template_not_portable"


GO = """package main
import ("encoding/json"; "os"; "text/template")
type Turn struct { Role, Content string }
func main() {
	var in struct { Template string; Talks [][]Turn }
	if err := json.NewDecoder(os.Stdin).Decode(&in); err != nil { panic(err) }
	out := []string{}
	for _, talk := range in.Talks {
		var text = new(bytesWriter)
		made := template.Must(template.New("t").Parse(in.Template))
		if err := made.Execute(text, map[string]any{"Messages": talk}); err != nil { panic(err) }
		out = append(out, string(*text))
	}
	json.NewEncoder(os.Stdout).Encode(out)
}
type bytesWriter []byte
func (w *bytesWriter) Write(p []byte) (int, error) { *w = append(*w, p...); return len(p), nil }
"""


@pytest.mark.skipif(not shutil.which("go"), reason="Ollama's templates are Go's: needs the go command")
@pytest.mark.parametrize("template", [DEFAULT_SYSTEM + TEMPLATE, NO_SYSTEM, None])
def test_go_writes_the_same_text(tmp_path, template):
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = template
    turns = modelfile.take_apart(tokenizer)
    talks, wanted = [], []
    for messages in parity.usable(tokenizer):
        lead = turns.default_system and messages[0]["role"] != "system"  # Ollama puts the Modelfile's SYSTEM before such a talk
        talks.append([*([{"role": "system", "content": turns.default_system}] if lead else []), *messages])
        wanted.append(render(tokenizer, messages, 0, ask=True))
    begun = [*parity.CONVERSATIONS[0], {"role": "assistant", "content": "I am"}]
    talks.append(begun)
    (tmp_path / "t.go").write_text(GO)
    told = json.dumps({"Template": modelfile.go_template(turns), "Talks": talks})
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "GOCACHE": str(tmp_path / "cache"), "GOPROXY": "off"}
    done = subprocess.run(["go", "run", "t.go"], input=told, capture_output=True, text=True, cwd=tmp_path, env=env, timeout=120)
    assert done.returncode == 0, done.stderr
    *said, going_on = json.loads(done.stdout)
    assert said == wanted
    assert going_on.endswith("I am"), "an answer that was begun is gone on with"
