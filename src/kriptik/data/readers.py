"""Files → records, one at a time: JSONL, JSON, CSV, TSV, Parquet, YAML dialogues, text. What a row means is for `formats` to say.

A new kind of file: one reader here and one line in `READERS`.
"""

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

from kriptik.data import text
from kriptik.data.dialogues import read_yaml
from kriptik.data.jsonstream import array_items
from kriptik.data.record import Place, Record, Unreadable, row_error
from kriptik.spec.errors import DataError

MAX_LINE = 16 << 20
"""Characters in one line, field or JSON value; more is no training row but a broken or hostile file."""
MAX_WHOLE_JSON = 256 << 20
"""Bytes of a JSON file that is one object, which has to be read whole."""
PARAGRAPH_CHARS = 2000
TABLE_KEYS = ("data", "rows", "examples", "train", "instances", "conversations", "records")
PARQUET_BATCH = 256


def read_records(path: Path, name: str | None = None, member: str | None = None) -> Iterator[Record]:
    """The records of one file.

    `name` gives the suffix where `path` has another one; `member` is how errors call a file inside an archive.
    Raises DataError with row and column; `empty_file` when nothing is in it.
    """
    suffix = Path(name or path.name).suffix.lower()
    reader = READERS.get(suffix)
    if reader is None:
        raise DataError(
            "unsupported_file",
            f"{name or path.name!r} is not a kind of file that holds training rows here.",
            "Send JSONL, JSON, CSV, TSV, Parquet, YAML dialogues, txt, md, or a zip of these.",
        )
    found = False
    for record in reader(path, member):
        found = True
        yield record
    if not found:
        raise DataError("empty_file", f"{member or name or path.name!r} holds no rows.", "Check that the right file was chosen.")


def _open_text(path: Path, *, newline: str | None = None) -> TextIO:
    encoding = text.detect_encoding(path)
    if encoding is None:
        raise DataError(
            "not_text", "The file is binary, though its name says text.", "Check the file, or export it again as UTF-8."
        )
    errors = "replace" if encoding != "utf-8" else "strict"
    return path.open(encoding=encoding, errors=errors, newline=newline)


def _lines(handle: TextIO, member: str | None) -> Iterator[tuple[Place, str]]:
    number = 0
    while line := handle.readline(MAX_LINE + 1):
        number += 1
        place = Place(number, member)
        if len(line) > MAX_LINE:
            raise row_error(place, None, f"is longer than {MAX_LINE:,} characters.", "Split it, or check the file's line ends.")
        yield place, line


def _read_jsonl(path: Path, member: str | None) -> Iterator[Record]:
    with _open_text(path) as handle:
        for place, line in _lines(handle, member):
            if line.strip():
                yield Record(place, _parsed(line, place))


def _parsed(line: str, place: Place) -> Any:
    try:
        return _parse(line, place)
    except DataError as error:
        return Unreadable(error)


def _parse(source: str, place: Place) -> Any:
    try:
        value = json.loads(source)
    except json.JSONDecodeError as error:
        near = text.shorten(source[max(0, error.pos - 20) : error.pos + 20], 40)
        raise row_error(
            place,
            None,
            f"is not valid JSON: {error.msg} at character {error.pos + 1}, near {near!r}.",
            f"Repair row {place.row} and send the file again; every line must be one JSON object.",
            "bad_json",
        ) from error
    except (RecursionError, ValueError) as error:
        what = "is not JSON that can be read: nested too deep or a number too long."
        raise row_error(place, None, what, "Repair it.", "bad_json") from error
    if not isinstance(value, dict | list | str):
        what = f"holds {text.shorten(source, 40)}, not a JSON object."
        raise row_error(place, None, what, "Make every row an object.", "bad_json")
    return value


def _read_json(path: Path, member: str | None) -> Iterator[Record]:
    """A list of rows (streamed), an object with a list of rows or with columns inside, or JSONL under the name of JSON."""
    with _open_text(path) as handle:
        start = handle.read(1)
        while start and start.isspace():
            start = handle.read(1)
        if start == "[":
            for number, value in enumerate(array_items(handle, member, MAX_LINE), 1):
                yield Record(Place(number, member), value)
            return
    if start == "{" and _is_jsonl(path):
        yield from _read_jsonl(path, member)
    elif start:
        yield from _whole_json(path, member)


def _is_jsonl(path: Path) -> bool:
    with _open_text(path) as handle:
        first = handle.readline(MAX_LINE)
        second = handle.readline(MAX_LINE)
    try:
        return isinstance(json.loads(first), dict) and second.lstrip().startswith("{")
    except (ValueError, RecursionError):
        return False


def _whole_json(path: Path, member: str | None) -> Iterator[Record]:
    if path.stat().st_size > MAX_WHOLE_JSON:
        raise DataError(
            "json_too_large",
            f"A JSON file above {MAX_WHOLE_JSON >> 20} MB must be a list of rows, not one object.",
            "Save it as JSONL: one object per line.",
        )
    with _open_text(path) as handle:
        value = _parse(handle.read(), Place(1, member))
    rows = _table(value)
    for number, row in enumerate(rows, 1):
        yield Record(Place(number, member), row)


def _table(value: Any) -> list[Any]:
    if not isinstance(value, dict):
        return [value]
    for key in TABLE_KEYS:
        inner = value.get(key)
        if isinstance(inner, list) and inner and isinstance(inner[0], dict) and not {"from", "role"} & set(inner[0]):
            return inner
    columns = {k: v for k, v in value.items() if isinstance(v, list)}
    lengths = {len(v) for v in columns.values()}
    if len(columns) >= 2 and len(columns) == len(value) and len(lengths) == 1 and "messages" not in columns:
        return [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]
    return [value]


def _read_table(path: Path, member: str | None) -> Iterator[Record]:
    csv.field_size_limit(MAX_LINE)  # the standard library keeps this per process; every reader here wants the same
    with _open_text(path, newline="") as handle:
        head = handle.readline(MAX_LINE)
        handle.seek(0)
        delimiter = "\t" if path.suffix.lower() == ".tsv" else max(",;\t|", key=head.count)
        reader = csv.reader(handle, delimiter=delimiter)
        header: list[str] | None = None
        row = 0
        while True:
            row += 1
            place = Place(row, member)
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                step = "Look for a quotation mark that is never closed."
                yield Record(place, Unreadable(row_error(place, None, f"cannot be read: {error}.", step, "bad_csv")))
                continue
            if not any(cell.strip() for cell in cells):
                continue
            if header is None:
                header = _header(cells, place)
            else:
                yield Record(place, _cells(header, cells, place))


def _header(cells: list[str], place: Place) -> list[str]:
    names = [cell.strip() for cell in cells]
    while names and not names[-1]:
        names.pop()
    doubled = {name for name in names if name and names.count(name) > 1}
    if doubled:
        raise row_error(place, sorted(doubled)[0], "names two columns.", "Give every column a name of its own.", "bad_csv")
    return names


def _cells(header: list[str], cells: list[str], place: Place) -> dict[str, str | None] | Unreadable:
    if any(cell.strip() for cell in cells[len(header) :]):
        what = f"has {len(cells)} fields, but the header names {len(header)}."
        step = "Put quotation marks around texts that contain the separator."
        return Unreadable(row_error(place, None, what, step, "bad_csv"))
    padded: list[str | None] = [*cells, *[None] * (len(header) - len(cells))]
    return {name: padded[index] for index, name in enumerate(header) if name}


def _read_parquet(path: Path, member: str | None) -> Iterator[Record]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    row = 0
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=PARQUET_BATCH):
                for value in batch.to_pylist():
                    row += 1
                    yield Record(Place(row, member), value)
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            "bad_parquet",
            f"The Parquet file cannot be read after row {row}: {text.shorten(str(error), 120)}",
            "Write it again, for example with pyarrow or pandas.",
            fields={"row": row + 1},
        ) from error


def _read_text(path: Path, member: str | None) -> Iterator[Record]:
    """Paragraphs, gathered to about 2,000 characters; a longer paragraph is cut between words."""
    with _open_text(path) as handle:
        gathered: list[str] = []
        size, start, paragraph_ended = 0, 1, True
        for place, line in _text_lines(handle, member):
            if not line.strip():
                paragraph_ended = True
                if gathered:
                    gathered.append("")
                continue
            if size and size + len(line) > PARAGRAPH_CHARS and (paragraph_ended or size > 2 * PARAGRAPH_CHARS):
                yield Record(Place(start, member), "\n".join(gathered).strip())
                gathered, size = [], 0
            if not size:
                start = place.row
            gathered.append(line.rstrip("\r\n"))
            size += len(line)
            paragraph_ended = False
        if size:
            yield Record(Place(start, member), "\n".join(gathered).strip())


def _text_lines(handle: TextIO, member: str | None) -> Iterator[tuple[Place, str]]:
    for number, line in enumerate(_bounded(handle), 1):
        yield Place(number, member), line


def _bounded(handle: TextIO) -> Iterator[str]:
    """Lines; those above the length of a paragraph come in pieces that end between words."""
    rest = ""
    while piece := handle.readline(PARAGRAPH_CHARS):
        whole = rest + piece
        if whole.endswith("\n") or len(piece) < PARAGRAPH_CHARS:
            yield whole
            rest = ""
            continue
        cut = max(whole.rfind(" "), whole.rfind("\t"))
        cut = cut + 1 if cut > 0 else len(whole)
        yield whole[:cut]
        rest = whole[cut:]
    if rest:
        yield rest


Reader = Callable[[Path, str | None], Iterator[Record]]
READERS: dict[str, Reader] = {
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
    ".json": _read_json,
    ".yml": read_yaml,
    ".yaml": read_yaml,
    ".csv": _read_table,
    ".tsv": _read_table,
    ".parquet": _read_parquet,
    ".txt": _read_text,
    ".md": _read_text,
    ".markdown": _read_text,
}
