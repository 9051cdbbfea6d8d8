"""Prompts without answers, and prompts with what an answer is checked by."""

import json
import re
from typing import Any

from kriptik.data.cells import Cells, Made, parsed
from kriptik.data.preferences import asked_problem
from kriptik.data.record import row_error

CHECKS = ("tests", "schema", "pattern", "task")


def of_prompts(cells: Cells) -> Made:
    """What is to be answered."""
    prompt = cells.system() + cells.turns("prompt", "user")
    if problem := asked_problem(prompt):
        return Made(None, problem=problem)
    return Made({"prompt": prompt})


def of_checked(cells: Cells) -> Made:
    """A prompt with its check. Raises DataError with row and column where the check cannot be one."""
    made = of_prompts(cells)
    if made.row is None:
        return made
    row = {**made.row}
    for name in CHECKS:
        if name in cells.columns:
            row[name] = READERS[name](cells)
    if (answer := cells.maybe("answer")) or "task" in row:
        row["answer"] = answer
    if "task" in row:  # its scorer wants the whole entry
        row["task"] = {"question": prompt_text(row), "answer": answer, "metadata": row["task"]}
    return Made(row)


def prompt_text(row: dict[str, Any]) -> str:
    """The last thing asked."""
    return str(row["prompt"][-1]["content"])


def is_check(name: str, value: Any) -> bool:
    """Whether a cell can be a check of that name; columns of these names may hold all sorts of things."""
    value = parsed(value)
    if name == "task":
        return isinstance(value, dict) and isinstance(value.get("source_dataset"), str)
    if name == "schema":
        return isinstance(_json(value), dict)
    if name == "tests":
        return bool(value) and (isinstance(value, str) or (isinstance(value, list) and all(isinstance(one, str) for one in value)))
    return isinstance(value, str) and bool(value) and _compiles(value)


def _tests(cells: Cells) -> Any:
    value = parsed(cells.raw("tests"))
    if not is_check("tests", value):
        raise _no_check(cells, "tests", "no code and no list of it")
    return value


def _schema(cells: Cells) -> Any:
    value = _json(parsed(cells.raw("schema")))
    if not isinstance(value, dict):
        raise _no_check(cells, "schema", "no JSON Schema")
    return value


def _pattern(cells: Cells) -> Any:
    value = cells.raw("pattern")
    if not is_check("pattern", value):
        raise _no_check(cells, "pattern", "no regular expression")
    return value


def _task(cells: Cells) -> Any:
    value = parsed(cells.raw("task"))
    if not is_check("task", value):
        raise _no_check(cells, "task", "no metadata of reasoning-gym (source_dataset is missing)")
    return value


READERS = {"tests": _tests, "schema": _schema, "pattern": _pattern, "task": _task}


def _no_check(cells: Cells, role: str, what: str) -> Exception:
    return row_error(cells.place, cells.columns[role], f"holds {what}.", "Give every row its check.")


def _json(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return None


def _compiles(pattern: str) -> bool:
    try:
        re.compile(pattern)
    except re.error:
        return False
    return True
