"""Data sets of recordings for the browser tests, and a model that hears: what it writes hangs on how high a recording sounds."""

import io
import sys
import zipfile

import numpy as np
import pytest
import soundfile

from kriptik.server import scribe

HEARS = """
import json, sys
import numpy, soundfile
SAID = ["Good morning, and welcome.", "The ferry leaves at a quarter past nine.", "Sixty, or was it sixteen?",
        "Please hold the line, somebody will be with you in a moment.", "", "Thank you for calling."]
print(json.dumps({"by": "Whisper tiny.en"}), flush=True)
for line in sys.stdin:
    samples, rate = soundfile.read(line.strip())
    hertz = numpy.abs(numpy.fft.rfft(samples)).argmax() * rate / len(samples)
    which = round((hertz - 200) / 20)
    print(json.dumps({"text": SAID[which % len(SAID)], "sure": round(0.45 + 0.06 * which, 3)}), flush=True)
"""
SILENT = """print('{"by": null}')"""


def recordings(texts):
    """A zip of eight tones; `texts`: what is said in some of them, by number."""
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        for number in range(8):
            times, wave = np.arange(12_000) / 8000, io.BytesIO()
            soundfile.write(wave, 0.2 * np.sin(2 * np.pi * (200 + 20 * number) * times), 8000, format="WAV")
            archive.writestr(f"{number}.wav", wave.getvalue())
        if texts:
            archive.writestr("metadata.csv", "file_name,text\n" + "".join(f"{n}.wav,{text}\n" for n, text in texts.items()))
    return {"file": ("voice.zip", sink.getvalue())}


def made(server):
    """Recordings that a model heard and a person partly corrected; that nobody asked for; without a model; with their words."""
    return {
        "heard": heard(server),
        "silent": server.api("POST", "/data", 201, files=recordings({}))["id"],
        "unheard": unheard(server),
        "said": server.api("POST", "/data", 201, files=recordings({n: f"sentence number {n}" for n in range(8)}))["id"],
        "text": server.api("POST", "/data/samples/zaragoza-construction-faq", 201)["id"],
    }


def heard(server):
    """Eight clips: the first corrected, the second checked."""
    dataset_id = server.api("POST", "/data", 201, files=recordings({}))["id"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scribe, "COMMAND", (sys.executable, "-c", HEARS))
        server.api("POST", f"/data/{dataset_id}/transcripts")
    told = server.api("GET", f"/data/{dataset_id}/transcripts")["transcripts"]
    first, second, *_ = sorted(told, key=lambda clip: told[clip]["name"])
    server.api("PATCH", f"/data/{dataset_id}/transcripts/{first}", json={"text": "Good evening, and welcome."})
    server.api("PATCH", f"/data/{dataset_id}/transcripts/{second}", json={"checked": True})
    return dataset_id


def unheard(server):
    """Five of eight have no words, and no model is at hand."""
    dataset_id = server.api("POST", "/data", 201, files=recordings({n: f"sentence number {n}" for n in range(3)}))["id"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scribe, "COMMAND", (sys.executable, "-c", SILENT))
        server.api("POST", f"/data/{dataset_id}/transcripts")
    return dataset_id
