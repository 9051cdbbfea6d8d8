"""Clips as numbers: frames at a model's rate and size, how alike frames that follow one another are, MP4."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from kriptik.data import reel
from kriptik.engine.media.library import library
from kriptik.engine.media.pictures import Bucket, fitted
from kriptik.spec.errors import DataError

WINDOW = 7
"""Pixels a side of the windows that are compared."""


def facts(path: Path, row: int) -> tuple[int, int, float]:
    """(width, height, seconds) of a file. Raises DataError naming the row."""
    library("av")
    try:
        first, seconds = next(reel.at_rate(path, 0.0, 1.0, 1)), reel.length(path)
    except (DataError, OSError) as error:
        raise _bad(row, error) from error
    return first.shape[1], first.shape[0], seconds


def taken(path: Path, row: int, start: float, fps: float, count: int, bucket: Bucket) -> Tensor:
    """[3, frames, height, width] from −1 to 1: `count` frames from `start` on, `fps` to a second, each scaled to cover the bucket
    and cut in the middle. Raises DataError naming the row."""
    library("av")
    from PIL import Image

    try:
        return torch.stack([fitted(Image.fromarray(one), bucket)[0] for one in reel.at_rate(path, start, fps, count)], dim=1)
    except (DataError, OSError) as error:
        raise _bad(row, error) from error


def mp4(frames: Sequence[np.ndarray], fps: float) -> bytes:
    """H.264 in MP4, as browsers play it; frames [height, width, 3] of 8 bits."""
    library("av")
    return reel.written(frames, fps)


def consistency(frames: np.ndarray) -> float:
    """Mean structural similarity of frames that follow one another, in grey: 1 where nothing moves, near 0 for noise.

    Uniform windows of `WINDOW` pixels. Source: Wang et al. 2004, "Image quality assessment: from error visibility to structural
    similarity". `frames`: [frames, height, width, 3] of 8 bits.
    """
    grey = torch.from_numpy(frames.astype(np.float64)).mean(-1)[:, None] / 255
    one, two = grey[:-1], grey[1:]
    count = WINDOW * WINDOW

    def mean(values: Tensor) -> Tensor:
        return avg_pool2d(values, WINDOW, 1)

    centres = mean(one), mean(two)
    share = count / (count - 1)
    spread = [share * (mean(a * b) - c * d) for a, b, c, d in (
        (one, one, centres[0], centres[0]), (two, two, centres[1], centres[1]), (one, two, *centres),
    )]  # fmt: skip
    flat, dark = 0.03**2, 0.01**2
    found = (2 * centres[0] * centres[1] + dark) * (2 * spread[2] + flat)
    return float((found / ((centres[0] ** 2 + centres[1] ** 2 + dark) * (spread[0] + spread[1] + flat))).mean())


def _bad(row: int, error: Exception) -> DataError:
    what = f"The video of row {row + 1} cannot be read: {error}"[:300]
    return DataError("bad_clip", what, "Attach the data set again, without it.", fields={"row": row})
