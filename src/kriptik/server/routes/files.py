"""Files of a run: what is there, and downloads. Nothing outside the run's folder can be named."""

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse

from kriptik.server.auth import CoreDep, PersonDep
from kriptik.server.core import Core
from kriptik.spec.base import Noun
from kriptik.spec.errors import NotFoundError
from kriptik.store import jobs

router = APIRouter(prefix="/jobs/{job_id}/files", tags=["files"])

MOST_LISTED = 2000
SHOWN = {".png": "image/png", ".jpg": "image/jpeg", ".webp": "image/webp", ".wav": "audio/wav", ".mp4": "video/mp4"}
"""Kinds of files that a page may show in place; nothing in them is run."""


class RunFile(Noun):
    """A file of the run, its path relative to the run's folder."""

    path: str
    bytes: int


class RunFiles(Noun):
    """Files of a run, by path."""

    files: list[RunFile]


@router.get("")
def list_files(core: CoreDep, person: PersonDep, job_id: str) -> RunFiles:
    """What the run left on disk: result, checkpoints, events."""
    folder = _folder(core, person.id, job_id)
    found = sorted(p for p in folder.rglob("*") if p.is_file() and not p.is_symlink())[:MOST_LISTED]
    return RunFiles(files=[RunFile(path=str(p.relative_to(folder)), bytes=p.stat().st_size) for p in found])


@router.get("/{path:path}", response_class=FileResponse)
def download_file(core: CoreDep, person: PersonDep, job_id: str, path: str) -> FileResponse:
    """One file; pictures and sounds as what they are, everything else to be saved."""
    folder = _folder(core, person.id, job_id)
    file = (folder / path.replace("\0", "/")).resolve()
    if not file.is_relative_to(folder.resolve()) or not file.is_file():
        raise NotFoundError("no_such_file", "This run has no such file.", "See the run's list of files.")
    if (kind := SHOWN.get(file.suffix)) is not None:
        safe = {"X-Content-Type-Options": "nosniff"}
        return FileResponse(file, filename=file.name, media_type=kind, content_disposition_type="inline", headers=safe)
    return FileResponse(file, filename=file.name, content_disposition_type="attachment", media_type="application/octet-stream")


def _folder(core: Core, user_id: str, job_id: str) -> Path:
    with core.db.read() as session:
        return core.run_dir(jobs.get(session, user_id, job_id).id)
