"""Whether clips are of one voice: a model gives each a direction (`engine/media/speakers.py`), and what points elsewhere is named.

Kept by the clip's name, as words are (`transcripts.py`). A direction is no proof of who speaks, and is used for nothing else here.
"""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import numpy as np

from kriptik.spec.errors import DataError

SAME, SHORT_SAME, SHORT_S = 0.735, 0.65, 2.0
"""Mean cosine of a clip with those of the main voice, from which on it counts as that voice: half way between what was measured of
one speaker (means of 0.81 to 0.86) and of two (0.39 to 0.66). Clips of fewer seconds than `SHORT_S` say less: the least of one
speaker was 0.65. Source: docs/decisions/media.md, "Voices"."""
COMPARED = 2000
"""Clips that are compared with one another to find the main voice; all are compared with it."""
ROUNDS = 10
DIGITS = 4

Ear = Callable[[Path], Sequence[float] | None]
"""Hears a clip and gives the direction of its voice; None where no model is at hand that can."""


class Voices:
    """What is known of clips, and whom to ask of the others. `other`: those known to be of another voice, as they were told or were
    found last."""

    def __init__(
        self, known: Mapping[str, Sequence[float]] | None = None, other: Collection[str] = (), ear: Ear | None = None
    ) -> None:
        self.known = {name: list(one) for name, one in (known or {}).items()}
        self.other = set(other)
        self.ear = ear

    def differing(self, clips: Sequence[Path], seconds: Sequence[float]) -> dict[str, float | None] | None:
        """Clips of another voice than most, by name, and how like the main voice they are. None where nobody can tell.

        `seconds`: how long each clip is.

        Without a model and without directions, those that were told (by a recipe) are named, with nothing of how like they are.
        """
        names = [clip.stem for clip in clips]
        for clip, name in zip(clips, names, strict=True):
            if name not in self.known and self.ear is not None:
                heard = self.ear(clip)
                if heard is None:
                    self.ear = None  # no model is at hand: it need not be asked again
                else:
                    self.known[name] = [round(float(one), DIGITS) for one in heard]
        if set(names) <= set(self.known):
            likeness = unlike(np.array([self.known[name] for name in names]), np.array(seconds))
            self.other = {names[number] for number in likeness}
            return {names[number]: one for number, one in likeness.items()}
        return {name: None for name in names if name in self.other} if self.other else None


def unlike(voices: np.ndarray, seconds: np.ndarray) -> dict[int, float]:
    """[clips, width], [clips] → the clips that are not of the main voice, and their mean cosine with its clips.

    The main voice is that of the clip with the most others near it, and of whatever is like these on average.
    """
    voices = voices / np.maximum(np.linalg.norm(voices, axis=1, keepdims=True), 1e-9)
    some = np.unique(np.linspace(0, len(voices) - 1, min(len(voices), COMPARED)).round().astype(int))
    near = voices[some] @ voices[some].T >= SAME
    main = np.zeros(len(voices), dtype=bool)
    main[some[near[near.sum(1).argmax()]]] = True
    likeness = _likeness(voices, main)
    for _ in range(ROUNDS):
        now = likeness >= SAME
        if now.sum() < 2 or (now == main).all():
            break
        main, likeness = now, _likeness(voices, now)
    limits = np.where(seconds < SHORT_S, SHORT_SAME, SAME)
    return {int(number): round(float(likeness[number]), 3) for number in np.flatnonzero((likeness < limits) & ~main)}


def _likeness(voices: np.ndarray, main: np.ndarray) -> np.ndarray:
    """Mean cosine of each with the others of the main voice; that with itself, which is 1, does not count."""
    return (voices @ voices[main].sum(0) - main) / np.maximum(main.sum() - main, 1)


def read(path: Path) -> Voices:
    """What a file holds; nothing where there is none. Raises DataError for a damaged one."""
    try:
        told = json.loads(path.read_bytes())
        return Voices(told["known"], told["other"])
    except FileNotFoundError:
        return Voices()
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise DataError("bad_voices", f"{path.name} cannot be read.", "Delete it: the recordings are listened to again.") from error


def write(path: Path, voices: Voices) -> None:
    """Puts a file in place as a whole."""
    part = path.with_suffix(".part")
    part.write_text(json.dumps({"known": voices.known, "other": sorted(voices.other)}), encoding="utf-8")
    part.replace(path)
