"""Artefacts of a worker that runs elsewhere: fetched before it begins, put as soon as they are made.

A checkpoint is reported only when every byte of it has arrived, its mark last; so what the server knows of, it has. The training
waits while it is sent. One that could not be sent is tried again with the next, and at the end.
"""

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import httpx

from kriptik.spec.carry import Fetch, Place, Places, Upload, UploadAsk
from kriptik.spec.errors import WorkerError
from kriptik.spec.events import CheckpointCommitted, CurrentSample, Log, ProbeDone, QualitySample, RunResult, WorkerBody
from kriptik.worker.control import Control
from kriptik.worker.link import AwayError, Link, RefusedError

COMPLETE, MANIFEST = "_COMPLETE", "manifest.json"
RECORDS = ("made", "asked", "prior")
T = TypeVar("T")
PATIENCE_S = 600.0
LAST_TRY_S = 20.0
BACKOFF_S = (0.5, 15.0)
CHUNK = 1 << 20


class Carrier:
    """Moves files for one generation. `emit` says what could not be moved."""

    def __init__(self, link: Link, run_dir: Path, control: Control, emit: Callable[[WorkerBody], None]) -> None:
        self._link, self._dir, self._control, self._emit = link, run_dir, control, emit
        self._http = httpx.Client(timeout=httpx.Timeout(60.0, connect=10.0), trust_env=link.trust_env)
        self._waiting: dict[str, CheckpointCommitted] = {}

    def fetch(self) -> str:
        """Brings everything the handout names; returns one line about it. Raises WorkerError where that does not succeed."""
        files = self._patiently(self._link.handout, PATIENCE_S)
        if files is None:
            raise WorkerError(
                "fetch_failed", "The run's files could not be fetched in time.", "Retry when the server can be reached."
            )
        for file in files.files:
            if self._patiently(lambda file=file: self._bring(file), PATIENCE_S) is None:
                raise WorkerError("fetch_failed", f"{file.path} could not be fetched in time.", "Retry.")
        total = sum(file.bytes for file in files.files)
        return f"{len(files.files)} files, {total / 1e6:.1f} MB fetched"

    def before(self, body: WorkerBody) -> list[WorkerBody]:
        """Puts what an event speaks of, then returns the events that may be said now."""
        match body:
            case CheckpointCommitted():
                self._waiting[body.checkpoint_id] = body
                return self.deliver(PATIENCE_S)
            case ProbeDone():
                self._records()
            case QualitySample(file=str(name)) | CurrentSample(file=str(name)):
                if not self._put([self._dir / name], LAST_TRY_S):
                    return [body.model_copy(update={"file": None})]
            case RunResult():
                if not self._put(sorted(p for p in (self._dir / "result").rglob("*") if p.is_file()), PATIENCE_S):
                    raise WorkerError(
                        "upload_failed", "The result could not be sent.", "Retry: it is made again from the checkpoint."
                    )
        return [body]

    def deliver(self, patience_s: float = LAST_TRY_S) -> list[WorkerBody]:
        """Puts the checkpoints that wait; returns their events, in order, as far as they arrived."""
        said: list[WorkerBody] = []
        for name, body in list(self._waiting.items()):
            folder = self._dir / "checkpoints" / name
            if not (folder / COMPLETE).is_file():
                del self._waiting[name]  # a newer one took its place
                continue
            began = time.monotonic()
            if not (self._records() and self._checkpoint(folder, patience_s)):
                self._emit(Log(severity="warning", message=f"Checkpoint {name} could not be sent yet; it is tried again."))
                break
            del self._waiting[name]
            said.append(body.model_copy(update={"seconds": body.seconds + time.monotonic() - began}))
        return said

    def _checkpoint(self, folder: Path, patience_s: float) -> bool:
        files = {p.name: p for p in folder.iterdir() if p.is_file()}
        mark = files.pop(COMPLETE)
        manifest = files.pop(MANIFEST)
        known = {name: str(facts["sha256"]) for name, facts in json.loads(manifest.read_bytes())["files"].items()}
        shards = [files[name] for name in sorted(files)]
        return all(self._put(part, patience_s, known) for part in (shards, [manifest], [mark]))

    def _records(self) -> bool:
        """The lock and what came from outside: a resume replays them, so they go before the checkpoint that used them."""
        made = [file for name in RECORDS for file in sorted((self._dir / name).glob("*.*")) if file.suffix != ".part"]
        files = [self._dir / "run.lock", *made]
        return self._put([file for file in files if file.is_file()], LAST_TRY_S)

    def _put(self, files: list[Path], patience_s: float, known: dict[str, str] | None = None) -> bool:
        if not files:
            return True
        found = [(file, self._upload(file, (known or {}).get(file.name))) for file in files]
        by_path = {upload.path: (file, upload) for file, upload in found}

        def once() -> bool:
            places: Places = self._link.ask_to_put(UploadAsk(files=[upload for _file, upload in found]))
            for place in places.files:
                if not place.there:
                    self._send(place, *by_path[place.path])
            return True

        return bool(self._patiently(once, patience_s))

    def _upload(self, file: Path, sha256: str | None) -> Upload:
        path = str(file.relative_to(self._dir))
        return Upload(path=path, bytes=file.stat().st_size, sha256=sha256 or _sha256(file))

    def _send(self, place: Place, file: Path, upload: Upload) -> None:
        with file.open("rb") as body:
            if place.url is None:
                self._link.put_file(upload, body)
                return
            try:
                answer = self._http.put(place.url, content=body, headers={"Content-Length": str(upload.bytes)})
            except httpx.HTTPError as error:
                raise AwayError(type(error).__name__) from error
            if answer.status_code >= 300:
                raise AwayError(f"the storage answered {answer.status_code}")

    def _bring(self, file: Fetch) -> bool:
        target = self._dir / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(target.name + ".part")
        with part.open("wb") as sink:
            if file.url is None:
                self._link.get_file(file.path, sink)
            else:
                try:
                    with self._http.stream("GET", file.url) as answer:
                        if answer.status_code != 200:
                            raise AwayError(f"the storage answered {answer.status_code}")
                        for chunk in answer.iter_bytes(CHUNK):
                            sink.write(chunk)
                except httpx.HTTPError as error:
                    raise AwayError(type(error).__name__) from error
        if part.stat().st_size != file.bytes:
            raise AwayError(f"{file.path} came torn")
        part.replace(target)
        return True

    def _patiently(self, act: Callable[[], T], patience_s: float) -> T | None:
        """Tries until it succeeds, the patience or the money is at its end, or contact is lost for good; None then."""
        end, delay = time.monotonic() + patience_s, BACKOFF_S[0]
        while True:
            try:
                return act()
            except RefusedError as error:
                raise WorkerError("carry_refused", f"The server refuses the files: {error}", "See the server's log.") from error
            except AwayError:
                left = self._control.seconds_to_spare()
                out_of_time = time.monotonic() + delay > end or (left is not None and left < delay)
                if out_of_time or self._control.override == "lost_contact":
                    return None
                time.sleep(delay)
                delay = min(BACKOFF_S[1], delay * 2)


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
