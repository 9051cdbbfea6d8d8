"""Parquet files of the hub that hold recordings, videos and pictures: told by their bytes, else by the file's own features."""

import io
import json

import pyarrow
import pytest
import soundfile
from media_set import rows_of
from PIL import Image
from pyarrow import parquet
from test_data_clips import encoded as clip
from test_data_sounds import encoded as sound
from test_data_sounds import tone

from kriptik.data import embedded, prepare, sounds
from kriptik.data.archive import Member
from kriptik.spec.errors import DataError


def picture(number=0, kind="PNG"):
    sink = io.BytesIO()
    Image.new("RGB", (80, 72), (number * 37 % 255, 90, 60)).save(sink, format=kind)
    return sink.getvalue()


def cells(contents, suffix=""):
    return [{"bytes": one, "path": f"{number}{suffix}"} for number, one in enumerate(contents)]


def table(path, columns, **features):
    """A file as `datasets` writes it: what a column is stands in the schema."""
    made = pyarrow.table(columns)
    if features:
        told = {name: {"_type": kind} for name, kind in features.items()}
        made = made.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": told}})})
    parquet.write_table(made, path)
    return path


def prepared(folder, columns, capability=None, speech=False, **features):
    source = table(folder / "train.parquet", columns, **features)
    settings = prepare.PrepareSettings(speech=speech)
    return prepare.prepare(source, folder / "made", name="train.parquet", settings=settings, capability=capability)


STARTS = {
    ".wav": sound(tone()), ".flac": sound(tone(), kind="FLAC"), ".ogg": sound(tone(), kind="OGG"),
    ".mp3": sound(tone(), kind="MP3"), ".aif": sound(tone(), kind="AIFF"),
    ".png": picture(), ".jpg": picture(kind="JPEG"), ".webp": picture(kind="WEBP"),
    ".gif": picture(kind="GIF"), ".bmp": picture(kind="BMP"), ".tif": picture(kind="TIFF"), ".mp4": clip(),
    ".webm": clip(kind="webm", codec="libvpx-vp9"), ".avi": clip(kind="avi"), ".m4a": b"\0\0\0\x20ftypM4A \0\0\0\0",
    ".aac": b"\xff\xf1\x50\x80", ".heic": b"\0\0\0\x18ftypheic\0\0\0\0",
}  # fmt: skip


@pytest.mark.parametrize("suffix", list(STARTS))
def test_a_file_is_told_by_how_it_begins(suffix):
    assert embedded.suffix_of(STARTS[suffix][: embedded.HEAD]) == suffix


def test_what_begins_like_nothing_is_nothing():
    assert [embedded.suffix_of(head) for head in (b"", b"\xff", b"RIFF", b"RIFF\0\0\0\0ACON", b"no file at all")] == [None] * 5


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "MP3"])
@pytest.mark.parametrize("column", ["audio", "utterance"])
def test_recordings_with_words_become_rows_of_a_voice(tmp_path, kind, column):
    content = [sound(tone(n), kind=kind) for n in range(6)]
    columns = {"id": [f"s{n}" for n in range(6)], column: cells(content), "text": [f"said {n}" for n in range(6)]}
    made = prepared(tmp_path, columns, "voice_cloning", speech=True, **{column: "Audio"})
    assert made.report.kind == "sounds" and made.report.usable == 6 and made.report.speech
    codes = {one.code for one in made.report.findings}
    assert not codes & {"sound_damaged", "sound_renamed", "sound_no_words", "picture_damaged", "files_left_out"}
    rows = {row["text"]: row for row in rows_of(tmp_path / "made")}
    assert sorted(rows) == [f"said {n}" for n in range(6)]
    for number, row in enumerate(rows[f"said {n}"] for n in range(6)):
        samples, rate = soundfile.read(tmp_path / "made" / row["audio"])
        assert abs(len(samples) / rate - 0.8) < 0.1 and rate == 16_000, number


def test_recordings_without_features_and_with_captions_become_music(tmp_path):
    made = prepared(tmp_path, {"audio": cells([sound(tone(n)) for n in range(6)]), "caption": [f"hum {n}" for n in range(6)]})
    assert made.report.kind == "sounds" and {row["text"] for row in rows_of(tmp_path / "made")} == {f"hum {n}" for n in range(6)}


def test_recordings_without_any_words_are_taken_too(tmp_path):
    columns = {"audio": cells([sound(tone(n)) for n in range(6)]), "speaker": ["one"] * 6}
    made = prepared(tmp_path, columns, audio="Audio")
    assert made.report.usable == 6 and {one.code for one in made.report.findings} >= {"sound_no_text"}


def test_videos_with_captions_become_rows_of_videos(tmp_path):
    content = [clip(n) if n % 2 else clip(n, kind="webm", codec="libvpx-vp9") for n in range(6)]
    columns = {"video": cells(content), "prompt": [f"bar {n}" for n in range(6)]}
    made = prepared(tmp_path, columns, "video_generation", video="Video")
    assert made.report.kind == "videos" and made.report.usable == 6
    rows = rows_of(tmp_path / "made")
    assert {row["caption"] for row in rows} == {f"bar {n}" for n in range(6)}
    assert all((tmp_path / "made" / row["video"]).read_bytes() == content[int(row["caption"][4:])] for row in rows)


def test_pictures_stay_pictures_whatever_their_kind(tmp_path):
    content = [picture(n, kind) for n, kind in enumerate(("WEBP", "PNG", "JPEG", "WEBP", "GIF", "BMP"))]
    made = prepared(tmp_path, {"image": cells(content), "text": [f"number {n}" for n in range(6)]}, image="Image")
    assert made.report.kind == "images" and made.report.usable == 6
    assert "picture_renamed" not in {one.code for one in made.report.findings}
    alone = tmp_path / "alone"
    alone.mkdir()
    assert prepared(alone, {"image": cells(content)}).report.usable == 6


def test_bytes_that_say_nothing_are_refused_as_what_the_features_call_them(tmp_path):
    content = [*(sound(tone(n)) for n in range(6)), b"no recording"]
    columns = {"audio": cells(content), "text": [f"said {n}" for n in range(7)]}
    made = prepared(tmp_path, columns, audio="Audio")
    damaged = next(one for one in made.report.findings if one.code == "sound_damaged")
    assert made.report.usable == 6 and damaged.count == 1 and damaged.examples[0].row == 7


def test_bare_bytes_are_files_where_the_features_say_so(tmp_path):
    columns = {"audio": [sound(tone(n)) for n in range(6)], "text": [f"said {n}" for n in range(6)], "key": [b"BM\0"] * 6}
    assert prepared(tmp_path, columns, audio="Audio").report.usable == 6


def test_sound_in_a_container_of_videos_is_named_as_what_is_not_read(tmp_path):
    held = [*(sound(tone(n)) for n in range(6)), clip()]
    made = prepared(tmp_path, {"audio": cells(held), "text": [f"said {n}" for n in range(7)]}, audio="Audio")
    assert made.report.usable == 6 and "sound_format" in {one.code for one in made.report.findings}


def test_pairs_of_recordings(tmp_path):
    content = [sound(tone(n)) for n in range(6)]
    columns = {"prompt": [f"a tone {n}" for n in range(6)], "chosen": cells(content), "rejected": cells(content[1:] + content[:1])}
    assert prepared(tmp_path, columns, "music_generation", chosen="Audio", rejected="Audio").report.kind == "sound_pairs"


def test_names_without_their_files_are_told(tmp_path):
    columns = {"audio": [{"bytes": None, "path": f"{n}.wav"} for n in range(6)], "text": [f"said {n}" for n in range(6)]}
    columns["audio"] = pyarrow.array(columns["audio"], pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())]))
    with pytest.raises(DataError) as error:
        prepared(tmp_path, columns, audio="Audio")
    assert error.value.code == "media_missing" and "zip" in error.value.next_step


def test_one_file_is_taken_out_again(tmp_path):
    columns = {"audio": cells([sound(tone(n)) for n in range(3)]), "text": ["said", "", ""]}
    source = table(tmp_path / "train.parquet", columns, audio="Audio")
    files, tables = embedded.taken_apart(source, "train.parquet", tmp_path, only="00000001.wav")
    assert [one.name for one in files] == [f"0000000{n}.wav" for n in range(3)] and isinstance(files[0], Member)
    assert [one.path.exists() for one in files] == [False, True, False] and tables[0].path.exists()
    (unsaid,) = sounds.unsaid(files, tables, "00000001.wav")
    assert unsaid.startswith(b"fLaC")
