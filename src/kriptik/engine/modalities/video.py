"""Video: transformers of diffusers that make clips, taught by clips with captions. Families are in `media/video_families`, what all
diffusion models share in `media/diffusion`.

Rows: {"video": a path beside the rows' own file, "caption": text}, and "start" and "seconds" where a part of the file is meant;
or pairs: {"chosen_video", "rejected_video", "caption"}.
Settings (`settings.objective`; frames and fps also in `settings.adaptation`): `frames` and `fps`, of which a clip consists (the
model's own; frames are brought to the next number below that the VAE takes, and clips that are shorter keep what they have);
`resolution`, the lines of a 16:9 frame with as many pixels (480: 852 × 480); `watched_clips`, of how many held-out captions a clip
is made at each evaluation (1), to measure `temporal_consistency`.
"""

import hashlib
from collections.abc import Mapping, Sequence
from math import lcm
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from kriptik.engine.interfaces import Bundle, Encoded
from kriptik.engine.media.diffusion import SAMPLE_SEED, Diffusion, pair_form
from kriptik.engine.media.families import Family
from kriptik.engine.media.footage import consistency, facts, mp4, taken
from kriptik.engine.media.pictures import Bucket
from kriptik.engine.media.video_families import VIDEO_FAMILIES, VideoFamily, grid
from kriptik.spec.errors import DataError
from kriptik.spec.job import StageSettings

WIDE = 4 / 3
"""Side of the square with as many pixels as a 16:9 frame, by its lines."""
THUMBNAIL, THUMBNAIL_FPS, THUMBNAIL_S = 160, 8, 3


class Video(Diffusion):
    """Clips from noise and a text."""

    provides: ClassVar[frozenset[str]] = frozenset({"noise", "motion"})
    sample_suffix: ClassVar[str] = ".mp4"
    families: ClassVar[Mapping[str, Family]] = VIDEO_FAMILIES
    packages: ClassVar[tuple[str, ...]] = ("diffusers", "pillow", "av")

    def load(self) -> Bundle:
        """See Diffusion; `info` names the layers in which frames meet."""
        bundle = super().load()
        bundle.info["temporal_layers"] = self._video(bundle).temporal
        return bundle

    def encode(self, bundle: Bundle, row: dict[str, Any], index: int, form: str, settings: StageSettings) -> Encoded:
        """See Modality: the clip's latent and the caption's states go into the cache; the row keeps their names.

        A clip whose latent is there is not decoded again: its name in the cache is that of its file's content. Of a pair, both
        clips are brought to the size of the better one and the length of the shorter one.
        """
        paths = self._files(row, "video", index, form)
        parts = [self._part(row, path, index) for path in paths]
        width, height, _, _ = parts[0]
        frames, fps = self._length(bundle, settings, min(seconds for *_, seconds in parts), index)
        size = self._bucket(bundle, (width, height), self._side(bundle, settings), self._step(bundle))
        sides = []
        for path, (_, _, start, seconds) in zip(paths, parts, strict=True):
            start += max(0.0, seconds - frames / fps) / 2
            latent = self._clip(bundle, path, index, start, fps, frames, size)
            sides.append({"latent": latent, "sizes": [frames, fps, *size]})
        return Encoded(index, len(sides), 1.0, {"bucket": [frames, *size], "sides": sides, **self._caption(bundle, row, settings)})

    def asked(self, bundle: Bundle, settings: StageSettings) -> dict[str, Any]:
        """See Diffusion: a square clip of the length that is trained on."""
        side = self._side(bundle, settings) // self._step(bundle) * self._step(bundle)
        frames, fps = self._length(bundle, settings)
        return {"height": side, "width": side, "num_frames": frames, "output_type": "np", **self._video(bundle).more(fps)}

    def file(self, bundle: Bundle, made: Any, settings: StageSettings) -> bytes:
        """See Diffusion: MP4."""
        return mp4(list(_pixels(made)), self._length(bundle, settings)[1])

    def watched(self, bundle: Bundle, encoded: Sequence[Encoded], count: int, settings: StageSettings) -> dict[str, float]:
        """`temporal_consistency`: how alike neighbouring frames of clips made for the first captions are.

        A clip in which nothing moves has 1, so more is not better: it is to come near what the real clips have.
        """
        made = [_pixels(self.drawn(bundle, row.fields["caption"], SAMPLE_SEED + row.row, settings)) for row in encoded[:count]]
        return {"temporal_consistency": sum(map(consistency, made)) / len(made)}

    def preview(self, row: dict[str, Any]) -> str:
        """See Modality."""
        return str(row.get("caption") or row.get("video") or row.get("chosen_video"))[:2000]

    def thumbnail(self, row: dict[str, Any]) -> bytes | None:
        """See Modality: the first seconds, small. Of a pair both clips, the better one on the left, in its size."""
        paths = self._files(row, "video", 0, pair_form(row, "video"))
        parts = [self._part(row, path, 0) for path in paths]
        width, height, _, _ = parts[0]
        scale = THUMBNAIL / max(width, height)
        size = max(2, round(height * scale) // 2 * 2), max(2, round(width * scale) // 2 * 2)
        count = max(1, int(min(*(seconds for *_, seconds in parts), THUMBNAIL_S) * THUMBNAIL_FPS))
        clips = [taken(path, 0, start, THUMBNAIL_FPS, count, size) for path, (_, _, start, _) in zip(paths, parts, strict=True)]
        seen = (torch.cat(clips, dim=3) + 1) * 127.5
        return mp4(list(seen.permute(1, 2, 3, 0).round().byte().numpy()), THUMBNAIL_FPS)

    def _clip(self, bundle: Bundle, path: Path, row: int, start: float, fps: float, frames: int, size: Bucket) -> str:
        """The name of a clip's latent in the cache."""
        cache, sha = self._cache(bundle), bundle.info["base_sha256"]
        named = f"{frames} × {size} from {start:.4f} at {fps:g}"
        key = cache.key("clip", sha, self.job.precision, named, _sha256(path, row))
        return cache.keep(key, lambda: self._moments(bundle, lambda: taken(path, row, start, fps, frames, size)))

    def _video(self, bundle: Bundle) -> VideoFamily:
        return VIDEO_FAMILIES[bundle.info["family"]]

    def _part(self, row: dict[str, Any], path: Path, index: int) -> tuple[int, int, float, float]:
        """(width, height, start, seconds): as the row says, else as the file does; of a pair always as the files do."""
        if "video" in row and all(name in row for name in ("width", "height", "seconds")):
            return int(row["width"]), int(row["height"]), float(row.get("start", 0.0)), float(row["seconds"])
        width, height, seconds = facts(path, index)
        start = float(row.get("start", 0.0))
        return width, height, start, float(row.get("seconds", seconds - start))

    def _length(
        self, bundle: Bundle, settings: StageSettings, seconds: float | None = None, row: int = 0
    ) -> tuple[int, float]:
        """(frames, frames a second) of a clip of so many seconds; the whole length where none is said. Raises DataError."""
        family, asked = self._video(bundle), {**settings.adaptation, **settings.objective}
        fps, wanted = float(asked.get("fps", family.fps)), int(asked.get("frames", family.frames))  # type: ignore[arg-type]
        every, together = grid(bundle.pipeline)[0], getattr(bundle.pipeline, family.part).config.get("patch_size_t") or 1
        have = wanted if seconds is None else min(wanted, int(seconds * fps + 0.01))
        times = ((have - 1) // every + 1) // together * together
        if times < 2:
            what = f"The clip of row {row + 1} has {have} frames at {fps:g} a second; the model takes {every + 1} or more."
            raise DataError("clip_too_short", what, "Leave it out, or choose more frames a second.", fields={"row": row})
        return (times - 1) * every + 1, fps

    def _step(self, bundle: Bundle) -> int:
        return lcm(grid(bundle.pipeline)[1] * self._family(bundle).patch, self._video(bundle).multiple)

    def _side(self, bundle: Bundle, settings: StageSettings) -> int:
        lines = settings.objective.get("resolution")
        side = self._video(bundle).side if lines is None else round(float(lines) * WIDE)  # type: ignore[arg-type]
        return max(side, self._step(bundle))


def _pixels(made: Any) -> np.ndarray:
    """The pipeline's one clip: [frames, height, width, 3] of 8 bits."""
    return (np.asarray(made.frames[0]) * 255).round().clip(0, 255).astype(np.uint8)


def _sha256(path: Path, row: int) -> str:
    try:
        with path.open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError as error:
        what = f"The video of row {row + 1} cannot be read: {error}"[:300]
        raise DataError("bad_clip", what, "Attach the data set again, without it.", fields={"row": row}) from error
