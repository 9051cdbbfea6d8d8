"""The words of recordings over HTTP: written down as people look on, listened to, corrected clip by clip, there before a plan is
approved."""

import io
import json
import sys
import threading
import zipfile
from itertools import pairwise

import httpx
import numpy as np
import pyarrow
import pytest
import soundfile
from harness import until
from pyarrow import parquet
from test_server_voice import CLONE, HEARS, SAID, approve, ask, media_trains, recordings

from kriptik.server import scribe

__all__ = ["media_trains"]
SURE = HEARS.replace('{"text":', '{"sure": 0.83, "text":')


@pytest.fixture
def voice(server, monkeypatch):
    """A data set of eight recordings whose words a model wrote down; the names of its clips in order of recording."""
    monkeypatch.setattr(scribe, "COMMAND", (sys.executable, "-c", SURE))
    made = server.api("POST", "/data", 201, files=recordings(words=False))["id"]
    server.api("POST", f"/data/{made}/transcripts")
    told = known(server, made)
    return made, sorted(told, key=lambda clip: told[clip]["name"])


def known(server, dataset_id):
    return server.api("GET", f"/data/{dataset_id}/transcripts")["transcripts"]


def test_each_clip_says_what_it_is_of_and_how_sure_its_words_are(server, voice):
    dataset_id, clips = voice
    told = [known(server, dataset_id)[clip] for clip in clips]
    assert [one["name"] for one in told] == [f"{n}.wav" for n in range(8)]
    assert {(one["sure"], one["checked"], one["edited"]) for one in told} == {(0.83, False, False)}
    assert {(one["start"], one["seconds"]) for one in told} == {(0, 1.5)}


def test_a_clip_is_corrected_or_checked_at_once_and_examined_when_asked(server, voice):
    dataset_id, (first, second, third, *_) = voice
    before = server.api("GET", f"/data/{dataset_id}")["report"]
    home = f"/data/{dataset_id}/transcripts"
    kept = server.api("PATCH", f"{home}/{first}", json={"text": "  good   morning "})
    assert kept["text"] == "good morning" and kept["by"] == "you" and kept["edited"] and kept["checked"] and kept["sure"] is None
    kept = server.api("PATCH", f"{home}/{second}", json={"checked": True})
    assert kept["text"] == "hello again" and kept["checked"] and not kept["edited"] and kept["sure"] == 0.83
    server.api("PATCH", f"{home}/{third}", json={"text": ""})
    assert server.api("GET", f"/data/{dataset_id}")["report"] == before, "nothing is examined with each word"
    assert server.api("PATCH", f"{home}/{'0' * 32}", 422, json={"text": "x"})["code"] == "no_such_clip"
    server.api("PATCH", f"{home}/{first}", 422, json={"text": "x" * 5001})
    report = server.api("POST", home)["report"]
    codes = {one["code"]: one["count"] for one in report["findings"]}
    assert codes["sound_corrected"] == codes["sound_checked"] == codes["sound_no_words"] == 1 and codes["sound_transcribed"] == 5
    assert report["usable"] == 7 and report["speech"]
    assert not server.api("PATCH", f"{home}/{second}", json={"checked": False})["checked"]


def test_a_clip_is_heard_as_the_model_heard_it(server, voice):
    dataset_id, (first, *_) = voice
    answer = server.http.get(f"/api/training/data/{dataset_id}/clips/{first}.flac")
    assert answer.status_code == 200 and answer.headers["content-type"] == "audio/flac"
    samples, rate = soundfile.read(io.BytesIO(answer.content))
    assert rate == 8000 and len(samples) == 12_000 and np.abs(samples).max() > 0.1
    part = server.http.get(f"/api/training/data/{dataset_id}/clips/{first}.flac", headers={"Range": "bytes=0-3"})
    assert part.status_code == 206 and part.content == b"fLaC"
    assert server.api("GET", f"/data/{dataset_id}/clips/{'0' * 32}.flac", 404)["code"] == "no_such_clip"
    stranger = httpx.get(f"{server.http.base_url}/api/training/data/{dataset_id}/clips/{first}.flac", trust_env=False)
    assert stranger.status_code == 401
    server.api("DELETE", f"/data/{dataset_id}", 204)
    assert list((server.home / "data" / "sources").iterdir()) == []


def test_a_clip_out_of_a_parquet_file_is_heard_too(server, monkeypatch):
    monkeypatch.setattr(scribe, "COMMAND", (sys.executable, "-c", SURE))
    cells, sink = [], io.BytesIO()
    for number in range(6):
        wave = io.BytesIO()
        soundfile.write(wave, 0.2 * np.sin(2 * np.pi * (200 + 20 * number) * np.arange(12_000) / 8000), 8000, format="WAV")
        cells.append({"bytes": wave.getvalue(), "path": f"{number}.wav"})
    parquet.write_table(pyarrow.table({"audio": cells, "speaker": ["one"] * 6}), sink)
    dataset_id = server.api("POST", "/data", 201, files={"file": ("train.parquet", sink.getvalue())})["id"]
    assert server.api("POST", f"/data/{dataset_id}/transcripts")["report"]["usable"] == 6
    clips = known(server, dataset_id)
    assert sorted(one["name"] for one in clips.values()) == [f"0000000{n}.wav" for n in range(6)]
    for clip in clips:
        content = server.http.get(f"/api/training/data/{dataset_id}/clips/{clip}.flac").content
        assert len(soundfile.read(io.BytesIO(content))[0]) == 12_000


def test_clips_of_a_long_recording_stand_at_their_times(server, monkeypatch):
    monkeypatch.setattr(scribe, "COMMAND", (sys.executable, "-c", SURE))
    times, sink, wave = np.arange(40 * 8000) / 8000, io.BytesIO(), io.BytesIO()
    speaks = (times % 5) < 4
    soundfile.write(wave, 0.2 * np.sin(2 * np.pi * (220 + 40 * (times // 5)) * times) * speaks, 8000, format="WAV")
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr("talks/long.wav", wave.getvalue())
        archive.writestr("talks/short.wav", wave.getvalue()[: 44 + 2 * 8000])
        archive.writestr("list.csv", "file_name,text\ntalks/short.wav,said\n")
    sent = {"files": {"file": ("talks.zip", sink.getvalue())}, "params": {"capability": "voice_cloning"}}
    dataset_id = server.api("POST", "/data", 201, **sent)["id"]
    told = sorted(known(server, dataset_id).items(), key=lambda pair: pair[1]["start"])
    assert len(told) >= 3 and {one["name"] for _, one in told} == {"talks/long.wav"}
    for (_, one), (_, after) in pairwise(told):
        assert one["start"] + one["seconds"] <= after["start"] + 0.5
    for clip, one in told:
        content = server.http.get(f"/api/training/data/{dataset_id}/clips/{clip}.flac").content
        samples, rate = soundfile.read(io.BytesIO(content))
        assert len(samples) / rate == pytest.approx(one["seconds"], abs=0.01)


SLOW = """
import json, pathlib, sys, time
print(json.dumps({"by": "a model that hears"}), flush=True)
for number, line in enumerate(sys.stdin):
    while number == 2 and not pathlib.Path(sys.argv[1]).exists():
        time.sleep(0.02)
    print(json.dumps({"text": f"sentence {number}", "sure": 0.5}), flush=True)
"""


def test_words_show_while_they_are_written_and_corrections_made_meanwhile_stay(server, monkeypatch, tmp_path):
    monkeypatch.setattr(scribe, "COMMAND", (sys.executable, "-c", SLOW, str(tmp_path / "go on")))
    dataset_id = server.api("POST", "/data", 201, files=recordings(words=False))["id"]
    home, done = f"/data/{dataset_id}/transcripts", []
    writer = threading.Thread(target=lambda: done.append(server.api("POST", home)))
    writer.start()
    until(lambda: len(known(server, dataset_id)) == 2)
    seen = server.api("GET", home)
    assert seen["writing"] and {one["name"] for one in seen["transcripts"].values()} == {"0.wav", "1.wav"}
    clip = min(seen["transcripts"])
    server.api("PATCH", f"{home}/{clip}", json={"text": "put right meanwhile"})
    assert server.api("POST", home, 409)["code"] == "being_written"
    assert server.api("PUT", home, 409, json={"texts": {clip: "lost"}})["code"] == "being_written"
    assert server.api("DELETE", f"/data/{dataset_id}", 409)["code"] == "being_written"
    (tmp_path / "go on").touch()
    writer.join(20)
    assert done and len(known(server, dataset_id)) == 8 and known(server, dataset_id)[clip]["text"] == "put right meanwhile"
    assert not server.api("GET", home)["writing"]


def test_a_plan_is_not_approved_over_words_that_nobody_asked_for(server, monkeypatch):
    """No model is asked within the approval: it would take minutes, and what it writes is to be read first."""
    monkeypatch.setattr(scribe, "COMMAND", (sys.executable, "-c", "raise SystemExit(1)"))
    dataset = server.api("POST", "/data", 201, files=recordings(words=False))
    refused = approve(server, ask(server, CLONE, dataset), 409, consent=SAID)
    assert refused["code"] == "words_missing" and refused["fields"]["datasetId"] == dataset["id"]
    assert f"/data/{dataset['id']}" in refused["nextStep"] and "--write" in refused["nextStep"]
    assert server.api("GET", "/jobs")["jobs"] == [] and not (server.home / "data" / "prepared").exists()
    monkeypatch.setattr(scribe, "COMMAND", (sys.executable, "-c", SURE))
    server.api("POST", f"/data/{dataset['id']}/transcripts")
    monkeypatch.setattr(scribe, "COMMAND", (sys.executable, "-c", "raise SystemExit(1)"))
    job_id = approve(server, ask(server, CLONE, dataset), consent=SAID)["jobId"]
    server.api("POST", f"/jobs/{job_id}/stop")
    server.wait(job_id, "stopped", "completed", "failed")


def test_the_recipe_of_a_voice_says_that_its_rows_are_speech(server, monkeypatch):
    """Also where the words came with the recordings: the recipe repeats what an approved plan prepares."""
    monkeypatch.setattr(scribe, "COMMAND", (sys.executable, "-c", """print('{"by": null}')"""))
    dataset = server.api("POST", "/data", 201, files=recordings())
    place = f"/data/{dataset['id']}/recipe"
    assert not server.api("GET", place)["steps"]["settings"]["speech"], "nobody said yet that it is for a voice"
    asked = server.api("GET", place, params={"capability": "voice_cloning"})
    job_id = approve(server, ask(server, CLONE, dataset), consent=SAID)["jobId"]
    (prepared,) = (server.home / "data" / "prepared").iterdir()
    assert json.loads((prepared / "recipe.json").read_text()) == asked["steps"]
    server.api("POST", f"/jobs/{job_id}/stop")
    server.wait(job_id, "stopped", "completed", "failed")
    examined = server.api("POST", f"/data/{dataset['id']}/transcripts")
    assert examined["report"]["speech"] and server.api("GET", place) == asked
    server.api("PUT", f"/data/{dataset['id']}/fixes", json={"fixes": []})
    assert server.api("GET", place) == asked, "choosing fixes does not forget it"


def test_a_damaged_file_of_words_is_told(server, voice):
    dataset_id, (first, *_) = voice
    (file,) = (server.home / "data" / "sources").glob("*/transcripts.json")
    file.write_text("{")
    assert server.api("GET", f"/data/{dataset_id}/transcripts", 422)["code"] == "bad_transcripts"
    assert server.api("PATCH", f"/data/{dataset_id}/transcripts/{first}", 422, json={"text": "x"})["code"] == "bad_transcripts"
    assert file.read_text() == "{"
