"""The first pass over a source: records → canonical rows in a spool on disk, and the few numbers that are kept of each."""

import json
import re
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any, overload

from kriptik.data import archive, clips, doctor, embedded, formats, images, pictured, sounds, split, text
from kriptik.data.checks import repair
from kriptik.data.compared import pairs_of
from kriptik.data.near import NearIndex
from kriptik.data.readers import read_records
from kriptik.data.record import Place, Record, Taken, Unreadable
from kriptik.data.transcripts import Transcripts
from kriptik.data.voices import Voices
from kriptik.spec.data import DataFormat, Row, RowKind
from kriptik.spec.errors import DataError

PREVIEW = 3
MEDIA = images.SUFFIXES | sounds.SUFFIXES | clips.SUFFIXES
_TEST = re.compile(r"(?:^|[/_.-])(?:test|eval|evaluation|valid|validation|val|dev|held[_-]?out)(?:[/_.-]|$)", re.IGNORECASE)
_TRAIN = re.compile(r"(?:^|[/_.-])train(?:ing)?(?:[/_.-]|$)", re.IGNORECASE)
PART_COLUMNS = ("split", "set", "subset", "partition", "fold")
"""Columns in which a file says which of its own parts a row stands in."""


TEXTS = frozenset({"messages", "prompt", "completion", "instruction", "output", "chosen", "rejected", "first", "second", "text"})
"""Roles of columns that hold what is asked and said."""


class Spool:
    """Canonical rows on disk, to be read again by number."""

    def __init__(self, handle: IO[bytes]) -> None:
        self.handle = handle
        self.offsets = array("Q")
        self.size = 0

    def add(self, row: Row) -> None:
        """Takes a row in."""
        line = json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode("utf-8") + b"\n"
        self.handle.seek(self.size)
        self.handle.write(line)
        self.offsets.append(self.size)
        self.size += len(line)

    def load(self, number: int) -> Row:
        """A row again."""
        self.handle.seek(self.offsets[number])
        return json.loads(self.handle.readline())

    def __iter__(self) -> Iterator[Row]:
        self.handle.seek(0)
        for line in self.handle:
            yield json.loads(line)


class TraitTable(Sequence[split.Traits]):
    """Traits of many rows, in arrays: about 40 bytes a row."""

    def __init__(self) -> None:
        self.exact, self.question, self.ties, self.starts = array("Q"), array("Q"), array("Q"), array("Q", [0])
        self.short = array("B")

    def append(self, traits: split.Traits) -> None:
        """Takes a row's traits in."""
        self.exact.append(traits.exact)
        self.question.append(traits.question)
        for tie, short in traits.ties:
            self.ties.append(tie)
            self.short.append(short)
        self.starts.append(len(self.ties))

    def __len__(self) -> int:
        return len(self.exact)

    @overload
    def __getitem__(self, index: int) -> split.Traits: ...
    @overload
    def __getitem__(self, index: slice) -> list[split.Traits]: ...
    def __getitem__(self, index: int | slice) -> split.Traits | list[split.Traits]:
        if isinstance(index, slice):
            return [self[one] for one in range(*index.indices(len(self)))]
        if not 0 <= index < len(self):
            raise IndexError(index)
        places = range(self.starts[index], self.starts[index + 1])
        ties = tuple((self.ties[place], bool(self.short[place])) for place in places)
        return split.Traits(self.exact[index], self.question[index], ties)


@dataclass
class Gathered:
    """What the first pass leaves: canonical rows in a spool, and what the split and the checks need of each."""

    spool: Spool
    doctor: doctor.Doctor
    kind: RowKind | None = None
    format: DataFormat = "messages"
    columns: dict[str, str] = field(default_factory=dict)
    found: list[str] = field(default_factory=list)
    read: int = 0
    traits: TraitTable = field(default_factory=TraitTable)
    near: NearIndex | None = None
    tokens: array = field(default_factory=lambda: array("L"))
    numbers: array = field(default_factory=lambda: array("L"))
    """Row numbers in the source."""
    sources: array = field(default_factory=lambda: array("H"))
    files: list[str | None] = field(default_factory=list)
    preview: list[Row] = field(default_factory=list)
    first_error: DataError | None = None
    unreadable: int = 0
    names: list[str | None] = field(default_factory=list)
    """Of media: the file that each gathered row is of."""
    other_voices: dict[int, float | None] = field(default_factory=dict)
    """Clips of another voice than most, by number, and how like the main voice they are."""

    def place(self, number: int) -> Place:
        """Where a gathered row came from."""
        return Place(self.numbers[number], self.names[number] if self.names else self.files[self.sources[number]])


@contextmanager
def gathered(
    source: Path,
    name: str,
    work: Path,
    examination: doctor.Doctor,
    near: bool,
    media: Path | None = None,
    *,
    speech: bool = False,
    transcripts: Transcripts | None = None,
) -> Iterator[Gathered]:
    """The first pass; its spool lives as long as the context. Rows that cannot be read are counted, not raised.

    Videos, pictures and recordings are left under `media`, else nowhere. `speech`: recordings are of a voice
    (`sounds.py`), `transcripts`: the words of those that came without, and who speaks in them.
    Raises DataError for a source that is no data at all, and where no row is usable.
    """
    work.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=work, prefix="rows-") as temporary, (Path(temporary) / "rows").open("w+b") as handle:
        rows = Gathered(Spool(handle), examination, near=NearIndex() if near else None)
        words = (transcripts or Transcripts()) if speech else None
        if images.is_picture(name) or sounds.is_sound(name) or clips.is_clip(name):
            _gather_media(rows, [archive.Member(source, name)], [], media or Path(temporary), words)
        elif embedded.holds_media(source, name):
            files, tables = embedded.taken_apart(source, name, Path(temporary))
            _gather_media(rows, files, tables, media or Path(temporary), words)
        elif archive.is_zip(source, name):
            with archive.unpacked(source, Path(temporary), also=MEDIA) as content:
                if content.others:
                    _gather_media(rows, content.others, content.members, media or Path(temporary), words)
                for member in () if content.others else content.members:
                    _gather(rows, read_records(member.path, member.name, member.name), member.name)
                rows.doctor.note("files_left_out", count=len(content.left_out))
        else:
            _gather(rows, read_records(source, name), None)
        if not len(rows.traits):
            raise rows.first_error or _nothing_usable(rows)
        if rows.unreadable and rows.first_error:
            _note_unreadable(rows, rows.first_error)
        rows.doctor.read = rows.read
        yield rows


def _gather(rows: Gathered, records: Iterator[Record], member: str | None) -> None:
    """Takes the rows of one file in."""
    first = list(islice(records, formats.LOOK_AT))
    readable = [record for record in first if not isinstance(record.value, Unreadable)]
    if not readable:
        _unreadable(rows, first[0].place, first[0].value.error)
        return
    layout = formats.detect(readable)
    if rows.kind is None:
        rows.kind, rows.format, rows.columns, rows.found = layout.kind, layout.format, layout.columns, list(layout.found)
        rows.doctor.survey.kind = layout.kind
    elif layout.kind != rows.kind:
        raise DataError(
            "mixed_kinds",
            f"{member} holds rows of kind {layout.kind}, the files before it {rows.kind}.",
            "Send one kind of row at a time.",
            fields={"file": member},
        )
    rows.files.append(member)
    part = _part(member or "")
    watched = text_columns(layout.columns)
    for record in chain(first, records):
        rows.read += 1
        if isinstance(record.value, Unreadable):
            _unreadable(rows, record.place, record.value.error)
            continue
        try:
            made = formats.to_row(record, layout)
        except DataError as error:
            _unreadable(rows, record.place, error)
            continue
        if made.problem:
            rows.doctor.note(made.problem, record.place, text.shorten(str(record.value)))
        if made.row is not None:
            if isinstance(record.value, dict):
                for column in watched:
                    rows.doctor.survey.see(column, record.value.get(column))
            own = part or (_own_part(record.value) if isinstance(record.value, dict) else "")
            _take(rows, made.row, record, layout.columns, made.notes, own)


def _gather_media(
    rows: Gathered, files: list[archive.Member], tables: list[archive.Member], folder: Path, words: Transcripts | None
) -> None:
    """Takes videos, pictures or recordings in; of an archive with several, those that are most. No text is compared: what is the
    same, the content says. `words`: recordings are of a voice, and so much is known of those without text."""
    speech = words is not None
    heard = [one for one in files if sounds.is_sound(one.name)]
    moving = [one for one in files if clips.is_clip(one.name)]
    seen = [one for one in files if not sounds.is_sound(one.name) and not clips.is_clip(one.name)]
    most = max(len(heard), len(moving), len(seen))
    rows.doctor.note("files_left_out", count=len(files) - most)
    rows.near = None
    rows.files.append(None)
    if len(moving) == most and (pairs := pairs_of(moving, tables)):
        rows.kind, rows.format, rows.found = "video_pairs", "video_pairs", ["chosen_video", "rejected_video", "caption"]
        _take_media(rows, clips.take_pairs(moving, pairs, folder))
    elif len(moving) == most:
        rows.kind, rows.format, rows.found = "videos", "videos", ["video", "caption"]
        _take_media(rows, clips.take(moving, tables, folder))
    elif len(heard) == most and not speech and (pairs := pairs_of(heard, tables)):
        rows.kind, rows.format, rows.found = "sound_pairs", "sound_pairs", ["chosen_audio", "rejected_audio", "text"]
        _take_media(rows, sounds.take_pairs(heard, pairs, folder))
    elif len(heard) == most:
        rows.kind, rows.format, rows.found = "sounds", "sounds", ["audio", "text"]
        _take_media(rows, sounds.take(heard, tables, folder, speech=speech, transcripts=words))
        if words is not None and len(rows.traits):
            _tell_voices(rows, words.voices, folder)
    elif asked := pictured.asked_of(tables):
        _gather_asked(rows, asked, seen, folder)
        return
    elif pairs := pairs_of(seen, tables):
        rows.kind, rows.format, rows.found = "image_pairs", "image_pairs", ["chosen_image", "rejected_image", "caption"]
        _take_media(rows, images.take_pairs(seen, pairs, folder))
    else:
        rows.kind, rows.format, rows.found = "images", "images", ["image", "caption"]
        _take_media(rows, images.take(seen, tables, folder))
    rows.columns = {name: name for name in rows.found}


def _tell_voices(rows: Gathered, voices: Voices, folder: Path) -> None:
    """Finds the clips of another voice than most; what is done about them is for the fixes to say."""
    heard = [(Path(row["audio"]), float(row["seconds"])) for row in rows.spool]
    found = voices.differing([folder / file for file, _ in heard], [seconds for _, seconds in heard])
    if found is None:
        rows.doctor.note("speakers_unchecked")
    else:
        rows.other_voices = {number: found[file.stem] for number, (file, _) in enumerate(heard) if file.stem in found}


def _gather_asked(rows: Gathered, asked: list[pictured.Asked], seen: list[archive.Member], folder: Path) -> None:
    """Takes questions about pictures in. The texts are examined; which rows are alike, pictures and texts say together."""
    first = asked[0].layout
    rows.kind, rows.format, rows.columns = pictured.KINDS[first.kind], first.format, first.columns
    rows.found = list(first.found)
    for one in asked:
        if one.layout.kind != first.kind:
            what = f"{one.table.name} holds rows of kind {one.layout.kind}, {asked[0].table.name} of {first.kind}."
            raise DataError("mixed_kinds", what, "Send one kind of row at a time.", fields={"file": one.table.name})
        rows.files.append(one.table.name)
        part = _part(one.table.name)
        for told in pictured.rows_of(one, seen, folder):
            rows.read += 1
            if told.error is not None and told.error.code.startswith("picture_"):
                rows.doctor.note(told.error.code, told.record.place, told.error.sentence)
                continue
            if told.error is not None:
                _unreadable(rows, told.record.place, told.error)
                continue
            for code in told.notes:
                rows.doctor.note(code, told.record.place)
            made = told.made
            if made is not None and made.problem:
                rows.doctor.note(made.problem, told.record.place, text.shorten(str(told.record.value)))
            if made is not None and made.row is not None:
                _take(rows, made.row, told.record, one.layout.columns, made.notes, part, told.patches)


def _take_media(rows: Gathered, taken: Iterator[Taken]) -> None:
    for one in taken:
        rows.read += 1
        for code in (*one.notes, *([one.problem] if one.problem else [])):
            rows.doctor.note(code, one.place, one.shown)
        if one.row is not None:
            rows.spool.add(one.row)
            rows.traits.append(split.traits(one.row))
            rows.tokens.append(one.units)
            rows.numbers.append(one.place.row)
            rows.sources.append(0)
            rows.names.append(one.place.file)
            if len(rows.preview) < PREVIEW:
                rows.preview.append({**one.row, **one.extra})


def _take(
    rows: Gathered, row: Row, record: Record, columns: dict[str, str], notes: tuple[str, ...], part: str, seen: int = 0
) -> None:
    """`seen`: tokens that its pictures take besides."""
    tokens = text.estimate_tokens(" ".join(chain.from_iterable(split.sides_of(row))))
    kept = rows.doctor.examine(row, record.place, tokens, columns, notes, part)
    if kept is None:
        return
    rows.spool.add(kept)
    rows.traits.append(split.traits(kept))
    rows.tokens.append(tokens + seen)
    rows.numbers.append(record.place.row)
    rows.sources.append(len(rows.files) - 1)
    if rows.near:
        rows.near.add(kept)
    if len(rows.preview) < PREVIEW:
        rows.preview.append(_shortened(repair.mend(kept, ["mask_pii", "mask_secrets"])))


def _unreadable(rows: Gathered, place: Place, error: DataError) -> None:
    rows.unreadable += 1
    rows.first_error = rows.first_error or error
    column = error.fields.get("column")
    fixed = doctor.DROPPED if "drop_unreadable_rows" in rows.doctor.fixes else None
    rows.doctor.note(
        "unreadable_rows", place, error.sentence, column=str(column) if column else None, fixed=fixed, detail=error.sentence
    )


def _note_unreadable(rows: Gathered, error: DataError) -> None:
    """The error that refuses the file says how many rows there are like it, and what leaves them out."""
    error.fields.update({"unreadable": rows.unreadable, "fix": "drop_unreadable_rows"})


def text_columns(columns: dict[str, str]) -> list[str]:
    """Names of the columns that ought to say something else in every row. One instruction for many inputs is no fault."""
    constant = {"instruction", "prompt"} if "input" in columns else set()
    return [name for role, name in columns.items() if role in TEXTS and role not in constant]


def _part(name: str) -> str:
    return "test" if _TEST.search(name) else "train" if _TRAIN.search(name) else ""


def _own_part(value: dict[str, Any]) -> str:
    for column in PART_COLUMNS:
        said = value.get(column)
        if isinstance(said, str):
            return _part(said)
    return ""


def _nothing_usable(rows: Gathered) -> DataError:
    why = " ".join(finding.sentence for finding in rows.doctor.findings()[:3])
    return DataError(
        "no_usable_rows",
        f"None of the {rows.read} rows can be used. {why}".strip(),
        "Check that the right columns hold the texts.",
        fields={"columns": rows.found[:50]},
    )


def _shortened(value: Any) -> Any:
    if isinstance(value, str):
        return text.shorten(value, 200)
    if isinstance(value, list):
        return [_shortened(item) for item in value[:6]]
    return {key: _shortened(item) for key, item in value.items()} if isinstance(value, dict) else value
