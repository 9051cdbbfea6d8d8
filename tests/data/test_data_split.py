"""Held-out rows share nothing with training rows, whatever the rows are; preparing twice gives the same files."""

import json
import random
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kriptik.data.prepare import prepare
from kriptik.data.split import assign, group, marks_of, overlap
from kriptik.spec.errors import DataError

WORDS = st.sampled_from(["roof", "wall", "floor", "paint", "price", "guarantee", "window", "door", "permit", "garden"])
TEXT = st.lists(WORDS, min_size=1, max_size=8).map(" ".join)


@given(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=120), st.integers(0, 5))
def test_no_question_or_answer_on_both_sides(rows, seed):
    marks = [marks_of(q, a) for q, a in rows]
    sides, _ = assign(group(marks)[0], seed)
    assert overlap(marks, sides) == 0
    train = {" ".join(q.split()) for (q, _), side in zip(rows, sides, strict=True) if side == "train"}
    held = {" ".join(q.split()) for (q, _), side in zip(rows, sides, strict=True) if side != "train"}
    assert not train & held
    assert sides == assign(group(marks)[0], seed)[0]


def test_case_and_punctuation_do_not_hide_a_repetition():
    one, two = marks_of("What is a ROOF?", "A cover."), marks_of("what is a roof", "a cover")
    assert one.whole == two.whole


def test_near_duplicates_stay_together():
    base = "we paint the whole house inside and outside including every window door and the small garden wall behind it"
    marks = [marks_of("Do you paint?", base), marks_of("Will you paint for me?", base + " too")]
    chance = random.Random(0)
    others = [" ".join(chance.choices(base.split(), k=20)) for _ in range(40)]
    marks += [marks_of(f"Question {n}?", text) for n, text in enumerate(others)]
    groups, near = group(marks)
    assert near == 1 and groups.of(0) == groups.of(1)


def rows_file(path, count=100):
    said = "Thing {n} is number {n} of the list of things."
    lines = [{"prompt": f"What about thing {n}?", "completion": said.format(n=n)} for n in range(count)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_prepared_files_are_repeatable_and_complete(tmp_path):
    source = rows_file(tmp_path / "rows.jsonl")
    one = prepare(source, tmp_path / "one", seed=3)
    two = prepare(source, tmp_path / "two", seed=3)
    assert (one.train_sha256, one.eval_sha256) == (two.train_sha256, two.eval_sha256)
    assert one.settings_key == two.settings_key != prepare(source, tmp_path / "three", seed=4).settings_key
    rows = [json.loads(line) for p in (one.train_path, one.eval_path) for line in Path(p).read_text().splitlines()]
    assert len(rows) == 100 and all(row["key"] and row["messages"][1]["role"] == "assistant" for row in rows)
    assert one.report.eval_rows == 20 and one.ref().overlap_rows == 0


def test_a_zip_is_prepared_like_its_file(tmp_path):
    source = rows_file(tmp_path / "rows.jsonl")
    with zipfile.ZipFile(tmp_path / "rows.zip", "w") as archive:
        archive.write(source, "rows.jsonl")
    assert prepare(tmp_path / "rows.zip", tmp_path / "z").train_sha256 == prepare(source, tmp_path / "f").train_sha256


def test_fixes_change_rows_and_nothing_else(tmp_path):
    path = tmp_path / "rows.jsonl"
    rows_file(path, 30)
    with path.open("a") as handle:
        handle.write(json.dumps({"prompt": "Who?", "completion": "Ask anna@example.com about all of it."}) + "\n")
    made = prepare(path, tmp_path / "m", fixes=["mask_pii"])
    text = "".join(Path(getattr(made, f"{s}_path")).read_text() for s in ("train", "eval"))
    assert "anna@" not in text and "[e-mail]" in text


def test_bad_rows_leave_no_folder(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "a?", "completion": "b"}\n' * 3 + "{oops\n")
    with pytest.raises(DataError) as refused:
        prepare(path, tmp_path / "out")
    assert refused.value.fields["row"] == 4
    assert [p.name for p in tmp_path.iterdir()] == ["rows.jsonl"]
