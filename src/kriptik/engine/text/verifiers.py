"""Checks of an answer by rule, by name: (what was said, its row, options) → score, mostly 0 to 1. Nothing outside is asked.

The expected answer is the row's `answer`, else its last turn of the assistant.
"""

import json
import re
from collections.abc import Callable
from typing import Any

from kriptik.spec.errors import WorkerError

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
    return float(re.fullmatch(str(options["pattern"]), said.strip(), re.DOTALL) is not None)


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


VERIFIERS: dict[str, Callable[[str, dict[str, Any], dict[str, Any]], float]] = {
    "answer": answer,
    "number": number,
    "regex": regex,
    "share": share,
    "json_object": json_object,
}


def verifier(options: dict[str, Any]) -> Callable[[str, dict[str, Any]], float]:
    """The check that the settings name (`verifier`, with its `pattern` or `keys`). Raises WorkerError."""
    name = str(options.get("verifier", "answer"))
    if name not in VERIFIERS:
        raise WorkerError("unknown_verifier", f"There is no verifier called '{name}'.", f"Known: {', '.join(sorted(VERIFIERS))}.")
    if name in ("regex", "share"):
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


def _last_number(text: str) -> float | None:
    found = NUMBER.findall(text)
    return float(found[-1].replace(",", "")) if found else None
