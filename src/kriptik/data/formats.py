"""What a record means: the layout of a file is read off its first records, then every record becomes a canonical row.

Layouts: OpenAI messages, ShareGPT, Alpaca, prompt and completion (under many column names), preference pairs, KTO feedback, text.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from kriptik.data import text
from kriptik.data.record import Record, row_error
from kriptik.data.turns import Message, problem_of, read_turns, scalar, settle
from kriptik.spec.data import DataFormat, Row, RowKind
from kriptik.spec.errors import DataError

LOOKED_AT = 20
PROMPTS = ("prompt", "question", "q", "query", "instruction", "input", "user", "human", "ask", "request", "frage", "pregunta")
ANSWERS = ("completion", "response", "answer", "a", "output", "reply", "assistant", "target", "bot", "antwort", "respuesta")
TEXTS = ("text", "content", "body", "document", "passage", "article")
SYSTEMS = ("system", "system_prompt")
LABELS = ("label", "thumbs", "feedback", "desirable")
TRUE = frozenset({"true", "1", "yes", "good", "up", "desirable"})
FALSE = frozenset({"false", "0", "no", "bad", "down", "undesirable"})
KINDS: dict[DataFormat, RowKind] = {
    "messages": "messages",
    "sharegpt": "messages",
    "alpaca": "messages",
    "prompt_completion": "messages",
    "preferences": "preferences",
    "kto": "feedback",
    "text": "text",
}


@dataclass(frozen=True)
class Layout:
    """How the rows of a file are laid out: which column plays which role."""

    format: DataFormat
    columns: dict[str, str]

    @property
    def kind(self) -> RowKind:
        return KINDS[self.format]


@dataclass(frozen=True)
class Converted:
    """A canonical row, or None with the reason; `notes` say what was put right."""

    row: Row | None
    problem: str | None = None
    notes: tuple[str, ...] = ()


def layout_of(records: Iterable[Record]) -> Layout:
    """The layout of a file, from its first records. Raises DataError naming the columns found and those wanted."""
    first = [record for record, _ in zip(records, range(LOOKED_AT), strict=False)]
    for record in first:
        found = _layout(record.value)
        if found is not None:
            return found
    names = sorted({str(key) for record in first if isinstance(record.value, dict) for key in record.value})
    raise DataError(
        "unknown_columns",
        f"No columns to train on were found; the file has: {', '.join(names[:20]) or 'none'}.",
        "Name them prompt and completion (or question and answer), messages, text, or chosen and rejected.",
        fields={"columns": names[:50], "row": first[0].place.row if first else 1},
    )


def convert(record: Record, layout: Layout) -> Converted:
    """A record as a canonical row. Raises DataError with row and column where it cannot be read at all."""
    value = record.value
    if layout.format == "text":
        body = scalar(value.get(layout.columns["text"]) if isinstance(value, dict) else value, record.place, "text")
        return Converted({"text": body}) if body.strip() else Converted(None, "empty_row")
    if isinstance(value, list):
        return _messages(read_turns(value, record.place, "messages"))
    if not isinstance(value, dict):
        raise row_error(record.place, None, "is not an object with columns.", "Make every row look like the first one.")
    if layout.format in ("messages", "sharegpt"):
        column = layout.columns["messages"]
        turns = read_turns(value.get(column), record.place, column)
        system = next((value[name] for name in SYSTEMS if isinstance(value.get(name), str) and value[name].strip()), None)
        if system and not any(turn["role"] == "system" for turn in turns):
            turns = [{"role": "system", "content": text.clean(system)}, *turns]
        return _messages(turns)
    if layout.format == "preferences":
        return _preferences(record, layout, value)
    if layout.format == "kto":
        return _feedback(record, layout, value)
    return _messages(_pair(record, layout, value))


def _layout(value: Any) -> Layout | None:
    if isinstance(value, str):
        return Layout("text", {"text": "text"})
    if isinstance(value, list):
        return Layout("messages", {"messages": "messages"})
    if not isinstance(value, dict):
        return None
    names = {str(key).strip().lower().replace(" ", "_"): str(key) for key in value}
    if "chosen" in names and "rejected" in names:
        prompt = _first(names, PROMPTS)
        columns = {"chosen": names["chosen"], "rejected": names["rejected"]}
        return Layout("preferences", {**columns, **({"prompt": prompt} if prompt else {})})
    for key in ("messages", "conversations", "conversation", "dialogue", "turns"):
        turns = value.get(names.get(key, ""))
        if isinstance(turns, list):
            sharegpt = bool(turns) and isinstance(turns[0], dict) and "from" in turns[0]
            return Layout("sharegpt" if sharegpt else "messages", {"messages": names[key]})
    if "instruction" in names and "output" in names:
        extra = {"input": names["input"]} if "input" in names else {}
        return Layout("alpaca", {"prompt": names["instruction"], "completion": names["output"], **extra})
    prompt, answer, label = _first(names, PROMPTS), _first(names, ANSWERS), _first(names, LABELS)
    system = _first(names, SYSTEMS)
    if prompt and answer and label:
        return Layout("kto", {"prompt": prompt, "completion": answer, "label": label})
    if prompt and answer:
        return Layout("prompt_completion", {"prompt": prompt, "completion": answer, **({"system": system} if system else {})})
    body = _first(names, TEXTS)
    return Layout("text", {"text": body}) if body else None


def _first(names: dict[str, str], wanted: tuple[str, ...]) -> str | None:
    return next((names[name] for name in wanted if name in names), None)


def _messages(turns: list[Message]) -> Converted:
    settled, notes = settle(turns)
    problem = problem_of(settled)
    return Converted(None, problem) if problem else Converted({"messages": settled}, None, tuple(notes))


def _pair(record: Record, layout: Layout, value: dict[str, Any]) -> list[Message]:
    columns = layout.columns
    for role in ("prompt", "completion"):
        if columns[role] not in value:
            raise row_error(record.place, columns[role], "is missing.", "Give every row the columns of the first one.")
    asked = scalar(value[columns["prompt"]], record.place, columns["prompt"])
    extra = scalar(value.get(columns["input"]), record.place, columns["input"]) if "input" in columns else ""
    if extra.strip():
        asked = f"{asked}\n\n{extra}"
    turns = [
        {"role": "user", "content": asked},
        {"role": "assistant", "content": scalar(value[columns["completion"]], record.place, columns["completion"])},
    ]
    if "system" in columns and (system := scalar(value.get(columns["system"]), record.place, columns["system"])).strip():
        turns.insert(0, {"role": "system", "content": system})
    return turns


def _side(record: Record, value: Any, column: str) -> list[Message]:
    """A prompt or an answer that may be text or a list of messages."""
    if isinstance(value, list):
        return read_turns(value, record.place, column)
    role = "user" if column.lower() in PROMPTS else "assistant"
    return [{"role": role, "content": scalar(value, record.place, column)}]


def _preferences(record: Record, layout: Layout, value: dict[str, Any]) -> Converted:
    columns = layout.columns
    sides = {}
    for role in ("chosen", "rejected"):
        if columns[role] not in value:
            raise row_error(record.place, columns[role], "is missing.", "Every pair needs a chosen and a rejected answer.")
        sides[role] = _side(record, value[columns[role]], columns[role])
    prompt = _side(record, value[columns["prompt"]], columns["prompt"]) if "prompt" in columns else []
    if not prompt:  # whole conversations: what both begin with is the prompt
        shared = 0
        while shared < min(map(len, sides.values())) - 1 and sides["chosen"][shared] == sides["rejected"][shared]:
            shared += 1
        prompt, sides = sides["chosen"][:shared], {role: turns[shared:] for role, turns in sides.items()}
    if not prompt or not any(turn["content"].strip() for turn in prompt):
        return Converted(None, "no_question")
    if not all(any(turn["content"].strip() for turn in turns) for turns in sides.values()):
        return Converted(None, "empty_answer")
    if sides["chosen"] == sides["rejected"]:
        return Converted(None, "same_answers")
    return Converted({"prompt": prompt, **sides})


def _feedback(record: Record, layout: Layout, value: dict[str, Any]) -> Converted:
    columns = layout.columns
    mark = value.get(columns["label"])
    word = str(mark).strip().lower()
    if not isinstance(mark, bool) and word not in TRUE | FALSE:
        said = f"is {text.shorten(repr(mark), 40)}, not true or false."
        raise row_error(record.place, columns["label"], said, "Use true or false.")
    prompt = _side(record, value.get(columns["prompt"]), columns["prompt"])
    answer = [
        {**turn, "role": "assistant"} for turn in _side(record, value.get(columns["completion"]), columns["completion"])
    ]
    if not any(turn["content"].strip() for turn in prompt):
        return Converted(None, "no_question")
    if not any(turn["content"].strip() for turn in answer):
        return Converted(None, "empty_answer")
    return Converted({"prompt": prompt, "completion": answer, "label": mark if isinstance(mark, bool) else word in TRUE})
