"""Data sets of the hub that are folders of pictures, recordings or videos, with a table `metadata` beside them or none: which there
are, and one of them as a zip, as it would be sent by hand."""

import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from shutil import copyfileobj
from tempfile import TemporaryDirectory

from kriptik.data import clips, images, sounds
from kriptik.spec.errors import DataError

Listed = tuple[str, int | None, str | None]
"""(name, bytes, SHA-256) of a file on the hub; the last two where the hub says them."""
MEDIA = images.SUFFIXES | sounds.SUFFIXES | clips.SUFFIXES
TABLES = frozenset({".csv", ".tsv", ".jsonl", ".json", ".parquet"})
TABLE = "metadata"
"""The name, without suffix, of the table beside media. Source: the hub's documentation of ImageFolder and its like."""
MOST_FILES = 2000
SINCE = (1980, 1, 1, 0, 0, 0)
"""The time of every entry: the same files make the same zip."""


def found(listed: Sequence[Listed]) -> dict[str, list[Listed]]:
    """Folder, with "/" at its end, the likeliest for training first → its media and what may be said of them.

    A folder is where a table lies, else all there is. Empty where there are other rows: then the media belong to these.
    """
    paths = {one[0]: PurePosixPath(one[0]) for one in listed}
    media = {one for one in listed if paths[one[0]].suffix.lower() in MEDIA}
    tables = [path for path in paths.values() if path.suffix.lower() in TABLES and path.name != "dataset_infos.json"]
    homes = {str(path.parent) for path in tables if _is_table(path)}
    if not media or not all(map(_is_table, tables)):
        return {}
    several: dict[str, list[Listed]] = {}
    for home in homes or {"."}:
        inside = [one for one in listed if home == "." or PurePosixPath(home) in paths[one[0]].parents]
        told = [one for one in inside if _is_table(paths[one[0]]) or paths[one[0]].suffix.lower() in MEDIA | {".txt"}]
        if any(one in media for one in told):
            several[f"{home}/"] = told
    return dict(sorted(several.items(), key=lambda item: ("train" not in item[0], -len(item[1]), item[0])))


def zipped(folder: str, files: Sequence[Listed], target: Path, most: int, fetch: Callable[[Listed, Path, int], None]) -> None:
    """Writes a zip to `target`. `fetch` puts a file where it is told, of at most so many bytes.

    Raises DataError where there are too many files or bytes, and what `fetch` raises.
    """
    known = sum(size or 0 for _, size, _ in files)
    if len(files) > MOST_FILES or known > most:
        most_of_all = f"at most {MOST_FILES:,} of {most / 1e6:,.0f} MB are taken"
        what = f"{folder} holds {len(files):,} files of {known / 1e6:,.0f} MB; {most_of_all}."
        raise DataError("source_too_large", what, "Choose a smaller folder, or raise KRIPTIK_MAX_UPLOAD_MB.")
    left = most
    with TemporaryDirectory(dir=target.parent, prefix="folder-") as temporary, zipfile.ZipFile(target, "w") as archive:
        part = Path(temporary) / "part"
        for one in files:
            fetch(one, part, left)
            entry = zipfile.ZipInfo(one[0], SINCE)
            entry.file_size = part.stat().st_size
            left -= entry.file_size
            with part.open("rb") as source, archive.open(entry, "w") as out:
                copyfileobj(source, out)


def _is_table(path: PurePosixPath) -> bool:
    return path.suffix.lower() in TABLES and path.stem.lower() == TABLE
