"""Where the artefacts of runs are kept: the run folders of this machine by default, an S3-compatible bucket by configuration.

A worker elsewhere gets signed addresses for single files and never holds a key. What lies in a bucket is pulled into the run's
folder before anything is decided on it, so that every check reads the same bytes from the same place.
"""

import contextlib
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from kriptik.spec.errors import BadInputError, KriptikError
from kriptik.storage.s3_parts import Begun, Uploads, can_sign

if TYPE_CHECKING:
    from obstore.store import RetryConfig

COMPLETE = "_COMPLETE"
CHUNK = 8 << 20
SIGNED_FOR = timedelta(hours=6)
PARTS_FROM, PART_BYTES, MOST_PARTS = 1 << 30, 256 << 20, 5000
"""A file of so many bytes goes in parts of so many, never more than so many of them (S3: 10,000)."""
ONE_REQUEST = 5_000_000_000
KEPT_FREE = 256 << 20
"""Bytes that always stay free on the server's disk: the database needs them."""
RETRY: "RetryConfig" = {"max_retries": 2, "retry_timeout": timedelta(seconds=20)}
"""Short: who calls tries again, and other runs wait meanwhile."""


class Objects(Protocol):
    """Files of runs by key `<job id>/<path in the run's folder>`. Raises `KriptikError` 503 where the storage is away."""

    def signed(self, method: Literal["GET", "PUT"], key: str) -> str | None:
        """An address for one file and one method; None where files go through the server."""
        ...

    def size(self, key: str) -> int | None:
        """Bytes of a file; None where there is none."""
        ...

    def begin(self, key: str, size: int) -> Begun | None:
        """Where a file that is too large for one request goes, part by part; None where it goes whole."""
        ...

    def join(self, key: str, size: int) -> None:
        """Its parts become one file. Raises `KriptikError` 409 `not_whole` where some are missing."""
        ...

    def abort(self, prefix: str) -> int:
        """Gives up uploads under `prefix` that were never joined; returns how many."""
        ...

    def pull(self, prefix: str, folder: Path) -> int:
        """Brings every file under `prefix` that is not in `folder` into it; returns the bytes that were moved."""
        ...

    def remove(self, prefix: str) -> None:
        """Removes every file under `prefix` from the storage, the mark of a checkpoint first."""
        ...


class FolderObjects:
    """The run folders themselves: nothing has to be moved."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def signed(self, method: Literal["GET", "PUT"], key: str) -> str | None:
        """Files go through the server."""
        return None

    def size(self, key: str) -> int | None:
        """See `Objects`."""
        try:
            return (self.root / key).stat().st_size
        except OSError:
            return None

    def begin(self, key: str, size: int) -> Begun | None:
        """Whole, through the server."""
        return None

    def join(self, key: str, size: int) -> None:
        """Nothing comes in parts here."""

    def abort(self, prefix: str) -> int:
        """See `join`."""
        return 0

    def pull(self, prefix: str, folder: Path) -> int:
        """They are there."""
        return 0

    def remove(self, prefix: str) -> None:
        """Who owns the folder removes what is in it."""


class S3Objects:
    """A bucket of any S3-compatible service. Keys of the cloud come from the usual AWS_* variables of the server."""

    def __init__(self, bucket: str, prefix: str = "") -> None:
        self._store = S3Store(bucket, prefix=prefix or None, retry_config=RETRY)
        self._uploads = Uploads(lambda key: obstore.sign(self._store, "PUT", key, SIGNED_FOR))

    def signed(self, method: Literal["GET", "PUT"], key: str) -> str | None:
        """See `Objects`; valid for six hours."""
        with _storage():
            return obstore.sign(self._store, method, key, SIGNED_FOR)

    def size(self, key: str) -> int | None:
        """See `Objects`."""
        try:
            with _storage():
                return int(obstore.head(self._store, key)["size"])
        except FileNotFoundError:
            return None

    def begin(self, key: str, size: int) -> Begun | None:
        """See `Objects`."""
        if size < PARTS_FROM or (size <= ONE_REQUEST and not can_sign()):
            return None
        with _storage():
            return self._uploads.begin(key, size, max(PART_BYTES, -(-size // MOST_PARTS)))

    def join(self, key: str, size: int) -> None:
        """See `Objects`. One that is there already, with its size, was joined before the answer was lost."""
        if self.size(key) != size:
            with _storage():
                self._uploads.join(key, size)

    def abort(self, prefix: str) -> int:
        """See `Objects`."""
        with _storage():
            return self._uploads.abort(f"{prefix}/") if can_sign() else 0

    def pull(self, prefix: str, folder: Path) -> int:
        """Of checkpoints only those that were completed, their mark last, so that a torn pull never looks complete."""
        with _storage():
            found = {str(item["path"]): int(item["size"]) for batch in obstore.list(self._store, f"{prefix}/") for item in batch}
        names = {key.split(f"{prefix}/", 1)[1]: size for key, size in found.items()}
        done = {Path(name).parent for name in names if Path(name).name == COMPLETE}
        moved = 0
        for name in sorted(names, key=lambda name: (Path(name).name == COMPLETE, name)):
            checkpoint = name.startswith("checkpoints/")
            if checkpoint and Path(name).parent not in done:
                continue
            target = folder / name
            if checkpoint and target.is_file() and target.stat().st_size == names[name]:
                continue
            moved += self._bring(f"{prefix}/{name}", target)
        return moved

    def remove(self, prefix: str) -> None:
        """See `Objects`."""
        with _storage():
            keys = [str(item["path"]) for batch in obstore.list(self._store, f"{prefix}/") for item in batch]
            for key in sorted(keys, key=lambda key: (Path(key).name != COMPLETE, key)):
                obstore.delete(self._store, key)

    def _bring(self, key: str, target: Path) -> int:
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(target.name + ".part")
        moved = 0
        with _storage(), part.open("wb") as sink:
            for chunk in obstore.get(self._store, key).stream(min_chunk_size=CHUNK):
                moved += sink.write(chunk)
        part.replace(target)
        return moved


def open_objects(url: str | None, runs: Path) -> Objects:
    """The storage of this address: none → the run folders; `s3://bucket/prefix`. Raises BadInputError for any other."""
    if not url:
        return FolderObjects(runs)
    scheme, _, rest = url.partition("://")
    bucket, _, prefix = rest.partition("/")
    if scheme != "s3" or not bucket:
        raise BadInputError("unknown_storage", f"{url!r} is no storage address.", "Use s3://bucket/prefix, or leave it empty.")
    return S3Objects(bucket, prefix.strip("/"))


def free_bytes(folder: Path) -> int:
    """What the folder's disk has free. The one place that asks."""
    return shutil.disk_usage(folder).free


def must_have_room(folder: Path, wanted: int) -> None:
    """Raises `KriptikError` 507 `disk_full` where `wanted` bytes would leave less than `KEPT_FREE` on the folder's disk."""
    free = free_bytes(folder)
    if free - wanted < KEPT_FREE:
        sentence = f"The server's disk has {free / 1e9:.1f} GB free; {wanted / 1e9:.1f} GB are to be stored."
        raise KriptikError("disk_full", sentence, "Free disk space; it is tried again.", status=507)


@contextlib.contextmanager
def _storage() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise
    except BaseError as error:
        sentence = f"The object storage does not answer as it should ({type(error).__name__})."
        raise KriptikError("storage_away", sentence, "It is tried again; see `kriptik doctor`.", status=503) from error
