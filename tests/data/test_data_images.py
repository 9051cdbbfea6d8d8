"""Pictures of a data set: bad ones refused, odd ones converted, each with a word on it, before anything is trained."""

import io
import json
import struct
import zlib

import pyarrow
import pytest
from media_set import packed, rows_of
from PIL import Image
from pyarrow import parquet

from kriptik.data import images, prepare
from kriptik.spec.errors import DataError


def encoded(picture, kind="PNG", **options):
    sink = io.BytesIO()
    picture.save(sink, format=kind, **options)
    return sink.getvalue()


def plain(number=0, size=(80, 72), mode="RGB"):
    colour = (number * 37 % 256, number * 91 % 256, 60)
    return Image.new("RGB", size, colour).convert(mode)


def bomb():
    """A PNG that says it is 60,000 × 60,000 pixels."""
    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", head), (b"IDAT", zlib.compress(b"\0" * 1000)), (b"IEND", b"")]
    body = b"".join(struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in parts)
    return b"\x89PNG\r\n\x1a\n" + body


def deep():
    picture = Image.new("I;16", (80, 80))
    picture.putdata([number * 10 % 65_536 for number in range(6400)])
    return encoded(picture)


def animated():
    return encoded(plain(41), "GIF", save_all=True, append_images=[plain(42), plain(43)])


GOOD = {f"{number}.png": encoded(plain(number)) for number in range(6)}
ODD = {
    "damaged.png": (encoded(plain(9))[:60], "picture_damaged", False),
    "text.jpg": (b"no picture at all", "picture_damaged", False),
    "dot.png": (encoded(Image.new("RGB", (1, 1))), "picture_tiny", False),
    "bomb.png": (bomb(), "picture_bomb", False),
    "print.jpg": (encoded(plain(45, mode="CMYK"), "JPEG"), "picture_converted", True),
    "glass.png": (encoded(Image.new("RGBA", (70, 70), (255, 0, 0, 0))), "picture_converted", True),
    "deep.png": (deep(), "picture_converted", True),
    "moving.gif": (animated(), "picture_animated", True),
    "named.png": (encoded(plain(47), "JPEG"), "picture_renamed", True),
}


@pytest.mark.parametrize("name", list(ODD))
def test_odd_pictures_are_refused_or_converted_with_a_word(tmp_path, name):
    content, code, usable = ODD[name]
    source = packed(tmp_path / "set.zip", {**GOOD, name: content})
    made = prepare.prepare(source, tmp_path / "made", name="set.zip")
    finding = next(one for one in made.report.findings if one.code == code)
    assert finding.count == 1 and finding.examples[0].file == name
    assert made.report.rows == 7 and made.report.usable == 6 + usable
    for row in rows_of(tmp_path / "made"):
        with Image.open(tmp_path / "made" / row["image"]) as picture:
            picture.load()
            assert picture.mode == "RGB" and picture.size == (row["width"], row["height"])


def test_what_is_seen_through_is_white_and_deep_pictures_keep_their_greys(tmp_path):
    (tmp_path / "glass.png").write_bytes(ODD["glass.png"][0])
    with Image.open(io.BytesIO(images.look(tmp_path / "glass.png", "glass.png").content)) as picture:
        assert picture.getpixel((3, 3)) == (255, 255, 255)
    (tmp_path / "deep.png").write_bytes(ODD["deep.png"][0])
    with Image.open(io.BytesIO(images.look(tmp_path / "deep.png", "deep.png").content)) as picture:
        assert picture.getpixel((79, 79))[0] == pytest.approx(6399 * 10 / 257, abs=1.5)


def test_a_picture_held_sideways_is_set_upright(tmp_path):
    picture = plain(3, size=(100, 70))
    exif = picture.getexif()
    exif[0x0112] = 6
    (tmp_path / "a.jpg").write_bytes(encoded(picture, "JPEG", exif=exif))
    found = images.look(tmp_path / "a.jpg", "a.jpg")
    assert (found.width, found.height) == (70, 100) and found.suffix == ".png"


@pytest.mark.parametrize("how", ["metadata.jsonl", "captions.csv", "texts"])
def test_captions_from_a_table_or_beside_the_picture(tmp_path, how):
    files = {f"set/{name}": content for name, content in GOOD.items()}
    if how == "texts":
        files |= {f"set/{number}.txt": f"picture {number}" for number in range(6)}
    elif how.endswith(".csv"):
        files["set/captions.csv"] = "image,caption\n" + "".join(f"{number}.png,picture {number}\n" for number in range(6))
    else:
        files["set/metadata.jsonl"] = "".join(
            json.dumps({"file_name": f"{number}.png", "text": f"picture {number}"}) + "\n" for number in range(6)
        )
    made = prepare.prepare(packed(tmp_path / "set.zip", files), tmp_path / "made", name="set.zip")
    rows = rows_of(tmp_path / "made")
    assert sorted(row["caption"] for row in rows) == [f"picture {number}" for number in range(6)]
    assert made.report.kind == "images" and "picture_no_caption" not in {one.code for one in made.report.findings}


def test_the_same_picture_twice_is_one_row_and_check_leaves_nothing(tmp_path):
    source = packed(tmp_path / "set.zip", {**GOOD, "copy of 0.png": GOOD["0.png"]})
    work = tmp_path / "work"
    checked = prepare.check(source, name="set.zip", work=work, capability="image_generation")
    assert checked.report.duplicates_dropped == 1 and checked.report.usable == 6
    assert not list(work.iterdir())
    assert checked.report.tokens_estimate == 6 * (80 * 72 // 256)


def test_nothing_but_bad_pictures_is_refused(tmp_path):
    source = packed(tmp_path / "set.zip", {"a.png": b"x", "b.png": ODD["dot.png"][0]})
    with pytest.raises(DataError, match="None of the 2 rows"):
        prepare.check(source, name="set.zip", work=tmp_path / "work")


def test_pairs_of_texts(tmp_path):
    lines = [{"query": f"question {n}", "positive": f"answer {n}", "negatives": [f"other {n}", f"answer {n}"]} for n in range(20)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
    made = prepare.prepare(tmp_path / "pairs.jsonl", tmp_path / "made", name="pairs.jsonl", capability="embeddings")
    assert made.report.kind == "pairs" and made.report.usable == 20
    row = rows_of(tmp_path / "made")[0]
    assert row["negatives"] == [row["positive"].replace("answer", "other")]


QUESTIONS = {
    "columns": ("rows.jsonl", [{"image": f"{n}.png", "question": "Which colour?", "answer": f"number {n}"} for n in range(6)]),
    "llava": ("rows.json", [
        {"image": f"{n}.png", "conversations": [
            {"from": "human", "value": "<image>\nWhich colour?"}, {"from": "gpt", "value": f"number {n}"}]}
        for n in range(6)
    ]),
    "openai": ("rows.jsonl", [
        {"messages": [
            {"role": "user", "content": [
                {"type": "image_url", "image_url": {"url": f"{n}.png"}}, {"type": "text", "text": "\nWhich colour?"}]},
            {"role": "assistant", "content": f"number {n}"}]}
        for n in range(6)
    ]),
    "list": ("rows.jsonl", [
        {"images": [f"{n}.png"], "messages": [
            {"role": "user", "content": "Which colour?"}, {"role": "assistant", "content": f"number {n}"}]}
        for n in range(6)
    ]),
}  # fmt: skip


def archive_of(folder, name, rows, **more):
    table = json.dumps(rows) if name.endswith(".json") else "".join(json.dumps(row) + "\n" for row in rows)
    return packed(folder / "set.zip", {**GOOD, **more, name: table.encode()})


@pytest.mark.parametrize("shape", QUESTIONS)
def test_questions_about_pictures_become_the_same_rows(tmp_path, shape):
    source = archive_of(tmp_path, *QUESTIONS[shape])
    made = prepare.prepare(source, tmp_path / "made", name="set.zip", capability="multimodal")
    assert made.report.kind == "image_messages" and made.report.usable == 6
    rows = rows_of(tmp_path / "made")
    assert len({row["key"] for row in rows}) == 6, "the same question about other pictures does not tie rows together"
    for row in rows:
        assert row["messages"][0] == {"role": "user", "content": "<image>\nWhich colour?"}
        (name,) = row["images"]
        number = int(row["messages"][1]["content"].removeprefix("number "))
        assert (tmp_path / "made" / name).read_bytes() == GOOD[f"{number}.png"]


def test_rows_with_pictures_that_cannot_be_used_are_named(tmp_path):
    name, rows = QUESTIONS["columns"]
    odd = ("dot.png", "print.jpg")
    bad = [{"image": one, "question": "Which?", "answer": f"the {one}"} for one in odd]
    source = archive_of(tmp_path, name, [*rows, *bad], **{one: ODD[one][0] for one in odd})
    made = prepare.prepare(source, tmp_path / "made", name="set.zip", capability="multimodal")
    found = {one.code: one.examples[0] for one in made.report.findings if one.examples}
    assert found["picture_tiny"].row == 7 and found["picture_tiny"].file == "rows.jsonl"
    assert made.report.usable == 7 and "picture_converted" in found


def test_a_picture_that_is_not_packed_is_said(tmp_path):
    name, rows = QUESTIONS["columns"]
    source = archive_of(tmp_path, name, [*rows, {"image": "lost.png", "question": "Which?", "answer": "none"}])
    with pytest.raises(DataError) as refused:
        prepare.prepare(source, tmp_path / "made", name="set.zip", capability="multimodal")
    assert refused.value.code == "no_such_media" and "lost.png" in refused.value.sentence


def test_questions_about_one_picture_stay_on_one_side(tmp_path):
    rows = [{"image": f"{n}.png", "question": f"Question {m}?", "answer": f"{n * m}"} for n in range(6) for m in range(4)]
    prepare.prepare(archive_of(tmp_path, "rows.jsonl", rows), tmp_path / "made", name="set.zip", capability="multimodal")
    sides = [{row["images"][0] for row in rows_of(tmp_path / "made", (part,))} for part in ("train", "eval")]
    assert not sides[0] & sides[1] and all(sides)


def test_pairs_of_answers_about_pictures(tmp_path):
    rows = [{"image": f"{n}.png", "prompt": "Which colour?", "chosen": f"number {n}", "rejected": "none"} for n in range(6)]
    made = prepare.prepare(archive_of(tmp_path, "rows.jsonl", rows), tmp_path / "made", name="set.zip", capability="multimodal")
    assert made.report.kind == "image_preferences"
    row = rows_of(tmp_path / "made")[0]
    assert row["prompt"][0]["content"].startswith("<image>\n") and row["images"] and row["rejected"][0]["content"] == "none"


def test_a_parquet_file_that_holds_its_pictures(tmp_path):
    cells = [{"bytes": GOOD[f"{n}.png"], "path": None} for n in range(6)]
    turns = [[{"role": "user", "content": "Which colour?"}, {"role": "assistant", "content": f"number {n}"}] for n in range(6)]
    parquet.write_table(pyarrow.table({"images": [[one] for one in cells], "messages": turns}), tmp_path / "asked.parquet")
    made = prepare.prepare(tmp_path / "asked.parquet", tmp_path / "a", name="asked.parquet", capability="multimodal")
    assert made.report.kind == "image_messages" and made.report.usable == 6
    for row in rows_of(tmp_path / "a"):
        number = int(row["messages"][1]["content"].removeprefix("number "))
        assert (tmp_path / "a" / row["images"][0]).read_bytes() == GOOD[f"{number}.png"]
    bad = [*cells, {"bytes": b"no picture", "path": "x.png"}]
    parquet.write_table(pyarrow.table({"image": bad, "text": [f"number {n}" for n in range(7)]}), tmp_path / "captions.parquet")
    made = prepare.prepare(tmp_path / "captions.parquet", tmp_path / "c", name="captions.parquet", capability="image_generation")
    assert made.report.kind == "images" and made.report.usable == 6
    rows = rows_of(tmp_path / "c")
    assert {row["caption"] for row in rows} == {f"number {n}" for n in range(6)}
