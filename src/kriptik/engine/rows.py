"""Rows in the form a stage trains on. Small data is held in memory; large data stays on disk, read row by row where it is used.

Of large data, memory holds a few numbers per row: where it lies in the file, how long it is, what it weighs. The encoded rows are
written once per run, form and length (`rows/` in the run's folder): the smoke test's are those of the training and of every resume.
"""

import hashlib
import json
import os
from array import array
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, overload

from kriptik.engine.interfaces import Encoded
from kriptik.spec.errors import DataError, WorkerError

IN_MEMORY_BYTES = 256 << 20
"""Files up to this size are read whole. A row takes several times its bytes as Python objects."""
FOLDER = "rows"
Encode = Callable[[dict[str, Any], int], Encoded]


class Rows:
    """Rows of a stage: `raw` as they came, `encoded` as they are trained on. Row numbers are positions from 0."""

    def __init__(self, raw: Sequence[dict[str, Any]], encoded: Sequence[Encoded]) -> None:
        self.raw, self.encoded = raw, encoded

    def __len__(self) -> int:
        return len(self.encoded)


def open_rows(path: str | Path) -> Sequence[dict[str, Any]]:
    """The rows of a JSONL file, empty lines left out. Raises DataError naming the line."""
    try:
        size = Path(path).stat().st_size
        rows: Sequence[dict[str, Any]] = FileRows(Path(path)) if size > IN_MEMORY_BYTES else list(_parsed(Path(path)))
    except OSError as error:
        sentence = f"The training rows cannot be read: {error.strerror}."
        raise DataError("data_missing", sentence, "Check that the data set still exists, or attach it again.") from error
    if not rows:
        raise DataError("data_empty", "There are no rows to train on.", "Attach a data set with at least one row.")
    return rows


def encode_rows(raw: Sequence[dict[str, Any]], encode: Encode, keep: Path, about: dict[str, Any]) -> Rows:
    """All rows encoded, once. Of a large file the result is kept under `keep`, named after `about`: all that it depends on."""
    if not isinstance(raw, FileRows):
        return Rows(raw, [encode(row, number) for number, row in enumerate(raw)])
    name = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:32]
    return Rows(raw, EncodedFile.made(keep / FOLDER / f"{name}.jsonl", raw, encode))


def lengths_of(encoded: Sequence[Encoded]) -> list[int]:
    """What packing counts, row by row, without reading rows that lie on disk."""
    return encoded.lengths.tolist() if isinstance(encoded, EncodedFile) else [row.length for row in encoded]


class FileRows(Sequence[dict[str, Any]]):
    """Rows of a JSONL file that stays on disk. Looks at every line once, so that a bad one is found at the start."""

    def __init__(self, path: Path) -> None:
        self._places = array("q")
        at = 0
        with path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    _row(line, number)
                    self._places.append(at)
                at += len(line)
        self._file = path.open("rb")

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, at: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, at: slice) -> list[dict[str, Any]]: ...
    def __getitem__(self, at: int | slice) -> dict[str, Any] | list[dict[str, Any]]:
        if isinstance(at, slice):
            return [self[number] for number in range(*at.indices(len(self)))]
        self._file.seek(self._places[at])
        return _row(self._file.readline(), at + 1)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[number] for number in range(len(self)))


class EncodedFile(Sequence[Encoded]):
    """Encoded rows on disk: a line of JSON each, and three numbers per row in memory."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._places, self.lengths, self._weights = array("q"), array("q"), array("d")
        with _index(path).open("rb") as index:
            count = int.from_bytes(index.read(8), "little")
            for numbers in (self._places, self.lengths, self._weights):
                numbers.fromfile(index, count)
        self._file = path.open("rb")

    @classmethod
    def made(cls, path: Path, raw: Sequence[dict[str, Any]], encode: Encode) -> "EncodedFile":
        """Opens what is there for these rows, else writes it: the index last, so that a half-written file is made anew."""
        if not _index(path).exists():
            try:
                _write(path, raw, encode)
            except OSError as error:
                what = f"Encoded rows could not be kept: {error.strerror}."
                raise WorkerError("disk_full", what, "Free disk space, then retry.") from error
        return cls(path)

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, at: int) -> Encoded: ...
    @overload
    def __getitem__(self, at: slice) -> list[Encoded]: ...
    def __getitem__(self, at: int | slice) -> Encoded | list[Encoded]:
        if isinstance(at, slice):
            return [self[number] for number in range(*at.indices(len(self)))]
        self._file.seek(self._places[at])
        number = at if at >= 0 else len(self) + at
        return Encoded(number, self.lengths[at], self._weights[at], json.loads(self._file.readline()))

    def __iter__(self) -> Iterator[Encoded]:
        return (self[number] for number in range(len(self)))


def _write(path: Path, raw: Sequence[dict[str, Any]], encode: Encode) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}.part")
    places, lengths, weights = array("q"), array("q"), array("d")
    with part.open("wb") as out:
        for number, row in enumerate(raw):
            found = encode(row, number)
            places.append(out.tell())
            lengths.append(found.length)
            weights.append(found.weight)
            out.write(json.dumps(found.fields, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")
        out.flush()
        os.fsync(out.fileno())
    index = part.with_suffix(".index")
    with index.open("wb") as out:
        out.write(len(places).to_bytes(8, "little"))
        for numbers in (places, lengths, weights):
            numbers.tofile(out)
        out.flush()
        os.fsync(out.fileno())
    part.replace(path)
    index.replace(_index(path))


def _index(path: Path) -> Path:
    return path.with_suffix(".index")


def _parsed(path: Path) -> Iterator[dict[str, Any]]:
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield _row(line, number)


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
