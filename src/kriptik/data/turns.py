"""Chat turns: every dialect of a message list → [{"role", "content"}], with what had to be put right.

Sources: OpenAI fine-tuning format (role/content, content parts, weight, tool calls); ShareGPT (from/value).
"""

import json
import re
from typing import Any

from kriptik.data import text
from kriptik.data.record import Place, row_error

ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "customer": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "bot": "assistant",
    "chatbot": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    "ai": "assistant",
    "agent": "assistant",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
    "function_call": "assistant",
    "tool_call": "assistant",
}
IMAGE_PARTS = ("image", "image_url", "input_image")
"""Kinds of content parts that are pictures."""
CALLING = ("function_call", "tool_call")
"""Roles, and names of a field, under which a call stands by itself: {"name", "arguments"}, or its JSON."""
SPEAKERS = re.compile(r"\n\n\s*(Human|Assistant):")
KEPT = ("name", "tool_calls", "tool_call_id", "weight")

Message = dict[str, Any]


def read_turns(value: Any, place: Place, column: str) -> list[Message]:
    """The turns as they stand, roles in canonical words, contents as text. Raises DataError with row and column."""
    if not isinstance(value, list):
        raise row_error(place, column, "is not a list of messages.", 'Use [{"role": "user", "content": "…"}, …].')
    return [_turn(item, place, f"{column}[{index}]") for index, item in enumerate(value)]


def transcript(said: str) -> list[Message]:
    """Turns out of a text with "Human:" and "Assistant:" at the start of paragraphs; empty where it is none.

    An assistant's last turn without words is where an answer is asked for, and is left out. Source: Bai et al. 2022 (hh-rlhf).
    """
    if not said.lstrip().startswith("Human:"):
        return []
    parts = SPEAKERS.split("\n\n" + said.strip())[1:]
    turns = [{"role": ROLES[who.lower()], "content": what.strip()} for who, what in zip(parts[::2], parts[1::2], strict=True)]
    return turns[:-1] if turns[-1] == {"role": "assistant", "content": ""} else turns


def scalar(value: Any, place: Place, column: str) -> str:
    """Text of a cell: None is empty, numbers become text, lists and objects are refused."""
    if value is None:
        return ""
    if isinstance(value, str):
        return text.clean(value)
    if isinstance(value, bool | int | float):
        return str(value)
    kind = "a list" if isinstance(value, list) else "an object" if isinstance(value, dict) else "no text"
    raise row_error(place, column, f"holds {kind} where text is expected.", "Turn it into plain text.")


def settle(turns: list[Message]) -> tuple[list[Message], list[str]]:
    """Turns in the order chat templates accept, and the codes of what was done.

    Neighbours of one role are joined, answers before the first question and questions after the last answer are cut. Nothing is
    cut from a conversation that has no answer at all: that is for `problem_of` to say.
    """
    notes: list[str] = []
    joined: list[Message] = []
    for turn in turns:
        if joined and _joins(joined[-1], turn):
            joined[-1] = {**joined[-1], "content": f"{joined[-1]['content']}\n\n{turn['content']}"}
            notes.append("joined_turns")
        else:
            joined.append(turn)
    if any(turn["role"] == "user" for turn in joined):
        while joined[start := next(i for i, turn in enumerate(joined) if turn["role"] != "system")]["role"] == "assistant":
            del joined[start]
            notes.append("leading_answer")
    if any(turn["role"] == "assistant" for turn in joined):
        while joined[-1]["role"] != "assistant":
            joined.pop()
            notes.append("trailing_question")
    return joined, sorted(set(notes))


def problem_of(turns: list[Message]) -> str | None:
    """The code of what makes a conversation useless for training; None when it is fine."""
    if not turns or not any(turn["content"].strip() for turn in turns):
        return "empty_row"
    if not any(turn["role"] == "assistant" for turn in turns):
        return "no_answer"
    if not any(turn["role"] == "user" for turn in turns):
        return "no_question"
    if any(turn["role"] == "system" for turn in turns[1:]):
        return "system_not_first"
    for turn in turns:
        if turn["role"] == "assistant" and not turn["content"].strip() and not turn.get("tool_calls"):
            return "empty_answer"
        if turn["role"] == "user" and not turn["content"].strip():
            return "empty_question"
    return None


def spoken(message: Message) -> str:
    """What a turn says in plain words: its content, then its calls as JSON, a line each."""
    calls = [json.dumps(parsed_call(one).get("function", one), ensure_ascii=False) for one in message.get("tool_calls") or ()]
    return "\n".join([*([str(message["content"])] if message.get("content") else []), *calls])


def parsed_call(call: dict[str, Any]) -> dict[str, Any]:
    """A call with its arguments as an object; as it stands where they are none."""
    function = call.get("function")
    if not isinstance(function, dict):  # a row that no reader of files made
        return call
    try:
        found = json.loads(function["arguments"])
    except (KeyError, TypeError, ValueError, RecursionError):
        return call
    return {**call, "function": {**function, "arguments": found}} if isinstance(found, dict) else call


def _turn(item: Any, place: Place, column: str) -> Message:
    if not isinstance(item, dict):
        raise row_error(place, column, "is not a message.", 'A message looks like {"role": "user", "content": "…"}.')
    role_key = "role" if "role" in item else "from"
    text_key = next((key for key in ("content", "value", "text") if key in item), "content")
    role = item.get(role_key)
    known = ROLES.get(role.strip().lower()) if isinstance(role, str) else None
    if known is None:
        found = f"has no role: {text.shorten(repr(role), 40)}." if role is not None else "has no role."
        raise row_error(place, f"{column}.{role_key}", found, "Use system, user, assistant or tool (ShareGPT: human, gpt).")
    if text_key not in item and not item.get("tool_calls") and not isinstance(item.get("function_call"), dict):
        raise row_error(place, f"{column}.content", "is missing.", "Every message needs its text.")
    if str(role).strip().lower() in CALLING:
        return {"role": known, "content": "", "tool_calls": [_call(item.get(text_key))]}
    message: Message = {"role": known, "content": _content(item.get(text_key), place, f"{column}.{text_key}")}
    message.update({key: item[key] for key in KEPT if item.get(key) is not None})
    if isinstance(item.get("function_call"), dict):
        message["tool_calls"] = [_call(item["function_call"])]
    elif "tool_calls" in message:
        several = message["tool_calls"] if isinstance(message["tool_calls"], list) else [message["tool_calls"]]
        whole = [isinstance(one, dict) and isinstance(one.get("function"), dict) for one in several]
        message["tool_calls"] = [one if fine else _call(one) for one, fine in zip(several, whole, strict=True)]
    return message


def _call(value: Any) -> dict[str, Any]:
    """A call as OpenAI writes it. What is no call is kept as it stands: the doctor names such rows."""
    try:
        called = json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        called = None
    if not isinstance(called, dict):
        return {"type": "function", "function": {"name": "", "arguments": str(value)}}
    arguments = called.get("arguments", {})
    said = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return {"type": "function", "function": {"name": str(called.get("name") or ""), "arguments": said}}


def _content(value: Any, place: Place, column: str) -> str:
    """Text, or OpenAI's content parts as long as all of them are text."""
    if not isinstance(value, list):
        return scalar(value, place, column)
    pieces = []
    for part in value:
        if not isinstance(part, dict) or part.get("type", "text") != "text" or not isinstance(part.get("text"), str):
            kind = part.get("type") if isinstance(part, dict) else type(part).__name__
            raise row_error(place, column, f"holds a part that is no text ({kind!r}).", "Only text can be trained from this file.")
        pieces.append(text.clean(part["text"]))
    return "".join(pieces)


def _joins(before: Message, turn: Message) -> bool:
    plain = not any(key in message for message in (before, turn) for key in KEPT)
    return plain and before["role"] == turn["role"] and turn["role"] in ("user", "assistant", "system")
