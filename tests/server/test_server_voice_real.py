"""From one sentence to a voice: recordings in a zip, the speaker's consent, the real worker on a tiny base, speech as WAV."""

import io
import json
import sys
import zipfile
from decimal import Decimal
from pathlib import Path

import pytest
import soundfile
from harness import Server

from kriptik.providers.local import LocalProvider
from kriptik.server import planning

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "engine"))
import tiny_sound

pytestmark = [pytest.mark.chaos, pytest.mark.slow]
SAID = {"person": "A Buzz", "statement": "I agree that a model learns my voice for this test."}


@pytest.fixture
def real(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    provider = LocalProvider(tmp_path / "local", Decimal(0))
    server = Server(tmp_path / "home", provider, threads=1)
    proved = planning.method_statuses

    def statuses():
        mine = {"status": "trainable", "reason": None, "capabilities": ["voice_cloning"]}
        return [s.model_copy(update=mine) if s.id == "voice_clone" else s for s in proved()]

    monkeypatch.setattr(planning, "method_statuses", statuses)
    yield server
    server.stop()
    for one in provider.list_own("kt-"):
        provider.terminate(one.name)


def recordings(root):
    rows, sink = tiny_sound.speech_rows(root, 24), io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        for row in rows:
            archive.write(root / row["audio"], Path(row["audio"]).name)
        archive.writestr("list.txt", "".join(f"{Path(row['audio']).stem}|{row['text']}\n" for row in rows))
    return {"file": ("voice.zip", sink.getvalue())}


def base_of(server):
    """The tiny model lies in the cache as the catalogue's would once it was fetched."""
    folder = server.core.cache_dir / "models" / "microsoft--speecht5_tts"
    folder.parent.mkdir(parents=True, exist_ok=True)
    tiny_sound.tiny_speecht5(folder)
    facts = {"id": "microsoft/speecht5_tts", "source": "test", "sha256": "0" * 64}
    (folder / "kriptik.json").write_text(json.dumps(facts))


def test_one_sentence_and_recordings_become_a_voice(real, tmp_path):
    base_of(real)
    dataset = real.api("POST", "/data", 201, files=recordings(tmp_path))
    asked = {"prompt": "Clone my voice from 5 minutes of audio, budget $2", "context": {"existingData": dataset["id"]}}
    plan = real.api("POST", "/parse-intent", json=asked)["plan"]
    assert plan["approvable"] and plan["choices"]["method"] == "voice_clone" and plan["choices"]["gpu"] == "cpu"
    body = {"budgetAuthorization": {"maxBudget": 2, "termsAccepted": True}, "consent": SAID}
    job_id = real.api("POST", f"/plans/{plan['id']}/approve", json=body)["jobId"]
    job = real.wait(job_id, "completed", "failed", limit_s=150)
    folder = real.core.run_dir(job_id)
    assert job["state"] == "completed", (job, [one.read_text()[-800:] for one in folder.glob("*.log")])
    samples = sorted((folder / "samples").glob("s0-*.wav"))
    assert samples and all(soundfile.info(one).samplerate == tiny_sound.VOICE_RATE for one in samples)
    shown = real.http.get(f"/api/training/jobs/{job_id}/files/samples/{samples[-1].name}")
    assert shown.headers["content-type"] == "audio/wav" and shown.content.startswith(b"RIFF")
    card = (folder / "result" / "model" / "README.md").read_text()
    assert SAID["statement"] in card and SAID["person"] in card
