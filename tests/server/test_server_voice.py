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
SAID = {"person": "Alex Example", "statement": "I agree that a model learns my voice for our audio books."}


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
    assert refused["code"] == "consent_missing" and "consent" in refused["nextStep"]
    assert approve(server, plan, 422, consent={"person": "A", "statement": "yes"})["code"] == "invalid_input"
    assert server.api("GET", "/jobs")["jobs"] == [] and server.api("GET", f"/plans/{plan['id']}")["plan"]["status"] != "approved"
    made = approve(server, plan, consent=SAID)
    kept = made["approvedPlan"]["consent"]
    assert kept["person"] == SAID["person"] and kept["statement"] == SAID["statement"] and kept["recordedAt"]
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
    assert approve(server, ask(server, CLONE, dataset), 409, consent=SAID)["code"] == "words_missing"
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
    made = approve(server, ask(server, CLONE, dataset), consent=SAID)
    folder = server.core.run_dir(made["jobId"])
    until(lambda: jobfile.newest(folder))
    job = TrainJob.model_validate_json(jobfile.path(folder, 1).read_bytes())
    end(server, made["jobId"])
    lines = [json.loads(line) for line in Path(job.data.train_path).read_text().splitlines()]
    told = {"good morning": "you", "hello again": "a model that hears"}
    assert lines and all(told[line["text"]] == line["transcribed"] for line in lines)
    recipe = server.api("GET", f"/data/{dataset['id']}/recipe")["steps"]
    assert recipe["transcripts"][first]["text"] == "good morning" and recipe["settings"]["speech"]


KNOWS = """
import json, sys
import numpy, soundfile
print(json.dumps({"by": None, "voices": "a model that knows voices"}), flush=True)
for line in sys.stdin:
    asked, file = line.rstrip("\\n").split("\\t")
    assert asked == "voice"
    samples, rate = soundfile.read(file)
    hertz = numpy.abs(numpy.fft.rfft(samples)).argmax() * rate / len(samples)
    print(json.dumps({"voice": [1.0, 0.1] if hertz < 330 else [0.3, 1.0]}), flush=True)
"""
BROKEN = "raise SystemExit(1)"


def test_a_recording_of_another_voice_is_found_and_left_out_of_the_run(server, monkeypatch):
    dataset = server.api("POST", "/data", 201, files=recordings())
    home = f"/data/{dataset['id']}"
    assert any("was not checked" in one for one in ask(server, CLONE, dataset)["warnings"])
    monkeypatch.setattr(scribe, "COMMAND", (sys.executable, "-c", KNOWS))
    found = server.api("POST", f"{home}/transcripts")["report"]["findings"]
    (other,) = [one for one in found if one["code"] == "other_voice"]
    assert other["severity"] == "warning" and other["count"] == 1 and other["fix"] == "drop_other_voice"
    assert (other["examples"][0]["row"], other["examples"][0]["file"]) == (8, "7.wav")
    assert not any(one["code"] == "speakers_unchecked" for one in found)
    assert any("1 of the recordings sounds like another voice" in one for one in ask(server, CLONE, dataset)["warnings"])
    monkeypatch.setattr(scribe, "COMMAND", (sys.executable, "-c", BROKEN))  # what was heard is kept: nobody is asked again
    fixed = server.api("PUT", f"{home}/fixes", json={"fixes": ["drop_other_voice"], "capability": "voice_cloning"})["report"]
    assert fixed["usable"] == 7 and next(one for one in fixed["findings"] if one["code"] == "other_voice")["fixed"]
    plan = ask(server, CLONE, dataset)
    assert not any("of one person" in one for one in plan["warnings"])
    job_id = approve(server, plan, consent=SAID)["jobId"]
    (prepared,) = (server.home / "data" / "prepared").iterdir()
    rows = [json.loads(line) for side in ("train", "eval") for line in (prepared / f"{side}.jsonl").read_text().splitlines()]
    assert sorted(row["text"] for row in rows) == [f"sentence number {n}" for n in range(7)]
    assert len(list((prepared / "media").iterdir())) == 7
    recipe = json.loads((prepared / "recipe.json").read_text())
    assert len(recipe["other_voices"]) == 1 and recipe == server.api("GET", f"{home}/recipe")["steps"]
    end(server, job_id)


def test_what_was_heard_on_the_way_in_lies_beside_the_recordings_and_goes_with_them(server, monkeypatch):
    monkeypatch.setattr(scribe, "COMMAND", (sys.executable, "-c", KNOWS))
    dataset = server.api("POST", "/data", 201, files=recordings(), params={"capability": "voice_cloning"})
    assert "other_voice" in {one["code"] for one in dataset["report"]["findings"]}
    (home,) = (server.home / "data" / "sources").iterdir()
    assert len(json.loads((home / "voices.json").read_text())["known"]) == 8
    server.api("DELETE", f"/data/{dataset['id']}", 204)
    assert not home.exists()


def test_a_model_of_voices_that_breaks_off_keeps_no_recordings_from_being_used(server, monkeypatch):
    dataset = server.api("POST", "/data", 201, files=recordings())
    for broken in (BROKEN, KNOWS.replace("samples, rate", "raise SystemExit(1)  #")):
        monkeypatch.setattr(scribe, "COMMAND", (sys.executable, "-c", broken))
        report = server.api("POST", f"/data/{dataset['id']}/transcripts")["report"]
        assert report["usable"] == 8 and any(one["code"] == "speakers_unchecked" for one in report["findings"])


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
    assert made["approvedPlan"]["consent"] is None
    (stage,) = server.job(made["jobId"])["stageSpecs"]
    assert stage["point"]["objective"] == "codec_lm" and not stage["settings"]["packing"]
    end(server, made["jobId"])


def test_text_rows_do_not_make_a_voice(server):
    lines = "\n".join(f'{{"prompt": "Question {n}?", "completion": "Answer number {n}."}}' for n in range(30))
    plan = ask(server, CLONE, server.api("POST", "/data", 201, files={"file": ("rows.jsonl", lines.encode())}))
    assert not plan["approvable"] and "transcribed speech" in plan["whyNotApprovable"]
