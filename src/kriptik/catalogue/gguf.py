"""What GGUF calls model families and pre-tokenizers: reads `gguf.toml`."""

import tomllib
from functools import cache
from pathlib import Path

from kriptik.spec.base import Noun


class GgufFamily(Noun):
    """A `model_type` of transformers as GGUF knows it."""

    arch: str
    interleaved: bool
    """Whether the two halves that rotary positions turn lie interleaved in the rows of q and k."""


class PreTokenizer(Noun):
    """How a byte-level BPE splits text before its merges."""

    digits: bool = False
    split: str | None = None
    whole: bool = False


class GgufFacts(Noun):
    """The whole table."""

    families: dict[str, GgufFamily]
    pre_tokenizers: dict[str, PreTokenizer]


@cache
def gguf_facts() -> GgufFacts:
    """The table, read once."""
    return GgufFacts.model_validate(tomllib.loads((Path(__file__).parent / "gguf.toml").read_text(encoding="utf-8")))
