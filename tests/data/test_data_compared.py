"""Pairs of pictures or videos: named outright or by a label, each row checked with a word on it, before anything is trained."""

import json

import pyarrow
import pytest
from media_set import packed, rows_of
from pyarrow import parquet
from test_data_clips import encoded as clip
from test_data_images import GOOD, ODD, encoded, plain

from kriptik.data import prepare
from kriptik.spec.errors import DataError

NAMES = [f"{number}.png" for number in range(6)]
OUTRIGHT = [{"prompt": f"a colour, {n}", "chosen": NAMES[n], "rejected": NAMES[(n + 1) % 6]} for n in range(6)]
TIE, LOST = 0.5, "none"


def labelled(won=(1.0, 0.0, 1.0, 0.0, 1.0, 0.0)):
    """As Pick-a-Pic has them: of each two pictures the one with the smaller number won."""
    found = []
    for n, label in enumerate(won):
        sides = [NAMES[n], NAMES[(n + 1) % 6]]
        first, second = sides if label else sides[::-1]
        found.append({"caption": f"a colour, {n}", "jpg_0": first, "jpg_1": second, "label_0": label, "label_1": 1 - label})
    return found


def table_of(name, rows):
    if name.endswith(".jsonl"):
        return "".join(json.dumps(row) + "\n" for row in rows)
    lines = [",".join(rows[0]), *(",".join(f'"{cell}"' for cell in row.values()) for row in rows)]
    return "\n".join(lines) + "\n"


def prepared(folder, rows, name="pairs.jsonl", files=GOOD, home=""):
    packing = {f"{home}{one}": content for one, content in files.items()}
    source = packed(folder / "set.zip", {**packing, f"{home}{name}": table_of(name, rows)})
    return prepare.prepare(source, folder / "made", name="set.zip", capability="image_generation")


def sides(folder, row):
    return [(folder / "made" / row[f"{side}_image"]).read_bytes() for side in ("chosen", "rejected")]


@pytest.mark.parametrize("name", ["pairs.jsonl", "pairs.csv"])
@pytest.mark.parametrize("rows", [OUTRIGHT, labelled()], ids=["outright", "labelled"])
def test_pairs_of_pictures_come_from_a_table(tmp_path, rows, name):
    made = prepared(tmp_path, rows, name, home="set/")
    assert made.report.kind == made.report.format == "image_pairs" and made.report.usable == 6
    found = rows_of(tmp_path / "made", ("train",))
    assert len(found) == 6, "pairs that share a picture are on one side"
    for row in found:
        number = int(row["caption"].removeprefix("a colour, "))
        assert sides(tmp_path, row) == [GOOD[NAMES[number]], GOOD[NAMES[(number + 1) % 6]]]
        assert (row["width"], row["height"]) == (80, 72)
    assert made.report.tokens_estimate == 6 * (80 * 72 // 256)
    assert made.report.sufficiency.need == 500, "as for pairs, not as for pictures of a style"


def test_ties_identical_pictures_and_unusable_ones_are_left_out_with_a_word(tmp_path):
    rows = [*labelled(), {**labelled()[0], "label_0": TIE, "label_1": TIE}, {**labelled()[0], "label_0": None}]
    rows += [{**labelled()[0], "jpg_1": "copy.png"}, {**labelled()[0], "jpg_0": "damaged.png"}]
    rows += [{**labelled()[1], "has_label": False}]
    made = prepared(tmp_path, rows, files={**GOOD, "copy.png": GOOD["0.png"], "damaged.png": ODD["damaged.png"][0]})
    found = {one.code: one for one in made.report.findings}
    assert made.report.rows == 11 and made.report.usable == 6
    assert found["no_preference"].count == 3 and [one.row for one in found["no_preference"].examples] == [7, 8, 11]
    assert found["same_answers"].count == 1 and found["same_answers"].examples[0].row == 9
    assert found["picture_damaged"].examples[0].file == "pairs.jsonl" and found["picture_damaged"].examples[0].row == 10


def test_sides_of_other_shapes_are_said(tmp_path):
    files = {**GOOD, "wide.png": encoded(plain(7, (160, 72))), "large.png": encoded(plain(8, (160, 144)))}
    made = prepared(tmp_path, [*OUTRIGHT, *({**OUTRIGHT[0], "rejected": name} for name in ("wide.png", "large.png"))], files=files)
    (found,) = [one for one in made.report.findings if one.code == "pair_shapes"]
    assert found.count == 1 and found.examples[0].row == 7, "a larger picture of the same shape is only scaled"


@pytest.mark.parametrize(
    ("rows", "code", "said"),
    [
        ([*OUTRIGHT, {**OUTRIGHT[0], "chosen": "lost.png"}], "no_such_media", "Row 7 of pairs.jsonl names 'lost.png'"),
        ([*OUTRIGHT, {**OUTRIGHT[0], "chosen": ""}], "no_such_media", "Row 7 of pairs.jsonl names ''"),
        ([*labelled(), {**labelled()[0], "label_0": LOST}], "bad_label", "column 'label_0'"),
    ],
)
def test_a_row_that_cannot_be_meant_is_named(tmp_path, rows, code, said):
    with pytest.raises(DataError) as error:
        prepared(tmp_path, rows)
    assert error.value.code == code and said in error.value.sentence and error.value.fields["row"] == 7


@pytest.mark.parametrize("how", ["pick-a-pic", "hub"])
def test_a_parquet_file_that_holds_its_pairs(tmp_path, how):
    content = [GOOD[name] for name in NAMES]
    if how == "hub":
        cells = [{"bytes": one, "path": None} for one in content]
        columns = {"prompt": [row["prompt"] for row in OUTRIGHT], "chosen": cells, "rejected": cells[1:] + cells[:1]}
    else:
        rows = labelled()
        columns = {name: [GOOD[row[name]] for row in rows] for name in ("jpg_0", "jpg_1")}
        columns |= {name: [row[name] for row in rows] for name in ("caption", "label_0", "label_1")}
        columns |= {"image_0_uid": [f"{n}" for n in range(6)], "has_label": [True] * 6, "ranking_id": list(range(6))}
    parquet.write_table(pyarrow.table(columns), tmp_path / "set.parquet")
    made = prepare.prepare(tmp_path / "set.parquet", tmp_path / "made", name="set.parquet", capability="image_generation")
    assert made.report.kind == "image_pairs" and made.report.usable == 6
    for row in rows_of(tmp_path / "made", ("train",)):
        number = int(row["caption"].removeprefix("a colour, "))
        assert sides(tmp_path, row) == [content[number], content[(number + 1) % 6]]


def test_a_table_of_answers_about_pictures_is_none_of_pairs(tmp_path):
    rows = [{"image": name, "prompt": "Which colour?", "chosen": f"number {n}", "rejected": "none"} for n, name in enumerate(NAMES)]
    assert prepared(tmp_path, rows).report.kind == "image_preferences"


def test_pairs_of_videos(tmp_path):
    files = {f"{n}.mp4": clip(n) for n in range(6)}
    rows = [{"prompt": f"a bar, {n}", "chosen": f"{n}.mp4", "rejected": f"{(n + 1) % 6}.mp4"} for n in range(6)]
    made = prepared(tmp_path, rows, files=files)
    assert made.report.kind == "video_pairs" and made.report.usable == 6
    for row in rows_of(tmp_path / "made", ("train",)):
        number = int(row["caption"].removeprefix("a bar, "))
        assert (tmp_path / "made" / row["chosen_video"]).read_bytes() == files[f"{number}.mp4"]
        assert (row["width"], row["height"], row["seconds"]) == (96, 72, 1.0)
    assert made.report.preview[0]["strip"].startswith("data:image/jpeg")
