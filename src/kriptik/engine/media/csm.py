"""CSM of transformers (Sesame): a language model that says text in the codes of Mimi, its codec, frame by frame.

A backbone predicts the first code of a frame, a small decoder the others; the loss is the library's own, the sum of both. The codec
is frozen, so that a recording's codes are made once and kept; the model is handed them in the place of the sound (`Codes`). It
learns the voice as its speaker 0, and speaks as that. Source of the layout of a row: the chat template that the model comes with.
"""

import copy
import math
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from kriptik.engine.media import mel, voices
from kriptik.engine.media.library import library
from kriptik.engine.media.voice_kit import Finder, VoiceKit, too_long
from kriptik.spec.errors import DataError

SPEAKER = "0"
BANDS, STEP_S, WIDTH = 80, 0.01, 512
"""Of the spectrum by which the colour of a voice is told."""
LEAST_S, S_PER_LETTER = 2.0, 0.15
"""How long a text may be spoken at most: slow readers need some 0.1 s a letter."""
QUIET_S = 0.1
"""Silence in the place of speech that ends before it begins."""


class Codes(nn.Module):
    """Stands where the codec was: what the model is handed are codes already."""

    def encode(self, codes: Tensor) -> Any:
        """[1, codebooks, frames], as they are."""
        return SimpleNamespace(audio_codes=codes)

    def get_audio_codes_mask(self, mask: Tensor) -> Tensor:
        """A place of the input is a frame."""
        return mask


class Csm(VoiceKit):
    """See VoiceKit."""

    kind = "codes"
    targets = (
        r".*(backbone_model|depth_decoder\.model)\.layers\.\d+\."
        r"(self_attn\.(q_proj|k_proj|v_proj|o_proj)|mlp\.(gate_proj|up_proj|down_proj))"
    )
    limits = (f"It speaks in the voice as its speaker {SPEAKER}.",)

    def __init__(self, model: Any, processor: Any) -> None:
        self.model, self.processor, self.tokenizer = model, processor, processor.tokenizer
        self.codec = model.codec_model.float().requires_grad_(False).eval()
        model.codec_model = Codes()
        self.rate, self.made_by = int(self.codec.config.sampling_rate), "Mimi"
        self.books = int(model.config.num_codebooks)

    @classmethod
    def load(cls, folder: Path, dtype: torch.dtype, find: Finder) -> "Csm":
        """See VoiceKit."""
        transformers = library("transformers")
        model = transformers.CsmForConditionalGeneration.from_pretrained(
            folder, dtype=dtype, use_safetensors=True, local_files_only=True
        )
        return cls(model, transformers.CsmProcessor.from_pretrained(folder, local_files_only=True))

    def kept(self, samples: Tensor) -> dict[str, Tensor]:
        """See VoiceKit: `codes` [frames, codebooks]."""
        codec = self._codec_there()
        with torch.no_grad():
            found = codec.encode(samples[None, None].to(codec.device), num_quantizers=self.books).audio_codes
        return {"codes": found[0].T.to("cpu", torch.int32).contiguous()}

    def letters(self, text: str, index: int) -> list[int]:
        """See VoiceKit: the whole row, where a sound stands as one token. Raises DataError where the template writes none."""
        said = {"role": SPEAKER, "content": [{"type": "text", "text": text}, {"type": "audio"}]}
        ids = self._ids([said])
        if ids.count(self.model.config.audio_token_id) != 1:
            what = f"Row {index + 1} holds marks of the model's own."
            raise DataError("bad_row", what, "Leave them out of the words.", fields={"row": index})
        return ids

    def size(self, kept: dict[str, Tensor], letters: Sequence[int], index: int) -> tuple[int, float]:
        """See VoiceKit: tokens and frames; the frames and the mark of their end are predicted."""
        frames, most = len(kept["codes"]), int(self.model.config.max_position_embeddings)
        length = len(letters) - 1 + frames
        if length > most:
            raise too_long(index, f" ({length:,} places, it has {most:,})")
        return length, frames + 1.0

    def batch(self, letters: Sequence[Sequence[int]], kept: Sequence[dict[str, Tensor]], *, one_voice: bool) -> dict[str, Tensor]:
        """See VoiceKit: rows filled up on the right. What fills them is no sound, whatever the model's padding is."""
        config, sound = self.model.config, int(self.model.config.audio_token_id)
        rows, marks = [], []
        for ids, one in zip(letters, kept, strict=True):
            at = list(ids).index(sound)
            row = torch.tensor([*ids[:at], *[sound] * len(one["codes"]), *ids[at + 1 :]])
            rows.append(row)
            marks.append(torch.where((row == sound) | (row == config.audio_eos_token_id), row, -100))
        codes = nn.utils.rnn.pad_sequence([one["codes"].long() for one in kept], batch_first=True)
        together = nn.utils.rnn.pad_sequence
        return {
            "input_ids": together(rows, batch_first=True, padding_value=rows[0][0].item()),
            "attention_mask": together([torch.ones_like(row) for row in rows], batch_first=True),
            "labels": together(marks, batch_first=True, padding_value=-100),
            "input_values": codes.transpose(1, 2),
            "input_values_cutoffs": torch.tensor([[len(one["codes"])] for one in kept]),
        }

    def speak(self, model: Any, text: str) -> tuple[Tensor, Tensor]:
        """See VoiceKit."""
        ids = torch.tensor([self._ids([{"role": SPEAKER, "content": [{"type": "text", "text": text}]}])], device=model.device)
        codec = self._codec_there()
        frames_s = self.rate / codec.config.frame_size
        room = int(model.config.max_position_embeddings) - ids.shape[1]
        most = max(1, min(room, math.ceil((LEAST_S + S_PER_LETTER * len(text)) * frames_s)))
        codes = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=most)[0]
        ends = (codes == model.config.codebook_eos_token_id).all(1).nonzero()
        codes = codes[: int(ends[0]) if len(ends) else None].clamp(max=codec.config.codebook_size - 1)
        if not len(codes):
            return torch.zeros(round(QUIET_S * self.rate)), self.print_of(torch.zeros(round(QUIET_S * self.rate)))
        sound = codec.decode(codes.T[None].to(codec.device)).audio_values[0, 0].float().cpu()
        return sound, self.print_of(sound)

    def print_of(self, samples: Tensor) -> Tensor:
        """See VoiceKit."""
        step = round(STEP_S * self.rate)
        room = torch.nn.functional.pad(samples, (0, max(0, mel.WINDOW + step - len(samples))))
        return voices.print_of(mel.spectrogram(room[None], self.rate, step, BANDS)[0] / math.log(10), WIDTH)

    def save(self, model: Any, folder: Path) -> None:
        """See VoiceKit: with the codec, and without the marks that the library leaves on the settings of generation."""
        settings, dtype = copy.deepcopy(model.generation_config), next(model.parameters()).dtype
        model.codec_model = self.codec.to(dtype)
        try:
            model.save_pretrained(folder, safe_serialization=True)
        finally:
            model.codec_model, model.generation_config = Codes(), settings
            self.codec.float()
        self.processor.save_pretrained(folder)

    def _ids(self, said: list[dict[str, Any]]) -> list[int]:
        text = self.processor.apply_chat_template(said, tokenize=False)
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def _codec_there(self) -> Any:
        """The codec, where the model is."""
        return self.codec.to(next(self.model.parameters()).device)
