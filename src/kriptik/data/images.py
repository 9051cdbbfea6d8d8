"""Pictures of a data set: opened, refused or converted with a word on it, one by one, and what is said of each.

In a zip, captions come from tables, lists or text files (`beside.py`); a picture without one has an empty caption. What a file is,
its content says, not its name.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kriptik.data.archive import Member
from kriptik.data.beside import said_of
from kriptik.data.compared import Kept, Pair, taken
from kriptik.data.record import Place, Taken
from kriptik.spec.data import Row
from kriptik.spec.errors import DataError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
FORMATS = {"PNG": ".png", "JPEG": ".jpg", "WEBP": ".webp", "BMP": ".bmp", "GIF": ".gif", "TIFF": ".tif"}
KEPT = frozenset({"PNG", "JPEG", "WEBP"})
"""What stays as it is where nothing has to be converted; everything else becomes PNG."""
SAME_SUFFIX = {".jpeg": ".jpg", ".tiff": ".tif"}
MOST_PIXELS = 64_000_000
LEAST_SIDE = 64
PATCH = 16
SEEN_PATCH = 28
MOST_PATCHES = 4096
IMAGE_COLUMNS = ("file_name", "image", "file", "filename", "picture", "photo", "image_path", "path")
MEDIA = "media"
ORIENTATION = 0x0112
"""The EXIF tag of how the camera was held."""


@dataclass(frozen=True)
class Picture:
    """A picture that can be used: its file's content and suffix, its size, and what had to be done (codes of the doctor)."""

    content: bytes
    suffix: str
    width: int
    height: int
    notes: tuple[str, ...] = ()

    @property
    def patches(self) -> int:
        """Of 16 pixels, as a model of usual resolution sees it: what the planner counts instead of tokens."""
        return max(1, min(MOST_PATCHES, self.width * self.height // PATCH**2))

    @property
    def places(self) -> int:
        """Tokens it takes in a model that reads pictures as they are (Qwen2-VL: one for 28 × 28 pixels)."""
        return max(1, min(MOST_PATCHES, self.width * self.height // SEEN_PATCH**2))


def is_picture(name: str) -> bool:
    """By its name."""
    return Path(name).suffix.lower() in SUFFIXES


def take(pictures: list[Member], tables: list[Member], folder: Path) -> Iterator[Taken]:
    """Each picture in order of name; usable ones are written to `folder`/media under a name that their content gives."""
    captions = {name: said[-1].text for name, said in said_of(pictures, tables, IMAGE_COLUMNS).items()}
    for number, member in enumerate(sorted(pictures, key=lambda one: one.name), 1):
        place = Place(number, member.name)
        try:
            picture = look(member.path, member.name)
        except DataError as error:
            yield Taken(place, member.name, problem=error.code)
            continue
        name = kept(picture, folder)
        caption = captions.get(member.name, "")
        row: Row = {"image": name, "caption": caption, "width": picture.width, "height": picture.height}
        notes = (*picture.notes, *(() if caption else ("picture_no_caption",)))
        yield Taken(place, member.name, row, picture.patches, notes)


def take_pairs(pictures: list[Member], pairs: list[Pair], folder: Path) -> Iterator[Taken]:
    """Each pair of pictures in order of its table."""
    by_name = {one.name: one.path for one in pictures}

    def keep(name: str) -> Kept:
        picture = look(by_name[name], name)
        return Kept(kept(picture, folder), picture.patches, picture.notes, {"width": picture.width, "height": picture.height})

    return taken("image", pairs, keep, "picture_no_caption")


def kept(picture: Picture, folder: Path) -> str:
    """Writes it to `folder`/media unless it is there; returns its path under `folder`, which its content gives."""
    name = f"{MEDIA}/{hashlib.sha256(picture.content).hexdigest()[:32]}{picture.suffix}"
    target = folder / name
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        target.write_bytes(picture.content)
    return name


def look(path: Path, name: str) -> Picture:
    """The picture, converted where need be. Raises DataError with a code of the doctor: damaged, tiny, a bomb."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(path, formats=list(FORMATS)) as found:
            width, height = found.size
            if width * height > MOST_PIXELS:
                raise DataError("picture_bomb", f"{name} would be {width:,} × {height:,} pixels.", "Scale it down.")
            if min(width, height) < LEAST_SIDE:
                raise DataError("picture_tiny", f"{name} is {width} × {height} pixels.", "Use larger pictures.")
            kind, mode, notes = str(found.format), found.mode, []
            animated = getattr(found, "n_frames", 1) > 1
            found.seek(0)
            found.load()
            turned = found.getexif().get(ORIENTATION, 1) != 1
            made = _rgb(ImageOps.exif_transpose(found))
    except DataError:
        raise
    except Image.DecompressionBombError as error:
        raise DataError("picture_bomb", f"{name} would be far too large.", "Scale it down.") from error
    except (OSError, UnidentifiedImageError, ValueError, SyntaxError, EOFError, MemoryError) as error:
        raise DataError("picture_damaged", f"{name} is no picture that can be read.", "Send it again.") from error
    if animated:
        notes.append("picture_animated")
    if mode != "RGB":
        notes.append("picture_converted")
    suffix = Path(name).suffix.lower()
    if FORMATS[kind] != SAME_SUFFIX.get(suffix, suffix):
        notes.append("picture_renamed")
    if kind in KEPT and mode == "RGB" and not animated and not turned:
        return Picture(path.read_bytes(), FORMATS[kind], width, height, tuple(notes))
    return Picture(_png(made), ".png", made.width, made.height, tuple(notes))


def _rgb(picture: Any) -> Any:
    """Eight bits of red, green and blue; what was seen through is white."""
    from PIL import Image

    if picture.mode in ("I;16", "I;16B", "I;16L", "I"):
        return picture.convert("I").point(lambda value: value / 257).convert("L").convert("RGB")
    if picture.mode == "F":
        return picture.convert("L").convert("RGB")
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        clear = picture.convert("RGBA")
        ground = Image.new("RGBA", clear.size, (255, 255, 255, 255))
        return Image.alpha_composite(ground, clear).convert("RGB")
    return picture.convert("RGB")


def _png(picture: Any) -> bytes:
    import io

    sink = io.BytesIO()
    picture.save(sink, format="PNG")
    return sink.getvalue()
