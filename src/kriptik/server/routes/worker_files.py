"""Files of a worker that runs elsewhere: its job, what it has to fetch, what it may put. Bearer: the generation's own token.

A generation may only put what it makes: its own checkpoints, the run's lock, kept answers and the result. A checkpoint's file is
put once and never changed.
"""

import filecmp
import hashlib
import os
import re
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse

from kriptik.server import scores, source
from kriptik.server.auth import CoreDep
from kriptik.server.core import Core
from kriptik.server.routes.worker import PREFIX, WorkerDep
from kriptik.server.runs import jobfile
from kriptik.spec.carry import Fetch, Handout, Part, Place, Places, Upload, UploadAsk
from kriptik.spec.errors import BadInputError, ConflictError, NotFoundError
from kriptik.spec.job import TrainJob
from kriptik.storage.objects import must_have_room

router = APIRouter(prefix=PREFIX, tags=["worker"], include_in_schema=False)

RECORDS = ("made", "asked", "prior")
"""Folders with what came from outside or was made on the way; a resume replays them."""
SHOWN = ("samples",)
"""Folders with what people look at."""
NAME = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,150}"


@router.get("/job")
def get_handed_job(core: CoreDep, job_id: str, number: WorkerDep) -> TrainJob:
    """What the generation was handed."""
    return _job(core, job_id, number)


@router.get("/source")
def get_source(number: WorkerDep) -> Response:
    """The worker's code, for an image that holds none."""
    return Response(source.archive(), media_type="application/gzip")


@router.get("/files")
def list_handed_files(core: CoreDep, job_id: str, number: WorkerDep) -> Handout:
    """What the generation has to fetch before it begins."""
    return Handout(files=[_fetch(core, job_id, path, file) for path, file in _needed(core, job_id, number).items()])


@router.get("/files/{path:path}", response_class=FileResponse)
def get_handed_file(core: CoreDep, job_id: str, number: WorkerDep, path: str) -> FileResponse:
    """One file of the handout; nothing else can be named."""
    file = _needed(core, job_id, number).get(path)
    if file is None or not file.is_file():
        raise NotFoundError("no_such_file", "This generation was not handed such a file.")
    return FileResponse(file, media_type="application/octet-stream")


@router.post("/files")
def ask_to_put_files(core: CoreDep, job_id: str, number: WorkerDep, ask: UploadAsk) -> Places:
    """Where the files go; room for them is looked for first."""
    places = []
    for file in ask.files:
        must_be_own(file.path, number)
        key = f"{job_id}/{file.path}"
        there = _once(file.path) and core.objects.size(key) == file.bytes
        places.append(Place(path=file.path, there=True) if there else _place(core, key, file))
    wanted = sum(file.bytes for file, place in zip(ask.files, places, strict=True) if not place.there)
    must_have_room(core.run_dir(job_id), wanted)
    return Places(files=places)


@router.post("/files/join")
def join_parts(core: CoreDep, job_id: str, number: WorkerDep, file: Upload) -> Place:
    """All parts of a large file were put: they become one. Asked again, it is there."""
    must_be_own(file.path, number)
    core.objects.join(f"{job_id}/{file.path}", file.bytes)
    return Place(path=file.path, there=True)


@router.put("/files/{path:path}", status_code=204)
async def put_made_file(core: CoreDep, request: Request, job_id: str, number: WorkerDep, path: str) -> Response:
    """Takes one file in: whole and as its SHA-256 says, or not at all."""
    must_be_own(path, number)
    target = core.run_dir(job_id) / path
    must_have_room(core.run_dir(job_id), int(request.headers.get("content-length", "0")))
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{os.urandom(4).hex()}.part")
    digest = hashlib.sha256()
    try:
        with part.open("wb") as sink:
            async for chunk in request.stream():
                digest.update(chunk)
                sink.write(chunk)
            sink.flush()
            os.fsync(sink.fileno())
        if digest.hexdigest() != request.headers.get("x-content-sha256"):
            raise BadInputError("torn_upload", "The bytes are not those of the announced SHA-256.", "Send the file again.")
        _settle(part, target, once=_once(path))
    finally:
        part.unlink(missing_ok=True)
    return Response(status_code=204)


def must_be_own(path: str, number: int) -> None:
    """422 for what this generation may not put."""
    own = rf"checkpoints/s\d+-\d+-g{number}(-\d+)?/{NAME}"
    others = rf"run\.lock|({'|'.join((*RECORDS, *SHOWN))})/{NAME}|result/({NAME}/){{0,4}}{NAME}"
    if not re.fullmatch(f"{own}|{others}", path) or ".." in path:
        raise BadInputError("not_yours", f"This generation may not put {path[:120]!r}.")


def _place(core: Core, key: str, file: Upload) -> Place:
    begun = core.objects.begin(key, file.bytes)
    if begun is None:
        return Place(path=file.path, url=core.objects.signed("PUT", key))
    parts = [Part(number=number, url=url) for number, url in begun.missing.items()]
    return Place(path=file.path, part_bytes=begun.part_bytes, parts=parts)


def _once(path: str) -> bool:
    return path.startswith("checkpoints/")


def _settle(part: Path, target: Path, *, once: bool) -> None:
    """Puts the file in its place; one that may be put once must be new, or the same again."""
    if not once:
        part.replace(target)
        return
    try:
        os.link(part, target)
    except FileExistsError:
        if not filecmp.cmp(target, part, shallow=False):
            raise ConflictError("exists", "A checkpoint's file is never changed.", "Save another checkpoint.") from None


def _job(core: Core, job_id: str, number: int) -> TrainJob:
    file = jobfile.path(core.run_dir(job_id), number)
    if not file.is_file():
        raise NotFoundError("no_job_file", "Nothing was handed to this generation.")
    return TrainJob.model_validate_json(file.read_bytes())


def _needed(core: Core, job_id: str, number: int) -> dict[str, Path]:
    """Path on the worker's side → file here."""
    job, folder = _job(core, job_id, number), core.run_dir(job_id)
    found: dict[str, Path] = {}
    if job.data is not None:
        found["data/train.jsonl"] = Path(job.data.train_path)
        if job.data.eval_path:
            found["data/eval.jsonl"] = Path(job.data.eval_path)
        media = Path(job.data.train_path).parent / "media"
        found |= {f"data/media/{file.name}": file for file in sorted(media.glob("*"))}
    found |= scores.handed(core, job)
    wanted: list[Any] = [folder / "run.lock", *(p for name in RECORDS for p in sorted((folder / name).glob("*")))]
    if job.resume_from:
        wanted += sorted((folder / "checkpoints" / job.resume_from).iterdir())
    found.update({str(file.relative_to(folder)): file for file in wanted if file.is_file()})
    return found


def _fetch(core: Core, job_id: str, path: str, file: Path) -> Fetch:
    key = f"{job_id}/{path}"
    stored = _once(path) and core.objects.size(key) is not None
    return Fetch(path=path, bytes=file.stat().st_size, url=core.objects.signed("GET", key) if stored else None)
