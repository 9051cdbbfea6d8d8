"""Records → canonical rows: which layout a file has, which column plays which role, and the row a record becomes.

A new layout: one entry in `LAYOUTS` and one function in `ROWS`. A new name people give a column: one word in `SYNONYMS`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from kriptik.data import text
from kriptik.data.cells import Cells, Made, parsed, plain
from kriptik.data.preferences import SCORES, mark_of, of_feedback, of_preferences
from kriptik.data.prompts import CHECKS, is_check, of_checked, of_prompts
from kriptik.data.record import Record, row_error
from kriptik.data.turns import Message, problem_of, read_turns, scalar, settle
from kriptik.spec.data import DataFormat, RowKind
from kriptik.spec.errors import DataError

LOOK_AT = 50
MOSTLY = 0.9
"""Share of a column's cells that must be marks for it to be a column of marks; the others are named as faults."""
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
    "chosen": (
        *("chosen", "preferred", "accepted", "better", "winner", "response_chosen", "chosen_response"),
        *("preferred_output", "chosen_output", "response_j"),
    ),
    "rejected": (
        *("rejected", "dispreferred", "worse", "loser", "response_rejected", "rejected_response"),
        *("non_preferred_output", "rejected_output", "response_k"),
    ),
    "first": ("response_a", "response_0", "answer_a", "answer_0", "conversation_a", "completion_a"),
    "second": ("response_b", "response_1", "answer_b", "answer_1", "conversation_b", "completion_b"),
    "winner": ("winner", "better_response_id", "preference", "preferred", "better", "choice"),
    "chosen_score": ("score_chosen", "chosen_score", "chosen_rating", "rating_chosen", "chosen_avg_rating", "reward_chosen"),
    "rejected_score": (
        *("score_rejected", "rejected_score", "rejected_rating", "rating_rejected", "rejected_avg_rating"),
        *("reward_rejected",),
    ),
    "candidates": ("completions", "responses", "candidates", "answers"),
    "label": ("label", "thumbs_up", "is_good", "desirable", "kto_tag", "feedback", "rating"),
    "tests": ("tests", "unit_tests", "test", "test_list", "test_code"),
    "schema": ("schema", "json_schema"),
    "pattern": ("pattern", "regex"),
    "task": ("task", "metadata"),
    "text": ("text", "content", "body", "document", "article", "paragraph", "sentence"),
    "system": ("system", "system_prompt"),
    "answer": ("answer", "solution", "target", "expected", "completion", "output", "response", "canonical_solution", "code"),
    "history": ("history",),
    "tools": ("tools", "functions"),
    "anchor": ("anchor", "query", "question", "sentence1", "search", "input", "prompt"),
    "positive": ("positive", "pos", "positive_passage", "relevant", "match", "sentence2"),
    "negative": ("negative", "neg", "negatives", "hard_negatives", "hard_negative", "negative_passages", "irrelevant"),
}
"""Names of columns by role, the likeliest first; compared in lower case with spaces and hyphens as underscores."""

LAYOUTS: tuple[tuple[DataFormat, RowKind, tuple[str, ...], tuple[str, ...]], ...] = (
    ("preferences", "preferences", ("chosen", "rejected"),
     ("prompt", "messages", "system", "tools", "chosen_score", "rejected_score")),
    ("preferences", "preferences", ("first", "second", "winner"), ("prompt", "system", "tools")),
    ("preferences", "preferences", ("prompt", "candidates"), ("system", "tools")),
    ("pairs", "pairs", ("anchor", "positive"), ("negative",)),
    ("kto", "feedback", ("messages", "label"), ("system", "tools")),
    ("messages", "messages", ("messages",), ("system", "tools")),
    ("kto", "feedback", ("prompt", "completion", "label"), ("system", "tools")),
    *(("checked", "checked", ("prompt", check), ("answer", "system", "tools")) for check in CHECKS),
    ("alpaca", "messages", ("instruction", "output"), ("input", "system", "history")),
    ("prompt_completion", "messages", ("prompt", "completion"), ("input", "system", "tools")),
    ("text", "text", ("text",), ()),
    ("prompts", "prompts", ("prompt",), ("system", "tools")),
)
"""Layout, kind of row, roles it must have, roles it may have; the first whose roles are all there is taken."""

ASKS = frozenset({"prompt", "question", "query", "instruction", "problem", "user_message"})
"""Names under which a column alone is a prompt."""
NEEDED = (
    *("messages", "prompt and completion", "instruction and output", "prompt, chosen and rejected"),
    *("prompt, response_a, response_b and winner", "prompt and tests, schema or pattern"),
    *("prompt, completion and label", "query and positive", "text"),
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
    names = {plain(name): name for name in reversed(found)}
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
    cells = Cells(value, layout.columns, place)
    made = ROWS[layout.format](cells)
    tools = _tools(cells)
    return Made({**made.row, "tools": tools}, made.notes, made.problem) if made.row is not None and tools else made


def _tools(cells: Cells) -> list[Any]:
    """What may be called, from a column of its own or, as OpenAI writes pairs, from beside the messages of the prompt.

    Bare functions, as the older form and ShareGPT list them, become tools, which is what templates know. A list of anything but
    objects is about something else.
    """
    found = parsed(cells.value.get(cells.columns["tools"])) if "tools" in cells.columns else None
    asked = cells.value.get(cells.columns["prompt"]) if "prompt" in cells.columns else None
    if found is None and isinstance(asked, dict):
        found = asked.get("tools")
    several = found if isinstance(found, list) and all(isinstance(one, dict) for one in found) else []
    bare = ["name" in one and "function" not in one and "type" not in one for one in several]
    return [{"type": "function", "function": one} if alone else one for one, alone in zip(several, bare, strict=True)]


def _of_messages(cells: Cells) -> Made:
    column, value = cells.columns["messages"], parsed(cells.raw("messages"))
    if value is None:
        return Made(None, problem="empty_row")
    return _conversation(cells.system() + read_turns(value, cells.place, column))


def _of_alpaca(cells: Cells) -> Made:
    question = "\n\n".join(part for part in (cells.text("instruction"), cells.maybe("input")) if part)
    before = _history(cells)
    asked = [{"role": "user", "content": question}, {"role": "assistant", "content": cells.text("output")}]
    return _conversation(cells.system() + before + asked)


def _of_pairs(cells: Cells) -> Made:
    asked, answer = cells.turns("prompt", "user"), cells.turns("completion", "assistant")
    extra = cells.maybe("input")
    if extra and len(asked) == 1:
        asked = [{**asked[0], "content": f"{asked[0]['content']}\n\n{extra}".strip()}]
    return _conversation(cells.system() + asked + answer)


def _of_text(cells: Cells) -> Made:
    return _text_row(cells.text("text"))


def _of_matches(cells: Cells) -> Made:
    query, positive = cells.text("anchor"), cells.text("positive")
    if not query or not positive:
        return Made(None, problem="empty_question" if not query else "empty_answer")
    row: dict[str, Any] = {"query": query, "positive": positive}
    column = cells.columns.get("negative")
    found = parsed(cells.value.get(column)) if column else None
    several = found if isinstance(found, list) else [found] if found is not None else []
    negatives = [scalar(one, cells.place, str(column)).strip() for one in several]
    if kept := [one for one in negatives if one and one != positive]:
        row["negatives"] = kept
    return Made(row)


ROWS: dict[DataFormat, Callable[[Cells], Made]] = {
    "pairs": _of_matches,
    "messages": _of_messages,
    "sharegpt": _of_messages,
    "alpaca": _of_alpaca,
    "prompt_completion": _of_pairs,
    "preferences": of_preferences,
    "kto": of_feedback,
    "prompts": of_prompts,
    "checked": of_checked,
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


def _history(cells: Cells) -> list[Message]:
    """Alpaca's history: earlier [question, answer] pairs."""
    column = cells.columns.get("history")
    pairs = parsed(cells.value.get(column)) if column else None
    if not pairs:
        return []
    messages: list[Message] = []
    for pair in pairs if isinstance(pairs, list) else [pairs]:
        if not isinstance(pair, list) or len(pair) != 2:
            raise row_error(cells.place, column, "is no list of [question, answer] pairs.", "Repair it, or leave it out.")
        asked, answer = (scalar(side, cells.place, str(column)) for side in pair)
        messages += [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]
    return messages


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
    if layout == "checked":
        check = next(one for one in CHECKS if one in columns)
        return all(is_check(check, record.value.get(columns[check])) for record in records)
    if layout == "prompts":
        return plain(columns["prompt"]) in ASKS
    if "candidates" in columns:
        first = _first_list(records, columns["candidates"])
        return any(isinstance(one, dict) and any(key in one for key in SCORES) for one in first)
    if layout == "kto":
        cells = [record.value.get(columns["label"]) for record in records]
        if "messages" in columns:  # conversations may be labelled with all sorts of things
            return bool(cells) and all(isinstance(cell, bool) for cell in cells)
        stated = [cell for cell in cells if cell is not None]
        return bool(stated) and sum(mark_of(cell) is not None for cell in stated) >= MOSTLY * len(stated)
    return True


def _first_list(records: list[Record], column: str) -> list[Any]:
    for record in records:
        value = parsed(record.value.get(column))
        if isinstance(value, list) and value:
            return value
    return []


def _dialect(messages: list[Any]) -> DataFormat:
    first = messages[0] if messages else None
    return "sharegpt" if isinstance(first, dict) and "from" in first and "role" not in first else "messages"
