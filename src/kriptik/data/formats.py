"""Records → canonical rows: which layout a file has, which column plays which role, and the row a record becomes.

A new layout: one entry in `LAYOUTS` and one function in `ROWS`. A new name people give a column: one word in `SYNONYMS`.
"""

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from kriptik.data import text
from kriptik.data.record import Place, Record, row_error
from kriptik.data.turns import Message, problem_of, read_turns, scalar, settle
from kriptik.spec.data import DataFormat, Row, RowKind
from kriptik.spec.errors import DataError

LOOK_AT = 50
"""Records that decide the layout; the others must follow it."""

SYNONYMS: dict[str, tuple[str, ...]] = {
    "messages": ("messages", "conversation", "conversations", "dialog", "dialogue", "chat", "turns"),
    "instruction": ("instruction", "instructions"),
    "output": ("output", "response", "answer", "completion"),
    "input": ("input", "context", "passage"),
    "prompt": (
        *("prompt", "question", "q", "query", "user", "user_message", "human", "customer", "customer_message"),
        *("request", "problem", "instruction", "input", "source", "fråga", "frage", "pregunta", "domanda"),
    ),
    "completion": (
        *("completion", "answer", "a", "response", "reply", "output", "assistant", "assistant_message", "bot", "agent_response"),
        *("solution", "target", "svar", "antwort", "respuesta", "réponse", "reponse", "risposta"),
    ),
    "chosen": ("chosen", "preferred", "accepted", "better", "winner", "response_chosen", "chosen_response"),
    "rejected": ("rejected", "dispreferred", "worse", "loser", "response_rejected", "rejected_response"),
    "label": ("label", "thumbs_up", "is_good", "desirable", "feedback", "rating"),
    "text": ("text", "content", "body", "document", "article", "paragraph", "sentence"),
    "system": ("system", "system_prompt"),
    "history": ("history",),
}
"""Names of columns by role, the likeliest first; compared in lower case with spaces and hyphens as underscores."""

LAYOUTS: tuple[tuple[DataFormat, RowKind, tuple[str, ...], tuple[str, ...]], ...] = (
    ("preferences", "preferences", ("chosen", "rejected"), ("prompt", "system")),
    ("messages", "messages", ("messages",), ("system",)),
    ("kto", "feedback", ("prompt", "completion", "label"), ("system",)),
    ("alpaca", "messages", ("instruction", "output"), ("input", "system", "history")),
    ("prompt_completion", "messages", ("prompt", "completion"), ("input", "system")),
    ("text", "text", ("text",), ()),
)
"""Layout, kind of row, roles it must have, roles it may have; the first whose roles are all there is taken."""

GOOD = frozenset({"true", "1", "1.0", "yes", "y", "good", "up", "thumbs_up", "positive", "desirable", "+1"})
BAD = frozenset({"false", "0", "0.0", "no", "n", "bad", "down", "thumbs_down", "negative", "undesirable", "-1"})
NEEDED = (
    *("messages", "prompt and completion", "instruction and output", "prompt, chosen and rejected"),
    *("prompt, completion and label", "text"),
)


@dataclass(frozen=True)
class Layout:
    """How the records of one file are read. `columns`: role → the column's name in the file."""

    format: DataFormat
    kind: RowKind
    columns: dict[str, str]
    found: tuple[str, ...] = ()
    """All columns seen, in order."""


def detect(records: Iterable[Record]) -> Layout:
    """The layout that the first records of a file have. Raises DataError naming the columns found and those needed."""
    objects: list[Record] = []
    for record in records:
        if isinstance(record.value, str):
            return Layout("text", "text", {})
        if isinstance(record.value, list):
            return Layout(_dialect(record.value), "messages", {})
        objects.append(record)
    found = list(dict.fromkeys(str(name) for record in objects for name in record.value))
    names = {_plain(name): name for name in reversed(found)}
    for layout, kind, must, may in LAYOUTS:
        columns = _match(names, must, may)
        if columns is not None and _fits(layout, columns, objects):
            if layout == "messages":
                layout = _dialect(_first_list(objects, columns["messages"]))
            return Layout(layout, kind, columns, tuple(found))
    shown = ", ".join(repr(text.shorten(name, 40)) for name in found[:12]) + (" …" if len(found) > 12 else "")
    raise DataError(
        "no_usable_columns",
        f"No layout fits the columns found: {shown or 'none'}.",
        f"Name the columns in one of these ways: {' · '.join(NEEDED)}.",
        fields={"found": found[:50], "needed": list(NEEDED)},
    )


@dataclass(frozen=True)
class Made:
    """A canonical row, and what had to be put right (codes of `turns.settle`); or why it cannot be used."""

    row: Row | None
    notes: tuple[str, ...] = ()
    problem: str | None = None


def to_row(record: Record, layout: Layout) -> Made:
    """The canonical row of a record. Raises DataError with row and column where it does not follow the layout."""
    value, place = record.value, record.place
    if isinstance(value, str):
        if layout.kind != "text":
            raise row_error(place, None, "is bare text, but the rows before it are objects.", "Use one layout in a file.")
        return _text_row(text.clean(value))
    if isinstance(value, list):
        if layout.kind != "messages":
            raise row_error(place, None, "is a list, but the rows before it are not.", "Use one layout in a file.")
        return _conversation(read_turns(value, place, "messages"))
    if not layout.columns:
        raise row_error(place, None, "is an object, but the rows before it are not.", "Use one layout in a file.")
    return ROWS[layout.format](_Cells(value, layout.columns, place))


class _Cells:
    """One record's cells by role."""

    def __init__(self, value: dict[str, Any], columns: dict[str, str], place: Place) -> None:
        self.value, self.columns, self.place = value, columns, place

    def raw(self, role: str) -> Any:
        """The cell as it is; DataError where a role that the layout needs is missing in this row."""
        column = self.columns[role]
        if column not in self.value:
            raise row_error(self.place, column, "is missing.", f"Give every row the column {column!r}.")
        return self.value[column]

    def text(self, role: str) -> str:
        """The cell as text."""
        return scalar(self.raw(role), self.place, self.columns[role]).strip()

    def maybe(self, role: str) -> str:
        """The text of a cell that need not be there."""
        column = self.columns.get(role)
        return scalar(self.value.get(column), self.place, column).strip() if column else ""

    def turns(self, role: str, speaker: str) -> list[Message]:
        """The cell as messages: a list of them (or its JSON), or the text of one by `speaker`."""
        column, value = self.columns[role], _parsed(self.raw(role))
        if isinstance(value, list):
            return read_turns(value, self.place, column)
        if isinstance(value, dict) and ("content" in value or "value" in value):
            return read_turns([value], self.place, column)
        content = scalar(value, self.place, column).strip()
        return [{"role": speaker, "content": content}]

    def system(self) -> list[Message]:
        """The system message, where there is one."""
        said = self.maybe("system")
        return [{"role": "system", "content": said}] if said else []


def _of_messages(cells: _Cells) -> Made:
    column, value = cells.columns["messages"], _parsed(cells.raw("messages"))
    if value is None:
        return Made(None, problem="empty_row")
    return _conversation(cells.system() + read_turns(value, cells.place, column))


def _of_alpaca(cells: _Cells) -> Made:
    question = "\n\n".join(part for part in (cells.text("instruction"), cells.maybe("input")) if part)
    before = _history(cells)
    asked = [{"role": "user", "content": question}, {"role": "assistant", "content": cells.text("output")}]
    return _conversation(cells.system() + before + asked)


def _of_pairs(cells: _Cells) -> Made:
    asked, answer = cells.turns("prompt", "user"), cells.turns("completion", "assistant")
    extra = cells.maybe("input")
    if extra and len(asked) == 1:
        asked = [{**asked[0], "content": f"{asked[0]['content']}\n\n{extra}".strip()}]
    return _conversation(cells.system() + asked + answer)


def _of_preferences(cells: _Cells) -> Made:
    chosen, rejected = cells.turns("chosen", "assistant"), cells.turns("rejected", "assistant")
    if "prompt" in cells.columns:
        prompt = cells.turns("prompt", "user")
        if chosen[: len(prompt)] == prompt and rejected[: len(prompt)] == prompt:
            chosen, rejected = chosen[len(prompt) :], rejected[len(prompt) :]
    else:
        shortest = min(len(chosen), len(rejected))
        shared = next((i for i in range(shortest) if chosen[i] != rejected[i]), shortest)
        prompt, chosen, rejected = chosen[:shared], chosen[shared:], rejected[shared:]
        if not any(turn["role"] == "user" for turn in prompt) and chosen and rejected:
            return Made(None, problem="no_question")
    prompt = cells.system() + prompt
    if problem := _asked(prompt):
        return Made(None, problem=problem)
    if not _answered(chosen) or not _answered(rejected):
        return Made(None, problem="same_answers" if chosen == rejected else "empty_answer")
    if [t["content"] for t in chosen] == [t["content"] for t in rejected]:
        return Made(None, problem="same_answers")
    return Made({"prompt": prompt, "chosen": chosen, "rejected": rejected})


def _of_feedback(cells: _Cells) -> Made:
    prompt, completion = cells.system() + cells.turns("prompt", "user"), cells.turns("completion", "assistant")
    mark = _mark(cells.raw("label"))
    if mark is None:
        found = text.shorten(repr(cells.raw("label")), 40)
        raise row_error(cells.place, cells.columns["label"], f"holds {found}, neither good nor bad.", "Use true or false.")
    if problem := _asked(prompt):
        return Made(None, problem=problem)
    if not _answered(completion):
        return Made(None, problem="empty_answer")
    return Made({"prompt": prompt, "completion": completion, "label": mark})


def _of_text(cells: _Cells) -> Made:
    return _text_row(cells.text("text"))


ROWS: dict[DataFormat, Callable[[_Cells], Made]] = {
    "messages": _of_messages,
    "sharegpt": _of_messages,
    "alpaca": _of_alpaca,
    "prompt_completion": _of_pairs,
    "preferences": _of_preferences,
    "kto": _of_feedback,
    "text": _of_text,
}


def _conversation(messages: list[Message]) -> Made:
    if not messages:
        return Made(None, problem="empty_row")
    settled, notes = settle(messages)
    problem = problem_of(settled)
    return Made(None if problem else {"messages": settled}, tuple(notes), problem)


def _text_row(value: str) -> Made:
    return Made({"text": value}) if value.strip() else Made(None, problem="empty_row")


def _history(cells: _Cells) -> list[Message]:
    """Alpaca's history: earlier [question, answer] pairs."""
    column = cells.columns.get("history")
    pairs = _parsed(cells.value.get(column)) if column else None
    if not pairs:
        return []
    messages: list[Message] = []
    for pair in pairs if isinstance(pairs, list) else [pairs]:
        if not isinstance(pair, list) or len(pair) != 2:
            raise row_error(cells.place, column, "is no list of [question, answer] pairs.", "Repair it, or leave it out.")
        asked, answer = (scalar(side, cells.place, str(column)) for side in pair)
        messages += [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]
    return messages


def _asked(prompt: list[Message]) -> str | None:
    asked = [turn for turn in prompt if turn["role"] == "user"]
    if not asked:
        return "no_question"
    return None if all(turn["content"].strip() for turn in asked) else "empty_question"


def _answered(completion: list[Message]) -> bool:
    return bool(completion) and any(turn["content"].strip() or turn.get("tool_calls") for turn in completion)


def _mark(value: Any) -> bool | None:
    word = str(value).strip().lower()
    return True if word in GOOD else False if word in BAD else None


def _parsed(value: Any) -> Any:
    """CSV cells hold lists as JSON text."""
    if isinstance(value, str) and value.lstrip()[:2] in ("[{", "[ ", "[\n", "[[", '{"'):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def _match(names: dict[str, str], must: tuple[str, ...], may: tuple[str, ...]) -> dict[str, str] | None:
    """Role → column, no column twice; None where a role that must be there is not."""
    columns: dict[str, str] = {}
    for role in (*must, *may):
        free = [names[word] for word in SYNONYMS[role] if word in names and names[word] not in columns.values()]
        if free:
            columns[role] = free[0]
        elif role in must:
            return None
    return columns


def _fits(layout: DataFormat, columns: dict[str, str], records: list[Record]) -> bool:
    """Names alone can mislead: a conversation must be a list, a feedback mark must be one."""
    if layout == "messages":
        return bool(_first_list(records, columns["messages"]))
    if layout == "kto":
        cells = [record.value.get(columns["label"]) for record in records]
        return any(cell is not None for cell in cells) and all(cell is None or _mark(cell) is not None for cell in cells)
    return True


def _first_list(records: list[Record], column: str) -> list[Any]:
    for record in records:
        value = _parsed(record.value.get(column))
        if isinstance(value, list) and value:
            return value
    return []


def _dialect(messages: list[Any]) -> DataFormat:
    first = messages[0] if messages else None
    return "sharegpt" if isinstance(first, dict) and "from" in first and "role" not in first else "messages"


def _plain(name: str) -> str:
    return re.sub(r"[\s-]+", "_", name.strip().lower())
