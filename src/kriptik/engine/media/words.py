"""Which words are spoken: Whisper of transformers, and how far they are from the words that were asked for.

Both are compared as Whisper's own evaluation does (Radford et al. 2022, appendix C): lower case, no punctuation, no "uh",
contractions and titles written out, numbers as digits; British spellings stay as they are.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kriptik.engine.media.library import library

RATE, LONGEST_S = 16_000, 30
LEAST_SURE, MOST_REPETITION = -1.0, 2.4
"""Mean log-probability of a token, and how far the text can be compressed: beyond these Whisper's own decoding takes its words for
wrong. Source: openai/whisper, `transcribe`, `logprob_threshold` and `compression_ratio_threshold`."""


@dataclass(frozen=True)
class Words:
    """What was heard in a clip; `sure`: mean log-probability of its tokens."""

    text: str
    sure: float

    @property
    def sound(self) -> bool:
        """Whether there are words, and they can be relied on."""
        packed = len(self.text.encode()) / len(zlib.compress(self.text.encode()))
        return bool(self.text) and self.sure >= LEAST_SURE and packed <= MOST_REPETITION


class Recogniser:
    """A model of Whisper's kind that hears one language, on the processor."""

    def __init__(self, folder: Path) -> None:
        """Raises WorkerError without transformers, OSError or ValueError for a folder that holds no such model."""
        transformers = library("transformers")
        self.model: Any = transformers.WhisperForConditionalGeneration.from_pretrained(
            folder, dtype=torch.float32, use_safetensors=True, local_files_only=True
        )
        self.model.requires_grad_(False).eval()
        self.tokenizer: Any = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self.extractor: Any = transformers.AutoFeatureExtractor.from_pretrained(folder, local_files_only=True)

    @torch.no_grad()
    def words(self, samples: Tensor) -> Words:
        """Of [samples] at `RATE` Hz; of more than `LONGEST_S` seconds the beginning. Greedy: the same every time."""
        heard = self.extractor(samples[: LONGEST_S * RATE].numpy(), sampling_rate=RATE, return_tensors="pt").input_features
        config = self.model.generation_config
        tokens = self.model.generate(heard, do_sample=False, num_beams=1, return_timestamps=False)
        start = torch.tensor([[config.decoder_start_token_id, config.no_timestamps_token_id]])
        prompt = 0 if tokens[0, 0] != config.decoder_start_token_id else start.shape[1]
        said = tokens[:, prompt:]
        if not said.shape[1]:
            return Words("", float("-inf"))
        logits = self.model(heard, decoder_input_ids=torch.cat([start, said], 1)).logits[:, start.shape[1] - 1 : -1]
        sure = logits.log_softmax(-1).gather(-1, said[..., None]).mean()
        return Words(self.tokenizer.decode(said[0], skip_special_tokens=True).strip(), float(sure))


def error_rate(asked: Sequence[str], heard: Sequence[str]) -> float:
    """Words wrong, missing or too many, over all sentences, by the words asked for: 0 is all right, and it may pass 1.

    Raises WorkerError without jiwer, ValueError where no words are asked for.
    """
    from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

    normal = EnglishTextNormalizer({})

    def plain(text: str) -> str:  # it leaves dots of "..." as words
        return " ".join(word for word in normal(text).split() if any(map(str.isalnum, word)))

    pairs = [(plain(one), plain(other)) for one, other in zip(asked, heard, strict=True)]
    pairs = [pair for pair in pairs if pair[0]]
    if not pairs:
        raise ValueError("no words are asked for")
    return float(library("jiwer").wer([one for one, _ in pairs], [other for _, other in pairs]))
