"""The items of a JSON list, one at a time, so that a list of any size is read in little memory."""

import json
import re
from collections.abc import Iterator
from typing import Any, TextIO

from kriptik.data.record import Place, row_error

CHUNK = 1 << 16
_SPACE = re.compile(r"\s*")


def array_items(handle: TextIO, member: str | None, limit: int) -> Iterator[Any]:
    """Items of the list whose opening bracket was just read from `handle`.

    Raises DataError naming the item (1-based) that is broken, longer than `limit` characters, or no object, list or text.
    """
    window = _Window(handle, limit)
    number = 0
    while True:
        place = Place(number + 1, member)
        mark = window.peek()
        if mark == "]":
            return
        if number:
            if mark != ",":
                raise _broken(place, "a comma or the end of the list is missing" if mark else "the list never ends")
            window.skip()
        value = window.value(place)
        if not isinstance(value, dict | list | str):
            raise row_error(place, None, "is not a JSON object.", "Make every row an object.", "bad_json")
        number += 1
        yield value


class _Window:
    """A piece of the file and the position reached in it."""

    def __init__(self, handle: TextIO, limit: int) -> None:
        self.handle, self.limit = handle, limit
        self.buffer, self.at = "", 0
        self.decoder = json.JSONDecoder()

    def peek(self) -> str:
        """The next character that is no space; empty at the end of the file."""
        while True:
            found = _SPACE.match(self.buffer, self.at)
            self.at = found.end() if found else self.at
            if self.at < len(self.buffer):
                return self.buffer[self.at]
            if not self._more(CHUNK):
                return ""

    def skip(self) -> None:
        """Steps over the character just seen."""
        self.at += 1

    def value(self, place: Place) -> Any:
        """The JSON value that starts here. Reads on while it does not parse, twice as much each time."""
        chunk = CHUNK
        self.peek()
        while True:
            try:
                value, self.at = self.decoder.raw_decode(self.buffer, self.at)
                return value
            except json.JSONDecodeError as error:
                problem = error.msg
            except (RecursionError, ValueError) as error:
                raise _broken(place, "nested too deep, or a number too long") from error
            if len(self.buffer) - self.at > self.limit or not self._more(chunk):
                raise _broken(place, problem)
            chunk *= 2

    def _more(self, size: int) -> bool:
        piece = self.handle.read(size)
        self.buffer, self.at = self.buffer[self.at :] + piece, 0
        return bool(piece)


def _broken(place: Place, what: str) -> Exception:
    return row_error(place, None, f"is not valid JSON: {what}.", f"Repair entry {place.row} of the list.", "bad_json")
