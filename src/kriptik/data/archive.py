"""Zip archives are hostile until checked: bombs, climbing paths, links, encryption. Nothing is written before all names are fit."""

import stat
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from kriptik.data.readers import READERS
from kriptik.spec.errors import DataError

MOST_MEMBERS = 10_000
MOST_BYTES = 8 << 30
MOST_RATIO = 200
"""Unpacked over packed; text compresses to a tenth, a bomb to a thousandth."""
RATIO_FROM = 16 << 20
CHUNK = 1 << 20


@dataclass(frozen=True)
class Part:
    """A file to read: where it lies, the name that says its kind, and what errors call it (None: the file that was sent)."""

    path: Path
    name: str
    member: str | None = None


@contextmanager
def parts_of(path: Path, name: str | None = None) -> Iterator[list[Part]]:
    """The files to read of an upload: itself, or the members of a zip, unpacked into a folder that is removed afterwards."""
    called = name or path.name
    if Path(called).suffix.lower() != ".zip":
        yield [Part(path, called)]
        return
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise DataError("bad_zip", f"{called!r} is not a zip archive that can be read.", "Pack it again.") from error
    with archive, tempfile.TemporaryDirectory(prefix="kriptik-") as folder:
        wanted = check(archive)
        yield [_unpack(archive, member, Path(folder) / str(number)) for number, member in enumerate(wanted)]


def check(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """The members to read, in order of their names. Raises DataError for an archive that must not be unpacked."""
    members = archive.infolist()
    if len(members) > MOST_MEMBERS:
        raise _refused("has too many files", f"Send at most {MOST_MEMBERS:,} files.")
    total = 0
    for member in members:
        pure = PurePosixPath(member.filename.replace("\\", "/"))
        if pure.is_absolute() or ".." in pure.parts or ":" in member.filename or "\0" in member.filename:
            raise _refused(f"names a file outside itself ({member.filename[:80]!r})", "Pack it again with plain names.")
        if stat.S_ISLNK(member.external_attr >> 16):
            raise _refused(f"holds a link ({member.filename[:80]!r})", "Pack the files themselves.")
        if member.flag_bits & 1:
            raise _refused("is encrypted", "Pack it without a password.")
        total += member.file_size
        if total > MOST_BYTES or (member.file_size > RATIO_FROM and member.file_size > MOST_RATIO * max(1, member.compress_size)):
            raise _refused("unpacks to far more than it should", "Send the files themselves.")
    wanted = [m for m in members if not m.is_dir() and _readable(m.filename)]
    if not wanted:
        step = "Pack JSONL, JSON, CSV, TSV, Parquet, txt or md files."
        raise DataError("nothing_to_read", "The archive holds no file with training rows.", step)
    return sorted(wanted, key=lambda m: m.filename)


def _readable(name: str) -> bool:
    pure = PurePosixPath(name)
    return pure.suffix.lower() in READERS and not pure.name.startswith(".") and "__MACOSX" not in pure.parts


def _unpack(archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path) -> Part:
    """Writes one member, never more bytes than its entry states: the header may lie."""
    written = 0
    try:
        with archive.open(member) as source, target.open("wb") as sink:
            while chunk := source.read(CHUNK):
                written += len(chunk)
                if written > member.file_size:
                    raise _refused("unpacks to more than it says", "Pack it again.")
                sink.write(chunk)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        sentence = f"{member.filename[:80]!r} in the archive cannot be unpacked."
        raise DataError("bad_zip", sentence, "Pack it again.", fields={"file": member.filename}) from error
    return Part(target, member.filename, member.filename)


def _refused(what: str, step: str) -> DataError:
    return DataError("hostile_zip", f"The archive {what}.", step)
