"""A request for a voice over HTTP: read, planned, refused without consent, run with it; and one for music."""

import io
import json
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from harness import until

from kriptik.server import planning, scribe
from kriptik.server.runs import jobfile
from kriptik.spec.job import TrainJob

CLONE = "Clone my voice from 5 minutes of audio, budget $2"
SAID = {"speaker": "Alex Example", "statement": "I agree that a model learns my voice for our audio books."}


@pytest.fixture(autouse=True)
def media_trains(monkeypatch):
    """What is proved on this checkout is the conformance suite's business."""
    real = planning.method_statuses

    def statuses():
        proved = {"voice_clone": ["voice_cloning"], "lora": ["music_generation", "voice_cloning"]}
        return [
            s.model_copy(update={"status": "trainable", "reason": None, "capabilities": proved[s.id]}) if s.id in proved else s
            for s in real()
        ]

    monkeypatch.setattr(planning, "method_statuses", statuses)


def recordings(count=8, words=True):
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        for number in range(count):
            times = np.arange(12_000) / 8000
            sound, wave = 0.2 * np.sin(2 * np.pi * (200 + 20 * number) * times), io.BytesIO()
            soundfile.write(wave, sound * np.hanning(len(times)), 8000, format="WAV")
            archive.writestr(f"{number}.wav", wave.getvalue())
        if words:
            archive.writestr("metadata.csv", "file_name,text\n" + "".join(f"{n}.wav,sentence number {n}\n" for n in range(count)))
    return {"file": ("voice.zip", sink.getvalue())}


def ask(server, prompt, dataset):
    return server.api("POST", "/parse-intent", json={"prompt": prompt, "context": {"existingData": dataset["id"]}})["plan"]


def approve(server, plan, status=200, **more):
    body = {"budgetAuthorization": {"maxBudget": 2, "termsAccepted": True}, **more}
    return server.api("POST", f"/plans/{plan['id']}/approve", status, json=body)


def end(server, job_id):
    server.api("POST", f"/jobs/{job_id}/stop")
    server.wait(job_id, "stopped", "completed", "failed")


def test_a_voice_is_approved_with_the_speakers_consent_alone(server):
    dataset = server.api("POST", "/data", 201, files=recordings())
    assert dataset["format"] == "sounds" and len(dataset["report"]["preview"][0]["peaks"]) == 96
    plan = ask(server, CLONE, dataset)
    assert plan["choices"]["capability"] == "voice_cloning" and plan["choices"]["baseModel"] == "microsoft/speecht5_tts"
    assert plan["approvable"], plan["whyNotApprovable"]
    refused = approve(server, plan, 422)
    assert refused["code"] == "consent_missing" and "voiceConsent" in refused["nextStep"]
    assert approve(server, plan, 422, voiceConsent={"speaker": "A", "statement": "yes"})["code"] == "invalid_input"
    assert server.api("GET", "/jobs")["jobs"] == [] and server.api("GET", f"/plans/{plan['id']}")["plan"]["status"] != "approved"
    made = approve(server, plan, voiceConsent=SAID)
    kept = made["approvedPlan"]["voiceConsent"]
    assert kept["speaker"] == SAID["speaker"] and kept["statement"] == SAID["statement"] and kept["recordedAt"]
    job_id = made["jobId"]
    folder = server.core.run_dir(job_id)
    until(lambda: jobfile.newest(folder))
    job = TrainJob.model_validate_json(jobfile.path(folder, 1).read_bytes())
    end(server, job_id)
    assert job.consent is not None and job.consent.statement == SAID["statement"] and job.modality == "voice"
    assert (Path(job.data.train_path).parent / "media").is_dir() and job.samples[0].messages[0]["content"].startswith("sentence")
    assert job.stages[0].point.objective == "speech" and job.stages[0].settings.objective["reference"] is True


def test_recordings_without_words_are_refused_before_anything_is_spent(server, monkeypatch):
    monkeypatch.setattr(scribe, "COMMAND", (sys.executable, "-c", """print('{"by": null}')"""))
    dataset = server.api("POST", "/data", 201, files=recordings(words=False))
    assert approve(server, ask(server, CLONE, dataset), 409, voiceConsent=SAID)["code"] == "words_missing"
    refused = server.api("POST", f"/data/{dataset['id']}/transcripts", 422)
    assert refused["code"] == "no_usable_rows" and "spoken" in refused["detail"]
    assert server.api("GET", "/jobs")["jobs"] == []


HEARS = """
import json, sys
print(json.dumps({"by": "a model that hears"}), flush=True)
for line in sys.stdin:
    held = open(line.strip(), "rb").read(4) == b"fLaC"
    print(json.dumps({"text": "hello again" if held else ""}), flush=True)
"""


def test_what_a_model_heard_is_marked_and_can_be_corrected(server, monkeypatch):
    monkeypatch.setattr(scribe, "COMMAND", (sys.executable, "-c", HEARS))
    dataset = server.api("POST", "/data", 201, files=recordings(words=False))
    assert server.api("GET", f"/data/{dataset['id']}/transcripts")["transcripts"] == {}
    found = server.api("POST", f"/data/{dataset['id']}/transcripts")["report"]
    (marked,) = [one for one in found["findings"] if one["code"] == "sound_transcribed"]
    assert marked["severity"] == "warning" and marked["count"] == 8 and "hello again" in marked["examples"][0]["text"]
    heard = server.api("GET", f"/data/{dataset['id']}/transcripts")["transcripts"]
    assert len(heard) == 8 and {one["by"] for one in heard.values()} == {"a model that hears"}
    first, second, *_ = sorted(heard)
    body = {"texts": {first: "good morning", second: ""}}
    report = server.api("PUT", f"/data/{dataset['id']}/transcripts", json=body)["report"]
    codes = {one["code"]: one["count"] for one in report["findings"]}
    assert codes["sound_corrected"] == 1 and codes["sound_no_words"] == 1 and report["usable"] == 7
    assert server.api("PUT", f"/data/{dataset['id']}/transcripts", 422, json={"texts": {"none": "x"}})["code"] == "no_such_clip"
    monkeypatch.setattr(scribe, "COMMAND", (sys.executable, "-c", "raise SystemExit(1)"))
    made = approve(server, ask(server, CLONE, dataset), voiceConsent=SAID)
    folder = server.core.run_dir(made["jobId"])
    until(lambda: jobfile.newest(folder))
    job = TrainJob.model_validate_json(jobfile.path(folder, 1).read_bytes())
    end(server, made["jobId"])
    lines = [json.loads(line) for line in Path(job.data.train_path).read_text().splitlines()]
    told = {"good morning": "you", "hello again": "a model that hears"}
    assert lines and all(told[line["text"]] == line["transcribed"] for line in lines)
    recipe = server.api("GET", f"/data/{dataset['id']}/recipe")["steps"]
    assert recipe["transcripts"][first]["text"] == "good morning" and recipe["settings"]["speech"]


def test_a_model_that_breaks_off_is_told_and_nothing_is_kept(server, monkeypatch):
    dataset = server.api("POST", "/data", 201, files=recordings(words=False))
    broken = HEARS.replace("held =", "raise SystemExit(1)  #")
    monkeypatch.setattr(scribe, "COMMAND", (sys.executable, "-c", broken))
    assert server.api("POST", f"/data/{dataset['id']}/transcripts", 503)["code"] == "not_transcribed"
    assert server.api("GET", f"/data/{dataset['id']}/transcripts")["transcripts"] == {}


def test_music_is_planned_on_what_trains_and_needs_no_consent(server):
    dataset = server.api("POST", "/data", 201, files=recordings())
    plan = ask(server, "Quick LoRA of MusicGen small on our jingles, budget $2", dataset)
    assert plan["choices"]["capability"] == "music_generation" and plan["choices"]["baseModel"] == "facebook/musicgen-small"
    assert plan["approvable"], plan["whyNotApprovable"]
    assert any("commercial" in one for one in plan["warnings"]), "its licence is no secret"
    made = approve(server, plan)
    assert made["approvedPlan"]["voiceConsent"] is None
    (stage,) = server.job(made["jobId"])["stageSpecs"]
    assert stage["point"]["objective"] == "codec_lm" and not stage["settings"]["packing"]
    end(server, made["jobId"])


def test_text_rows_do_not_make_a_voice(server):
    lines = "\n".join(f'{{"prompt": "Question {n}?", "completion": "Answer number {n}."}}' for n in range(30))
    plan = ask(server, CLONE, server.api("POST", "/data", 201, files={"file": ("rows.jsonl", lines.encode())}))
    assert not plan["approvable"] and "transcribed speech" in plan["whyNotApprovable"]
