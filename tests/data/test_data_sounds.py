"""Recordings of a data set: bad ones refused, odd ones converted, long ones cut, each with a word on it, before training."""

import io
import json
import struct
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyloudnorm
import pytest
import soundfile
from media_set import packed, rows_of

from kriptik.data import prepare, sounds, transcripts, waves
from kriptik.data.transcripts import Transcripts
from kriptik.spec.data import Transcript
from kriptik.spec.errors import DataError

RATE = 16_000


def tone(number=0, seconds=0.8, rate=RATE, channels=1, loud=0.3):
    times = np.arange(round(seconds * rate)) / rate
    wave = loud * np.sin(2 * np.pi * (220 + 40 * number) * times)
    return np.repeat(wave[:, None], channels, axis=1).astype(np.float32)


def spoken(words=6, rate=RATE, seed=0, pause=0.6, noise=0.0005, length=0.7):
    """Bursts of a voice-like sound with pauses between."""
    dice = np.random.default_rng(seed)
    parts = []
    for _ in range(words):
        times = np.arange(round(length * rate)) / rate
        voice = sum(np.sin(2 * np.pi * 120 * k * times) / k for k in range(1, 8)) * np.hanning(len(times))
        parts += [0.2 * voice, np.zeros(round(pause * rate))]
    wave = np.concatenate(parts)
    return (wave + noise * dice.standard_normal(len(wave)))[:, None].astype(np.float32)


def encoded(samples, rate=RATE, kind="WAV", **options):
    sink = io.BytesIO()
    soundfile.write(sink, samples, rate, format=kind, **options)
    return sink.getvalue()


def hours(count):
    """A WAV header that tells of so many hours, and a second of sound."""
    body = encoded(tone())
    frames = count * 3600 * RATE
    return body[:4] + struct.pack("<I", min(frames * 2 + 36, 2**32 - 1)) + body[8:40] + struct.pack("<I", frames * 2) + body[44:]


def flac_bomb():
    """Half an hour of one tone in a few kilobytes."""
    return encoded(np.zeros((1900 * 8000, 1), dtype=np.int16), 8000, "FLAC")


GOOD = {f"{number}.wav": encoded(tone(number)) for number in range(6)}
ODD = {
    "damaged.flac": (encoded(tone(9), kind="FLAC")[:60], "sound_damaged", False),
    "text.mp3": (b"no sound at all", "sound_damaged", False),
    "phone.m4a": (b"\0\0\0\x20ftypM4A \0\0\0\0", "sound_format", False),
    "dot.wav": (encoded(tone()[:1]), "sound_short", False),
    "empty.wav": (encoded(tone()[:0]), "sound_short", False),
    "still.wav": (encoded(tone() * 0), "sound_silent", False),
    "nan.wav": (encoded(tone() * np.nan, subtype="FLOAT"), "sound_damaged", False),
    "slow.wav": (encoded(tone(), 100), "sound_rate", False),
    "fast.wav": (encoded(tone(), 4_000_000), "sound_rate", False),
    "long.flac": (flac_bomb(), "sound_long", False),
    "studio.wav": (encoded(tone(20, rate=96_000), 96_000, subtype="PCM_24"), "sound_resampled", True),
    "cinema.wav": (encoded(tone(21, channels=6)), "sound_mixed", True),
    "named.wav": (encoded(tone(22), kind="OGG"), "sound_renamed", True),
    "loud.wav": (encoded(np.clip(tone(23, loud=4.0), -1, 1)), "sound_clipped", True),
}


@pytest.mark.parametrize("name", list(ODD))
def test_odd_recordings_are_refused_or_converted_with_a_word(tmp_path, name):
    content, code, usable = ODD[name]
    source = packed(tmp_path / "set.zip", {**GOOD, name: content})
    made = prepare.prepare(source, tmp_path / "made", name="set.zip")
    finding = next(one for one in made.report.findings if one.code == code)
    assert finding.count == 1 and finding.examples[0].file == name and finding.sentence
    assert made.report.rows == 7 and made.report.usable == 6 + usable
    for row in rows_of(tmp_path / "made"):
        samples, rate = soundfile.read(tmp_path / "made" / row["audio"], always_2d=True)
        assert rate == row["rate"] <= 48_000 and samples.shape[1] <= 2
        assert abs(len(samples) / rate - row["seconds"]) < 1e-3
        assert len(row["peaks"]) == waves.PEAKS and 0 < max(row["peaks"]) <= 100


def test_ten_hours_that_a_header_tells_of_are_not_believed(tmp_path):
    path = tmp_path / "big.wav"
    path.write_bytes(hours(10))
    assert sounds.look(path, "big.wav").seconds == pytest.approx(0.8), "what is there is taken, not what is told of"


def test_every_recording_is_brought_to_the_same_loudness():
    for loud in (0.02, 0.2, 0.9):
        made = waves.levelled(tone(seconds=2, loud=loud), RATE)
        assert abs(pyloudnorm.Meter(RATE).integrated_loudness(made) - waves.LOUDNESS) < 0.1


def test_resampling_keeps_the_pitch():
    made = waves.resampled(tone(seconds=1, rate=44_100), 44_100, 16_000)
    spectrum = np.abs(np.fft.rfft(made[:, 0]))
    assert len(made) == 16_000 and spectrum.argmax() == 220


LISTS = {
    "columns": ("metadata.csv", "file_name,text\n{rows}", "{name},said {number}\n"),
    "ljspeech": ("metadata.csv", "{rows}", "{stem}|SAID {number}|said {number}\n"),
    "kaldi": ("text.txt", "{rows}", "{stem} said {number}\n"),
    "asterisk": ("core.txt", "{rows}", "{stem}: said {number}\n"),
    "jsonl": ("metadata.jsonl", "{rows}", '{{"audio": "{name}", "text": "said {number}"}}\n'),
}


@pytest.mark.parametrize("kind", list(LISTS))
def test_words_come_from_the_usual_lists(tmp_path, kind):
    name, frame, line = LISTS[kind]
    rows = "".join(line.format(name=f"{n}.wav", stem=str(n), number=n) for n in range(6))
    files = {**GOOD, name: frame.format(rows=rows)}
    prepare.prepare(packed(tmp_path / "set.zip", files), tmp_path / "made", name="set.zip")
    assert sorted(row["text"] for row in rows_of(tmp_path / "made")) == [f"said {n}" for n in range(6)]


def test_words_come_from_files_of_the_same_name(tmp_path):
    files = {f"a/{name}": content for name, content in GOOD.items()} | {f"a/{n}.txt": f"said {n}" for n in range(6)}
    prepare.prepare(packed(tmp_path / "set.zip", files), tmp_path / "made", name="set.zip")
    assert sorted(row["text"] for row in rows_of(tmp_path / "made")) == [f"said {n}" for n in range(6)]


def test_a_table_may_say_where_in_a_recording_its_words_are(tmp_path):
    rows = "".join(f"long.wav,{n * 1.3},{n * 1.3 + 0.7},word {n}\n" for n in range(6))
    files = {"long.wav": encoded(spoken()), "words.csv": "audio,start,end,text\n" + rows}
    made = prepare.prepare(
        packed(tmp_path / "set.zip", files), tmp_path / "made", name="set.zip", settings=prepare.PrepareSettings(speech=True)
    )
    lines = [json.loads(line) for line in (tmp_path / "made" / "train.jsonl").read_text().splitlines()]
    assert made.report.usable == 6 and [row["text"] for row in lines] == [f"word {n}" for n in range(6)]
    assert all(abs(row["seconds"] - 0.7) < 0.01 for row in lines)
    assert len({row["key"] for row in lines}) == 1, "parts of one recording are on one side"


def test_speech_without_words_is_left_out_and_says_so(tmp_path):
    files = {**GOOD, "list.csv": "file_name,text\n" + "".join(f"{n}.wav,said {n}\n" for n in range(5))}
    made = prepare.prepare(
        packed(tmp_path / "set.zip", files), tmp_path / "made", name="set.zip", settings=prepare.PrepareSettings(speech=True)
    )
    found = {one.code: one.count for one in made.report.findings}
    assert made.report.usable == 5 and found["sound_no_words"] == 1 and found["speakers_unchecked"] == 1


def test_words_that_recordings_came_without_are_written_down_marked_and_corrected(tmp_path):
    files = {**GOOD, "list.csv": "file_name,text\n" + "".join(f"{n}.wav,said {n}\n" for n in range(3))}
    source, speech, asked = packed(tmp_path / "set.zip", files), prepare.PrepareSettings(speech=True), []

    def scribe(clip):
        samples, rate = soundfile.read(clip)
        asked.append(clip)
        return Transcript(text="heard it" if len(asked) > 1 else "", by="a model") if len(samples) / rate > 0.5 else None

    words = Transcripts(scribe=scribe)
    made = prepare.prepare(source, tmp_path / "made", name="set.zip", settings=speech, transcripts=words)
    found = {one.code: one.count for one in made.report.findings}
    assert len(asked) == 3 and not any(one.exists() for one in asked), "clips are heard apart from the rows' files"
    assert found["sound_transcribed"] == 2 and found["sound_no_words"] == 1 and made.report.usable == 5
    rows = rows_of(tmp_path / "made")
    assert sorted((row["text"], row.get("transcribed")) for row in rows)[:2] == [("heard it", "a model")] * 2
    assert {len(list((tmp_path / "made" / "media").iterdir())), len(rows)} == {5}
    assert sorted(path.name for path in (tmp_path / "made").iterdir() if path.is_dir()) == ["media"]
    clip = next(Path(row["audio"]).stem for row in rows if row.get("transcribed"))
    assert words.known[clip].name in ("4.wav", "5.wav") and words.known[clip].seconds == pytest.approx(0.8)

    words.correct({clip: "  what was   said "}, "you")
    again = prepare.prepare(source, tmp_path / "made", name="set.zip", settings=speech, transcripts=words)
    assert len(asked) == 3 and again.train_sha256 != made.train_sha256
    assert {"what was said", "heard it"} <= {row["text"] for row in rows_of(tmp_path / "made")}
    assert {one.code: one.count for one in again.report.findings}["sound_corrected"] == 1
    steps = json.loads((tmp_path / "made" / "recipe.json").read_text())
    kept = Transcripts({name: Transcript.model_validate(one) for name, one in steps["transcripts"].items()})
    other = prepare.prepare(source, tmp_path / "other", name="set.zip", settings=speech, transcripts=kept)
    assert other.train_sha256 == again.train_sha256, "the recipe holds the words: no model is needed to repeat it"
    with pytest.raises(DataError) as error:
        words.correct({"nothing": "x"}, "you")
    assert error.value.code == "no_such_clip"
    transcripts.write(tmp_path / "words.json", words)
    assert transcripts.read(tmp_path / "words.json") == words.known and transcripts.read(tmp_path / "none.json") == {}


def test_speech_is_cut_at_its_pauses():
    samples = waves.levelled(spoken(words=12), RATE)
    places = waves.phrases(samples, RATE, 4.0, 0.3)
    assert len(places) >= 4 and all((b - a) / RATE < 4.5 for a, b in places)
    for (_, end), (start, _) in pairwise(places):
        gap = samples[end - 800 : start + 800]
        assert start >= end - 1 and np.abs(gap).mean() < np.abs(samples).mean()


def test_noise_is_told_from_a_clean_voice():
    assert waves.noise_ratio(spoken(), RATE) > 30 > 15 > waves.noise_ratio(spoken(noise=0.05), RATE)


def test_long_music_is_cut_and_its_parts_stay_together(tmp_path):
    dice = np.random.default_rng(1)
    song = (0.1 * dice.standard_normal((8000 * 95, 1))).astype(np.float32)
    files = {**GOOD, "song.flac": encoded(song, 8000, "FLAC"), "song.txt": "noise music"}
    made = prepare.prepare(packed(tmp_path / "set.zip", files), tmp_path / "made", name="set.zip")
    parts = [row for row in rows_of(tmp_path / "made") if row["text"] == "noise music"]
    assert len(parts) == 3 and len({row["key"] for row in parts}) == 1
    assert next(one for one in made.report.findings if one.code == "sound_cut").count == 1


def test_the_same_source_gives_the_same_bytes_and_equal_clips_count_once(tmp_path):
    source = packed(tmp_path / "set.zip", {**GOOD, "again.wav": GOOD["3.wav"]})
    one, other = (prepare.prepare(source, tmp_path / name, name="set.zip") for name in ("a", "b"))
    assert one.train_sha256 == other.train_sha256 and one.report.duplicates_dropped == 1 and one.report.usable == 6
    checked = prepare.check(source, name="set.zip", work=tmp_path / "work")
    assert checked.report.kind == "sounds" and checked.report.usable == 6


def test_pairs_of_recordings_come_from_a_table(tmp_path):
    table = "prompt,chosen,rejected\n" + "".join(f"a tone {n},{n}.wav,{(n + 1) % 6}.wav\n" for n in range(6)) + "none,1.wav,1.wav\n"
    source = packed(tmp_path / "set.zip", {**GOOD, "pairs.csv": table})
    made = prepare.prepare(source, tmp_path / "made", name="set.zip")
    rows = [json.loads(line) for line in (tmp_path / "made" / "train.jsonl").read_text().splitlines()]
    assert made.report.kind == "sound_pairs" and made.report.usable == 6 == len(rows), "pairs that share a clip are on one side"
    assert next(one for one in made.report.findings if one.code == "same_answers").count == 1
    assert all((tmp_path / "made" / row[side]).is_file() for row in rows for side in ("chosen_audio", "rejected_audio"))
    lost = packed(tmp_path / "lost.zip", {**GOOD, "pairs.csv": table.replace("5.wav", "9.wav")})
    with pytest.raises(DataError) as error:
        prepare.prepare(lost, tmp_path / "none", name="lost.zip")
    assert error.value.code == "no_such_media" and error.value.fields["row"] == 6


def test_covers_beside_songs_are_left_out(tmp_path):
    files = {**GOOD, "cover.png": b"\x89PNG"}
    made = prepare.prepare(packed(tmp_path / "set.zip", files), tmp_path / "made", name="set.zip")
    assert next(one for one in made.report.findings if one.code == "files_left_out").count == 1
