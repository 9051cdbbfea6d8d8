"""Pushing: what arrives is what was written, in one commit; every refusal is one sentence, and the token is in none of them."""

import json
import socket

import pytest
from hub_server import Hub
from huggingface_hub import constants
from huggingface_hub.utils import close_session
from pydantic import ValidationError

from kriptik.engine import hub as pushing
from kriptik.spec.errors import KriptikError
from kriptik.spec.export import HubTarget

TOKEN = "hf_" + "secretsecretsecret"
TARGET = HubTarget(repo_id="someone/support-bot")


@pytest.fixture
def hub(monkeypatch):
    made = Hub(TOKEN)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("HF_ENDPOINT", made.url)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "ENDPOINT", made.url)
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    close_session()
    yield made
    close_session()
    made.close()


@pytest.fixture
def files(tmp_path):
    (tmp_path / "README.md").write_text("---\nlibrary_name: peft\n---\n# A model\n")
    (tmp_path / "model.safetensors").write_bytes(bytes(range(256)) * 1000)
    return {"README.md": tmp_path / "README.md", "gguf/model.safetensors": tmp_path / "model.safetensors"}


def refused(files, target=TARGET):
    with pytest.raises(KriptikError) as error:
        pushing.push(files, target)
    said = json.dumps(error.value.problem()) + repr(error.value.__cause__)
    assert TOKEN not in said and error.value.next_step
    return error.value


def test_files_arrive_whole_in_a_private_repository(hub, files):
    assert pushing.push(files, TARGET) == f"{hub.url}/someone/support-bot"
    there = hub.repos["someone/support-bot"]
    assert {name: there[name] for name in files} == {name: path.read_bytes() for name, path in files.items()}
    assert hub.private["someone/support-bot"]
    steps = [step for step, _ in hub.seen]
    assert steps.count("commit") == 1 and "put" in steps


def test_a_repository_with_files_is_left_alone_and_an_empty_one_is_filled(hub, files):
    hub.repos["someone/support-bot"] = {".gitattributes": b"", "model.safetensors": b"of somebody"}
    assert refused(files).code == "hub_repo_exists"
    assert hub.repos["someone/support-bot"]["model.safetensors"] == b"of somebody"
    hub.repos["someone/support-bot"] = {".gitattributes": b""}
    pushing.push(files, TARGET)
    assert set(hub.repos["someone/support-bot"]) > set(files)


@pytest.mark.parametrize(
    ("step", "status", "code"),
    [
        ("create", 401, "hub_refused"), ("create", 403, "hub_refused"), ("create", 503, "hub_unavailable"),
        ("preupload", 403, "hub_refused"), ("batch", 413, "hub_full"), ("put", 403, "hub_refused"), ("commit", 409, "hub_conflict"),
        ("commit", 500, "hub_unavailable"), ("commit", 429, "hub_busy"),
    ],
)  # fmt: skip
def test_each_refusal_is_one_sentence(hub, files, step, status, code):
    hub.refuse[step] = status
    assert refused(files).code == code
    assert set(hub.repos.get("someone/support-bot", {})) <= {".gitattributes"}, "nothing is half there"


def test_a_wrong_a_missing_token_and_a_hub_that_is_away(hub, files, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN + "x")
    assert refused(files).code == "hub_refused"
    monkeypatch.setenv("HF_TOKEN", " ")
    assert refused(files).code == "hub_token_missing"
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{free.getsockname()[1]}")
    assert refused(files).code == "hub_unavailable"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert refused(files).code == "hub_offline"


def test_a_hub_that_does_not_answer_is_waited_for_only_so_long(hub, files, monkeypatch):
    monkeypatch.setattr(pushing, "TIMEOUT_S", 0.2)
    hub.slow["commit"] = 1.0
    error = refused(files)
    assert error.code == "hub_unavailable" and "Look whether" in error.next_step


@pytest.mark.parametrize(
    "name", ["", "bot", "a/b/c", "../etc/passwd", "a/..", "a/b..c", "a/b?x=1", "a/b#c", "a b/c", "a/b\n", "a/b--c", "a/b.git"]
)
def test_a_name_that_could_leave_its_place_is_no_repository(name):
    with pytest.raises(ValidationError):
        HubTarget(repo_id=name)
