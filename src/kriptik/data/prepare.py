"""A source file → checked, split, canonical JSONL. `check` says what it would become, `prepare` makes the files.

Rows pass one by one: from the source into a temporary spool, from there to their side. Kept in memory per row are a few hashes.
"""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import Field, ValidationError, field_validator

from kriptik.data import doctor, recipe, split
from kriptik.data.checks.repair import swap
from kriptik.data.checks.table import FIXES, REPAIRS, dropping, repairing
from kriptik.data.gather import PREVIEW, Gathered, Spool, gathered, text_columns
from kriptik.data.transcripts import Transcripts
from kriptik.spec.base import Noun
from kriptik.spec.data import DataReport, PreparedData
from kriptik.spec.errors import DataError

__all__ = ["PREVIEW", "Checked", "PrepareSettings", "check", "file_sha256", "prepare"]
PREPARED, RECIPE = "prepared.json", "recipe.json"
NOT_TEXT = frozenset(
    {"images", "sounds", "videos", "image_pairs", "sound_pairs", "video_pairs", "image_messages", "image_preferences"}
)
"""Kinds of rows that checks of texts have nothing to say about."""
VOICE = "voice_cloning"
"""The capability for which recordings are prepared as speech."""


class PrepareSettings(Noun):
    """How rows are checked and divided."""

    eval_fraction: float = Field(default=0.1, ge=0, le=0.5)
    """Of the usable rows; small sets hold out up to 100 rows, but at most a fifth."""
    eval_most: int = Field(default=500, ge=1)
    test_fraction: float = Field(default=0.0, ge=0, le=0.5)
    max_tokens: int = Field(default=1024, ge=8)
    """From this (guessed) length a row counts as too long."""
    near_duplicates: bool = True
    speech: bool = False
    """Recordings are of a voice: cut at pauses, checked for noise, and left out where nobody says what is spoken."""
    fixes: list[str] = []
    """Names of fixes, as findings offer them; their order does not matter."""

    @field_validator("fixes")
    @classmethod
    def _known(cls, fixes: list[str]) -> list[str]:
        if unknown := sorted(set(fixes) - FIXES):
            raise ValueError(f"there is no fix called {unknown[0][:60]!r}")
        return sorted(set(fixes))


@dataclass(frozen=True)
class Checked:
    """What `check` found. `columns`: all columns of the (first) file; `sha256` and `bytes` are the source's.

    `doctor` knows the row numbers of every finding."""

    report: DataReport
    columns: list[str]
    sha256: str
    bytes: int
    doctor: doctor.Doctor


def check(
    source: Path,
    *,
    name: str,
    work: Path,
    seed: int = 0,
    settings: PrepareSettings | None = None,
    capability: str | None = None,
    forgive: bool = False,
    transcripts: Transcripts | None = None,
) -> Checked:
    """Reads all of `source` and reports; leaves nothing behind in `work`, the folder for temporary files.

    `name` is what the person called the file (its suffix decides how it is read), `capability` what it shall train. Raises
    DataError for what cannot be read, naming row and column, and where no row is usable. With `forgive`, rows that cannot be read
    are a finding (an error with a fix) as long as others can. `transcripts`: words of speech that came without; what its scribe
    writes down is in it afterwards. Raises KriptikError where the scribe fails.
    """
    settings = settings or PrepareSettings()
    examination = doctor.Doctor(settings.max_tokens, settings.fixes)
    with gathered(
        source, name, work, examination, settings.near_duplicates, speech=settings.speech, transcripts=transcripts
    ) as rows:
        if not forgive:
            _refuse_unreadable(rows, settings)
        report, _plan = _report(rows, seed, settings, capability)
    return Checked(report, rows.found, file_sha256(source), source.stat().st_size, examination)


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
    transcripts: Transcripts | None = None,
) -> PreparedData:
    """Makes `folder` with train.jsonl, and eval.jsonl and test.jsonl where rows are held out; returns where they lie.

    All or nothing: the folder appears whole. A folder that holds the files of the same source, seed and settings already is
    answered as it is; one with others is replaced. `name` as in `check`; `source_name` is what reports call the source,
    `transcripts` as in `check`.
    Raises DataError as `check` does, also where a finding is an error.
    """
    settings = settings or PrepareSettings()
    words = transcripts or Transcripts()
    steps = steps_of(seed, settings, words)
    found = _found(folder, settings_key(source, name, steps), capability)
    if found is not None:
        return found
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as temporary:
        work, made = Path(temporary), Path(temporary) / "made"
        made.mkdir()
        examination = doctor.Doctor(settings.max_tokens, settings.fixes)
        with gathered(
            source, name, work, examination, settings.near_duplicates, made, speech=settings.speech, transcripts=words
        ) as rows:
            _refuse_unreadable(rows, settings)
            report, plan = _report(rows, seed, settings, capability)
            report = report.model_copy(update={"dataset_id": dataset_id})
            if not report.ready:
                raise DataError("data_not_ready", report.findings[0].sentence, "Add rows and upload the file again.")
            hashes = _write(rows.spool, plan, made)
            if _leaves_out_voices(settings):  # nor do their files go along
                for number in rows.other_voices:
                    (made / rows.spool.load(number)["audio"]).unlink(missing_ok=True)
        steps = steps_of(seed, settings, words)
        prepared = PreparedData(
            train_path=str(folder / "train.jsonl"),
            eval_path=str(folder / "eval.jsonl") if "eval" in hashes else None,
            test_path=str(folder / "test.jsonl") if "test" in hashes else None,
            train_sha256=hashes["train"],
            eval_sha256=hashes.get("eval"),
            test_sha256=hashes.get("test"),
            settings_key=settings_key(source, name, steps),
            seed=seed,
            fixes=settings.fixes,
            recipe_sha256=recipe.sha256(steps),
            source=source_name or name,
            licence=licence,
            report=report,
        )
        (made / RECIPE).write_text(json.dumps(steps, indent=1, sort_keys=True) + "\n")
        (made / PREPARED).write_text(json.dumps(prepared.document(), ensure_ascii=False))
        _put(made, folder)
    return prepared


def steps_of(seed: int, settings: PrepareSettings, words: Transcripts) -> dict[str, object]:
    """The recipe of a preparation with these settings and what is known of recordings."""
    other = sorted(words.voices.other) if _leaves_out_voices(settings) else []
    return recipe.of(seed, settings.document(), words.document(), other)


def settings_key(source: Path, name: str, steps: dict[str, object]) -> str:
    """Hash of everything that decides what the files hold: the source and the recipe."""
    facts = {"source": file_sha256(source), "suffix": Path(name).suffix.lower(), "recipe": steps}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, read in pieces."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


@dataclass(frozen=True)
class _Plan:
    """Which side each gathered row goes to, and which are swapped on the way."""

    sides: split.Split
    swapped: frozenset[int]


def _leaves_out_voices(settings: PrepareSettings) -> bool:
    return settings.speech and dropping("other_voice", frozenset(settings.fixes))


def _refuse_unreadable(rows: Gathered, settings: PrepareSettings) -> None:
    if rows.first_error and "drop_unreadable_rows" not in settings.fixes:
        raise rows.first_error


def _report(rows: Gathered, seed: int, settings: PrepareSettings, capability: str | None) -> tuple[DataReport, _Plan]:
    """Divides the rows and says what came of it."""
    assert rows.kind is not None
    dropped, swapped = _look_at_all(rows)
    different = len({one for number, one in enumerate(rows.traits.exact) if number not in dropped})
    drop_near = "drop_near_duplicates" in settings.fixes
    held_out: dict[split.Side, int] = {
        "eval": split.held_out_rows(different, settings.eval_fraction, settings.eval_most),
        "test": round(different * settings.test_fraction),
    }
    near = rows.near
    similar = (lambda: near.pairs(rows.spool.load)) if near else None
    sides = split.split_rows(rows.traits, seed, held_out, similar, drop_near, dropped)
    _note_repeats(rows, sides, drop_near)
    kept = [number for number, side in enumerate(sides.sides) if side is not None]
    need = doctor.sufficiency(len(kept), rows.kind, capability)
    not_compared = len(rows.traits) - near.rows if near and near.full else 0
    rows.doctor.after_split(sides, need, not_compared)
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
        fixes=settings.fixes,
        sufficiency=need,
        preview=rows.preview,
        ready=not any(finding.severity == "error" for finding in findings),
        speech=settings.speech and rows.kind == "sounds",
    )
    return report, _Plan(sides, swapped)


def _look_at_all(rows: Gathered) -> tuple[set[int], frozenset[int]]:
    """The checks that need all rows; which rows the chosen fixes leave out, and which they swap."""
    if rows.kind in NOT_TEXT:
        return _of_other_voices(rows), frozenset()
    survey, examination = rows.doctor.survey, rows.doctor
    labels = split.find_labels(rows.traits)
    leaks = survey.leaks(rows.traits.exact, rows.traits.question)
    dropped: set[int] = set()
    swapped: set[int] = set()
    for code, numbers, detail in [*survey.found(labels), ("leaks", leaks, "")]:
        mended, gone = repairing(code, examination.fixes), dropping(code, examination.fixes)
        fixed = REPAIRS[mended] if mended else doctor.DROPPED if gone else None
        for place, number in enumerate(numbers.tolist()):
            shown = doctor.shown(rows.spool.load(number)) if place < doctor.EXAMPLES else ""
            examination.note(code, rows.place(number), shown, fixed=fixed, detail=detail)
        (swapped if mended else dropped if gone else set()).update(numbers.tolist())
    if constant := survey.constant(text_columns(rows.columns)):
        examination.note("constant_column", count=len(constant), detail=", ".join(map(repr, constant)))
    return dropped, frozenset(swapped)


def _of_other_voices(rows: Gathered) -> set[int]:
    """Notes the clips that are not of the main voice; those that a fix leaves out."""
    gone = dropping("other_voice", rows.doctor.fixes)
    for number, likeness in rows.other_voices.items():
        said = rows.spool.load(number)["text"]
        shown = said if likeness is None else f"likeness {likeness:.2f}: {said}"
        rows.doctor.note("other_voice", rows.place(number), shown, fixed=doctor.DROPPED if gone else None)
    return set(rows.other_voices) if gone else set()


def _note_repeats(rows: Gathered, sides: split.Split, drop_near: bool) -> None:
    for code, numbers in (("duplicates", sides.repeats), ("near_duplicates", sorted(sides.near_of))):
        fixed = doctor.DROPPED if drop_near and code == "near_duplicates" else None
        for place, number in enumerate(numbers):
            shown = doctor.shown(rows.spool.load(number)) if place < doctor.EXAMPLES else ""
            rows.doctor.note(code, rows.place(number), shown, fixed=fixed)


def _write(spool: Spool, plan: _Plan, folder: Path) -> dict[str, str]:
    """One file per side that has rows; returns their SHA-256."""
    hashes: dict[str, str] = {}
    sides = plan.sides
    present = [side for side in split.SIDES if sides.count(side)]
    handles = {side: (folder / f"{side}.jsonl").open("wb") for side in present}
    digests = {side: hashlib.sha256() for side in present}
    try:
        for number, (row, side, group) in enumerate(zip(spool, sides.sides, sides.groups, strict=True)):
            if side is not None:
                row = swap(row, "swap_sides") if number in plan.swapped else row
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
