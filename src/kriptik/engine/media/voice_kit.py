"""What a family of voice models is to the modality: recordings and words in, batches and speech out. A family is one class.

`speecht5.py` and `csm.py` have them; `VOICES` in `modalities/voice.py` names each by the model type that its configuration states.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from kriptik.engine.media.judges import Judges
from kriptik.spec.errors import DataError

SPEAKER, NAME = "speaker_embedding.safetensors", "speaker_embedding"
Finder = Callable[[str], Path | None]
"""The folder of another model on the hub; None where there is none."""


class VoiceKit:
    """The whole model, and what goes before and after it."""

    kind: ClassVar[str]
    """Names its entries in the cache."""
    targets: ClassVar[str]
    """The layers that 'all-linear' means."""
    packages: ClassVar[tuple[str, ...]] = ("soundfile", "scipy")
    """Whose versions `run.lock` keeps."""
    limits: ClassVar[tuple[str, ...]] = ()
    """What the card says of what a run left."""

    model: Any
    tokenizer: Any
    rate: int
    """Of recordings and of speech, Hz."""
    made_by: str
    """What makes sound of what the model gives."""
    speaker: Tensor
    """[size]: the print of the voice."""
    judges: Judges | None = None

    @classmethod
    def load(cls, folder: Path, dtype: torch.dtype, find: Finder) -> "VoiceKit":
        """From a folder of the library's; whatever it raises for one that cannot be read."""
        raise NotImplementedError

    def kept(self, samples: Tensor) -> dict[str, Tensor]:
        """What of a recording [samples] is kept and learnt."""
        raise NotImplementedError

    def letters(self, text: str, index: int) -> list[int]:
        """Token ids of the words. Raises DataError naming the row."""
        raise NotImplementedError

    def size(self, kept: dict[str, Tensor], letters: Sequence[int], index: int) -> tuple[int, float]:
        """(length, weight in the loss) of a row. Raises DataError where the model cannot say it at once."""
        raise NotImplementedError

    def batch(self, letters: Sequence[Sequence[int]], kept: Sequence[dict[str, Tensor]], *, one_voice: bool) -> dict[str, Tensor]:
        """The model's arguments. `one_voice`: all rows by the voice's own print, not each by that of its recording."""
        raise NotImplementedError

    def speak(self, model: Any, text: str) -> tuple[Tensor, Tensor]:
        """(speech [samples], its print), by the library's own generation; draws from torch's generators."""
        raise NotImplementedError

    def print_of(self, samples: Tensor) -> Tensor:
        """[size], of length 1: the colour of a voice (`voices.print_of`)."""
        raise NotImplementedError

    def keep(self, folder: Path) -> None:
        """Writes what stands beside an adapter."""

    def save(self, model: Any, folder: Path) -> None:
        """Writes the whole model as the library reads it. Leaves the one that is trained as it is."""
        raise NotImplementedError


def too_long(index: int, what: str) -> DataError:
    """A recording that a model cannot say at once."""
    sentence = f"The recording of row {index + 1} is longer than the model can say at once{what}."
    return DataError("sound_too_long", sentence, "Cut it into shorter ones.", fields={"row": index})
