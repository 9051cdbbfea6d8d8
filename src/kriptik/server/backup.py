"""The server's state as one file, and back: the database by SQLite's online backup, data, the runs' records, on wish all of them.

Keys: what comes from the environment (provider, storage and hub keys, the model's key) is never in it. `secret`, which signs links
and derives the workers' tokens, is in it unless left out; without it a restored server makes a new one, and workers that live are
fenced. Personal tokens are in the database as hashes alone. So the file is as private as KRIPTIK_HOME: only its owner may read it.
"""

import contextlib
import fcntl
import hashlib
import io
import os
import sqlite3
import tarfile
import tempfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from pydantic import ValidationError

import kriptik
from kriptik.server import holds
from kriptik.server.settings import Settings
from kriptik.spec.base import Noun, utc_now
from kriptik.spec.errors import BadInputError, ConflictError, KriptikError
from kriptik.storage.objects import must_have_room
from kriptik.store.db import Database

FORMAT = 1
MANIFEST, DATABASE, SECRET = "backup.json", "kriptik.db", "secret"
RECORDS = ("jobs", "events", "run.lock", "made", "asked")
"""Of a run's folder, what is always kept: small, and a resume needs it."""
ARTEFACTS = ("checkpoints", "result", "exports", "health")


class Backed(Noun):
    """One file of a backup."""

    sha256: str
    bytes: int


class Manifest(Noun):
    """What a backup holds. `revision`: of the database's schema; `settings`: those that are no keys, for people to compare."""

    format: int
    version: str
    install: str
    made_at: datetime
    revision: str
    secret: bool
    artefacts: bool
    settings: dict[str, Any]
    files: dict[str, Backed]


def backup(settings: Settings, target: Path, *, artefacts: bool = False, secret: bool = True) -> Manifest:
    """Writes a backup, also while the server runs; whole or not at all. `artefacts`: checkpoints, results and exports too."""
    source = _sqlite_file(settings)
    if not source.is_file():
        raise BadInputError("nothing_to_back_up", f"There is no database at {source}.", "Set KRIPTIK_HOME to the server's folder.")
    if target.exists():
        raise ConflictError("file_exists", f"{target} is there already.", "Choose another name.")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".kriptik-") as scratch:
        copy = Path(scratch) / DATABASE
        _copy_database(source, copy)
        install, revision = _facts(copy)
        chosen = {DATABASE: copy, **_files(settings.home, artefacts=artefacts, secret=secret)}
        must_have_room(target.parent, sum(path.stat().st_size for path in chosen.values() if path.exists()))
        part = Path(scratch) / "archive"
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as sink:
            about = {"format": FORMAT, "version": kriptik.__version__, "install": install, "made_at": utc_now(),
                     "revision": revision, "artefacts": artefacts, "settings": _plain(settings)}  # fmt: skip
            manifest = _pack(sink, chosen, about)
            sink.flush()
            os.fsync(sink.fileno())
        part.rename(target)
    return manifest


def read(source: Path) -> Manifest:
    """What a backup says of itself. Raises `BadInputError` where it is none, or made by a newer KripTik."""
    try:
        with tarfile.open(source) as archive:
            handle = archive.extractfile(MANIFEST)
            manifest = Manifest.model_validate_json(handle.read() if handle else b"")
    except (OSError, tarfile.TarError, KeyError, ValidationError) as error:
        raise BadInputError("no_backup", f"{source} is no KripTik backup, or is cut short.", "Choose another file.") from error
    if manifest.format > FORMAT:
        raise BadInputError("newer_backup", f"KripTik {manifest.version} made this backup.", "Update KripTik, then restore.")
    return manifest


def restore(settings: Settings, source: Path, *, replace: bool = False) -> Manifest:
    """Puts a backup in place, after every byte was compared with its manifest. Refused while a server runs.

    With `replace` a state that is there is moved aside, not removed. Until the server has compared the restored state with the
    providers it creates nothing.
    """
    manifest = read(source)
    home, database = settings.home, _sqlite_file(settings)
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _only(home):
        if database.exists() and not replace:
            raise ConflictError("state_exists", f"{home} holds a state already.", "Use --replace to move it aside.")
        must_have_room(home, sum(file.bytes for file in manifest.files.values()))
        with tempfile.TemporaryDirectory(dir=home, prefix=".restore-") as scratch:
            unpacked = _unpack(source, Path(scratch), manifest)
            holds.hold(home, holds.RESTORED)
            _move_aside(home, database, manifest)
            for path in sorted(unpacked, key=lambda one: one == DATABASE):  # the database last: with it the state exists
                place = database if path == DATABASE else home / path
                place.parent.mkdir(parents=True, exist_ok=True)
                if not place.exists():
                    (Path(scratch) / path).replace(place)
        Database(settings.database).migrate()
        holds.note_install(home, manifest.install)
    return manifest


def _sqlite_file(settings: Settings) -> Path:
    prefix = "sqlite:///"
    if not settings.database.startswith(prefix):
        step = "Use its own tools (pg_dump, pg_restore) for the rows, and copy KRIPTIK_HOME beside it."
        raise BadInputError("not_sqlite", "The rows lie in a database of their own.", step)
    return Path(settings.database.removeprefix(prefix))


def _copy_database(source: Path, target: Path) -> None:
    """One consistent state, whoever writes meanwhile; looked through before it counts."""
    with contextlib.closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True)) as live, contextlib.closing(
        sqlite3.connect(target)
    ) as copy:
        live.backup(copy)
        copy.execute("PRAGMA journal_mode=DELETE")
        (verdict,) = copy.execute("PRAGMA integrity_check").fetchone()
    if verdict != "ok":
        raise KriptikError("database_damaged", f"The database does not pass its check: {verdict}.", "Restore an older backup.")


def _facts(database: Path) -> tuple[str, str]:
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as rows:
        (install,) = rows.execute("SELECT value FROM settings WHERE key = 'install_id'").fetchone()
        (revision,) = rows.execute("SELECT version_num FROM alembic_version").fetchone()
    return str(install), str(revision)


def _files(home: Path, *, artefacts: bool, secret: bool) -> dict[str, Path]:
    """Path in the backup → file. What vanishes or grows meanwhile is taken as it is when its turn comes."""
    folders = [home / "data"]
    for run in sorted((home / "runs").glob("*")):
        folders += [run / name for name in (*RECORDS, *(ARTEFACTS if artefacts else ()))]
    folders += sorted((home / "sessions").glob("*"))
    found = [folder for folder in folders if folder.is_file()]
    found += [path for folder in folders if folder.is_dir() for path in sorted(folder.rglob("*")) if path.is_file()]
    found += [home / SECRET] if secret and (home / SECRET).is_file() else []
    return {str(path.relative_to(home)): path for path in found if not path.is_symlink() and not path.name.endswith(".part")}


def _plain(settings: Settings) -> dict[str, Any]:
    """The settings without keys and without addresses that may hold some."""
    found = settings.model_dump(mode="json", exclude={"runpod_api_key", "database_url", "storage_url", "llm_key_env"})
    return {name: value for name, value in found.items() if value not in (None, "")}


def _pack(sink: BinaryIO, chosen: dict[str, Path], about: dict[str, Any]) -> Manifest:
    """The archive: every file, the manifest last. A file that grows meanwhile is taken up to the size it had."""
    found: dict[str, Backed] = {}
    with tarfile.open(fileobj=sink, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, path in chosen.items():
            try:
                with path.open("rb") as handle:
                    info = archive.gettarinfo(arcname=name, fileobj=handle)
                    hashing = _Hashing(handle)
                    archive.addfile(info, cast(IO[bytes], hashing))
            except FileNotFoundError:  # removed since it was listed, as old checkpoints are
                continue
            found[name] = Backed(sha256=hashing.digest.hexdigest(), bytes=info.size)
        manifest = Manifest(files=found, secret=SECRET in found, **about)
        data = manifest.model_dump_json(by_alias=True, indent=1).encode()
        info = tarfile.TarInfo(MANIFEST)
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    return manifest


class _Hashing:
    """Reads on, and hashes what was read."""

    def __init__(self, source: BinaryIO) -> None:
        self._source, self.digest = source, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        data = self._source.read(size)
        self.digest.update(data)
        return data


@contextlib.contextmanager
def _only(home: Path) -> Iterator[None]:
    """Holds the lock that a running server holds."""
    with (home / "server.lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConflictError("home_in_use", f"A KripTik server uses {home}.", "Stop it, then restore.") from error
        yield


def _unpack(source: Path, scratch: Path, manifest: Manifest) -> list[str]:
    """Every file of the manifest, compared byte by byte; what the manifest does not name is not unpacked."""
    with tarfile.open(source) as archive:
        for name, expected in manifest.files.items():
            try:
                archive.extract(archive.getmember(name), scratch, filter="data")
                same = _sha256(scratch / name) == expected.sha256 and (scratch / name).stat().st_size == expected.bytes
            except (KeyError, OSError, tarfile.TarError):
                same = False
            if not same:
                raise BadInputError("backup_damaged", f"{name} is not what was backed up.", "Choose another backup.")
    if DATABASE not in manifest.files:
        raise BadInputError("backup_damaged", "The backup holds no database.", "Choose another backup.")
    return list(manifest.files)


def _move_aside(home: Path, database: Path, manifest: Manifest) -> None:
    """The rows and the secret that are there. Runs and data stay: a run goes on from the newest of what lies on the disk."""
    aside = home / f"before-restore-{utc_now():%Y%m%dT%H%M%S}"
    names = [database, *(database.with_name(database.name + end) for end in ("-wal", "-shm"))]
    names += [home / SECRET] if manifest.secret else []
    for path in names:
        if path.exists():
            aside.mkdir(exist_ok=True, mode=0o700)
            path.replace(aside / path.name)


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
