"""Data sets on this server: a file is checked before a row says that it is there; the file then lies where `path` says.

`prepare` of `kriptik.data` is called with that path and the row's name when a plan is approved.
"""

import contextlib
import json
from pathlib import Path
from typing import Any

from kriptik.data import builtin, prepare, recipe
from kriptik.data.checks.table import FIXES
from kriptik.data.transcripts import Transcripts
from kriptik.data.voices import Voices
from kriptik.server import words
from kriptik.server.core import Core
from kriptik.server.scribe import EngineScribe
from kriptik.server.uploads import Upload
from kriptik.spec.base import new_id
from kriptik.spec.data import DataOrigin, DataRecipe, DataReport, Dataset, Transcript
from kriptik.spec.errors import BadInputError, ConflictError
from kriptik.store import datasets, tables

SEED = 0
"""Decides which rows are held out of a run."""
YOU = "you"
"""Who corrected a transcript."""


def incoming(core: Core) -> Path:
    """A fresh name for a file on its way in."""
    folder = core.data_dir / "incoming"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / new_id()


def keep_upload(core: Core, user_id: str, upload: Upload, capability: str | None, fixes: list[str]) -> Dataset:
    """Checks a received file and keeps it. Raises `DataError` for what cannot be trained on; nothing is kept then."""
    return _keep(core, user_id, upload.path, upload.name, "upload", "", capability, fixes)


def keep_made(core: Core, user_id: str, rows: list[dict[str, Any]], name: str, source: DataOrigin, licence: str) -> Dataset:
    """Rows that were made or fetched, as a data set of this user."""
    path = incoming(core)
    try:
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
        return _keep(core, user_id, path, name, source, licence, None, [])
    finally:
        path.unlink(missing_ok=True)


def keep_fetched(core: Core, user_id: str, received: Path, name: str, licence: str) -> Dataset:
    """A file that was fetched from the hub. Raises `DataError` for what cannot be trained on; nothing is kept then."""
    return _keep(core, user_id, received, name, "huggingface", licence, None, [])


def set_fixes(core: Core, user_id: str, dataset_id: str, fixes: list[str], capability: str | None) -> Dataset:
    """Examines a data set again with other fixes and remembers them: its rows are prepared with them from now on."""
    with core.db.read() as session:
        row = datasets.get(session, user_id, dataset_id)
        path, before = Path(row.path), DataReport.model_validate(row.report)
    with words.heard(core, path) as heard:
        settings = settings_of(fixes, capability or (prepare.VOICE if before.speech or heard.known else None))
        checked = prepare.check(
            path, name=path.name, work=core.data_dir / "incoming", settings=settings, capability=capability, forgive=True,
            transcripts=heard,
        )  # fmt: skip
    with core.db.write() as session:
        row = datasets.get(session, user_id, dataset_id)
        row.report = checked.report.model_copy(update={"dataset_id": dataset_id}).document()
        session.flush()
        return as_noun(row)


def transcripts_of(core: Core, user_id: str, dataset_id: str) -> dict[str, Transcript]:
    """The words that recordings of a data set came without, by clip, as they were written down and corrected."""
    return words.known(path_of(core, user_id, dataset_id))


def correct(core: Core, user_id: str, dataset_id: str, texts: dict[str, str]) -> Dataset:
    """Puts other words in the place of those written down, "" for a clip to be left out; examines the recordings again.

    409 `being_written` while they are listened to.
    """
    path = path_of(core, user_id, dataset_id)
    words.must_rest(core, dataset_id)
    words.change(path, lambda known: known.correct(texts, YOU))
    return transcribe(core, user_id, dataset_id)


def correct_one(
    core: Core, user_id: str, dataset_id: str, clip: str, text: str | None, checked: bool | None
) -> Transcript:
    """Puts other words in the place of one clip's, and notes that a person read them. Nothing is examined again."""

    def act(known: Transcripts) -> None:
        if text is not None:
            known.correct({clip: text}, YOU)
        if checked is not None:
            known.check(clip, checked)

    return words.change(path_of(core, user_id, dataset_id), act)[clip]


def transcribe(core: Core, user_id: str, dataset_id: str) -> Dataset:
    """Examines a data set's recordings as those of a voice; words that they came without are written down where a model is here.

    409 `being_written` while that is done already.
    """
    with core.db.read() as session:
        fixes = DataReport.model_validate(datasets.get(session, user_id, dataset_id).report).fixes
    with words.being_written(core, dataset_id):
        return set_fixes(core, user_id, dataset_id, fixes, prepare.VOICE)


def recipe_of(core: Core, user_id: str, dataset_id: str, capability: str | None = None) -> DataRecipe:
    """The steps that its rows are prepared with, as they stand: for `capability`, else for what they were examined for."""
    with core.db.read() as session:
        row = datasets.get(session, user_id, dataset_id)
        report, source = DataReport.model_validate(row.report), row.sha256
        known = Transcripts(words.known(Path(row.path)), voices=words.voices_of(Path(row.path)))
    speech = prepare.VOICE if report.speech or known.known else None
    steps = prepare.steps_of(SEED, settings_of(report.fixes, capability or speech), known)
    return DataRecipe.model_validate(
        {"dataset_id": dataset_id, "source_sha256": source, "steps": steps, "sha256": recipe.sha256(steps)}
    )


def settings_of(fixes: list[str], capability: str | None = None) -> prepare.PrepareSettings:
    """How rows are prepared with these fixes, for what is to be trained. Raises `BadInputError` for one that does not exist."""
    if unknown := sorted(set(fixes) - FIXES):
        raise BadInputError(
            "unknown_fix",
            f"There is no fix called {unknown[0][:60]!r}.",
            "Use the names that the findings offer.",
            fields={"known": sorted(FIXES)},
        )
    return prepare.PrepareSettings(fixes=fixes, speech=capability == prepare.VOICE)


def keep_sample(core: Core, user_id: str, name: str) -> Dataset:
    """A built-in sample as a data set of this user; asked for twice, it is the same one."""
    sample = builtin.find_sample(name)
    path = incoming(core)
    try:
        builtin.export(sample, path)
        with core.db.read() as session:
            found = datasets.same(session, user_id, "builtin", name, prepare.file_sha256(path))
        if found is not None and Path(found.path).is_file():
            return as_noun(found)
        return _keep(core, user_id, path, name, "builtin", sample.licence, None, [])
    finally:
        path.unlink(missing_ok=True)


def remove(core: Core, user_id: str, dataset_id: str) -> None:
    """Forgets a data set and deletes its file. Runs keep their own prepared copy; an undecided plan that uses it says 409."""
    with core.db.write() as session:
        row = datasets.get(session, user_id, dataset_id)
        words.must_rest(core, dataset_id)
        if datasets.wanted(session, user_id, dataset_id):
            raise ConflictError("data_in_plan", "A plan that waits for approval uses this data set.", "Reject the plan first.")
        path = Path(row.path)
        session.delete(row)
    path.unlink(missing_ok=True)
    words.forget(path)
    with contextlib.suppress(OSError):
        path.parent.rmdir()


def path_of(core: Core, user_id: str, dataset_id: str) -> Path:
    """Where a data set's file lies. 404 for one that is not theirs."""
    with core.db.read() as session:
        return Path(datasets.get(session, user_id, dataset_id).path)


def as_noun(row: tables.Dataset) -> Dataset:
    """The row as people see it."""
    report = DataReport.model_validate(row.report)
    sample = builtin.SAMPLES.get(row.name) if row.source == "builtin" else None
    return Dataset(
        id=row.id,
        name=row.name,
        format=report.format,
        rows=row.rows,
        columns=list(report.columns.values()),
        bytes=row.bytes,
        sha256=row.sha256,
        source=row.source,  # type: ignore[arg-type]
        licence=row.licence,
        credit=sample.credit if sample else None,
        created_at=row.created_at,
        report=report,
    )


def _keep(
    core: Core,
    user_id: str,
    received: Path,
    name: str,
    source: DataOrigin,
    licence: str,
    capability: str | None,
    fixes: list[str],
) -> Dataset:
    dataset_id = new_id()
    read_as = name if source in ("upload", "huggingface") else f"{name}.jsonl"
    settings = settings_of(fixes, capability)
    with EngineScribe(core.cache_dir) as scribe:
        heard = Transcripts(scribe=scribe, voices=Voices(ear=scribe.voice))
        work = core.data_dir / "incoming"
        checked = prepare.check(received, name=read_as, work=work, settings=settings, capability=capability, transcripts=heard)
    report = checked.report.model_copy(update={"dataset_id": dataset_id})
    home = core.data_dir / "sources" / dataset_id
    home.mkdir(parents=True)
    path = home / f"source{Path(read_as).suffix.lower()}"
    try:
        received.rename(path)
        words.begin(path, heard)
        with core.db.write() as session:
            row = tables.Dataset(
                id=dataset_id,
                user_id=user_id,
                name=name,
                source=source,
                path=str(path),
                rows=report.rows,
                bytes=checked.bytes,
                sha256=checked.sha256,
                licence=licence,
                report=report.document(),
                created_at=core.clock(),
            )
            session.add(row)
            session.flush()
            return as_noun(row)
    except BaseException:
        path.unlink(missing_ok=True)
        words.forget(path)
        with contextlib.suppress(OSError):
            home.rmdir()
        raise
