"""Parquet files that hold their pictures, recordings or videos, as the hub's data sets do ({"bytes", "path"}, or bytes alone in the
columns that Pick-a-Pic has, or that the file's own features name): taken apart into files and rows.

What a cell is, its first bytes say. Where they say nothing, the features do that Hugging Face writes into the file.
"""

import json
from pathlib import Path
from typing import Any

from kriptik.data import clips, reel, sounds
from kriptik.data.archive import MAX_BYTES, Member
from kriptik.data.beside import TEXT_COLUMNS
from kriptik.data.cells import plain
from kriptik.data.readers import read_records
from kriptik.spec.errors import DataError

SUFFIX = ".parquet"
PLAIN = frozenset({"jpg_0", "jpg_1"})
"""Columns whose bytes are pictures."""
FEATURES = {"Image": ".png", "Audio": ".wav", "Video": ".mp4"}
"""Hugging Face's kinds of columns with files, and the suffix of a file whose bytes say nothing: it is refused as one of these."""
STARTS = (
    (b"\x89PNG", ".png"), (b"\xff\xd8", ".jpg"), (b"GIF8", ".gif"), (b"BM", ".bmp"), (b"II*\0", ".tif"), (b"MM\0*", ".tif"),
    (b"fLaC", ".flac"), (b"OggS", ".ogg"), (b"ID3", ".mp3"),
)  # fmt: skip
FORMS = {b"WEBP": ".webp", b"WAVE": ".wav", b"AIFF": ".aif", b"AIFC": ".aif"}
"""What stands behind the length of a RIFF, RF64 or IFF file."""
BRANDS = {b"M4A ": ".m4a", b"M4B ": ".m4a", b"avif": ".avif", b"heic": ".heic", b"mif1": ".heic"}
"""Of files built like MP4 that are no videos."""
HEAD = 64


def holds_media(source: Path, name: str) -> bool:
    """Whether a file is Parquet with a column of pictures, recordings or videos."""
    if Path(name).suffix.lower() != SUFFIX:
        return False
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return bool(_columns(pq.read_schema(source)))
    except (pa.ArrowException, OSError):
        return False  # what is wrong with it is said where it is read


def taken_apart(source: Path, name: str, folder: Path, only: str | None = None) -> tuple[list[Member], list[Member]]:
    """(files, the rows with names in their place as JSONL, if they say anything), all under `folder`. `only`: the one file that is
    wanted; the others are named, and lie nowhere.

    Raises DataError where there is no room, and where the rows name files without holding them.
    """
    import pyarrow.parquet as pq

    schema = pq.read_schema(source)
    columns, files, table = _columns(schema), _Files(folder, name, only), folder / "rows.jsonl"
    with table.open("w", encoding="utf-8") as lines:
        for record in read_records(source, name):
            value = record.value if isinstance(record.value, dict) else {}
            before = len(files.members)
            row = {column: _named(cell, column in columns, columns.get(column), files) for column, cell in value.items()}
            taken = files.members[before:]
            if len(taken) == 1 and _moves_or_sounds(taken[0]):  # the column may be called anything
                row["file_name"] = taken[0].name
            lines.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")
    if not files.members:
        what = f"{name} names its pictures, recordings or videos, but does not hold them."
        raise DataError("media_missing", what, "Pack the files into a zip, with the table beside them.")
    told = any(plain(column) in TEXT_COLUMNS for column in schema.names)
    asked = len(columns) < len(schema.names) and not all(map(_moves_or_sounds, files.members))
    return files.members, [Member(table, f"{name}.jsonl")] if told or asked else []


def suffix_of(head: bytes) -> str | None:
    """Of a file that begins so; None for what is not known here."""
    found = next((suffix for start, suffix in STARTS if head.startswith(start)), None)
    if found is None and head[:4] in (b"RIFF", b"RF64", b"FORM"):
        found = FORMS.get(head[8:12])
    if found is None and head[4:8] == b"ftyp":
        found = BRANDS.get(head[8:12])
    if found is None and (kind := reel.kind_in(head)) is not None:
        found = kind.suffix
    if found is None and len(head) > 1 and head[0] == 0xFF and head[1] >= 0xE0:  # a frame of MPEG; AAC's are of layer 0
        found = ".mp3" if head[1] & 0x06 else ".aac"
    return found


class _Files:
    """What was taken out of a file so far."""

    def __init__(self, folder: Path, name: str, only: str | None) -> None:
        self.folder, self.name, self.only = folder, name, only
        self.members: list[Member] = []
        self.room = MAX_BYTES

    def keep(self, content: bytes, path: str, told: str | None) -> str:
        """The name that a cell's content has from now on. `path`: the name it came with; `told`: what its column's feature says."""
        self.room -= len(content)
        if self.room < 0:
            what = f"The pictures, recordings or videos in {self.name} take more than {MAX_BYTES / 1e9:.1f} GB."
            raise DataError("zip_bomb", what, "Send the rows in several parts.")
        suffix = suffix_of(content[:HEAD]) or FEATURES.get(told or "") or _known(path)
        if told == "Audio" and suffix in clips.SUFFIXES:
            suffix = ".m4a"  # a container of videos that holds sound
        name = f"{len(self.members):08d}{suffix}"
        target = self.folder / name
        if self.only in (None, name):
            target.write_bytes(content)
        self.members.append(Member(target, name))
        return name


def _known(path: str) -> str:
    """The suffix of a name, where recordings and videos have such; else that of a picture."""
    suffix = Path(path).suffix.lower()
    return suffix if suffix in sounds.SUFFIXES | clips.SUFFIXES else ".png"


def _moves_or_sounds(file: Member) -> bool:
    return sounds.is_sound(file.name) or clips.is_clip(file.name)


def _columns(schema: Any) -> dict[str, str | None]:
    """Columns that hold files, and which of `FEATURES` the file itself says that they are."""
    import pyarrow as pa

    told = _features(schema)
    return {
        one.name: told.get(one.name)
        for one in schema
        if one.name in PLAIN or _of_files(one.type)
        or (one.name in told and (pa.types.is_binary(one.type) or pa.types.is_large_binary(one.type)))
    }  # fmt: skip


def _of_files(kind: Any) -> bool:
    """Whether a column's type is a file, or a list of them."""
    import pyarrow as pa

    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _of_files(kind.value_type)
    return pa.types.is_struct(kind) and {"bytes", "path"} <= {kind.field(at).name for at in range(kind.num_fields)}


def _features(schema: Any) -> dict[str, str]:
    """Column → its kind of file, from what `datasets` writes into the schema."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"].items()
    except (LookupError, ValueError, TypeError, AttributeError):
        return {}
    return {name: kind for name, feature in features if (kind := _feature(feature)) is not None}


def _feature(feature: Any) -> str | None:
    if isinstance(feature, list):
        return next(filter(None, map(_feature, feature)), None)
    if not isinstance(feature, dict):
        return None
    own = feature.get("_type")
    return own if own in FEATURES else _feature(feature.get("feature"))


def _named(value: Any, bare: bool, told: str | None, files: _Files) -> Any:
    """A cell with names in the place of its files. `bare`: bytes alone are one."""
    if bare and isinstance(value, bytes):
        return files.keep(value, "", told)
    if isinstance(value, list):
        return [_named(one, bare, told, files) for one in value]
    if not isinstance(value, dict):
        return value
    if isinstance(value.get("bytes"), bytes):
        return files.keep(value["bytes"], str(value.get("path") or ""), told)
    return {key: _named(one, bare, told, files) for key, one in value.items()}
