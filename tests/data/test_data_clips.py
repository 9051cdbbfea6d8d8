"""Videos of a data set: bad ones refused, odd ones taken, each with a word on it, before anything is trained."""

import base64
import io
import json
from fractions import Fraction

import av
import numpy as np
import pytest
from media_set import packed, rows_of
from PIL import Image

from kriptik.data import clips, prepare, reel
from kriptik.spec.errors import DataError

FPS = 12


def moving(number=0, frames=12, width=96, height=72):
    """A bright bar that walks over a ground of its own colour."""
    made = []
    for at in range(frames):
        picture = np.full((height, width, 3), (20 + number * 29 % 200, 90, 60), np.uint8)
        picture[:, (at * 4 + number) % width :][:, :8] = 250
        made.append(picture)
    return made


def encoded(number=0, frames=12, fps=FPS, **options):
    return reel.written(moving(number, frames), fps, **options)


def by_hand(pictures, kind="mp4", codec="libx264", times=None, rotation=None):
    """As `reel.written`, with what it never does."""
    sink = io.BytesIO()
    with av.open(sink, "w", format=kind) as container:
        stream = container.add_stream(codec, rate=FPS)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "bgr0" if codec == "ffv1" else "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        if rotation is not None:
            stream.set_display_rotation(rotation)
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = times[number] if times else number * 1000 // FPS, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return sink.getvalue()


def sound_alone():
    sink = io.BytesIO()
    with av.open(sink, "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=44_100)
        for at in range(20):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 44_100, at * 1024
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return sink.getvalue()


def bomb():
    """A file whose header tells of frames of 16,000 × 16,000 pixels."""
    body = by_hand(moving(width=320, height=320), kind="matroska", codec="ffv1")
    assert body.count(b"\xb0\x82\x01\x40") == body.count(b"\xba\x82\x01\x40") == 1
    return body.replace(b"\xb0\x82\x01\x40", b"\xb0\x82\x3e\x80").replace(b"\xba\x82\x01\x40", b"\xba\x82\x3e\x80")


def broken():
    """Bits of the pictures turned over, the frame of the file whole."""
    body = bytearray(encoded(9, 24))
    start = body.index(b"mdat") + 1200
    for at in range(start, start + 60, 3):
        body[at] ^= 0xFF
    return bytes(body)


UNEVEN = [0, 100, 200, 700, 800, 900, 1000, 1100, 1200, 1300, 1400, 1500]
GOOD = {f"{number}.mp4": encoded(number) for number in range(6)}
ODD = {
    "cut off.mp4": (encoded(8)[:700], "clip_damaged", False),
    "broken.mp4": (broken(), "clip_damaged", False),
    "text.mp4": (b"no video at all", "clip_damaged", False),
    "playlist.mp4": (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", "clip_damaged", False),
    "half a webm.webm": (encoded(7, 30, codec="libvpx-vp9", kind="webm")[:900], "clip_damaged", False),
    "old.wmv": (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "clip_format", False),
    "song.mp4": (sound_alone(), "clip_no_picture", False),
    "dot.mkv": (by_hand([np.zeros((1, 1, 3), np.uint8)] * 12, "matroska", "ffv1"), "clip_tiny", False),
    "bomb.mkv": (bomb(), "clip_bomb", False),
    "blink.mp4": (encoded(10, frames=3), "clip_short", False),
    "night.mp4": (reel.written([np.zeros((64, 64, 3), np.uint8)] * 320, 0.5), "clip_long", False),
    "phone.mp4": (by_hand(moving(11), times=UNEVEN), "clip_variable_rate", True),
    "named.mp4": (encoded(12, codec="libvpx-vp9", kind="webm"), "clip_renamed", True),
    "still.mp4": (reel.written(moving(13, 1) * 12, FPS), "clip_still", True),
}


@pytest.mark.parametrize("name", list(ODD))
def test_odd_videos_are_refused_or_taken_with_a_word(tmp_path, name):
    content, code, usable = ODD[name]
    made = prepare.prepare(packed(tmp_path / "set.zip", {**GOOD, name: content}), tmp_path / "made", name="set.zip")
    assert made.report.kind == "videos" and made.report.rows == 7 and made.report.usable == 6 + usable
    finding = next(one for one in made.report.findings if one.code == code)
    assert finding.count == 1 and finding.examples[0].file == name and finding.sentence
    for row in rows_of(tmp_path / "made"):
        frames = list(reel.at_rate(tmp_path / "made" / row["video"], row["start"], 8, int(row["seconds"] * 8)))
        assert {one.shape for one in frames} == {(row["height"], row["width"], 3)}


def test_the_first_rows_are_shown_as_strips_of_frames_and_training_rows_are_not(tmp_path):
    made = prepare.prepare(packed(tmp_path / "set.zip", GOOD), tmp_path / "made", name="set.zip")
    for row in made.report.preview:
        kind, _, content = row["strip"].partition(";base64,")
        with Image.open(io.BytesIO(base64.b64decode(content))) as picture:
            assert kind == "data:image/jpeg" and picture.size == (64 * clips.STRIP_FRAMES, clips.STRIP_LINES)
            first, last = (np.asarray(picture.crop((at * 64, 0, at * 64 + 64, 48)), int) for at in (0, 7))
            assert np.abs(first - last).max() > 100, "something moves"
    assert not any("strip" in row for row in rows_of(tmp_path / "made"))


def test_long_videos_become_parts_that_stay_together(tmp_path):
    long = {"long.mp4": encoded(20, frames=26 * FPS), "long.txt": b"a bar walks"}
    made = prepare.prepare(packed(tmp_path / "set.zip", {**GOOD, **long}), tmp_path / "made", name="set.zip")
    parts = [row for row in rows_of(tmp_path / "made") if row["caption"] == "a bar walks"]
    assert [round(row["start"], 2) for row in sorted(parts, key=lambda one: one["start"])] == [0, 8.67, 17.33]
    assert len({row["key"] for row in parts}) == 1 and made.report.usable == 9
    assert "clip_cut" in {one.code for one in made.report.findings}


def test_a_table_says_captions_and_which_part_is_meant(tmp_path):
    table = "video,caption,start,end\n" + "".join(f"{n}.mp4,bar {n},0.25,{0.75 if n else 9}\n" for n in range(6))
    prepare.prepare(packed(tmp_path / "set.zip", {**GOOD, "clips.csv": table}), tmp_path / "made", name="set.zip")
    rows = sorted(rows_of(tmp_path / "made"), key=lambda row: row["caption"])
    assert [(row["caption"], row["start"], row["seconds"]) for row in rows] == [
        ("bar 0", 0.25, 0.75), *((f"bar {n}", 0.25, 0.5) for n in range(1, 6)),
    ]  # fmt: skip
    lines = "".join(json.dumps({"file_name": f"{n}.mp4", "text": f"bar {n}", "start": 5}) + "\n" for n in range(6))
    with pytest.raises(DataError, match="shorter than the times"):
        prepare.check(packed(tmp_path / "late.zip", {**GOOD, "metadata.jsonl": lines}), name="late.zip", work=tmp_path / "work")


def test_captions_beside_the_file_and_one_video_alone(tmp_path):
    files = {f"set/{name}": content for name, content in GOOD.items()} | {f"set/{n}.txt": f"bar {n}" for n in range(6)}
    made = prepare.prepare(packed(tmp_path / "set.zip", files), tmp_path / "made", name="set.zip", capability="video_generation")
    assert sorted(row["caption"] for row in rows_of(tmp_path / "made")) == [f"bar {n}" for n in range(6)]
    assert made.report.sufficiency.need == 500 and made.report.tokens_estimate == 6 * (96 * 72 // 256) * 5
    (tmp_path / "one.mp4").write_bytes(GOOD["0.mp4"])
    assert prepare.check(tmp_path / "one.mp4", name="one.mp4", work=tmp_path / "work").report.kind == "videos"


def test_the_same_video_twice_is_one_row_and_check_leaves_nothing(tmp_path):
    source, work = packed(tmp_path / "set.zip", {**GOOD, "copy.mp4": GOOD["0.mp4"]}), tmp_path / "work"
    report = prepare.check(source, name="set.zip", work=work).report
    assert report.duplicates_dropped == 1 and report.usable == 6 and not list(work.iterdir())


def test_of_several_kinds_those_that_are_most_are_taken(tmp_path):
    sink = io.BytesIO()
    Image.new("RGB", (80, 80)).save(sink, "PNG")
    source = packed(tmp_path / "set.zip", {**GOOD, "a.png": sink.getvalue()})
    report = prepare.check(source, name="set.zip", work=tmp_path / "work").report
    assert report.kind == "videos" and next(one for one in report.findings if one.code == "files_left_out").count == 1


@pytest.mark.parametrize("rotation", [0, 90, -90, 180])
def test_a_video_held_sideways_is_set_upright(tmp_path, rotation):
    """A white corner, top left as the picture is stored, lies where a player shows it."""
    picture = np.full((72, 96, 3), 10, np.uint8)
    picture[:20, :20] = 250
    path = tmp_path / "a.mp4"
    path.write_bytes(by_hand([picture] * 12, rotation=rotation))
    seen = next(reel.at_rate(path, 0.0, FPS, 1))
    found = clips.look(path, "a.mp4")
    assert seen.shape[:2] == ((96, 72) if rotation % 180 else (72, 96)) == (found.height, found.width)
    corner = {0: (0, 0), 90: (-1, 0), -90: (0, -1), 180: (-1, -1)}[rotation]
    assert seen[corner].mean() > 200 and sum(seen[a, b].mean() > 200 for a in (0, -1) for b in (0, -1)) == 1


def test_frames_are_taken_by_the_clock_whatever_the_rate(tmp_path):
    """Frames at uneven times, each of a brightness that tells its number."""
    path = tmp_path / "a.mp4"
    path.write_bytes(by_hand([np.full((64, 64, 3), 20 + 15 * number, np.uint8) for number in range(12)], times=UNEVEN))

    def numbers(start, fps, count):
        return [round((one.mean() - 20) / 15) for one in reel.at_rate(path, start, fps, count)]

    assert numbers(0.0, 10, 8) == [0, 1, 2, 2, 2, 2, 2, 3]
    assert numbers(0.7, 5, 3) == [3, 5, 7]
    assert numbers(1.4, 20, 6) == [10, 10, 11, 11, 11, 11], "the last one is held, and so are frames that are asked for too often"
    assert reel.length(path) == pytest.approx(1.6, abs=0.2)
