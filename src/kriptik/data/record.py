"""One raw record of a file, with the place it came from, and the error that names that place."""

from dataclasses import dataclass, field
from typing import Any

from kriptik.spec.data import Row
from kriptik.spec.errors import DataError


@dataclass(frozen=True, slots=True)
class Place:
    """Where in which file: `row` is 1-based; `file` only for members of an archive."""

    row: int
    file: str | None = None

    def words(self, column: str | None = None) -> str:
        """As a person says it: "row 7, column 'answer' of notes.csv"."""
        text = f"row {self.row}"
        if column:
            text += f", column {column!r}"
        return f"{text} of {self.file}" if self.file else text


@dataclass(frozen=True, slots=True)
class Record:
    """What a reader yields: the place and the value as parsed (a dictionary, a list of messages or a string), or `Unreadable`."""

    place: Place
    value: Any


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A row that is broken where the reader can go on with the next one."""

    error: DataError


@dataclass(frozen=True)
class Taken:
    """A picture, recording or clip of a set: its row and weight, or why it is not used. Notes stand with a file's first clip."""

    place: Place
    shown: str
    row: Row | None = None
    units: int = 0
    """What the planner counts instead of tokens: patches, frames of a codec."""
    notes: tuple[str, ...] = ()
    problem: str | None = None
    extra: Row = field(default_factory=dict)
    """What only a preview has: `strip`, a picture of frames side by side as a data URI."""


def row_error(place: Place, column: str | None, what: str, next_step: str, code: str = "bad_row") -> DataError:
    """The error of one row: "Row 7, column 'answer', …"; `fields` carries row, column and file."""
    words = place.words(column)
    fields: dict[str, Any] = {"row": place.row}
    if column:
        fields["column"] = column
    if place.file:
        fields["file"] = place.file
    return DataError(code, f"{words[0].upper()}{words[1:]} {what}", next_step, fields=fields)
