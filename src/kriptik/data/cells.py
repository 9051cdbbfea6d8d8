"""One record's cells by the role that their columns play."""

import json
import re
from dataclasses import dataclass
from typing import Any

from kriptik.data.record import Place, row_error
from kriptik.data.turns import Message, read_turns, scalar, transcript
from kriptik.spec.data import Row


@dataclass(frozen=True)
class Made:
    """A canonical row, and what had to be put right (codes of `turns.settle`); or why it cannot be used."""

    row: Row | None
    notes: tuple[str, ...] = ()
    problem: str | None = None


class Cells:
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
        """The cell as messages: a list of them (or its JSON, or a transcript), or the text of one by `speaker`."""
        column, value = self.columns[role], parsed(self.raw(role))
        if isinstance(value, dict) and isinstance(value.get("messages"), list):
            column, value = f"{column}.messages", value["messages"]
        if isinstance(value, list):
            return read_turns(value, self.place, column)
        if isinstance(value, dict) and ("content" in value or "value" in value):
            return read_turns([value], self.place, column)
        content = scalar(value, self.place, column).strip()
        return transcript(content) or [{"role": speaker, "content": content}]

    def system(self) -> list[Message]:
        """The system message, where there is one."""
        said = self.maybe("system")
        return [{"role": "system", "content": said}] if said else []


def parsed(value: Any) -> Any:
    """CSV cells hold lists as JSON text."""
    if isinstance(value, str) and value.lstrip()[:2] in ("[{", "[ ", "[\n", "[[", '{"'):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def plain(name: str) -> str:
    """A column's name as names are compared: lower case, underscores."""
    return re.sub(r"[\s-]+", "_", name.strip().lower())
