"""A source file → checked, split, canonical JSONL. `check` says what it would become, `prepare` makes the files.

Rows pass one by one: from the source into a temporary spool, from there to their side. Kept in memory per row are a few hashes.
"""

import hashlib
import json
import os
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

from pydantic import Field, ValidationError

from kriptik.data import archive, doctor, formats, images, personal, split, text
from kriptik.data.readers import read_records
from kriptik.data.record import Record
from kriptik.spec.base import Noun
from kriptik.spec.data import DataFormat, DataReport, FixName, PreparedData, Row, RowKind
from kriptik.spec.errors import DataError

VERSION = 2
"""Part of `settings_key`: raised when the same source and settings would give other files."""
PREVIEW = 3
PREPARED = "prepared.json"


class PrepareSettings(Noun):
    """How rows are checked and divided."""

    eval_fraction: float = Field(default=0.1, ge=0, le=0.5)
    """Of the usable rows; small sets hold out up to 100 rows, but at most a fifth."""
    eval_most: int = Field(default=500, ge=1)
    test_fraction: float = Field(default=0.0, ge=0, le=0.5)
    max_tokens: int = Field(default=1024, ge=8)
    """From this (guessed) length a row counts as too long."""
    near_duplicates: bool = True
    fixes: list[FixName] = []


@dataclass
class _Gathered:
    """What the first pass leaves: canonical rows in a spool, and what the split needs of each."""

    spool: "_Spool"
    doctor: doctor.Doctor
    kind: RowKind | None = None
    format: DataFormat = "messages"
    columns: dict[str, str] = field(default_factory=dict)
    found: list[str] = field(default_factory=list)
    read: int = 0
    traits: list[split.Traits] = field(default_factory=list)
    near: split.NearIndex = field(default_factory=split.NearIndex)
    tokens: array = field(default_factory=lambda: array("L"))
    preview: list[Row] = field(default_factory=list)


@dataclass(frozen=True)
class Checked:
    """What `check` found. `columns`: all columns of the (first) file; `sha256` and `bytes` are the source's."""

    report: DataReport
    columns: list[str]
    sha256: str
    bytes: int


def check(
    source: Path, *, name: str, work: Path, seed: int = 0, settings: PrepareSettings | None = None, capability: str | None = None
) -> Checked:
    """Reads all of `source` and reports; leaves nothing behind in `work`, the folder for temporary files.

    `name` is what the person called the file (its suffix decides how it is read), `capability` what it shall train. Raises
    DataError for what cannot be read, naming row and column, and where no row is usable.
    """
    settings = settings or PrepareSettings()
    with _gathered(source, name, work, settings) as rows:
        report, _sides = _report(rows, seed, settings, capability)
    return Checked(report, rows.found, file_sha256(source), source.stat().st_size)


def prepare(
    source: Path,
    folder: Path,
    *,
    name: str,
    seed: int = 0,
    settings: PrepareSettings | None = None,
    capability: str | None = None,
    licence: str = "",
    source_name: str | None = None,
    dataset_id: str | None = None,
) -> PreparedData:
    """Makes `folder` with train.jsonl, and eval.jsonl and test.jsonl where rows are held out; returns where they lie.

    All or nothing: the folder appears whole. A folder that holds the files of the same source, seed and settings already is
    answered as it is; one with others is replaced. `name` as in `check`; `source_name` is what reports call the source.
    Raises DataError as `check` does, also where a finding is an error.
    """
    settings = settings or PrepareSettings()
    key = settings_key(source, name, seed, settings)
    found = _found(folder, key, capability)
    if found is not None:
        return found
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as temporary:
        work, made = Path(temporary), Path(temporary) / "made"
        made.mkdir()
        with _gathered(source, name, work, settings, made) as rows:
            report, sides = _report(rows, seed, settings, capability)
            report = report.model_copy(update={"dataset_id": dataset_id})
            if not report.ready:
                raise DataError("data_not_ready", report.findings[0].sentence, "Add rows and upload the file again.")
            hashes = _write(rows.spool, sides, made)
        prepared = PreparedData(
            train_path=str(folder / "train.jsonl"),
            eval_path=str(folder / "eval.jsonl") if "eval" in hashes else None,
            test_path=str(folder / "test.jsonl") if "test" in hashes else None,
            train_sha256=hashes["train"],
            eval_sha256=hashes.get("eval"),
            test_sha256=hashes.get("test"),
            settings_key=key,
            seed=seed,
            fixes=settings.fixes,
            source=source_name or name,
            licence=licence,
            report=report,
        )
        (made / PREPARED).write_text(json.dumps(prepared.document(), ensure_ascii=False))
        _put(made, folder)
    return prepared


def settings_key(source: Path, name: str, seed: int, settings: PrepareSettings) -> str:
    """Hash of everything that decides what the files hold."""
    facts = {
        "version": VERSION,
        "source": file_sha256(source),
        "suffix": Path(name).suffix.lower(),
        "seed": seed,
        "settings": settings.document(),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, read in pieces."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


class _Spool:
    """Canonical rows on disk, to be read again by number."""

    def __init__(self, handle: IO[bytes]) -> None:
        self.handle = handle
        self.offsets = array("Q")
        self.size = 0

    def add(self, row: Row) -> None:
        line = json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode("utf-8") + b"\n"
        self.handle.seek(self.size)
        self.handle.write(line)
        self.offsets.append(self.size)
        self.size += len(line)

    def load(self, number: int) -> Row:
        self.handle.seek(self.offsets[number])
        return json.loads(self.handle.readline())

    def __iter__(self) -> Iterator[Row]:
        self.handle.seek(0)
        for line in self.handle:
            yield json.loads(line)


@contextmanager
def _gathered(
    source: Path, name: str, work: Path, settings: PrepareSettings, media: Path | None = None
) -> Iterator[_Gathered]:
    """The first pass; its spool lives as long as the context. Pictures are left under `media`, else nowhere."""
    work.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=work, prefix="rows-") as temporary, (Path(temporary) / "rows").open("w+b") as handle:
        rows = _Gathered(_Spool(handle), doctor.Doctor(settings.max_tokens))
        if images.is_picture(name):
            _gather_pictures(rows, images.take([archive.Member(source, name)], [], media or Path(temporary)))
        elif archive.is_zip(source, name):
            with archive.unpacked(source, Path(temporary), also=images.SUFFIXES) as content:
                if content.others:
                    _gather_pictures(rows, images.take(content.others, content.members, media or Path(temporary)))
                else:
                    for member in content.members:
                        _gather(rows, read_records(member.path, member.name, member.name), settings, member.name)
                rows.doctor.note("files_left_out", count=len(content.left_out))
        else:
            _gather(rows, read_records(source, name), settings, None)
        if not rows.traits:
            raise _nothing_usable(rows)
        yield rows


def _gather(rows: _Gathered, records: Iterator[Record], settings: PrepareSettings, member: str | None) -> None:
    """Takes the rows of one file in."""
    first = list(islice(records, formats.LOOK_AT))
    layout = formats.detect(first)
    if rows.kind is None:
        rows.kind, rows.format, rows.columns, rows.found = layout.kind, layout.format, layout.columns, list(layout.found)
    elif layout.kind != rows.kind:
        raise DataError(
            "mixed_kinds",
            f"{member} holds rows of kind {layout.kind}, the files before it {rows.kind}.",
            "Send one kind of row at a time.",
            fields={"file": member},
        )
    fixes = frozenset(settings.fixes)
    for record in chain(first, records):
        rows.read += 1
        made = formats.to_row(record, layout)
        shown = "" if made.row is not None else text.shorten(str(record.value))
        for code in (*made.notes, *([made.problem] if made.problem else [])):
            rows.doctor.note(code, record.place, shown)
        if made.row is not None:
            _take(rows, made.row, record, fixes, settings.near_duplicates)


def _gather_pictures(rows: _Gathered, taken: Iterator[images.Taken]) -> None:
    """Takes the pictures of a set in. No text is compared: what is the same picture, its content says."""
    rows.kind, rows.format, rows.found = "images", "images", ["image", "caption"]
    rows.columns = {name: name for name in rows.found}
    for one in taken:
        rows.read += 1
        for code in (*one.notes, *([one.problem] if one.problem else [])):
            rows.doctor.note(code, one.place, one.shown)
        if one.row is not None:
            rows.spool.add(one.row)
            rows.traits.append(split.traits(one.row))
            rows.tokens.append(one.patches)
            if len(rows.preview) < PREVIEW:
                rows.preview.append(one.row)


def _take(rows: _Gathered, row: Row, record: Record, fixes: frozenset[FixName], near: bool) -> None:
    tokens = text.estimate_tokens(" ".join(chain.from_iterable(split.sides_of(row))))
    kept = rows.doctor.examine(row, record.place, tokens, fixes)
    if kept is None:
        return
    rows.spool.add(kept)
    rows.traits.append(split.traits(kept))
    rows.tokens.append(tokens)
    if near:
        rows.near.add(kept)
    if len(rows.preview) < PREVIEW:
        rows.preview.append(_shortened(personal.mask_row(kept)[0]))


def _report(rows: _Gathered, seed: int, settings: PrepareSettings, capability: str | None) -> tuple[DataReport, split.Split]:
    """Divides the rows and says what came of it."""
    assert rows.kind is not None
    different = len({row.exact for row in rows.traits})
    drop_near = "drop_near_duplicates" in settings.fixes
    held_out: dict[split.Side, int] = {
        "eval": split.held_out_rows(different, settings.eval_fraction, settings.eval_most),
        "test": round(different * settings.test_fraction),
    }
    sides = split.split_rows(rows.traits, seed, held_out, lambda: rows.near.pairs(rows.spool.load), drop_near)
    kept = [number for number, side in enumerate(sides.sides) if side is not None]
    need = doctor.sufficiency(len(kept), rows.kind, capability)
    not_compared = len(rows.traits) - rows.near.rows if rows.near.full else 0
    rows.doctor.after_split(sides, need, drop_near, not_compared)
    findings = rows.doctor.findings()
    report = DataReport(
        format=rows.format,
        kind=rows.kind,
        columns=rows.columns,
        rows=rows.read,
        usable=len(kept),
        tokens_estimate=sum(rows.tokens[number] for number in kept),
        longest_tokens_estimate=max((rows.tokens[number] for number in kept), default=0),
        train_rows=sides.count("train"),
        eval_rows=sides.count("eval"),
        test_rows=sides.count("test"),
        overlap_rows=sides.overlap,
        duplicates_dropped=sides.duplicates,
        near_duplicates=sides.near,
        languages=dict(rows.doctor.languages.most_common()),
        findings=findings,
        sufficiency=need,
        preview=rows.preview,
        ready=not any(finding.severity == "error" for finding in findings),
    )
    return report, sides


def _write(spool: _Spool, sides: split.Split, folder: Path) -> dict[str, str]:
    """One file per side that has rows; returns their SHA-256."""
    hashes: dict[str, str] = {}
    present = [side for side in split.SIDES if sides.count(side)]
    handles = {side: (folder / f"{side}.jsonl").open("wb") for side in present}
    digests = {side: hashlib.sha256() for side in present}
    try:
        for row, side, group in zip(spool, sides.sides, sides.groups, strict=True):
            if side is not None:
                line = json.dumps({**row, "key": f"{group:016x}"}, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
                handles[side].write(line)
                digests[side].update(line)
        for side, handle in handles.items():
            handle.flush()
            os.fsync(handle.fileno())
            hashes[side] = digests[side].hexdigest()
    finally:
        for handle in handles.values():
            handle.close()
    return hashes


def _found(folder: Path, key: str, capability: str | None) -> PreparedData | None:
    """What `folder` holds already, if it was made from the same and is unharmed."""
    try:
        prepared = PreparedData.model_validate_json((folder / PREPARED).read_bytes())
    except (OSError, ValidationError):
        return None
    if prepared.settings_key != key:
        return None
    expected = {"train": prepared.train_sha256, "eval": prepared.eval_sha256, "test": prepared.test_sha256}
    for side, digest in expected.items():
        path = folder / f"{side}.jsonl"
        if digest is not None and not (path.is_file() and file_sha256(path) == digest):
            return None
    report = prepared.report
    need = doctor.sufficiency(report.usable, report.kind, capability)
    here = {side: str(folder / f"{side}.jsonl") for side, digest in expected.items() if digest}
    paths = {f"{side}_path": here.get(side) for side in split.SIDES}
    return prepared.model_copy(update={**paths, "report": report.model_copy(update={"sufficiency": need})})


def _put(made: Path, folder: Path) -> None:
    """The new folder in the place of an old one; never half of one."""
    if folder.exists():
        old = made.parent / "old"
        folder.rename(old)
    made.rename(folder)
    handle = os.open(folder.parent, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _nothing_usable(rows: _Gathered) -> DataError:
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
