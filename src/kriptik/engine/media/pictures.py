"""Pictures as numbers: opened, brought to a size, written as PNG."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kriptik.spec.errors import DataError

Bucket = tuple[int, int]
"""Height and width in pixels."""


def opened(path: Path, row: int) -> Any:
    """The picture in RGB. Raises DataError naming the row."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as picture:
            return picture.convert("RGB")
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, ValueError, SyntaxError) as error:
        what = f"The picture of row {row + 1} cannot be read: {error}"[:300]
        raise DataError("bad_picture", what, "Attach the data set again, without it.", fields={"row": row}) from error


def fitted(picture: Any, bucket: Bucket) -> tuple[Tensor, list[int]]:
    """([3, height, width] from −1 to 1, sizes): scaled to cover the bucket, the middle cut out.

    Sizes: original height and width, top and left of the cut at the new scale, the bucket's own.
    """
    from PIL import Image

    (height, width), (wide, high) = bucket, picture.size
    scale = max(height / high, width / wide)
    size = (max(width, round(wide * scale)), max(height, round(high * scale)))
    top, left = (size[1] - height) // 2, (size[0] - width) // 2
    cut = picture.resize(size, Image.Resampling.LANCZOS).crop((left, top, left + width, top + height))
    numbers = torch.from_numpy(np.asarray(cut, dtype=np.uint8).copy()).permute(2, 0, 1)
    return numbers.float() / 127.5 - 1, [high, wide, top, left, height, width]


def beside(pictures: Sequence[Any]) -> Any:
    """Pictures from left to right in one; alone as it is."""
    from PIL import Image

    if len(pictures) == 1:
        return pictures[0]
    whole = Image.new("RGB", (sum(one.width for one in pictures), max(one.height for one in pictures)))
    left = 0
    for one in pictures:
        whole.paste(one, (left, 0))
        left += one.width
    return whole


def png(picture: Any) -> bytes:
    """The file's bytes; the same for the same pixels."""
    sink = io.BytesIO()
    picture.save(sink, format="PNG")
    return sink.getvalue()
