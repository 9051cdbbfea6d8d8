"""Which of two media files was preferred: tables with a better and a worse file and a text, or with two files and a label.

Labels are those of Pick-a-Pic (Kirstain et al. 2023): `label_0` is 1 where the first file won, 0 where the second did, else a tie.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from kriptik.data.archive import Member
from kriptik.data.beside import PROSE, TEXT_COLUMNS
from kriptik.data.cells import plain
from kriptik.data.readers import read_records
from kriptik.data.record import Place, Record, Taken, Unreadable, row_error
from kriptik.data.text import clean
from kriptik.spec.data import Row
from kriptik.spec.errors import DataError

MEDIA = ("audio", "image", "video")
BETTER = ("chosen", *(f"chosen_{one}" for one in MEDIA), "preferred", "better", "winner")
WORSE = ("rejected", *(f"rejected_{one}" for one in MEDIA), "dispreferred", "worse", "loser")
FIRST, SECOND = ("jpg_0", *(f"{one}_0" for one in MEDIA)), ("jpg_1", *(f"{one}_1" for one in MEDIA))
LABEL, LABELLED = "label_0", "has_label"
SAME_SHAPE = 0.02
"""Difference of width over height, as a share, up to which two files count as of one shape."""


@dataclass(frozen=True)
class Pair:
    """Two media files, by their names in the archive, of which the first is the better one for a text, unless neither is."""

    text: str
    better: str
    worse: str
    place: Place
    tie: bool = False

    @property
    def shown(self) -> str:
        """For findings."""
        return f"{self.better} over {self.worse}"


@dataclass(frozen=True)
class Kept:
    """A file that was taken into the data set: its path there, what the planner counts, codes of the doctor, facts for the row."""

    file: str
    units: int
    notes: tuple[str, ...]
    facts: dict[str, Any]
    """With `width` and `height`."""
    extra: dict[str, Any] = field(default_factory=dict)


def pairs_of(media: Sequence[Member], tables: Sequence[Member]) -> list[Pair]:
    """What such tables say; empty where there is none.

    Raises DataError for a row that names a file which is not there, or whose label is no number.
    """
    names = {PurePosixPath(one.name).name: one.name for one in media} | {one.name: one.name for one in media}
    return [pair for table in tables if _may_hold_pairs(table) for pair in _pairs(table, names)]


def taken(kind: str, pairs: Iterable[Pair], keep: Callable[[str], Kept], no_text: str) -> Iterator[Taken]:
    """Each pair in order of its table. `keep`: a file's name → the file, or a DataError with a code of the doctor.

    `kind`: "image" or "video"; `no_text`: the code for pairs without a text.
    """
    known: dict[str, Kept | DataError] = {}
    for pair in pairs:
        found = [] if pair.tie else [_known(known, name, keep) for name in (pair.better, pair.worse)]
        sides = [one for one in found if isinstance(one, Kept)]
        if len(sides) < 2:
            problem = next((one.code for one in found if isinstance(one, DataError)), "no_preference")
            yield Taken(pair.place, pair.shown, problem=problem)
            continue
        better, worse = sides
        if better.file == worse.file:
            yield Taken(pair.place, pair.shown, problem="same_answers")
            continue
        notes = dict.fromkeys((*better.notes, *worse.notes))
        one, other = (side.facts["width"] / side.facts["height"] for side in sides)
        if abs(one - other) > SAME_SHAPE * one:
            notes["pair_shapes"] = None
        row: Row = {f"chosen_{kind}": better.file, f"rejected_{kind}": worse.file, "caption": pair.text, **better.facts}
        yield Taken(pair.place, pair.shown, row, better.units, (*notes, *([] if pair.text else [no_text])), extra=better.extra)


def _known(known: dict[str, Kept | DataError], name: str, keep: Callable[[str], Kept]) -> Kept | DataError:
    """A file is looked at once, however many pairs it is in."""
    if name not in known:
        try:
            known[name] = keep(name)
        except DataError as error:
            known[name] = error
    return known[name]


def _pairs(table: Member, names: dict[str, str]) -> Iterator[Pair]:
    for record in read_records(table.path, table.name, table.name):
        if isinstance(record.value, Unreadable):
            raise record.value.error
        columns = {plain(str(name)): str(name) for name in record.value} if isinstance(record.value, dict) else {}
        told, label, outright, labelled = (
            _first(columns, TEXT_COLUMNS), columns.get(LABEL), _both(columns, BETTER, WORSE), _both(columns, FIRST, SECOND),
        )  # fmt: skip
        sides = outright or (labelled if label else None)
        if sides is None or told is None:
            return
        first, second = (_file(record, column, table, names) for column in sides)
        won = 1.0 if outright else _won(record, str(label), columns.get(LABELLED))
        better, worse = (second, first) if won == 0 else (first, second)
        text = clean(str(record.value.get(told) or "")).strip()
        yield Pair(text, better, worse, Place(record.place.row, table.name), tie=won not in (0.0, 1.0))


def _won(record: Record, column: str, labelled: str | None) -> float:
    """1: the first file, 0: the second, anything else: neither."""
    value = record.value.get(column)
    if value in (None, "") or (labelled and record.value.get(labelled) in (False, "False", "false", 0)):
        return 0.5
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        what = f"holds {str(value)[:40]!r}, which says of neither file that it won."
        raise row_error(record.place, column, what, "Write 1, 0, or 0.5 for a tie.", "bad_label") from error


def _file(record: Record, column: str, table: Member, names: dict[str, str]) -> str:
    name = str(record.value.get(column) or "")
    here = str(PurePosixPath(table.name).parent / name)
    found = names.get(here) or names.get(name) or names.get(PurePosixPath(name).name)
    if found is None:
        what = f"Row {record.place.row} of {table.name} names {name[:80]!r}, which is not in the archive."
        fields = {"row": record.place.row, "file": table.name}
        raise DataError("no_such_media", what, "Pack the file too, or leave the row out.", fields=fields)
    return found


def _may_hold_pairs(table: Member) -> bool:
    """Whether its beginning names such columns: lists of another shape are read elsewhere."""
    if table.path.suffix in (".txt", ".parquet", *PROSE):
        return table.path.suffix == ".parquet"
    with table.path.open("rb") as handle:
        head = handle.read(1 << 16).lower()
    shapes = (BETTER, WORSE), (FIRST, SECOND)
    return any(all(any(name.encode() in head for name in several) for several in both) for both in shapes)


def _both(columns: dict[str, str], one: Sequence[str], other: Sequence[str]) -> tuple[str, str] | None:
    found = _first(columns, one), _first(columns, other)
    return (found[0], found[1]) if found[0] and found[1] else None


def _first(columns: dict[str, str], several: Sequence[str]) -> str | None:
    return next((columns[one] for one in several if one in columns), None)
