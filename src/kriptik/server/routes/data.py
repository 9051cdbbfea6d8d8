"""Data sets: uploads that are checked before they are kept, built-in samples, reports."""

import json
import re
import shutil
from pathlib import Path

from fastapi import APIRouter, UploadFile
from fastapi.concurrency import run_in_threadpool
from sqlalchemy import select
from sqlalchemy.orm import Session

from kriptik.data import builtin
from kriptik.data.doctor import inspect
from kriptik.data.prepare import sha256_of
from kriptik.server.auth import CoreDep, PersonDep
from kriptik.server.core import Core
from kriptik.spec.base import Noun, new_id
from kriptik.spec.data import DataOrigin, DataReport, Dataset
from kriptik.spec.errors import ConflictError, DataError, NotFoundError
from kriptik.store import tables
from kriptik.store.tables import TrainingPlan

router = APIRouter(prefix="/data", tags=["data"])

CHUNK = 1 << 20
OPEN = ("draft", "pending_approval", "modified")


class DatasetList(Noun):
    """Your data sets, newest first."""

    datasets: list[Dataset]


class SampleSet(Noun):
    """A built-in data set."""

    name: str
    title: str
    licence: str
    credit: str


class SampleSets(Noun):
    """What is built in."""

    samples: list[SampleSet]


@router.post("", status_code=201)
async def upload_data(core: CoreDep, person: PersonDep, file: UploadFile) -> Dataset:
    """Takes a file (JSONL, JSON, CSV, TSV, Parquet, txt, md, or a zip of these), checks it, and keeps it if it can be read."""
    folder = core.data_dir / "uploads" / (dataset_id := new_id())
    name = _safe(file.filename)
    target = folder / f"source{Path(name).suffix.lower()}"
    folder.mkdir(parents=True)
    try:
        await _receive(file, target, core.settings.max_upload_mb << 20)
        return await run_in_threadpool(_keep, core, person.id, dataset_id, name, target, "upload")
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


@router.get("")
def list_data(core: CoreDep, person: PersonDep) -> DatasetList:
    """What you have uploaded or taken from the samples."""
    with core.db.read() as session:
        query = select(tables.Dataset).where(tables.Dataset.user_id == person.id).order_by(tables.Dataset.id.desc()).limit(200)
        return DatasetList(datasets=[shown(row) for row in session.scalars(query)])


@router.get("/samples")
def list_sample_sets(person: PersonDep) -> SampleSets:
    """Built-in data sets."""
    return SampleSets(
        samples=[SampleSet(name=s.name, title=s.title, licence=s.licence, credit=s.credit) for s in builtin.SAMPLES.values()]
    )


@router.post("/samples/{name}", status_code=201)
def take_sample_data(core: CoreDep, person: PersonDep, name: str) -> Dataset:
    """Adds a built-in data set to yours; asked for again, it is the same one."""
    sample = builtin.sample(name)
    source = sample.path()
    digest = sha256_of(source)
    with core.db.read() as session:
        query = select(tables.Dataset).where(
            tables.Dataset.user_id == person.id, tables.Dataset.sha256 == digest, tables.Dataset.source == "builtin"
        )
        known = session.scalars(query).first()
        if known is not None and Path(known.path).is_file():
            return shown(known)
    dataset_id = new_id()
    target = core.data_dir / "uploads" / dataset_id / f"source{source.suffix}"
    target.parent.mkdir(parents=True)
    shutil.copyfile(source, target)
    return _keep(core, person.id, dataset_id, sample.name, target, "builtin", sample.licence)


@router.get("/{dataset_id}")
def get_data(core: CoreDep, person: PersonDep, dataset_id: str) -> Dataset:
    """A data set with its report."""
    with core.db.read() as session:
        return shown(find(session, person.id, dataset_id))


@router.delete("/{dataset_id}", status_code=204)
def delete_data(core: CoreDep, person: PersonDep, dataset_id: str) -> None:
    """Deletes a data set and its file; runs that were made from it keep their own prepared rows."""
    with core.db.write() as session:
        row = find(session, person.id, dataset_id)
        waiting = session.scalars(
            select(TrainingPlan).where(TrainingPlan.user_id == person.id, TrainingPlan.status.in_(OPEN))
        )
        if any(json.dumps(dataset_id) in json.dumps(plan.plan) for plan in waiting):
            raise ConflictError("data_in_plan", "A plan that waits for approval uses this data set.", "Reject the plan first.")
        folder = Path(row.path).parent
        session.delete(row)
    shutil.rmtree(folder, ignore_errors=True)


def find(session: Session, user_id: str, dataset_id: str) -> tables.Dataset:
    """A user's data set; 404 otherwise."""
    row = session.get(tables.Dataset, dataset_id)
    if row is None or row.user_id != user_id:
        raise NotFoundError("data_not_found", "There is no such data set.", "Upload it, or see the list of data sets.")
    return row


def shown(row: tables.Dataset) -> Dataset:
    """The noun of a row."""
    report = DataReport.model_validate(row.report)
    credit = builtin.SAMPLES[row.name].credit if row.source == "builtin" and row.name in builtin.SAMPLES else None
    return Dataset.model_validate(
        {
            "id": row.id,
            "name": row.name,
            "format": report.format,
            "rows": row.rows,
            "columns": list(report.columns.values()),
            "bytes": row.bytes,
            "sha256": row.sha256,
            "source": row.source,
            "licence": row.licence,
            "credit": credit,
            "created_at": row.created_at,
            "report": report,
        }
    )


def _keep(
    core: Core, user_id: str, dataset_id: str, name: str, path: Path, origin: DataOrigin, licence: str = ""
) -> Dataset:
    report = inspect(path, name=path.name).model_copy(update={"dataset_id": dataset_id})
    row = tables.Dataset(
        id=dataset_id,
        user_id=user_id,
        name=name,
        source=origin,
        path=str(path),
        rows=report.usable,
        bytes=path.stat().st_size,
        sha256=sha256_of(path),
        licence=licence,
        report=report.document(),
        created_at=core.clock(),
    )
    with core.db.write() as session:
        session.add(row)
        session.flush()
        return shown(row)


async def _receive(file: UploadFile, target: Path, limit: int) -> None:
    """Streams the upload to disk; refuses what is larger than the limit."""
    size = 0
    try:
        with target.open("wb") as sink:
            while chunk := await file.read(CHUNK):
                size += len(chunk)
                if size > limit:
                    sentence = f"The file is larger than {limit >> 20:,} MB."
                    raise DataError("file_too_large", sentence, "Split it, or raise KRIPTIK_MAX_UPLOAD_MB.", status=413)
                sink.write(chunk)
    except OSError as error:
        raise DataError("disk_full", f"The file could not be stored: {error.strerror}.", "Free disk space.", status=507) from error
    if not size:
        raise DataError("empty_file", "The file is empty.", "Check that the right file was chosen.")


def _safe(name: str | None) -> str:
    """The last part of a name, without anything a path or a page could trip over."""
    last = (name or "").replace("\\", "/").rsplit("/", 1)[-1]
    kept = re.sub(r"[^\w .()+-]", "_", last).strip(" .")
    return kept[-200:] or "upload"
