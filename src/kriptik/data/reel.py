"""Video files frame by frame, by PyAV: what a file is, when its frames are shown, frames at a rate of one's own, and MP4 written.

Files are hostile until read: the content alone says which demultiplexer gets them (one that follows links to other files never
does), nothing but the file itself is opened, and no frame larger than `MOST_PIXELS` is decoded.
"""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from kriptik.spec.errors import DataError

MOST_PIXELS = 4096 * 2304
SHOWN_AT = 1e-3
"""Seconds by which a frame may be late and still count as shown."""
ISO = frozenset({b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"})
"""First boxes of MP4 and QuickTime."""
OPTIONS = {
    "libx264": {"crf": "18", "x264-params": "cpu-independent=1"},
    "libvpx-vp9": {"crf": "18", "b": "0"},
}
"""Of encoders. x264's own choice of code for a CPU was found to give other bytes for the same pictures."""


@dataclass(frozen=True)
class Kind:
    """A container: libav's name for its reader, and the suffix that goes with it."""

    reader: str
    suffix: str


@dataclass
class Reel:
    """An open file: its container and its one picture stream (PyAV's own objects)."""

    container: Any
    stream: Any

    @property
    def begins(self) -> float:
        """The time of the first frame in seconds, as the file counts."""
        return float(self.stream.start_time * self.stream.time_base) if self.stream.start_time is not None else 0.0

    @property
    def said_seconds(self) -> float | None:
        """How long the file says that it lasts."""
        if self.stream.duration is not None:
            return float(self.stream.duration * self.stream.time_base)
        return self.container.duration / 1e6 if self.container.duration is not None else None

    @property
    def rate(self) -> float:
        """Frames a second on average, as the file says."""
        return float(self.stream.average_rate or self.stream.base_rate or 0)


def kind_of(path: Path) -> Kind | None:
    """By content; None for what is not read here."""
    with path.open("rb") as handle:
        return kind_in(handle.read(64))


def kind_in(head: bytes) -> Kind | None:
    """The same, of a file that begins so."""
    if head[4:8] in ISO:
        return Kind("mp4", ".mp4" if head[4:8] == b"ftyp" and head[8:12] != b"qt  " else ".mov")
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return Kind("matroska", ".webm" if b"webm" in head else ".mkv")
    return Kind("avi", ".avi") if head[:4] == b"RIFF" and head[8:12] == b"AVI " else None


@contextmanager
def opened(path: Path, kind: Kind) -> Iterator[Reel]:
    """The file, its size not yet believed. Raises av.FFmpegError, and DataError `clip_no_picture` without a picture stream."""
    import av

    with path.open("rb") as handle, av.open(handle, format=kind.reader, io_open=_refuse) as container:
        if not container.streams.video:
            raise DataError("clip_no_picture", f"{path.name} holds no pictures.", "Send a file with a picture stream.")
        stream = container.streams.video[0]
        stream.codec_context.options = {"max_pixels": str(MOST_PIXELS), "err_detect": "explode"}
        stream.codec_context.thread_count = 1
        yield Reel(container, stream)


def frames(reel: Reel) -> Iterator[tuple[float, Any]]:
    """(seconds since the beginning, PyAV's frame) in the order they are shown. Raises av.FFmpegError for what is damaged."""
    begins = reel.begins
    for number, frame in enumerate(reel.container.decode(reel.stream)):
        time = frame.time if frame.time is not None else begins + number / (reel.rate or 1)
        yield time - begins, frame


def upright(frame: Any, height: int | None = None) -> np.ndarray:
    """[height, width, 3] in RGB, 8 bits, turned as the file asks; scaled to `height` lines before it is turned, where given."""
    size = {} if height is None else {"width": max(2, round(frame.width * height / frame.height)), "height": height}
    pixels = frame.to_ndarray(format="rgb24", **size)
    return np.ascontiguousarray(np.rot90(pixels, frame.rotation // 90 % 4))


def at_rate(path: Path, start: float, fps: float, count: int) -> Iterator[np.ndarray]:
    """`count` frames from `start` on, `fps` to a second: at each time the one that is shown then, whatever the file's own rate.

    The last one is held where the file ends before. Raises DataError `clip_damaged`.
    """
    made, shown = 0, None
    with _readable(path) as reel:
        if start > 1:
            reel.container.seek(int((start + reel.begins) / reel.stream.time_base), stream=reel.stream)
        for time, frame in frames(reel):
            while shown is not None and made < count and start + made / fps < time - SHOWN_AT:
                yield upright(shown)
                made += 1
            if made == count:
                return
            shown = frame
        while shown is not None and made < count:
            yield upright(shown)
            made += 1
    if shown is None:
        raise _unreadable(path)


def length(path: Path) -> float:
    """Seconds from the first frame to the end of the last, by the packets' own times. Raises DataError `clip_damaged`."""
    with _readable(path) as reel:
        packets = (one for one in reel.container.demux(reel.stream) if one.pts is not None)
        return max((float((one.pts + (one.duration or 0)) * one.time_base) for one in packets), default=0.0) - reel.begins


@contextmanager
def _readable(path: Path) -> Iterator[Reel]:
    from av.error import FFmpegError

    kind = kind_of(path)
    if kind is None:
        raise _unreadable(path)
    try:
        with opened(path, kind) as reel:
            yield reel
    except (FFmpegError, PermissionError) as error:
        raise _unreadable(path) from error


def _unreadable(path: Path) -> DataError:
    return DataError("clip_damaged", f"{path.name} is no video that can be read.", "Attach the data set again, without it.")


def written(pictures: Sequence[np.ndarray], fps: float, *, codec: str = "libx264", kind: str = "mp4") -> bytes:
    """A video's bytes; the same for the same pictures. `pictures`: [height, width, 3] in RGB, 8 bits; odd sides lose a line."""
    import av

    sink = io.BytesIO()
    height, width = (side // 2 * 2 for side in pictures[0].shape[:2])
    with av.open(sink, "w", format=kind) as container:
        stream: Any = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1001))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.thread_count = 1
        stream.options = OPTIONS.get(codec, {})
        for picture in pictures:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture[:height, :width]), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return sink.getvalue()


def _refuse(url: str, flags: int, options: dict[str, Any]) -> BinaryIO:
    raise PermissionError(f"a video may not open {url[:80]!r}")
