"""Every layout becomes the same kind of row; what cannot be read names its row and column."""

import json

import pytest

from kriptik.data.doctor import inspect
from kriptik.data.formats import convert, layout_of
from kriptik.data.record import Place, Record
from kriptik.spec.errors import DataError

ASK, SAY = {"role": "user", "content": "Hi?"}, {"role": "assistant", "content": "Hello."}
CHAT = {"messages": [ASK, SAY]}


def row(value):
    record = Record(Place(1), value)
    return convert(record, layout_of([record])).row


@pytest.mark.parametrize(
    ("value", "format_", "expected"),
    [
        ({"messages": [ASK, SAY]}, "messages", CHAT),
        ([ASK, SAY], "messages", CHAT),
        ({"conversations": [{"from": "human", "value": "Hi?"}, {"from": "gpt", "value": "Hello."}]}, "sharegpt", CHAT),
        ({"instruction": "Hi?", "input": "", "output": "Hello."}, "alpaca", CHAT),
        ({"Question": "Hi?", "Answer": "Hello."}, "prompt_completion", CHAT),
        ({"q": "Hi?", "a": "Hello.", "id": 1}, "prompt_completion", CHAT),
        ({"text": "Once."}, "text", {"text": "Once."}),
        ("Once.", "text", {"text": "Once."}),
        (
            {"prompt": "Hi?", "chosen": "Hello.", "rejected": "No."},
            "preferences",
            {"prompt": [ASK], "chosen": [SAY], "rejected": [{"role": "assistant", "content": "No."}]},
        ),
        (
            {"prompt": "Hi?", "completion": "Hello.", "label": "false"},
            "kto",
            {"prompt": [ASK], "completion": [SAY], "label": False},
        ),
    ],
)
def test_layouts(value, format_, expected):
    assert layout_of([Record(Place(1), value)]).format == format_
    assert row(value) == expected


def test_alpaca_input_and_a_system_column_are_kept():
    asked = row({"instruction": "Sum up.", "input": "A long text.", "output": "Short."})["messages"][0]["content"]
    assert asked == "Sum up.\n\nA long text."
    turns = row({"system": "Be brief.", "messages": [ASK, SAY]})["messages"]
    assert turns[0] == {"role": "system", "content": "Be brief."}


def test_pairs_of_whole_conversations_share_their_beginning():
    no = {"role": "assistant", "content": "No."}
    assert row({"chosen": [ASK, SAY], "rejected": [ASK, no]}) == {"prompt": [ASK], "chosen": [SAY], "rejected": [no]}


def test_unknown_columns_are_named():
    with pytest.raises(DataError) as refused:
        layout_of([Record(Place(2), {"colour": "red", "size": 1})])
    assert "colour, size" in refused.value.sentence and refused.value.fields["columns"] == ["colour", "size"]


def test_a_missing_column_later_names_its_row(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "a?", "completion": "b"}\n{"prompt": "c?"}\n')
    with pytest.raises(DataError) as refused:
        inspect(path)
    assert refused.value.fields == {"row": 2, "column": "completion"}


def test_findings_count_and_show(tmp_path):
    path = tmp_path / "rows.jsonl"
    rows = [
        {"prompt": "Where do I write to?", "completion": "To anna.berg@example.com, please."},
        {"prompt": "Where do I write to?", "completion": "To anna.berg@example.com,   please."},
        {"prompt": "", "completion": "x"},
        {"prompt": "What is this?", "completion": "Broken ï¿½ \ufffd text."},
        {"prompt": "One?", "completion": "1"},
        {"prompt": "Two?", "completion": "2"},
    ]
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    report = inspect(path, capability="chat")
    found = {f.code: f for f in report.findings}
    assert (report.rows, report.usable, report.duplicates_dropped) == (6, 4, 1)
    assert found["personal"].fix == "mask_pii" and "anna.berg" not in report.model_dump_json()
    assert (found["damaged"].count == 1 and "empty_question" in found) or "no_question" in found
    assert report.sufficiency.tier == "too_few" and report.ready


def test_too_few_rows_are_an_error(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "a?", "completion": "b"}\n')
    assert not inspect(path).ready
