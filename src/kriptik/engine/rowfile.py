"""Rows that need not fit in memory: a JSONL file read by offset, and encoded rows laid aside on disk.

In memory are 8 bytes a row of the file, and 24 of an encoded one.
"""

import json
import pickle
import tempfile
from array import array
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from kriptik.spec.errors import DataError

if TYPE_CHECKING:
    from kriptik.engine.interfaces import Encoded

KEPT = 50_000
"""Encoded rows up to which all stay in memory."""


class RowFile(Sequence[dict[str, Any]]):
    """The rows of a JSONL file by number, from 0 over the non-empty lines. Every line is read, and checked, once at the start.

    Raises DataError naming the line that is no JSON object; `data_missing` and `data_empty` where there is nothing to read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offsets = array("Q")
        try:
            self._file = path.open("rb")
            place = 0
            for number, line in enumerate(self._file, 1):
                if line.strip():
                    _row(line, number)
                    self._offsets.append(place)
                place += len(line)
        except OSError as error:
            sentence = f"The training rows cannot be read: {error.strerror}."
            raise DataError("data_missing", sentence, "Check that the data set still exists, or attach it again.") from error
        if not self._offsets:
            raise DataError("data_empty", "There are no rows to train on.", "Attach a data set with at least one row.")

    def __len__(self) -> int:
        return len(self._offsets)

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, index: slice) -> list[dict[str, Any]]: ...
    def __getitem__(self, index: int | slice) -> dict[str, Any] | list[dict[str, Any]]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        self._file.seek(self._offsets[index])
        return json.loads(self._file.readline())

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self._file.close()


class Aside(Sequence["Encoded"]):
    """Encoded rows on disk, in a file that has no name and goes with the process."""

    def __init__(self, rows: Sequence[dict[str, Any]], encode: "Callable[[dict[str, Any], int], Encoded]") -> None:
        self._offsets, self.lengths, self.weights = array("Q"), array("Q"), array("d")
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the rows
        place = 0
        for number, row in enumerate(rows):
            made = encode(row, number)
            piece = pickle.dumps(made, protocol=pickle.HIGHEST_PROTOCOL)
            self._file.write(piece)
            self._offsets.append(place)
            self.lengths.append(made.length)
            self.weights.append(made.weight)
            place += len(piece)
        self._file.flush()

    def __len__(self) -> int:
        return len(self._offsets)

    @overload
    def __getitem__(self, index: int) -> "Encoded": ...
    @overload
    def __getitem__(self, index: slice) -> "list[Encoded]": ...
    def __getitem__(self, index: int | slice) -> "Encoded | list[Encoded]":
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        self._file.seek(self._offsets[index])
        return pickle.load(self._file)  # our own bytes, from a file that nobody else can open


class Outline(Sequence["Encoded"]):
    """Rows laid aside, without their fields: number, length and weight, made when asked for."""

    def __init__(self, rows: Aside) -> None:
        self._rows, self._make = rows, type(rows[0])

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> "Encoded": ...
    @overload
    def __getitem__(self, index: slice) -> "list[Encoded]": ...
    def __getitem__(self, index: int | slice) -> "Encoded | list[Encoded]":
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        return self._make(row=range(len(self))[index], length=self._rows.lengths[index], weight=self._rows.weights[index])


def _row(line: bytes, number: int) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        sentence = f"Line {number} is not JSON: {error}."
        raise DataError("data_bad_line", sentence, "Mend or remove that line.", fields={"line": number}) from error
    if not isinstance(row, dict):
        sentence = f"Line {number} is not a JSON object."
        raise DataError("data_bad_line", sentence, "Mend or remove that line.", fields={"line": number})
    return row
