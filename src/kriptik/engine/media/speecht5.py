"""SpeechT5 of transformers: a spectrogram from letters, made to sound by a vocoder.

It is conditioned on a print of the voice's spectrum (`voices.py`) in the place of a speaker model's vector. Speech is made by the
vocoder that lies in the base's folder `vocoder`, or that the hub has; without one by Griffin-Lim, which sounds metallic.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from kriptik.engine.media import voices
from kriptik.engine.media.library import library
from kriptik.engine.media.voice_kit import NAME, SPEAKER, Finder, VoiceKit, too_long
from kriptik.spec.errors import DataError

VOCODER = "microsoft/speecht5_hifigan"
MASKED = -100.0


class SteadyNorm(nn.BatchNorm1d):
    """Batch normalisation by the base's own statistics, while training too: a row's loss must not depend on its neighbours, and an
    adapter's base must stay as it is."""

    def train(self, mode: bool = True) -> "SteadyNorm":
        """Stays in eval mode."""
        return super().train(False)


class SpeechT5(VoiceKit):
    """See VoiceKit."""

    kind = "mel"
    targets = (
        r".*layers\.\d+\.((attention|self_attn|encoder_attn)\.(q_proj|k_proj|v_proj|out_proj)"
        r"|feed_forward\.(intermediate|output)_dense)|.*speaker_embeds_layer"
    )
    packages = ("soundfile", "scipy", "sentencepiece")
    limits = (
        "The voice's print (speaker_embedding.safetensors, `speaker_embedding`) is made from its spectrum, not by a speaker model.",
    )

    def __init__(self, model: Any, processor: Any, vocoder: nn.Module | None) -> None:
        self.model, self.processor, self.vocoder = model, processor, vocoder
        self.tokenizer = processor.tokenizer
        self.guided = bool(model.config.use_guided_attention_loss)
        model.config.use_guided_attention_loss = False  # needs attention weights, which the usual kernels do not give
        for module in model.modules():
            if type(module) is nn.BatchNorm1d:
                module.__class__ = SteadyNorm
        self.rate = int(processor.feature_extractor.sampling_rate)
        self.made_by = "Griffin-Lim" if vocoder is None else "HiFi-GAN"
        self.reduction, self.width = int(model.config.reduction_factor), int(model.config.speaker_embedding_dim)

    @classmethod
    def load(cls, folder: Path, dtype: torch.dtype, find: Finder) -> "SpeechT5":
        """See VoiceKit."""
        library("sentencepiece")
        transformers = library("transformers")
        told = {"use_safetensors": True, "local_files_only": True}
        model = transformers.SpeechT5ForTextToSpeech.from_pretrained(folder, dtype=dtype, **told)
        processor = transformers.SpeechT5Processor.from_pretrained(folder, local_files_only=True)
        own = folder / "vocoder" if (folder / "vocoder").is_dir() else find(VOCODER)
        vocoder = own and transformers.SpeechT5HifiGan.from_pretrained(own, **told).requires_grad_(False).eval()
        return cls(model, processor, vocoder)

    def kept(self, samples: Tensor) -> dict[str, Tensor]:
        """See VoiceKit: `mel` [frames, bands]."""
        return {"mel": self.spectrogram(samples)}

    def letters(self, text: str, index: int) -> list[int]:
        """See VoiceKit."""
        ids = self.tokenizer(text)["input_ids"]
        most = self.model.config.max_text_positions
        if len(ids) > most:
            what = f"Row {index + 1} has {len(ids):,} letters; the model reads {most:,} at once."
            raise DataError("text_too_long", what, "Cut the recording into shorter ones.", fields={"row": index})
        return ids

    def size(self, kept: dict[str, Tensor], letters: Sequence[int], index: int) -> tuple[int, float]:
        """See VoiceKit: steps of the decoder; frames."""
        frames = len(kept["mel"])
        if frames > self.model.config.max_speech_positions * self.reduction:
            raise too_long(index, "")
        return frames // self.reduction, float(frames)

    def batch(self, letters: Sequence[Sequence[int]], kept: Sequence[dict[str, Tensor]], *, one_voice: bool) -> dict[str, Tensor]:
        """See VoiceKit."""
        ids = [torch.tensor(one) for one in letters]
        mels = [one["mel"] for one in kept]
        return {
            "input_ids": nn.utils.rnn.pad_sequence(ids, batch_first=True, padding_value=self.model.config.pad_token_id),
            "attention_mask": nn.utils.rnn.pad_sequence([torch.ones_like(one) for one in ids], batch_first=True),
            "labels": nn.utils.rnn.pad_sequence(mels, batch_first=True, padding_value=MASKED),
            "speaker_embeddings": torch.stack([self.speaker if one_voice else voices.print_of(mel, self.width) for mel in mels]),
        }

    def speak(self, model: Any, text: str) -> tuple[Tensor, Tensor]:
        """See VoiceKit: the dropout of its first layers never sleeps."""
        first = next(model.parameters())
        ids = self.tokenizer(text, truncation=True, max_length=self.model.config.max_text_positions, return_tensors="pt")
        made = model.generate_speech(
            ids["input_ids"].to(first.device), self.speaker[None].to(first.device, first.dtype),
            attention_mask=ids["attention_mask"].to(first.device),
        )
        spectrogram = made.float().cpu()
        return self.sound(spectrogram), voices.print_of(spectrogram, self.width)

    def print_of(self, samples: Tensor) -> Tensor:
        """See VoiceKit."""
        return voices.print_of(self.spectrogram(samples), self.width)

    def keep(self, folder: Path) -> None:
        """See VoiceKit: the voice's print."""
        save_file({NAME: self.speaker.contiguous()}, folder / SPEAKER)

    def save(self, model: Any, folder: Path) -> None:
        """See VoiceKit: with the print, and the vocoder where there is one."""
        model.config.use_guided_attention_loss = self.guided
        try:
            model.save_pretrained(folder, safe_serialization=True)
        finally:
            model.config.use_guided_attention_loss = False
        self.processor.save_pretrained(folder)
        self.keep(folder)
        if self.vocoder is not None:
            saved: Any = self.vocoder
            saved.save_pretrained(folder / "vocoder", safe_serialization=True)

    def spectrogram(self, samples: Tensor) -> Tensor:
        """[samples] → [frames, bands], log10 amplitudes, as the library makes them; frames are a multiple of the reduction."""
        found = self.processor.feature_extractor(audio_target=samples.numpy(), sampling_rate=self.rate)["input_values"][0]
        mel = torch.from_numpy(found)
        return mel[: max(self.reduction, len(mel) // self.reduction * self.reduction)].contiguous()

    def sound(self, spectrogram: Tensor) -> Tensor:
        """[frames, bands] → [samples]."""
        if self.vocoder is not None:
            with torch.no_grad():
                return self.vocoder(spectrogram)
        mel = self.processor.feature_extractor
        window = torch.from_numpy(mel.window).float()
        return voices.griffin_lim(spectrogram, torch.from_numpy(mel.mel_filters), mel.n_fft, mel.sample_stride, window)
