"""`kriptik data show`: what it prints of a file and of a run is what training counts. Real tokenizer, real prepared rows."""

import json

import pytest
import tiny
from typer.testing import CliRunner

from kriptik.cli.data import app
from kriptik.engine.masks import parts_of
from kriptik.engine.text.forms import documents_of, encode_form
from kriptik.spec.errors import KriptikError

run = CliRunner().invoke
CHAT = {"messages": [{"role": "user", "content": "Hi, what is 2+2?"}, {"role": "assistant", "content": "It is four."}]}
PAIR = {"prompt": "Capital of Spain?", "chosen": "Madrid.", "rejected": "Paris, ça va."}


def written(tmp_path, row):
    """The row and three others of its kind: fewer are refused."""
    rows = [row, *(json.loads(json.dumps(row).replace("2+2", f"{n}+{n}").replace("Spain", f"land {n}")) for n in (3, 4, 5))]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture
def model(tmp_path):
    return str(tiny.tiny_model(tmp_path / "base"))


def test_a_file_is_shown_as_it_would_be_learnt(tmp_path, model):
    lines = json.loads(run(app, ["show", written(tmp_path, CHAT), "--model", model, "--rows", "4", "--json"]).output)
    (line,) = [line for line in lines if "2+2" in str(line)]
    parts = {kind: "".join(p["text"] for p in line["parts"] if p["kind"] == kind) for kind in ("context", "learnt", "end")}
    assert "what is 2+2?" in parts["context"] and "It is four." not in parts["context"]
    assert parts["learnt"].strip() == "It is four." and parts["end"]
    plain = run(app, ["show", written(tmp_path, CHAT), "--model", model]).output
    assert "⟦It is four.⟧" in plain and "learnt" in plain


def test_both_answers_of_a_pair_are_named(tmp_path, model):
    asked = ["show", written(tmp_path, PAIR), "--model", model, "--method", "dpo", "--rows", "1", "--json"]
    lines = json.loads(run(app, asked).output)
    assert [line["name"] for line in lines] == ["chosen", "rejected"]
    assert "ça va" in "".join(part["text"] for part in lines[1]["parts"] if part["kind"] == "learnt")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["--model", "no/where"], "model_not_found"), (["--method", "magic"], "no_such_method"), (["--stage", "3"], "no_such_stage")],
)
def test_what_cannot_be_shown_says_why(tmp_path, model, arguments, code):
    done = run(app, ["show", written(tmp_path, CHAT), "--model", model, *arguments])
    assert isinstance(done.exception, KriptikError) and done.exception.code == code


def test_the_parts_are_all_tokens_of_the_row_and_count_as_training_does(model):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    for number, row in enumerate(tiny.chat_rows(6)):
        encoded = encode_form(tokenizer, row, number, "completion", 64)
        (document,) = documents_of(encoded)
        parts = parts_of(tokenizer, document)
        assert sum(part["tokens"] for part in parts) == encoded.length
        assert sum(part["tokens"] for part in parts if part["kind"] != "context") == encoded.weight
