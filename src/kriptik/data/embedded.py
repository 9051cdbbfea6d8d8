"""Parquet files that hold their pictures, as the hub's data sets do ({"bytes", "path"}, or bytes alone in columns that Pick-a-Pic
has): taken apart into pictures and rows."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kriptik.data.archive import MAX_BYTES, Member
from kriptik.data.readers import read_records
from kriptik.spec.errors import DataError

SUFFIX = ".parquet"
PLAIN = frozenset({"jpg_0", "jpg_1"})
"""Columns whose bytes are pictures."""
KINDS = ((b"\x89PNG", ".png"), (b"\xff\xd8", ".jpg"), (b"RIFF", ".webp"), (b"GIF8", ".gif"), (b"BM", ".bmp"))
"""How a file begins, and the suffix it gets; what is none of these is told by its content later."""


def holds_pictures(source: Path, name: str) -> bool:
    """Whether a file is Parquet with a column of pictures."""
    if Path(name).suffix.lower() != SUFFIX:
        return False
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        columns = pq.read_schema(source)
    except (pa.ArrowException, OSError):
        return False  # what is wrong with it is said where it is read
    return any(one.name in PLAIN or _of_pictures(one.type) for one in columns)


def taken_apart(source: Path, name: str, folder: Path) -> tuple[list[Member], Member]:
    """(pictures, the rows with names in their place as JSONL), all under `folder`. Raises DataError where there is no room."""
    pictures: list[Member] = []
    table = folder / "rows.jsonl"
    room = MAX_BYTES
    with table.open("w", encoding="utf-8") as lines:
        for record in read_records(source, name):
            value = record.value if isinstance(record.value, dict) else {}
            for content in _contents(value):
                room -= len(content)
                if room < 0:
                    what = f"The pictures in {name} take more than {MAX_BYTES / 1e9:.1f} GB."
                    raise DataError("zip_bomb", what, "Send the rows in several parts.")
            lines.write(json.dumps(_named(value, folder, pictures), ensure_ascii=False, default=str) + "\n")
    return pictures, Member(table, f"{name}.jsonl")


def _of_pictures(kind: Any) -> bool:
    """Whether a column's type is a picture, or a list of them."""
    import pyarrow as pa

    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _of_pictures(kind.value_type)
    return pa.types.is_struct(kind) and {"bytes", "path"} <= {kind.field(at).name for at in range(kind.num_fields)}


def _contents(value: Any) -> Iterator[bytes]:
    if (content := _content(value)) is not None:
        yield content
    elif isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _contents(one)


def _content(value: Any) -> bytes | None:
    """A picture's bytes; None for what is no picture."""
    if isinstance(value, bytes):
        return value if any(value.startswith(start) for start, _ in KINDS) else None
    return value["bytes"] if isinstance(value, dict) and isinstance(value.get("bytes"), bytes) else None


def _named(value: Any, folder: Path, pictures: list[Member]) -> Any:
    """A cell with the names of its pictures; each is written to `folder`."""
    if (content := _content(value)) is not None:
        suffix = next((one for start, one in KINDS if content.startswith(start)), ".png")
        name = f"{len(pictures):08d}{suffix}"
        (folder / name).write_bytes(content)
        pictures.append(Member(folder / name, name))
        return name
    if isinstance(value, list):
        return [_named(one, folder, pictures) for one in value]
    if isinstance(value, dict):
        return {key: _named(one, folder, pictures) for key, one in value.items()}
    return value
