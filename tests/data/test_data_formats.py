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
PAIRED = "preferences", PAIR
HUMAN, GPT = {"from": "human", "value": "Hi?"}, {"from": "gpt", "value": "Hello."}


def checked(**check):
    return "checked", {"prompt": [ASK], **check}


def scored(score, said):
    return {"response": said, "overall_score": score}


ARENA = {"prompt": "x", "response_a": "Yes.", "response_b": "No.", "winner": "model_a"}
SEVERAL = {"prompt": "x", "completions": [scored(1, "a"), scored(2, "b")]}


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
        ({"prompt": "Hi? ", "prompt_id": "x", "chosen": [ASK, SAY], "rejected": [ASK, NO], "messages": [ASK, SAY]}, *PAIRED),
        ({"chosen": "\n\nHuman: Hi?\n\nAssistant: Hello.", "rejected": "\n\nHuman: Hi?\n\nAssistant: No."}, *PAIRED),
        ({"prompt": "Human: Hi?\n\nAssistant:", "chosen": " Hello.", "rejected": "No."}, *PAIRED),
        (
            {"conversations": [{"from": "human", "value": "Hi?"}], "chosen": GPT, "rejected": {"from": "gpt", "value": "No."}},
            *PAIRED,
        ),
        ({"input": {"messages": [ASK]}, "preferred_output": [SAY], "non_preferred_output": [NO]}, *PAIRED),
        ({"prompt": "Hi?", "response_a": "No.", "response_b": "Hello.", "winner": "model_b"}, *PAIRED),
        ({"prompt": "Hi?", "response_0": "Hello.", "response_1": "No.", "better_response_id": 0}, *PAIRED),
        ({"conversation_a": [ASK, SAY], "conversation_b": [ASK, NO], "winner": "A"}, *PAIRED),
        ({"instruction": "Hi?", "completions": [scored(1, "No."), scored(4.5, "Hello."), scored(2, "Hm.")]}, *PAIRED),
        ({"prompt": "Hi?", "completion": "Hello.", "label": "false"}, "kto", MARKED),
        ({"messages": [ASK, SAY], "label": False}, "kto", MARKED),
        (
            {"conversations": [{"from": "human", "value": "Hi?"}, {"from": "gpt", "value": "Hello."}], "kto_tag": False},
            "kto",
            MARKED,
        ),
        ({"messages": [ASK, SAY], "label": "greeting"}, "messages", CHAT),
        ({"prompt": "Hi?", "category": "x"}, "prompts", {"prompt": [ASK]}),
        ({"question": "Hi?", "tests": ["assert x"], "solution": "x = 1"}, *checked(tests=["assert x"], answer="x = 1")),
        ({"prompt": "Hi?", "schema": '{"type": "object"}'}, *checked(schema={"type": "object"})),
        ({"prompt": "Hi?", "schema": "CREATE TABLE x", "completion": "Hello."}, "prompt_completion", CHAT),
        ({"prompt": "Hi?", "regex": "[a-z]+"}, *checked(pattern="[a-z]+")),
        (
            {"question": "Hi?", "answer": "4", "metadata": {"source_dataset": "chain_sum"}},
            *checked(answer="4", task={"question": "Hi?", "answer": "4", "metadata": {"source_dataset": "chain_sum"}}),
        ),
        ({"question": "Hi?", "answer": "Hello.", "metadata": {"page": 3}}, "prompt_completion", CHAT),
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


@pytest.mark.parametrize(
    ("first", "later", "column"),
    [
        (PAIR, {"prompt": "x", "chosen": "Yes."}, "rejected"),
        (PAIR, {"prompt": "x", "chosen": [{"role": "assistant"}], "rejected": "No."}, "chosen[0].content"),
        (PAIR, {"prompt": "x", "chosen": [{"role": "poet", "content": "Yes."}], "rejected": "No."}, "chosen[0].role"),
        ({"prompt": "x", "completion": "y", "label": True}, {"prompt": "x", "completion": "y", "label": "maybe"}, "label"),
        ({"prompt": "x", "completion": "y", "label": 0}, {"prompt": "x", "label": 1}, "completion"),
        (ARENA, {**ARENA, "winner": "model_c"}, "winner"),
        (SEVERAL, {"prompt": "x", "completions": [scored(1, "a"), {"response": "b"}]}, "completions[1]"),
        (SEVERAL, {"prompt": "x", "completions": [scored(1, "a"), scored("many", "b")]}, "completions[1].overall_score"),
        (SEVERAL, {"prompt": "x", "completions": []}, "completions"),
        ({"prompt": "x", "tests": "assert 1"}, {"prompt": "x", "tests": 3}, "tests"),
        ({"prompt": "x", "pattern": "a+"}, {"prompt": "x", "pattern": "a("}, "pattern"),
        ({"prompt": "x", "schema": {}}, {"prompt": "x", "schema": "none"}, "schema"),
    ],
)
def test_a_preference_that_cannot_be_read_names_row_and_column(first, later, column):
    layout = detect([Record(Place(1), first)])
    with pytest.raises(DataError) as refused:
        to_row(Record(Place(9, "in.jsonl"), later), layout)
    assert refused.value.fields == {"row": 9, "column": column, "file": "in.jsonl"}
    assert "Row 9" in refused.value.sentence and column in refused.value.sentence


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
        ({"prompt": "x", "response_a": "Yes.", "response_b": "No.", "winner": "tie"}, "no_preference"),
        ({"prompt": "x", "completions": [scored(1, "a"), scored(1, "b")]}, "no_preference"),
        ({"chosen": [ASK, SAY], "rejected": [{**ASK, "content": "Bye?"}, SAY]}, "no_question"),
        ({"chosen": [ASK, SAY, ASK, SAY], "rejected": [ASK, SAY, {**ASK, "content": "Bye?"}, NO]}, "other_question"),
        ({"prompt": "x", "chosen": "", "rejected": "No."}, "empty_answer"),
        ({"messages": [ASK, SAY, ASK], "label": True}, "empty_answer"),
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
