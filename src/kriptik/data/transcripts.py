"""The words of recordings that came without: written down by a model where one is at hand, and corrected by people.

Kept by the clip's name, which its content gives, so the same source with the same transcripts gives the same rows.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from kriptik.data.voices import Voices
from kriptik.spec.data import Transcript
from kriptik.spec.errors import DataError

Scribe = Callable[[Path], Transcript | None]
"""Hears a clip and writes down what is said in it; None where no model is at hand. A text of "" means that no words were heard."""
_TABLE = TypeAdapter(dict[str, Transcript])


class Transcripts:
    """What is known of clips, and whom to ask of the others. `known` grows by what the scribe says; `grown` hears of each.
    `voices`: the same of who speaks."""

    def __init__(
        self,
        known: Mapping[str, Transcript] | None = None,
        scribe: Scribe | None = None,
        grown: Callable[["Transcripts"], None] | None = None,
        voices: Voices | None = None,
    ) -> None:
        self.known = dict(known or {})
        self.scribe = scribe
        self.grown = grown
        self.voices = voices or Voices()

    def of(self, clip: Path, about: Mapping[str, object]) -> Transcript | None:
        """What is said in a clip; None where nobody says it. `about`: the clip's `name`, `start` and `seconds`, kept with them.

        Raises KriptikError where the scribe fails.
        """
        before = found = self.known.get(clip.stem)
        if found is None and self.scribe is not None:
            found = self.scribe(clip)
        if found is None:
            return None
        self.known[clip.stem] = found = found.model_copy(update=dict(about))
        if before is None and self.grown is not None:
            self.grown(self)
        return found if found.text else None

    def correct(self, texts: Mapping[str, str], by: str) -> None:
        """Puts other words in the place of those known; "" leaves a clip out. Raises DataError for a clip that there is not."""
        self._must_know(texts)
        for clip, text in texts.items():
            before = self.known[clip]
            words = " ".join(text.split())
            if words != before.text:
                told = {"text": words, "by": by, "edited": True, "checked": True, "sure": None}
                self.known[clip] = before.model_copy(update=told)

    def check(self, clip: str, checked: bool) -> None:
        """Notes whether a person read the words and lets them stand. Raises DataError for a clip that there is not."""
        self._must_know([clip])
        self.known[clip] = self.known[clip].model_copy(update={"checked": checked})

    def _must_know(self, clips: Iterable[str]) -> None:
        if unknown := sorted(set(clips) - set(self.known)):
            what = f"There is no transcript of a clip called {unknown[0][:60]!r}."
            raise DataError("no_such_clip", what, "Use the names that the transcripts have.", fields={"clip": unknown[0]})

    def document(self) -> dict[str, object]:
        """All that is known, by clip; texts and who wrote them decide rows."""
        return {clip: one.document() for clip, one in sorted(self.known.items())}


def read(path: Path) -> dict[str, Transcript]:
    """The transcripts in a file; none where there is no file. Raises DataError for a damaged one."""
    try:
        return _TABLE.validate_json(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValidationError) as error:
        step = "Delete it: the words are written down again."
        raise DataError("bad_transcripts", f"{path.name} cannot be read.", step) from error


def write(path: Path, transcripts: Transcripts) -> None:
    """Puts a file in place as a whole."""
    part = path.with_suffix(".part")
    part.write_text(json.dumps(transcripts.document(), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    part.replace(path)
