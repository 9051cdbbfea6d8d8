"""What is said of media files: tables with a file's name and a text, lists of lines, and text files of a file's own name.

Tables have columns as Hugging Face's folders have them (`file_name`, `text`), lists one file a line (`name|text`, as LJSpeech has
it; also with a tab, a colon or a blank between). A table may say where in a file its text is (`start`, `end`, in seconds).
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import PurePosixPath

from kriptik.data.archive import Member
from kriptik.data.cells import plain
from kriptik.data.readers import read_records
from kriptik.data.text import clean
from kriptik.spec.errors import DataError

TEXT_COLUMNS = (
    "caption", "text", "transcript", "transcription", "sentence", "prompt", "description", "label", "title", "raw_transcription",
    "normalized_text", "text_normalized",
)  # fmt: skip
START_COLUMNS, END_COLUMNS = ("start", "start_s", "begin", "from"), ("end", "end_s", "stop", "to")
PROSE = (".md", ".markdown")
LISTS = (".txt", ".csv", ".tsv")
LOOK_AT = 20
LONGEST_LIST = 64 << 20
_LINE = re.compile(r"\s*([^|\t:]+?)\s*(?:\||\t|:\s)\s*(.+?)\s*$")
_BLANK = re.compile(r"\s*(\S+)\s+(.+?)\s*$")


@dataclass(frozen=True)
class Said:
    """A text of a file, or of a part of it, in seconds."""

    text: str
    start: float | None = None
    end: float | None = None


def said_of(media: Sequence[Member], tables: Sequence[Member], columns: Sequence[str]) -> dict[str, list[Said]]:
    """A media file's name in the archive → what is said of it. `columns`: names that the column with the file may have.

    Raises DataError for a table without a file or a text, and for one whose `start` or `end` is no time.
    """
    stems: dict[str, str] = {}
    by_path: dict[str, str] = {}
    for one in media:
        path = PurePosixPath(one.name)
        by_path.setdefault(path.name, one.name)
        by_path[one.name] = one.name
        stems.setdefault(path.stem, one.name)
        stems[str(path.with_suffix(""))] = one.name
    found: dict[str, list[Said]] = {}
    for table in tables:
        beside = stems.get(str(PurePosixPath(table.name).with_suffix("")))
        if beside is not None and table.path.suffix == ".txt":
            texts = (record.value for record in read_records(table.path, table.name, table.name))
            found[beside] = [Said(" ".join(clean(str(text)).strip() for text in texts if isinstance(text, str)))]
        elif table.path.suffix in LISTS and (lines := _of_lines(table, {**stems, **by_path})):
            found |= lines
        elif table.path.suffix not in (".txt", *PROSE):
            found |= _of_table(table, by_path, columns)
    return found


def _of_table(table: Member, by_path: dict[str, str], columns: Sequence[str]) -> dict[str, list[Said]]:
    records = read_records(table.path, table.name, table.name)
    first = next(records, None)
    if first is None or not isinstance(first.value, dict):
        return {}
    names = {plain(str(name)): str(name) for name in first.value}
    file, told, start, end = (
        next((names[one] for one in several if one in names), None)
        for several in (columns, TEXT_COLUMNS, START_COLUMNS, END_COLUMNS)
    )
    if file is None or told is None:
        what = f"{table.name} names no file or no text; its columns: {', '.join(names.values())[:200]}."
        raise DataError("no_usable_columns", what, "Name the columns file_name and text.")
    home, found = PurePosixPath(table.name).parent, {}
    for record in chain([first], records):
        if not isinstance(record.value, dict):
            continue
        named, text = record.value.get(file), record.value.get(told)
        if isinstance(named, str) and isinstance(text, str):
            inside = by_path.get(str(home / named)) or by_path.get(named) or by_path.get(PurePosixPath(named).name)
            if inside is not None:
                cells = [record.value.get(column) if column else None for column in (start, end)]
                times = [_seconds(cell, table.name, record.place.row) for cell in cells]
                found.setdefault(inside, []).append(Said(clean(text).strip(), *times))
    return found


def _seconds(value: object, name: str, row: int) -> float | None:
    if value is None or value == "":
        return None
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = float("nan")
    if not 0 <= number < 1e7:
        what, step = f"Row {row} of {name} has '{str(value)[:40]}' for a time.", "Give start and end in seconds."
        raise DataError("bad_time", what, step, fields={"row": row, "file": name})
    return number


def _of_lines(table: Member, names: dict[str, str]) -> dict[str, list[Said]]:
    """Lines that begin with a file's name; nothing where most of the first do not."""
    first = list(islice(_lines(table), LOOK_AT))
    for shape in (_LINE, _BLANK):
        hits = sum((match := shape.match(line)) is not None and match[1] in names for line in first)
        if first and hits * 2 > len(first):
            matches = (shape.match(line) for line in _lines(table))
            return {names[one[1]]: [Said(clean(one[2].rpartition("|")[2]).strip())] for one in matches if one and one[1] in names}
    return {}


def _lines(table: Member) -> Iterator[str]:
    if table.path.stat().st_size > LONGEST_LIST:
        return
    with table.path.open(encoding="utf-8-sig", errors="replace") as handle:
        yield from (line for line in handle if line.strip())
