"""Questions about pictures: tables in an archive whose rows name pictures of it beside chat turns or pairs of answers.

`MARK` stands in a turn where a picture does; without any, the pictures come before the first question. OpenAI's parts
({"type": "image_url"}), LLaVA's "<image>" and plain columns (image, question, answer) become the same row.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from kriptik.data import formats
from kriptik.data.archive import Member
from kriptik.data.beside import PROSE
from kriptik.data.cells import Made, parsed, plain
from kriptik.data.images import IMAGE_COLUMNS, Picture, kept, look
from kriptik.data.readers import read_records
from kriptik.data.record import Place, Record, Unreadable, row_error
from kriptik.data.turns import IMAGE_PARTS
from kriptik.spec.data import RowKind
from kriptik.spec.errors import DataError

MARK = "<image>"
COLUMNS = ("images", "image_paths", *IMAGE_COLUMNS)
KINDS: dict[str, RowKind] = {"messages": "image_messages", "preferences": "image_preferences"}
"""A table's kind of row → the kind it becomes with pictures. Other tables beside pictures hold captions (`images.py`)."""
TURNS = ("messages", "prompt", "chosen", "rejected")
PART_NAMES = ("image_url", "image", "path", "url")


@dataclass(frozen=True)
class Asked:
    """A table with questions about pictures, how it is read, and the column that names them (None: the turns do)."""

    table: Member
    layout: formats.Layout
    column: str | None


@dataclass(frozen=True)
class Told:
    """One row: made, its pictures' weight, or the error that makes it useless; codes of what was done to the pictures."""

    record: Record
    made: Made | None = None
    patches: int = 0
    notes: tuple[str, ...] = ()
    error: DataError | None = None


def asked_of(tables: Sequence[Member]) -> list[Asked]:
    """The tables that ask about pictures; none where they hold captions or nothing of pictures."""
    found = []
    for table in tables:
        if table.path.suffix in (".txt", *PROSE):
            continue
        first = list(islice(read_records(table.path, table.name, table.name), formats.LOOK_AT))
        values = [one for one in first if isinstance(one.value, dict)]
        if not values or len(values) < len([one for one in first if not isinstance(one.value, Unreadable)]):
            continue
        names = {plain(str(name)): str(name) for one in reversed(values) for name in one.value}
        column = next((names[one] for one in COLUMNS if one in names), None)
        try:
            layout = formats.detect([_bare(one, column)[0] for one in values])
        except DataError:
            continue
        if layout.kind in KINDS and (column or any(_bare(one, None)[1] for one in values)):
            found.append(Asked(table, layout, column))
    return found


def rows_of(asked: Asked, pictures: Sequence[Member], folder: Path) -> Iterator[Told]:
    """Each row of a table; pictures that can be used are written to `folder`/media. Raises DataError for one that is not there."""
    names = {PurePosixPath(one.name).name: one for one in pictures} | {one.name: one for one in pictures}
    known: dict[str, Picture | DataError] = {}
    home = PurePosixPath(asked.table.name).parent
    for record in read_records(asked.table.path, asked.table.name, asked.table.name):
        if isinstance(record.value, Unreadable):
            yield Told(record, error=record.value.error)
            continue
        try:
            bare, files = _bare(record, asked.column)
            made = formats.to_row(bare, asked.layout)
            seen = [_seen(one, home, names, known, record.place) for one in files]
            if made.row is None:
                yield Told(record, made)
                continue
            row = _marked(made.row, len(seen), record.place)
        except DataError as error:
            if error.code == "no_such_media":
                raise
            yield Told(record, error=error)
            continue
        notes = tuple(dict.fromkeys(code for one in seen for code in one.notes))
        made = replace(made, row={**row, "images": [kept(one, folder) for one in seen]})
        yield Told(record, made, sum(one.places for one in seen), notes)


def _bare(record: Record, column: str | None) -> tuple[Record, list[str]]:
    """(the record with a mark for each picture that stands among parts of its turns, names of its pictures in order)."""
    named: list[str] = []
    value = record.value
    if not isinstance(value, dict):
        return record, named
    cells = {name: _plain(parsed(cell), named) if name != column else cell for name, cell in value.items()}
    own = _names(parsed(value.get(column))) if column else []
    return Record(record.place, cells), named or own


def _plain(value: Any, named: list[str]) -> Any:
    """A cell with its parts that are pictures as text; their names go to `named`."""
    if isinstance(value, list):
        return [_plain(one, named) for one in value]
    if not isinstance(value, dict):
        return value
    if value.get("type") in IMAGE_PARTS:
        named += next((_names(value[one]) for one in PART_NAMES if value.get(one)), [])
        return {"type": "text", "text": MARK}
    return {name: _plain(one, named) if name in ("content", "value", "messages") else one for name, one in value.items()}


def _names(value: Any) -> list[str]:
    """Names of files in a cell: one, a list of them, or objects that hold one."""
    if isinstance(value, list):
        return [name for one in value for name in _names(one)]
    if isinstance(value, dict):
        return next((_names(value[one]) for one in PART_NAMES if value.get(one)), [])
    return [value] if isinstance(value, str) and value.strip() else []


def _seen(name: str, home: PurePosixPath, names: dict[str, Member], known: dict[str, Picture | DataError], place: Place) -> Picture:
    """The picture that is meant. Raises DataError where it is not in the archive, or cannot be used."""
    member = names.get(str(home / name)) or names.get(name) or names.get(PurePosixPath(name).name)
    if member is None:
        what = f"names {name[:80]!r}, which is not in the archive."
        raise row_error(place, None, what, "Pack the file too, or leave the row out.", code="no_such_media")
    if member.name not in known:
        try:
            known[member.name] = look(member.path, member.name)
        except DataError as error:
            known[member.name] = error
    found = known[member.name]
    if isinstance(found, DataError):
        raise found
    return found


def _marked(row: dict[str, Any], pictures: int, place: Place) -> dict[str, Any]:
    """The row with as many marks as pictures. Raises DataError where it has others."""
    turns = [turn for name in TURNS for turn in row.get(name, ())]
    marks = sum(turn["content"].count(MARK) for turn in turns)
    if not pictures:
        raise row_error(place, None, "names no picture.", "Give every row an image.")
    if not marks:
        name = "messages" if "messages" in row else "prompt"
        first = next(at for at, turn in enumerate(row[name]) if turn["role"] == "user")
        asked = {**row[name][first], "content": f"{MARK * pictures}\n{row[name][first]['content']}"}
        return {**row, name: [*row[name][:first], asked, *row[name][first + 1 :]]}
    if marks != pictures:
        raise row_error(place, None, f"has {marks} × {MARK} and {pictures} pictures.", f"Write {MARK} once for each picture.")
    return row
