"""Rows in the forms that objectives ask for. A row is one or several *documents*, which always share a micro-batch.

A document is a dictionary: `ids`; `learnt`, which tokens are predicted; where something else counts, `at`, the only places that are
looked at (scored rows); `answer`, which predicted tokens are the answer's; `label`, whether an answer is good; `asked`, how many
tokens the prompt has.
"""

from collections.abc import Callable
from typing import Any

from kriptik.engine.interfaces import Encoded
from kriptik.engine.text.chat import Tokens, encode_prompt, encode_row, render
from kriptik.spec.errors import DataError, WorkerError

Document = dict[str, Any]


def encode_form(tokenizer: Any, row: dict[str, Any], index: int, form: str, longest: int) -> Encoded:
    """A row as `form` says, each document at most `longest` tokens. Raises DataError naming the row (1-based)."""
    if form not in FORMS:
        raise WorkerError("form_not_available", f"Text rows cannot be made into the form '{form}'.", "Choose another method.")
    return FORMS[form](tokenizer, row, index, longest)


def documents_of(row: Encoded) -> list[Document]:
    """The documents of an encoded row; none of an empty one."""
    return row.fields.get("documents", [row.fields]) if row.length else []


def looked_at(document: Document) -> tuple[list[int], list[int]]:
    """(places whose hidden states are wanted, targets there); no targets where the document is scored as a whole."""
    if "at" in document:
        return document["at"], []
    ids, learnt = document["ids"], document["learnt"]
    places = [at for at in range(1, len(ids)) if learnt[at]]
    return [at - 1 for at in places], [ids[at] for at in places]


def mismatched(asked: Encoded, said: Encoded, longest: int) -> Encoded:
    """The prompts of one row's documents with the answers of another's, in turn: what KTO measures its KL on."""
    answers = documents_of(said)
    made = []
    for number, document in enumerate(documents_of(asked)):
        answer = answers[number % len(answers)]
        ids = document["ids"][: document["asked"]] + answer["ids"][answer["asked"] :]
        learnt = [False] * document["asked"] + answer["learnt"][answer["asked"] :]
        made.append({"ids": ids[:longest], "learnt": learnt[:longest]})
    return _encoded(asked.row, made, asked.weight)


def _completion(tokenizer: Any, row: dict[str, Any], index: int, longest: int) -> Encoded:
    """All that the assistant says; of a pair, the better answer."""
    if "chosen" in row:
        return _encoded(index, [_answered(tokenizer, row, "chosen", index, longest)])
    tokens = encode_row(tokenizer, row, index, longest)
    return Encoded(index, len(tokens.ids), float(tokens.supervised), _document(tokens))


def _prompt(tokenizer: Any, row: dict[str, Any], index: int, longest: int) -> Encoded:
    """Up to where the assistant's turn begins."""
    ids = encode_prompt(tokenizer, asked_of(row), index, row.get("tools"))[-longest:]
    return Encoded(index, len(ids), float(len(ids)), {"ids": ids, "learnt": [False] * len(ids), "cut": 0, "row": row})


def _preference(tokenizer: Any, row: dict[str, Any], index: int, longest: int) -> Encoded:
    """The better answer, then the worse one; weight 1."""
    return _encoded(index, [_answered(tokenizer, row, name, index, longest) for name in ("chosen", "rejected")], 1.0)


def _preference_whole(tokenizer: Any, row: dict[str, Any], index: int, longest: int) -> Encoded:
    """As 'preference', but prompts are predicted too; `answer` marks what is not the prompt."""
    found = _preference(tokenizer, row, index, longest)
    for document in documents_of(found):
        document["answer"] = document["learnt"][1:]
        document["learnt"] = [True] * len(document["ids"])
    return found


def _ranked(tokenizer: Any, row: dict[str, Any], index: int, longest: int) -> Encoded:
    """Both conversations as the template writes them to their last line break, scored at their last token; weight 1."""
    made = []
    for name in ("chosen", "rejected"):
        said = [*_turns(row, "prompt", index), *_turns(row, name, index)]
        text = render(tokenizer, said, index, ask=False, tools=row.get("tools"))
        made.append(scored(tokenizer, tokenizer(text, add_special_tokens=False)["input_ids"], longest))
    return _encoded(index, made, 1.0)


def scored(tokenizer: Any, ids: list[int], longest: int) -> Document:
    """A document that is scored as a whole, where transformers' sequence classification does: at the last token that is no padding.

    Of a document that is too long the start goes, since the answer is at the end.
    """
    ids = ids[-longest:]
    padding = pad_id(tokenizer)
    last = max((at for at, token in enumerate(ids) if token != padding), default=len(ids) - 1)
    return {"ids": ids, "learnt": [False] * len(ids), "at": [last], "cut": 0}


def _feedback(tokenizer: Any, row: dict[str, Any], index: int, longest: int) -> Encoded:
    """One answer with its mark; a pair is two of them. Weight: answers."""
    if "chosen" in row:
        marked = [("chosen", True), ("rejected", False)]
    elif isinstance(row.get("label"), bool):
        marked = [("completion", row["label"])]
    else:
        raise _bad_row(index, "has no label that is true or false")
    made = [{**_answered(tokenizer, row, name, index, longest), "label": label} for name, label in marked]
    return _encoded(index, made, float(len(made)))


def _answered(tokenizer: Any, row: dict[str, Any], name: str, index: int, longest: int) -> Document:
    """Prompt and answer up to the answer's end; only the answer is learnt."""
    asked, said = _turns(row, "prompt", index), _turns(row, name, index)
    quiet = [{**turn, "weight": 0} if turn.get("role") == "assistant" else turn for turn in asked]
    tokens = encode_row(tokenizer, {"messages": [*quiet, *said], "tools": row.get("tools")}, index, longest)
    last = max((at for at, on in enumerate(tokens.learnt) if on), default=-1)
    if last < 1:
        raise _bad_row(index, f"has nothing to learn in '{name}'")
    return _document(Tokens(tokens.ids[: last + 1], tokens.learnt[: last + 1], tokens.cut))


def _turns(row: dict[str, Any], name: str, index: int) -> list[dict[str, Any]]:
    if not isinstance(row.get(name), list) or not row[name]:
        raise _bad_row(index, f"has no messages in '{name}'")
    return row[name]


def asked_of(row: dict[str, Any]) -> list[dict[str, Any]]:
    """The turns before the last answer; those of a prompt all of them."""
    if isinstance(row.get("prompt"), list):
        return row["prompt"]
    messages = row.get("messages") or []
    last = max((at for at, m in enumerate(messages) if m.get("role") == "assistant"), default=len(messages))
    return messages[:last]


def _document(tokens: Tokens) -> Document:
    asked = tokens.learnt.index(True) if True in tokens.learnt else len(tokens.ids)
    return {"ids": tokens.ids, "learnt": tokens.learnt, "cut": tokens.cut, "asked": asked}


def _encoded(index: int, made: list[Document], weight: float | None = None) -> Encoded:
    """`weight` None: the supervised tokens."""
    length = sum(len(one["ids"]) for one in made)
    supervised = sum(sum(one["learnt"][1:]) for one in made)
    return Encoded(index, length, float(supervised) if weight is None else weight, {"documents": made})


def pad_id(tokenizer: Any) -> int:
    """What fills rows of unequal length up."""
    return tokenizer.pad_token_id if tokenizer.pad_token_id is not None else (tokenizer.eos_token_id or 0)


def _bad_row(index: int, what: str) -> DataError:
    return DataError("bad_row", f"Row {index + 1} {what}.", "Prepare the data again.", fields={"row": index + 1})


FORMS: dict[str, Callable[[Any, dict[str, Any], int, int], Encoded]] = {
    "completion": _completion,
    "prompt": _prompt,
    "preference": _preference,
    "preference_whole": _preference_whole,
    "ranked": _ranked,
    "feedback": _feedback,
}
