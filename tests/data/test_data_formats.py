"""Every layout becomes the same kind of row; what cannot be read names its row and column."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kriptik.data.formats import SYNONYMS, detect, to_row
from kriptik.data.record import Place, Record
from kriptik.spec.errors import DataError

ASK, SAY = {"role": "user", "content": "Hi?"}, {"role": "assistant", "content": "Hello."}
NO = {"role": "assistant", "content": "No."}
MARKED = {"prompt": [ASK], "completion": [SAY], "label": False}
CHAT = {"messages": [ASK, SAY]}
PAIR = {"prompt": [ASK], "chosen": [SAY], "rejected": [NO]}


def made(value):
    record = Record(Place(1), value)
    return to_row(record, detect([record]))


@pytest.mark.parametrize(
    ("value", "format_", "expected"),
    [
        ({"messages": [ASK, SAY]}, "messages", CHAT),
        ({"messages": json.dumps([ASK, SAY])}, "messages", CHAT),
        ([ASK, SAY], "messages", CHAT),
        ({"conversations": [{"from": "human", "value": "Hi?"}, {"from": "gpt", "value": "Hello."}]}, "sharegpt", CHAT),
        ({"instruction": "Hi?", "input": "", "output": "Hello."}, "alpaca", CHAT),
        ({"Question": "Hi?", "Answer": "Hello."}, "prompt_completion", CHAT),
        ({"q": "Hi?", "a": "Hello.", "id": 1}, "prompt_completion", CHAT),
        ({"Customer Message": "Hi?", "agent-response": "Hello."}, "prompt_completion", CHAT),
        ({"prompt": [ASK], "completion": [SAY]}, "prompt_completion", CHAT),
        ({"input": "Hi?", "output": "Hello."}, "prompt_completion", CHAT),
        ({"text": "Once."}, "text", {"text": "Once."}),
        ("Once.", "text", {"text": "Once."}),
        ({"prompt": "Hi?", "chosen": "Hello.", "rejected": "No."}, "preferences", PAIR),
        ({"chosen": [ASK, SAY], "rejected": [ASK, NO]}, "preferences", PAIR),
        ({"prompt": [ASK], "chosen": [ASK, SAY], "rejected": [ASK, NO]}, "preferences", PAIR),
        ({"prompt": "Hi?", "completion": "Hello.", "label": "false"}, "kto", MARKED),
    ],
)
def test_layouts(value, format_, expected):
    assert detect([Record(Place(1), value)]).format == format_
    assert made(value).row == expected


@given(
    st.sampled_from(SYNONYMS["prompt"]),
    st.sampled_from(SYNONYMS["completion"]),
    st.lists(st.sampled_from(["id", "category", "date", "source_url"]), unique=True),
    st.sampled_from([str.lower, str.upper, str.title]),
)
def test_any_pair_of_names_for_question_and_answer(prompt, completion, others, case):
    value = {**dict.fromkeys(others, "x"), case(prompt): "Hi?", case(completion): "Hello."}
    assert made(value).row == CHAT


TURN = st.fixed_dictionaries({"role": st.sampled_from(["system", "user", "assistant"]), "content": st.text(max_size=20)})


@given(st.lists(TURN, max_size=8))
def test_a_conversation_is_usable_or_says_why(turns):
    row = made({"messages": turns or [{"role": "user", "content": ""}]})
    assert (row.row is None) == (row.problem is not None)
    if row.row:
        roles = [turn["role"] for turn in row.row["messages"] if turn["role"] != "system"]
        assert roles == ["user", "assistant"] * (len(roles) // 2), "questions and answers take turns, an answer is last"


def test_alpaca_input_history_and_a_system_column_are_kept():
    value = {"instruction": "Sum up.", "input": "A long text.", "output": "Short."}
    value |= {"history": [["Hi?", "Hello."]], "system": "Be brief."}
    assert [turn["content"] for turn in made(value).row["messages"]] == [
        *("Be brief.", "Hi?", "Hello.", "Sum up.\n\nA long text.", "Short.")
    ]


def test_a_rating_that_is_no_mark_does_not_make_feedback():
    value = {"prompt": "Hi?", "completion": "Hello.", "rating": "4.5"}
    assert detect([Record(Place(1), value)]).format == "prompt_completion"


def test_unknown_columns_are_named_with_those_needed():
    with pytest.raises(DataError) as refused:
        made({"colour": "red", "size": 1})
    assert "'colour', 'size'" in refused.value.sentence and refused.value.fields["found"] == ["colour", "size"]
    assert "prompt and completion" in refused.value.next_step


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({"prompt": " ", "completion": "x"}, "empty_question"),
        ({"prompt": "x", "completion": None}, "empty_answer"),
        ({"prompt": "x", "chosen": "Yes.", "rejected": "Yes."}, "same_answers"),
        ({"messages": [ASK]}, "no_answer"),
        ({"messages": [SAY]}, "no_question"),
        ({"text": "  "}, "empty_row"),
    ],
)
def test_useless_rows_say_why(value, problem):
    assert made(value).problem == problem


@pytest.mark.parametrize(
    ("later", "column"),
    [
        ({"prompt": "c?"}, "completion"),
        ({"prompt": {"a": 1}, "completion": "x"}, "prompt"),
        ("bare", None),
    ],
)
def test_a_row_that_does_not_follow_the_others_is_named(later, column):
    layout = detect([Record(Place(1), {"prompt": "a?", "completion": "b"})])
    with pytest.raises(DataError) as refused:
        to_row(Record(Place(7, "in.jsonl"), later), layout)
    assert refused.value.fields["row"] == 7 and refused.value.fields.get("column") == column
    assert "Row 7" in refused.value.sentence and "in.jsonl" in refused.value.sentence
