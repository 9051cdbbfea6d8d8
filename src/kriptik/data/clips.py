"""Videos of a data set: read to the last frame, refused or taken with a word on it, one by one, and what is said of each.

In a zip, captions come from tables, lists or text files (`beside.py`); a table may say which part of a file it means (`start`,
`end`), and long files become parts of about `CLIP_S` with the same caption. Nothing is encoded anew: a row names a file and where
in it the clip begins. What a file is, its content says, not its name. Frames are brought to a rate when a model is taught, by the
clock, so that a rate that varies does no harm.
"""

import base64
import hashlib
import io
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from kriptik.data import reel
from kriptik.data.archive import Member
from kriptik.data.beside import Said, said_of
from kriptik.data.compared import Kept, Pair, taken
from kriptik.data.record import Place, Taken
from kriptik.data.text import hash64
from kriptik.spec.data import Row
from kriptik.spec.errors import DataError

OTHER_SUFFIXES = frozenset({".wmv", ".flv", ".mpg", ".mpeg", ".ogv"})
"""Videos by their names which are not read here; they are named as such."""
SUFFIXES = frozenset({".mp4", ".mov", ".webm", ".mkv", ".avi", ".m4v", *OTHER_SUFFIXES})
SAME_SUFFIX = {".m4v": ".mp4"}
COLUMNS = ("file_name", "video", "file", "filename", "video_path", "video_file", "clip", "movie", "path")
LEAST_SIDE, LEAST_SECONDS, LEAST_FRAMES = 64, 0.3, 5
MOST_SECONDS = 600
MOST_FRAMES = 40_000
MOST_DECODED = 40_000_000_000
"""Pixels of all frames together: ten minutes of 1080p at 30 frames a second."""
CLIP_S = 10.0
MISSING_S, MISSING_SHARE = 0.5, 0.05
"""By how much fewer seconds may be found than a file says."""
VARIES = 1.5
"""Longest gap between frames over the shortest from which on the rate counts as varying."""
STILL = 16
"""Largest difference of small pictures, of 255, up to which nothing moves: compression alone makes some."""
LOOK_S, STRIP_LINES, STRIP_FRAMES = 0.25, 48, 8
PATCH, FRAMES_A_SECOND, MOST_PATCHES, MOST_TIMES = 16, 4, 1600, 32
MEDIA = "media"


@dataclass(frozen=True)
class Clip:
    """A video that can be used: its kind, upright size in pixels, length in seconds, frames a second on average."""

    kind: reel.Kind
    width: int
    height: int
    seconds: float
    fps: float
    small: list[np.ndarray]
    """Small pictures, `LOOK_S` apart."""
    notes: tuple[str, ...] = ()


def is_clip(name: str) -> bool:
    """By its name."""
    return Path(name).suffix.lower() in SUFFIXES


def take(clips: list[Member], tables: list[Member], folder: Path) -> Iterator[Taken]:
    """Each file's clips in order of name; usable files are copied to `folder`/media under a name that their content gives."""
    texts = said_of(clips, tables, COLUMNS)
    for number, member in enumerate(sorted(clips, key=lambda one: one.name), 1):
        place = Place(number, member.name)
        try:
            clip = look(member.path, member.name)
            parts = _cut(clip, texts.get(member.name, []), member.name)
        except DataError as error:
            yield Taken(place, member.name, problem=error.code)
            continue
        file, digest = _copied(member.path, clip.kind, folder)
        notes = clip.notes if len(parts) == 1 else (*clip.notes, "clip_cut")
        facts = {"width": clip.width, "height": clip.height, "fps": round(clip.fps, 3), "origin": f"{hash64(digest):016x}"}
        for start, seconds, text in parts:
            row: Row = {"video": file, "caption": text, "start": round(start, 3), "seconds": round(seconds, 3), **facts}
            here = notes if text else (*notes, "clip_no_caption")
            yield Taken(place, member.name, row, _units(clip, seconds), here, extra={"strip": _strip(clip, start, seconds)})
            notes = ()


def take_pairs(clips: list[Member], pairs: list[Pair], folder: Path) -> Iterator[Taken]:
    """Each pair of videos in order of its table; whole files are meant."""
    by_name = {one.name: one.path for one in clips}

    def keep(name: str) -> Kept:
        clip = look(by_name[name], name)
        facts = {"width": clip.width, "height": clip.height, "seconds": round(clip.seconds, 3)}
        strip = {"strip": _strip(clip, 0.0, clip.seconds)}
        return Kept(_copied(by_name[name], clip.kind, folder)[0], _units(clip, min(clip.seconds, CLIP_S)), clip.notes, facts, strip)

    return taken("video", pairs, keep, "clip_no_caption")


def look(path: Path, name: str) -> Clip:
    """The video, decoded to its end within fixed bounds.

    Raises DataError with a code of the doctor: of an unknown kind, damaged, no picture stream, too small, too large, too short, too
    long.
    """
    from av.error import FFmpegError

    kind = reel.kind_of(path)
    if kind is None:
        if Path(name).suffix.lower() in OTHER_SUFFIXES:
            raise _refused("clip_format", f"{name} is of a kind that is not read here.", "Save it as MP4 or WebM.")
        raise _refused("clip_damaged", f"{name} is no video that can be read.", "Send it again.")
    try:
        with reel.opened(path, kind) as found:
            return _looked(found, kind, name)
    except (FFmpegError, PermissionError, MemoryError, UnicodeDecodeError) as error:
        raise _refused("clip_damaged", f"{name} cannot be decoded.", "Send it again.") from error


def _copied(path: Path, kind: reel.Kind, folder: Path) -> tuple[str, str]:
    """Copies a file to `folder`/media unless it is there; (its path under `folder`, its content's SHA-256)."""
    with path.open("rb") as handle:
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
    file = f"{MEDIA}/{digest[:32]}{kind.suffix}"
    target = folder / file
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        shutil.copyfile(path, target)
    return file, digest


def _looked(found: reel.Reel, kind: reel.Kind, name: str) -> Clip:
    size = (found.stream.codec_context.width, found.stream.codec_context.height)
    if size[0] * size[1] > reel.MOST_PIXELS:
        raise _refused("clip_bomb", f"{name} would be {size[0]:,} × {size[1]:,} pixels.", "Scale it down.")
    if min(size) < LEAST_SIDE:
        raise _refused("clip_tiny", f"{name} is {size[0]} × {size[1]} pixels.", "Use larger videos.")
    said = found.said_seconds
    if said is not None and said > MOST_SECONDS:
        raise _refused("clip_long", f"{name} lasts {said / 60:,.0f} minutes.", "Cut it into parts.")
    times: list[float] = []
    small: list[np.ndarray] = []
    first: Any = None
    for time, frame in reel.frames(found):
        first = first or frame
        if (frame.width, frame.height) != (first.width, first.height) or frame.is_corrupt:
            raise _refused("clip_damaged", f"{name} changes its size or holds a broken frame.", "Send it again.")
        times.append(time)
        if time > MOST_SECONDS or len(times) > min(MOST_FRAMES, MOST_DECODED // (frame.width * frame.height)):
            raise _refused("clip_long", f"{name} holds too many frames.", "Cut it into parts.")
        if time >= len(small) * LOOK_S:
            small.append(reel.upright(frame, STRIP_LINES))
    gaps = [later - earlier for earlier, later in pairwise(times)]
    if len(times) < LEAST_FRAMES or times[-1] - times[0] < LEAST_SECONDS:
        raise _refused("clip_short", f"{name} holds {len(times)} frames.", f"Send at least {LEAST_SECONDS} s.")
    seconds = times[-1] + (sum(gaps) / len(gaps))
    if said is not None and said - seconds > max(MISSING_S, MISSING_SHARE * said):
        raise _refused("clip_damaged", f"{name} ends {said - seconds:.1f} s before it says.", "Send it again.")
    turned = first.rotation // 90 % 2 == 1
    width, height = (first.height, first.width) if turned else (first.width, first.height)
    suffix = Path(name).suffix.lower()
    notes = {
        "clip_renamed": kind.suffix != SAME_SUFFIX.get(suffix, suffix),
        "clip_variable_rate": max(gaps) > VARIES * max(min(gaps), 1e-6),
        "clip_still": all(np.abs(one.astype(int) - small[0]).max() <= STILL for one in small),
    }
    return Clip(kind, width, height, seconds, len(times) / seconds, small, tuple(code for code, on in notes.items() if on))


def _cut(clip: Clip, said: list[Said], name: str) -> list[tuple[float, float, str]]:
    """(start, seconds, text): as a table says, or at even distances."""
    parts = [one for one in said if one.start is not None or one.end is not None]
    if parts:
        found = []
        for one in parts:
            start, end = one.start or 0.0, min(clip.seconds, one.end if one.end is not None else clip.seconds)
            if end - start < LEAST_SECONDS:
                raise _refused("clip_bad_part", f"{name} has nothing from {start:g} to {end:g} s.", "Correct the table's times.")
            found.append((start, end - start, one.text))
        return found
    text = said[-1].text if said else ""
    count = max(1, round(clip.seconds / CLIP_S))
    return [(clip.seconds * number / count, clip.seconds / count, text) for number in range(count)]


def _units(clip: Clip, seconds: float) -> int:
    """Tokens as a usual model sees the clip: 16 pixels a side, four times a second, capped at its usual size and length."""
    patches = min(MOST_PATCHES, clip.width * clip.height // PATCH**2)
    return max(1, patches * min(MOST_TIMES, round(seconds * FRAMES_A_SECOND) + 1))


def _strip(clip: Clip, start: float, seconds: float) -> str:
    """Frames of a part side by side, as a data URI of JPEG."""
    from PIL import Image

    first, last = int(start / LOOK_S), max(int(start / LOOK_S), min(len(clip.small), int((start + seconds) / LOOK_S)) - 1)
    places = np.linspace(min(first, len(clip.small) - 1), last, STRIP_FRAMES).round().astype(int)
    sink = io.BytesIO()
    Image.fromarray(np.concatenate([clip.small[place] for place in places], axis=1)).save(sink, format="JPEG", quality=70)
    return f"data:image/jpeg;base64,{base64.b64encode(sink.getvalue()).decode()}"


def _refused(code: str, sentence: str, step: str) -> DataError:
    return DataError(code, sentence, step)
