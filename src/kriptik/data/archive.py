"""Zip files of training data: looked through before a single byte is written, then unpacked within fixed bounds."""

import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from kriptik.data.readers import READERS
from kriptik.data.text import shorten
from kriptik.spec.errors import DataError

MAX_ENTRIES = 10_000
MAX_BYTES = 4 << 30
"""Unpacked, all together."""
MAX_RATIO = 200
"""Unpacked ÷ packed size of one entry above `RATIO_FROM` bytes; text reaches about 20."""
RATIO_FROM = 1 << 20
CHUNK = 1 << 20
PLAIN = frozenset({".txt", ".md", ".markdown"})
"""Beside real tables these are read-me files and licences, not rows."""
NESTED = frozenset({".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".zst", ".jar", ".whl"})
METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA})


@dataclass(frozen=True)
class Member:
    """An unpacked file and the name it has in the archive."""

    path: Path
    name: str


@dataclass(frozen=True)
class Unpacked:
    """Files with rows, in order of name, files of another kind that were asked for, and the names of those left out."""

    members: list[Member]
    left_out: list[str]
    others: list[Member]


def is_zip(path: Path, name: str) -> bool:
    """By name or by content: a zip under another name is still one."""
    if Path(name).suffix.lower() == ".zip":
        return True
    with path.open("rb") as handle:
        return handle.read(4) in (b"PK\x03\x04", b"PK\x05\x06")


@contextmanager
def unpacked(
    path: Path, work: Path, max_bytes: int = MAX_BYTES, also: frozenset[str] = frozenset(), only: str | None = None
) -> Iterator[Unpacked]:
    """The archive's row files and those with suffixes of `also`, unpacked under `work` for as long as the context lasts.

    Beside files of `also`, plain texts stay: they may be what is said of them. `only`: the one of these files that is wanted; the
    others are named, and lie nowhere.

    Raises DataError for whatever is not a plain, honest archive of row files; nothing was written then, unless an entry lies
    about its size or is damaged, which shows only while unpacking: then what was written is removed.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            rows, others, left_out = _look_through(archive, path.stat().st_size, max_bytes, also)
            with TemporaryDirectory(dir=work, prefix="unpack-") as folder:
                members = [_unpack(archive, info, Path(folder) / f"{number}") for number, info in enumerate(rows)]
                more = [
                    Member(Path(folder) / "not unpacked", info.filename)
                    if only not in (None, info.filename)
                    else _unpack(archive, info, Path(folder) / f"o{number}")
                    for number, info in enumerate(others)
                ]
                yield Unpacked(members, left_out, more)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, UnicodeDecodeError) as error:
        raise _refused("bad_zip", f"The zip file is damaged: {shorten(str(error), 100)}", "Pack it again.") from error


def _look_through(
    archive: zipfile.ZipFile, packed: int, max_bytes: int, also: frozenset[str]
) -> tuple[list[zipfile.ZipInfo], list[zipfile.ZipInfo], list[str]]:
    """Entries with rows, entries of other kinds asked for, names of those left out."""
    entries = [info for info in archive.infolist() if not info.is_dir()]
    if len(archive.infolist()) > MAX_ENTRIES:
        raise _refused("zip_too_many", f"The archive holds more than {MAX_ENTRIES:,} entries.", "Join the rows into fewer files.")
    for info in archive.infolist():
        _check_entry(info)
    if sum(info.file_size for info in entries) > max_bytes:
        limit = f"{max_bytes / 1e9:.1f} GB"
        raise _refused("zip_bomb", f"Unpacked, the archive would be larger than {limit}.", "Send the files in several parts.")
    if sum(info.compress_size for info in entries) > packed:
        raise _refused("zip_bomb", "The archive's entries overlap.", "Pack it again with an ordinary tool.")
    names = [info.filename for info in entries]
    if len(set(names)) != len(names):
        raise _refused("bad_zip", "Two entries of the archive have the same name.", "Give every file a name of its own.")
    known = sorted((info for info in entries if _suffix(info) in READERS and not _hidden(info)), key=lambda info: info.filename)
    tables = [info for info in known if _suffix(info) not in PLAIN]
    others = sorted((info for info in entries if _suffix(info) in also and not _hidden(info)), key=lambda info: info.filename)
    rows = known if others else tables or known
    if not rows and not others:
        found = ", ".join(shorten(name, 60) for name in names[:5]) or "nothing"
        step = "Pack JSONL, CSV or Parquet, pictures, videos, or recordings."
        raise _refused("zip_without_rows", f"No file in the archive holds rows; found: {found}.", step)
    chosen = {info.filename for info in (*rows, *others)}
    return rows, others, [name for name in names if name not in chosen]


def _check_entry(info: zipfile.ZipInfo) -> None:
    name, shown = info.filename, shorten(repr(info.filename), 80)
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if not name or "\0" in name or ".." in parts or name.startswith(("/", "\\")) or (len(name) > 1 and name[1] == ":"):
        raise _refused("zip_path", f"The entry {shown} points outside the archive.", "Pack it again with plain relative names.")
    mode = info.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise _refused("zip_link", f"The entry {shown} is a link or a device.", "Pack plain files only.")
    if info.is_dir():
        return
    if info.flag_bits & 0x1:
        raise _refused("zip_encrypted", f"The entry {shown} is encrypted.", "Pack it without a password.")
    if info.compress_type not in METHODS:
        raise _refused("bad_zip", f"The entry {shown} is packed in a way that is not known here.", "Pack it as an ordinary zip.")
    if _suffix(info) in NESTED:
        raise _refused("zip_nested", f"The entry {shown} is itself an archive.", "Unpack it first, and pack its files.")
    if info.file_size > RATIO_FROM and info.file_size > MAX_RATIO * max(1, info.compress_size):
        raise _refused("zip_bomb", f"The entry {shown} unpacks to over {MAX_RATIO} times its size.", "Send the rows unpacked.")


def _unpack(archive: zipfile.ZipFile, info: zipfile.ZipInfo, stem: Path) -> Member:
    """Our own name on disk; the entry's suffix alone decides how it is read."""
    target = stem.with_suffix(_suffix(info))
    left = info.file_size
    with archive.open(info) as source, target.open("wb") as out:
        while chunk := source.read(CHUNK):
            left -= len(chunk)
            if left < 0:
                raise _refused("zip_bomb", "An entry of the archive is larger than it says.", "Pack it again.")
            out.write(chunk)
    return Member(target, info.filename)


def _suffix(info: zipfile.ZipInfo) -> str:
    return PurePosixPath(info.filename).suffix.lower()


def _hidden(info: zipfile.ZipInfo) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in PurePosixPath(info.filename).parts)


def _refused(code: str, sentence: str, step: str) -> DataError:
    return DataError(code, sentence, step)
