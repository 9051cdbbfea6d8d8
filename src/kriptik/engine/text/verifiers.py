"""Checks of an answer by rule, by name: (what was said, its row, options) → score, mostly 0 to 1. Nothing outside is asked.

The expected answer is the row's `answer`, else its last turn of the assistant. What a row brings to check by (`tests`, `schema`,
`pattern`, `task`) wins over the options of the same name.
"""

import importlib.util
import json
import re
from collections.abc import Callable
from typing import Any

from kriptik.engine.text import sandbox
from kriptik.spec.errors import WorkerError

FENCE = re.compile(r"```[\w+-]*\n(.*?)```", re.DOTALL)
NUMBER = re.compile(r"-?\d[\d,]*\.?\d*")


def answer(said: str, row: dict[str, Any], options: dict[str, Any]) -> float:
    """1 where what was said is the expected answer, but for case and blanks; numbers are compared as `number` does."""
    wanted = expected(row)
    if " ".join(said.split()).casefold() == " ".join(wanted.split()).casefold():
        return 1.0
    return number(said, row, options) if NUMBER.fullmatch(wanted.strip()) else 0.0


def number(said: str, row: dict[str, Any], options: dict[str, Any]) -> float:
    """1 where the last number said is the last number of the expected answer (relative tolerance 1e-6)."""
    mine, theirs = _last_number(said), _last_number(expected(row))
    if mine is None or theirs is None:
        return 0.0
    return float(abs(mine - theirs) <= 1e-6 * max(1.0, abs(theirs)))


def regex(said: str, row: dict[str, Any], options: dict[str, Any]) -> float:
    """1 where all that was said matches `pattern`."""
    return float(re.fullmatch(str(row.get("pattern") or options["pattern"]), said.strip(), re.DOTALL) is not None)


def share(said: str, row: dict[str, Any], options: dict[str, Any]) -> float:
    """The part of what was said, in characters, that matches of `pattern` cover."""
    return sum(len(one.group()) for one in re.finditer(str(options["pattern"]), said)) / max(1, len(said))


def json_object(said: str, row: dict[str, Any], options: dict[str, Any]) -> float:
    """1 where what was said is a JSON object that has all `keys`."""
    try:
        found = json.loads(said)
    except ValueError:
        return 0.0
    return float(isinstance(found, dict) and all(key in found for key in options.get("keys", ())))


def json_schema(said: str, row: dict[str, Any], options: dict[str, Any]) -> float:
    """1 where what was said, or the one fenced block in it, is JSON that the `schema` allows (JSON Schema 2020-12)."""
    from jsonschema import Draft202012Validator

    try:
        found = json.loads(_fenced(said))
    except ValueError:
        return 0.0
    schema = row.get("schema") or options["schema"]
    return float(Draft202012Validator(json.loads(schema) if isinstance(schema, str) else schema).is_valid(found))


def unit_tests(said: str, row: dict[str, Any], options: dict[str, Any]) -> float:
    """The part of the row's `tests` (statements, one list entry each, or one program) that pass after the code that was said.

    Each runs in a sandbox of its own; `seconds` (5) and `memory_mb` (512) are its limits.
    """
    tests = row.get("tests") or options.get("tests") or []
    several = [tests] if isinstance(tests, str) else [str(one) for one in tests]
    code, seconds, memory = _fenced(said), float(options.get("seconds", 5)), int(options.get("memory_mb", 512))
    passed = [sandbox.passes(f"{code}\n\n{test}\n", seconds=seconds, memory_mb=memory) for test in several]
    return sum(passed) / len(passed) if passed else 0.0


def task(said: str, row: dict[str, Any], options: dict[str, Any]) -> float:
    """The score that `reasoning-gym` gives: the row's `task` is an entry of one of its data sets, its name among the metadata."""
    from reasoning_gym import get_score_answer_fn

    entry = row.get("task") or {}
    return float(get_score_answer_fn(entry["metadata"]["source_dataset"])(answer=_boxed(said), entry=entry))


def by_row(said: str, row: dict[str, Any], options: dict[str, Any]) -> float:
    """By what the row has: tests, a schema, a pattern, a task, else the expected answer."""
    name = next((name for key, name in BRINGS.items() if row.get(key)), "answer")
    return VERIFIERS[name](said, row, options)


BRINGS = {"tests": "unit_tests", "schema": "json_schema", "pattern": "regex", "task": "task"}
"""What a row may bring → the check it is for."""
VERIFIERS: dict[str, Callable[[str, dict[str, Any], dict[str, Any]], float]] = {
    "row": by_row,
    "answer": answer,
    "number": number,
    "regex": regex,
    "share": share,
    "json_object": json_object,
    "json_schema": json_schema,
    "unit_tests": unit_tests,
    "task": task,
}
EXTRAS = {"task": ("reasoning_gym", "reasoning"), "json_schema": ("jsonschema", "train")}
"""Check → the module it needs, and the extra that installs it."""


def verifier(options: dict[str, Any]) -> Callable[[str, dict[str, Any]], float]:
    """The check that the settings name (`verifier`; "row": what each row brings). Raises WorkerError."""
    name = str(options.get("verifier", "row"))
    if name not in VERIFIERS:
        raise WorkerError("unknown_verifier", f"There is no verifier called '{name}'.", f"Known: {', '.join(sorted(VERIFIERS))}.")
    module, extra = EXTRAS.get(name, ("", ""))
    if module and importlib.util.find_spec(module) is None:
        raise WorkerError("no_verifier", f"Verifier '{name}' needs the package {module}.", f"Install the extra '{extra}'.")
    if name == "share" or (name == "regex" and "pattern" in options):
        try:
            re.compile(str(options["pattern"]))
        except (KeyError, re.error) as error:
            raise WorkerError("bad_pattern", f"Verifier '{name}' needs a regular expression: {error}.", "Set 'pattern'.") from error
    return lambda said, row: VERIFIERS[name](said, row, options)


def expected(row: dict[str, Any]) -> str:
    """The answer that a row expects; empty where it has none."""
    if row.get("answer") is not None:
        return str(row["answer"])
    said = [turn.get("content") or "" for turn in row.get("messages", ()) if turn.get("role") == "assistant"]
    return said[-1] if said else ""


def _fenced(said: str) -> str:
    """What stands in the last fenced block; without one, all of it."""
    blocks = FENCE.findall(said)
    return blocks[-1] if blocks else said.strip()


def _boxed(said: str) -> str:
    """What stands between the last answer tags or in the last box; without, all of it."""
    for pattern in (r"<answer>(.*?)</answer>", r"\\boxed\{([^{}]*)\}"):
        if found := re.findall(pattern, said, re.DOTALL):
            return found[-1].strip()
    return said.strip()


def _last_number(text: str) -> float | None:
    found = NUMBER.findall(text)
    return float(found[-1].replace(",", "")) if found else None
