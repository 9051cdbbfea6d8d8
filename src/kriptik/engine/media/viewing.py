"""A model that sees a picture and reads its caption, where its weights are at hand: how well the two fit.

It is no part of a run: nothing is trained on what it says, and a run goes on without it.
"""

from collections.abc import Sequence
from functools import cache, cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from kriptik.catalogue.viewing import viewing_facts
from kriptik.engine.base import is_kept
from kriptik.engine.media.judges import at_hand
from kriptik.engine.media.library import library
from kriptik.spec.job import ModelRef

MEASURE = "caption_similarity"
COUNTING = "fasttext"
"""The module without which a caption's language is not known."""


class Viewer:
    """A model of CLIP's kind, on the processor."""

    def __init__(self, folder: Path) -> None:
        """Raises WorkerError without transformers, OSError or ValueError for a folder that holds no such model.

        Pictures are prepared by the class that needs no torchvision: the same numbers wherever a run goes on.
        """
        transformers = library("transformers")
        self.model: Any = transformers.CLIPModel.from_pretrained(
            folder, dtype=torch.float32, use_safetensors=True, local_files_only=True
        )
        self.model.requires_grad_(False).eval()
        self.tokenizer: Any = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self.processor: Any = transformers.CLIPImageProcessorPil.from_pretrained(folder, local_files_only=True)

    @torch.no_grad()
    def similarity(self, picture: Any, caption: str) -> float:
        """Cosine of a picture (of Pillow) and its caption, −1 to 1; of a long caption the beginning."""
        longest = self.model.config.text_config.max_position_embeddings
        told = self.tokenizer(caption, truncation=True, max_length=longest, return_tensors="pt")
        seen = self.processor(images=picture, return_tensors="pt")["pixel_values"]
        found = self.model(input_ids=told["input_ids"], attention_mask=told["attention_mask"], pixel_values=seen)
        return float((found.image_embeds * found.text_embeds).sum())


class Viewing:
    """The model that is at hand, what lies in the cache `folder` before others; looked for once, loaded when it is first asked."""

    def __init__(self, folder: Path) -> None:
        known = sorted(viewing_facts().viewers, key=lambda one: not is_kept(ModelRef(id=one.id), folder))
        self.found = at_hand(known, folder) if find_spec(COUNTING) else None

    @cached_property
    def viewer(self) -> Viewer | None:
        """What sees and reads."""
        return Viewer(self.found.base.folder) if self.found else None

    def named(self) -> dict[str, str]:
        """Which model judges, by what it measures."""
        return {MEASURE: str(self.found)} if self.found else {}

    def judged(self, pictures: Sequence[Any], captions: Sequence[str]) -> dict[str, float]:
        """`caption_similarity`: the mean cosine of each picture with its caption, as far as it can be told.

        That of Hessel et al. 2021, "CLIPScore", without its factor of 2.5. Pictures without words are left out; where the captions
        are surely of a language that the model does not read, nothing is said.
        """
        pairs = [(one, said) for one, said in zip(pictures, captions, strict=True) if said]
        if self.found is None or not pairs or not self._reads([said for _, said in pairs]):
            return {}
        with torch.random.fork_rng(devices=[]):  # what is trained next must not depend on who judges
            viewer = self.viewer
            scores = [viewer.similarity(*pair) for pair in pairs] if viewer else []
        return {MEASURE: sum(scores) / len(scores)} if scores else {}

    def _reads(self, captions: Sequence[str]) -> bool:
        """Whether the captions together may be of the model's language: a few words do not tell."""
        from kriptik.data.language import OTHER, guess

        return self.found is not None and guess(" ".join(captions))[0] in (self.found.entry.language, OTHER)


@cache
def viewing(folder: Path) -> Viewing:
    """The one of a cache folder, in this process."""
    return Viewing(folder)
