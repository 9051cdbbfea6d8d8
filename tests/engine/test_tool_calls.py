"""Rows with tools: from each way in which files write calls to what is learnt of them.

The assistant's calls and answers are learnt; which tools there are, and what they gave, is only read.
"""

import json

import pytest
import tiny
from typer.testing import CliRunner

from kriptik.cli.data import app
from kriptik.data.checks.rows import bad_tool_call
from kriptik.data.formats import detect, to_row
from kriptik.data.record import Place, Record
from kriptik.engine.text.chat import encode_prompt, encode_row, render
from kriptik.engine.text.forms import documents_of, encode_form
from kriptik.pipeline.job import sample_of

TEMPLATE = (
    "{% if tools %}{{ '<|im_start|>system\nTools:' }}{% for tool in tools %}{{ ' ' + (tool | tojson) }}{% endfor %}"
    "{{ '<|im_end|>\n' }}{% endif %}"
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + (message['content'] or '') }}"
    "{% for call in message['tool_calls'] or [] %}"
    "{{ '<tool_call>' + call['function']['name'] + ' ' + call['function']['arguments'] + '</tool_call>' }}{% endfor %}"
    "{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""Writes tools and calls, as templates of models that call tools do."""
JOINED = "call['function']['name'] + ' ' + call['function']['arguments'] + '</tool_call>'"
WRITERS = {
    "joined": TEMPLATE,
    "tojson": TEMPLATE.replace(JOINED, JOINED.replace("['arguments']", "['arguments'] | tojson")),
    "printed": TEMPLATE.replace(JOINED, "call['function']['name'] }} {{ call['function']['arguments'] }}{{ '</tool_call>'"),
}
"""Three ways to write arguments: put together as text (DeepSeek R1), by `tojson` (Qwen 2.5, Llama 3.1), and as they stand."""
TOOL = {
    "type": "function",
    "function": {"name": "hash", "description": "Hash a text.", "parameters": {"type": "object", "properties": {}}},
}
ARGUMENTS = '{"text": "list"}'
CALL = {"id": "c1", "type": "function", "function": {"name": "hash", "arguments": ARGUMENTS}}
ASKED, GAVE, ENDS = "Hash the list.", '{"hash": "9f2c"}', "It is 9f2c."
OPENAI = {
    "messages": [
        {"role": "user", "content": ASKED},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c1", "content": GAVE},
        {"role": "assistant", "content": ENDS},
    ],
    "tools": [TOOL],
}
OLDER = {
    "messages": [
        {"role": "user", "content": ASKED},
        {"role": "assistant", "content": None, "function_call": {"name": "hash", "arguments": ARGUMENTS}},
        {"role": "function", "name": "hash", "content": GAVE},
        {"role": "assistant", "content": ENDS},
    ],
    "functions": [TOOL["function"]],
}
SHAREGPT = {
    "conversations": [
        {"from": "human", "value": ASKED},
        {"from": "function_call", "value": json.dumps({"name": "hash", "arguments": json.loads(ARGUMENTS)})},
        {"from": "observation", "value": GAVE},
        {"from": "gpt", "value": ENDS},
    ],
    "tools": json.dumps([TOOL["function"]]),
}
CALLED = f"<tool_call>hash {ARGUMENTS}</tool_call>"
WAYS = pytest.mark.parametrize(
    ("written", "format_"), [(OPENAI, "messages"), (OLDER, "messages"), (SHAREGPT, "sharegpt")], ids=["openai", "older", "sharegpt"]
)


@pytest.fixture(scope="module", params=WRITERS)
def tokenizer(request):
    found = tiny.tiny_tokenizer()
    found.chat_template = WRITERS[request.param]
    return found


def row_of(written):
    record = Record(Place(1), written)
    layout = detect([record])
    return layout.format, to_row(record, layout)


def parted(tokenizer, tokens):
    """(what is learnt, what is only read)."""
    return tuple(
        tokenizer.decode([i for i, on in zip(tokens.ids, tokens.learnt, strict=True) if on is wanted]) for wanted in (True, False)
    )


@WAYS
def test_calls_are_learnt_and_what_tools_give_is_not(tokenizer, written, format_):
    found, made = row_of(written)
    assert found == format_ and made.problem is None and not made.notes
    assert made.row["tools"] == [TOOL] and not bad_tool_call(made.row["messages"])
    (call,) = made.row["messages"][1]["tool_calls"]
    assert call["function"] == CALL["function"]
    tokens = encode_row(tokenizer, made.row, 0, 500)
    learnt, read = parted(tokenizer, tokens)
    assert learnt == f"{CALLED}<|im_end|>{ENDS}<|im_end|>"
    assert GAVE in read and ASKED in read and "Hash a text." in read and "tool_call" not in read
    assert tokenizer.decode(tokens.ids) == render(tokenizer, made.row["messages"], 0, ask=False, tools=[TOOL])


def test_several_calls_at_once_are_all_learnt(tokenizer):
    other = {"id": "c2", "type": "function", "function": {"name": "wrap", "arguments": "{}"}}
    user, calling, gave, ends = OPENAI["messages"]
    calling = {**calling, "content": "Both.", "tool_calls": [CALL, other]}
    written = {**OPENAI, "messages": [user, calling, gave, {**gave, "tool_call_id": "c2", "content": "done"}, ends]}
    made = row_of(written)[1]
    assert [turn["role"] for turn in made.row["messages"]] == ["user", "assistant", "tool", "tool", "assistant"]
    learnt, read = parted(tokenizer, encode_row(tokenizer, made.row, 0, 500))
    assert learnt == f"Both.{CALLED}<tool_call>wrap {{}}</tool_call><|im_end|>{ENDS}<|im_end|>" and "done" in read


def test_a_call_of_weight_0_is_only_read(tokenizer):
    user, calling, *rest = OPENAI["messages"]
    made = row_of({**OPENAI, "messages": [user, {**calling, "weight": 0}, *rest]})[1]
    learnt, read = parted(tokenizer, encode_row(tokenizer, made.row, 0, 500))
    assert learnt == f"{ENDS}<|im_end|>" and CALLED in read


def test_training_sees_the_tokens_of_the_prompt_that_names_the_tools(tokenizer):
    row = row_of(OPENAI)[1].row
    ids = encode_row(tokenizer, row, 0, 500).ids
    for asked in (1, 3):
        prompt = render(tokenizer, row["messages"][:asked], 0, ask=True, tools=row["tools"])
        prompt_ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        assert "Hash a text." in prompt and ids[: len(prompt_ids)] == prompt_ids


def test_a_file_is_shown_as_it_would_be_learnt(tmp_path):
    base = tiny.tiny_model(tmp_path / "base")
    (base / "chat_template.jinja").write_text(TEMPLATE)
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(SHAREGPT).replace("the list", f"the list {n}") + "\n" for n in range(4)))
    done = CliRunner().invoke(app, ["show", str(path), "--model", str(base), "--rows", "4", "--json"])
    lines = json.loads(done.output)
    assert len(lines) == 4
    for line in lines:
        parts = {kind: "".join(p["text"] for p in line["parts"] if p["kind"] == kind) for kind in ("context", "learnt", "end")}
        assert parts["learnt"] == CALLED + ENDS and parts["end"] == "<|im_end|>" * 2
        assert GAVE in parts["context"] and "Hash a text." in parts["context"]


PAIR = {
    "prompt": [{"role": "user", "content": ASKED}],
    "chosen": [{"role": "assistant", "content": None, "tool_calls": [CALL]}],
    "rejected": [{"role": "assistant", "content": "I cannot do that."}],
    "tools": [TOOL],
}
OPENAI_PAIR = {
    "input": {"messages": PAIR["prompt"], "tools": [TOOL], "parallel_tool_calls": True},
    "preferred_output": PAIR["chosen"],
    "non_preferred_output": PAIR["rejected"],
}
MARKED = {"prompt": PAIR["prompt"], "completion": PAIR["chosen"], "label": True, "tools": [TOOL]}
ASKING = {"prompt": PAIR["prompt"], "tools": json.dumps([TOOL])}
TASK = {"prompt": PAIR["prompt"], "pattern": "9f2c", "tools": [TOOL]}


@pytest.mark.parametrize(
    ("written", "form", "ends"),
    [
        (PAIR, "preference", [CALLED, "I cannot do that."]),
        (OPENAI_PAIR, "preference", [CALLED, "I cannot do that."]),
        (PAIR, "ranked", [CALLED, "I cannot do that."]),
        (MARKED, "feedback", [CALLED]),
        (ASKING, "prompt", [""]),
        (TASK, "prompt", [""]),
        (OPENAI, "prompt", [GAVE]),
    ],
    ids=["pair", "openai-pair", "ranked", "marked", "prompt", "checked", "conversation"],
)
def test_every_form_of_row_names_its_tools(tokenizer, written, form, ends):
    encoded = encode_form(tokenizer, row_of(written)[1].row, 0, form, 500)
    texts = [tokenizer.decode(one["ids"]) for one in documents_of(encoded)]
    assert len(texts) == len(ends)
    for text, end in zip(texts, ends, strict=True):
        assert text.count("Hash a text.") == 1 and end in text and ASKED in text


def test_two_calls_that_differ_are_no_same_answers():
    other = {**CALL, "function": {**CALL["function"], "arguments": "{}"}}
    made = row_of({**PAIR, "rejected": [{"role": "assistant", "content": None, "tool_calls": [other]}]})[1]
    assert made.problem is None
    assert row_of({**PAIR, "rejected": PAIR["chosen"]})[1].problem == "same_answers"


def test_a_held_out_prompt_names_its_tools_and_expects_the_call(tokenizer):
    row = row_of({"messages": OPENAI["messages"][:2], "tools": [TOOL]})[1].row
    sample = sample_of(row)
    assert sample is not None and json.loads(sample.expected) == {"name": "hash", "arguments": json.loads(ARGUMENTS)}
    ids = encode_prompt(tokenizer, list(sample.messages), tools=sample.tools)
    assert ids == encode_row(tokenizer, row, 0, 500).ids[: len(ids)]


def test_without_a_template_calls_are_said_in_plain_lines():
    plain = tiny.tiny_tokenizer()
    plain.chat_template = None
    row = row_of(OPENAI)[1].row
    learnt, _ = parted(plain, encode_row(plain, row, 0, 500))
    assert '"arguments": {"text": "list"}' in learnt and ENDS in learnt


@pytest.mark.parametrize(
    ("calls", "bad"),
    [("hash", True), (["hash"], True), ([7], True), ({"name": "hash"}, False), ([{"name": "hash", "arguments": {"n": 1}}], False)],
)
def test_calls_that_are_none_are_kept_for_the_doctor_and_break_nothing(tokenizer, calls, bad):
    turn = {"role": "assistant", "content": "Well.", "tool_calls": calls}
    made = row_of({**OPENAI, "messages": [OPENAI["messages"][0], turn]})[1]
    (kept,) = made.row["messages"][1]["tool_calls"]
    assert isinstance(kept["function"]["arguments"], str)
    assert bad_tool_call(made.row["messages"]) is bad
    assert encode_row(tokenizer, made.row, 0, 500).supervised and sample_of(made.row) is not None
    row_of({**PAIR, "chosen": [turn]})


def test_a_list_of_tools_that_are_no_objects_says_something_else(tokenizer):
    made = row_of({**PAIR, "tools": ["hash", "wrap"]})[1]
    assert "tools" not in made.row and sample_of(made.row).tools == []
