"""A row of messages or raw text → token ids and which of them are learnt. Only what the assistant says counts, its end included.

The chat template writes the text; where an answer begins and ends is found by rendering the conversation up to it. Each stretch is
tokenised by itself, so that training sees the very tokens that a prompt of the same words has at inference.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError

from kriptik.data.turns import parsed_call, spoken
from kriptik.spec.errors import DataError


@dataclass(frozen=True)
class Tokens:
    """Ids, and for each whether it is learnt (True: supervised). `cut`: tokens that did not fit."""

    ids: list[int]
    learnt: list[bool]
    cut: int = 0

    @property
    def supervised(self) -> int:
        """Learnt tokens that something comes before: the first token of a row is never predicted."""
        return sum(self.learnt[1:])


def encode_row(tokenizer: Any, row: dict[str, Any], index: int, longest: int) -> Tokens:
    """A row as tokens, at most `longest` of them. Raises DataError naming the row (1-based)."""
    if "messages" in row:
        tokens = _conversation(tokenizer, row["messages"], index, row.get("tools"))
    elif isinstance(row.get("text"), str):
        ids = _ids(tokenizer, row["text"]) + _end(tokenizer)
        tokens = Tokens(ids, [True] * len(ids))
    else:
        sentence = f"Row {index + 1} has neither messages nor text."
        raise DataError("bad_row", sentence, "Prepare the data again.", fields={"row": index + 1})
    if not tokens.ids:
        raise DataError("bad_row", f"Row {index + 1} is empty.", "Prepare the data again.", fields={"row": index + 1})
    return fit(tokens, longest)


def encode_prompt(
    tokenizer: Any, messages: list[dict[str, Any]], index: int = 0, tools: list[dict[str, Any]] | None = None
) -> list[int]:
    """The ids a model is given to answer a conversation, `tools` described before it."""
    return _ids(tokenizer, render(tokenizer, messages, index, ask=True, tools=tools))


def render(
    tokenizer: Any, messages: list[dict[str, Any]], index: int, *, ask: bool, tools: list[dict[str, Any]] | None = None
) -> str:
    """The template's text; without a template, plain lines. `tools` are described where the template can. Raises DataError naming
    the row.

    Arguments of calls are handed over as objects, as templates with `tojson` expect (Qwen 2.5, Llama 3.1); the few that put them
    together as text (DeepSeek R1) refuse those, or would print them as Python does, and get the JSON itself.
    """
    if not getattr(tokenizer, "chat_template", None):
        return "".join(f"{m['role'].capitalize()}: {spoken(m)}\n" for m in messages) + ("Assistant:" if ask else "")
    refused: Exception | None = None
    for said in [_parsed(messages), messages] if any(m.get("tool_calls") for m in messages) else [messages]:
        try:
            text = tokenizer.apply_chat_template(said, tools=tools, tokenize=False, add_generation_prompt=ask)
        except (TemplateError, TypeError, ValueError, KeyError) as error:
            refused = refused or error
            continue
        if said is messages or not _as_python(said, text):
            return text
    raise DataError(
        "template_refuses",
        f"Row {index + 1} does not fit the model's chat template: {refused}.",
        "Look at the order of the roles in that row, or choose another base model.",
        fields={"row": index + 1},
    ) from refused


def fit(tokens: Tokens, longest: int) -> Tokens:
    """Cuts to `longest` tokens: the end goes first, unless nothing to learn would be left; then the start does."""
    over = len(tokens.ids) - longest
    if over <= 0:
        return tokens
    if any(tokens.learnt[1:longest]):
        return Tokens(tokens.ids[:longest], tokens.learnt[:longest], over)
    first = tokens.learnt.index(True) if True in tokens.learnt else len(tokens.ids) - 1
    start = min(over, max(0, first - longest // 2))
    return Tokens(tokens.ids[start : start + longest], tokens.learnt[start : start + longest], over)


def _parsed(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**m, "tool_calls": [parsed_call(one) for one in m["tool_calls"]]} if m.get("tool_calls") else m for m in messages]


def _as_python(messages: Sequence[dict[str, Any]], text: str) -> bool:
    """Whether the arguments of a call stand in the text as Python prints them, which is no JSON."""
    calls = [call.get("function") for message in messages for call in message.get("tool_calls") or ()]
    given = [call.get("arguments") for call in calls if isinstance(call, dict)]
    return any(isinstance(one, dict) and one and str(one) in text for one in given)


def _conversation(
    tokenizer: Any, messages: list[dict[str, Any]], index: int, tools: list[dict[str, Any]] | None = None
) -> Tokens:
    ids: list[int] = []
    learnt: list[bool] = []
    done = 0
    text = render(tokenizer, messages, index, ask=False, tools=tools)
    for number, message in enumerate(messages):
        if message.get("role") != "assistant":
            continue
        before = render(tokenizer, messages[:number], index, ask=True, tools=tools)
        after = render(tokenizer, messages[: number + 1], index, ask=False, tools=tools)
        if not (after.startswith(before) and text.startswith(after.rstrip()) and len(before) >= done):
            raise DataError(
                "template_rewrites",
                f"Row {index + 1}: the model's chat template changes earlier turns, so the answers cannot be told apart.",
                "Use conversations of one question and one answer, or another base model.",
                fields={"row": index + 1},
            )
        if message.get("weight") == 0:
            continue
        _add(ids, learnt, _ids(tokenizer, text[done : len(before)]), False)
        said, rest = _split_end(tokenizer, after[len(before) :])
        _add(ids, learnt, said, True)
        done = len(after) - len(rest)
    _add(ids, learnt, _ids(tokenizer, text[done:]), False)
    if not getattr(tokenizer, "chat_template", None) and learnt:
        _add(ids, learnt, _end(tokenizer), learnt[-1])
    return Tokens(ids, learnt)


def _split_end(tokenizer: Any, said: str) -> tuple[list[int], str]:
    """An answer's ids up to its last end-of-turn mark, and the text behind that mark (a line break, mostly)."""
    end = tokenizer.eos_token
    place = said.rfind(end) if end else -1
    if place >= 0 and not said[place + len(end) :].strip():
        place += len(end)
        return _ids(tokenizer, said[:place]), said[place:]
    return _ids(tokenizer, said), ""


def _ids(tokenizer: Any, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False)["input_ids"] if text else []


def _end(tokenizer: Any) -> list[int]:
    return [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]


def _add(ids: list[int], learnt: list[bool], more: list[int], supervised: bool) -> None:
    ids += more
    learnt += [supervised] * len(more)
