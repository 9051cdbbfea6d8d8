"""Checks of one canonical row as a whole: who speaks when, what is learnt of it, and how two answers compare."""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from kriptik.catalogue.defects import load_defects
from kriptik.data import text
from kriptik.data.checks.texts import refusal
from kriptik.spec.data import Row

_KNOWN = load_defects()
_ECHO_FROM = 20
"""Characters of a question from which an answer that says only that counts as an echo."""


class Part(NamedTuple):
    """One text of a row: the column it came from, who says it, and whether it is learnt."""

    column: str
    role: str
    text: str
    learnt: bool


NAMES: dict[str, tuple[str, ...]] = {
    "user": ("prompt", "instruction", "messages"),
    "assistant": ("completion", "output", "answer", "messages"),
    "system": ("system", "messages"),
}
"""Which role of a layout's columns a speaker's texts lie in, the likeliest first."""


def parts_of(row: Row, columns: dict[str, str]) -> list[Part]:
    """Every text of a row. `columns`: role → the column's name in the file, to say where a text came from."""
    if "text" in row:
        return [Part(columns.get("text", "text"), "text", row["text"], True)]
    made: list[Part] = []
    for side in ("messages", "prompt", "chosen", "completion", "rejected"):
        for number, turn in enumerate(row.get(side, ())):
            role = turn["role"]
            learnt = role == "assistant" and side in ("messages", "chosen", "completion")
            made.append(Part(_column(side, role, number, columns), role, turn["content"], learnt))
    if isinstance(row.get("answer"), str) and row["answer"]:
        made.append(Part(columns.get("answer", "answer"), "assistant", row["answer"], False))
    return made


def problems(row: Row, parts: list[Part]) -> Iterator[tuple[str, Part | None]]:
    """(code, the part where it shows) of everything wrong with the row as a whole."""
    turns = row.get("messages", ())
    if bad_tool_call(turns):
        yield "bad_tool_call", None
    answers = [turn for turn in turns if turn["role"] == "assistant"]
    if answers and all(turn.get("weight") == 0 for turn in answers):
        yield "nothing_learnt", None
    asked = [part.text for part in parts if part.role == "user"]
    for part in parts:
        if part.learnt and part.role == "assistant" and part.text.strip():
            yield from ((code, part) for code in _answer(part.text, asked))
    if "chosen" in row:
        yield from ((code, next((part for part in parts if part.learnt), None)) for code in _pair(row))


def bad_tool_call(turns: Any) -> bool:
    """A call without a name or with arguments that are no JSON object, or a tool's answer that no call came before."""
    called = False
    for turn in turns:
        for call in turn.get("tool_calls") or ():
            function = call.get("function", call) if isinstance(call, dict) else None
            if not isinstance(function, dict) or not isinstance(function.get("name"), str) or not function["name"]:
                return True
            if not _object(function.get("arguments", {})):
                return True
        if turn["role"] == "tool" and not called:
            return True
        called = bool(turn.get("tool_calls")) or (called and turn["role"] == "tool")
    return False


def learnt_nothing(parts: list[Part], max_tokens: int) -> bool:
    """Whether what comes before the answer fills the window alone."""
    before = 0
    for part in parts:
        if part.learnt:
            break
        before += len(part.text)
    return before > 2 * max_tokens and text.estimate_tokens("".join(part.text for part in parts if not part.learnt)) >= max_tokens


def _answer(said: str, asked: list[str]) -> Iterator[str]:
    short = said.strip().casefold()
    if short in _KNOWN.null:
        yield "null_answer"
    elif not any(map(str.isalnum, short[:200])) and len(short) < 200 and not any(ord(c) > 0x2190 for c in short):
        yield "wordless_answer"
    if (
        asked
        and len(asked[-1]) >= _ECHO_FROM
        and abs(len(asked[-1]) - len(said)) < 10
        and text.normal(asked[-1]) == text.normal(said)
    ):
        yield "echoes"


def _pair(row: Row) -> Iterator[str]:
    chosen, rejected = (" ".join(turn["content"] for turn in row[side]) for side in ("chosen", "rejected"))
    if refusal(chosen.strip()) and not refusal(rejected.strip()):
        yield "refusal_preferred"
    if abs(len(chosen) - len(rejected)) <= 0.05 * max(len(chosen), len(rejected)) + 4:
        ours, theirs = text.normal(chosen).split(), text.normal(rejected).split()
        same = len(set(ours) & set(theirs)) / max(1, len(set(ours) | set(theirs)))
        moved = sum(1 for a, b in zip(ours, theirs, strict=False) if a != b) + abs(len(ours) - len(theirs))
        if ours == theirs or (same > 0.9 and len(ours) >= 12) or (moved <= 1 and len(ours) >= 6):
            yield "nearly_same_answers"


def _column(side: str, role: str, number: int, columns: dict[str, str]) -> str:
    if side in ("chosen", "rejected"):
        return columns.get(side, side)
    for name in NAMES.get(role, ("messages",)):
        if name in columns:
            return f"{columns[name]}[{number}]" if name == "messages" else columns[name]
    return f"{side}[{number}]"


def _object(value: Any) -> bool:
    if isinstance(value, dict):
        return True
    try:
        return isinstance(value, str) and isinstance(json.loads(value), dict)
    except (ValueError, RecursionError):
        return False
