"""Takes a multipart upload in as it streams: to a file of our own naming, never past the limit, never whole in memory."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from python_multipart import MultipartParser
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import parse_options_header

from kriptik.spec.errors import BadInputError, KriptikError

FIELD = "file"
SLACK = 64 << 10
"""Bytes of a request beside the file itself: part headers and small fields."""
NAME_CHARS = 200


@dataclass(frozen=True)
class Upload:
    """What was received. `name` is the sender's, cleaned: for showing and for its suffix, never for a path."""

    path: Path
    name: str
    bytes: int


async def receive(request: Request, target: Path, limit: int) -> Upload:
    """Writes the part called "file" to `target`, at most `limit` bytes. Raises `KriptikError` (413, 422); `target` may be left
    half written then, and is the caller's to remove."""
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit + SLACK:
        raise _too_large(limit)
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        raise BadInputError("no_upload", "The request is no file upload.", f'Send multipart/form-data with a part "{FIELD}".')
    taker = _Taker(target, limit)
    try:
        parser = MultipartParser(boundary, taker.callbacks())  # type: ignore[arg-type]
        seen = 0
        async for chunk in request.stream():
            seen += len(chunk)
            if seen > limit + SLACK:
                raise _too_large(limit)
            await run_in_threadpool(parser.write, chunk)
        await run_in_threadpool(parser.finalize)
    except MultipartParseError as error:
        raise BadInputError("bad_upload", "The upload is cut short or malformed.", "Send it again.") from error
    finally:
        taker.close()
    if taker.name is None or not taker.whole:
        raise BadInputError("no_upload", f'The request holds no part "{FIELD}" with a file name.', "Choose a file.")
    return Upload(target, taker.name, taker.size)


def clean_name(raw: str) -> str:
    """The last part of a file name, without control characters; something to show where nothing is left."""
    last = raw.replace("\\", "/").rsplit("/", 1)[-1]
    shown = "".join(c for c in last if c.isprintable() and c != "\ufffd").strip(" .")
    if len(shown) > NAME_CHARS:
        stem, dot, suffix = shown.rpartition(".")
        shown = stem[: NAME_CHARS - len(suffix) - 1] + dot + suffix if dot and len(suffix) < 20 else shown[:NAME_CHARS]
    return shown or "upload"


class _Taker:
    """The parser's callbacks; runs on one thread at a time."""

    def __init__(self, target: Path, limit: int) -> None:
        self.target, self.limit = target, limit
        self.name: str | None = None
        self.size, self.whole = 0, False
        self._file: BinaryIO | None = None
        self._header, self._value = b"", b""
        self._disposition = b""

    def callbacks(self) -> dict[str, Callable[..., None]]:
        """By the names that python-multipart uses."""
        return {
            "on_part_begin": self._part_begin,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_part_data": self._data,
            "on_part_end": self._part_end,
        }

    def close(self) -> None:
        """Closes the file, whatever came."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _part_begin(self) -> None:
        self._disposition = b""

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header, self._value = b"", b""

    def _headers_finished(self) -> None:
        _kind, options = parse_options_header(self._disposition)
        if options.get(b"name") != FIELD.encode() or b"filename" not in options:
            return
        if self.name is not None:
            raise BadInputError("two_files", "The request holds several files.", "Send one file at a time, or a zip of them.")
        self.name = clean_name(options[b"filename"].decode("utf-8", "replace"))
        self._file = self.target.open("xb")

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._file is None:
            return
        self.size += end - start
        if self.size > self.limit:
            raise _too_large(self.limit)
        self._file.write(data[start:end])

    def _part_end(self) -> None:
        if self._file is not None:
            self.close()
            self.whole = True


def _too_large(limit: int) -> KriptikError:
    return KriptikError(
        "upload_too_large",
        f"The file is larger than {limit >> 20:,} MB.",
        "Send a part of it, or raise KRIPTIK_MAX_UPLOAD_MB.",
        status=413,
    )
