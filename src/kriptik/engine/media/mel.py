"""Log-mel spectrograms as the makers of AudioLDM took them, which a vocoder of HiFi-GAN's kind turns back into sound.

Source of the figures: the makers' own training, github.com/haoheliu/AudioLDM-training-finetuning. Magnitudes of windows of 1024
samples (Hann), the sound mirrored at both ends by half of what a window is longer than a step; filters as librosa has them (scale
and areas of Slaney) up to 8000 Hz; the natural logarithm, nothing below 1e-5; recordings around 0, their peak at 0.5. At 16 kHz a
step is 160 samples and there are 64 filters: these three the pipeline's vocoder says.
"""

from functools import cache

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

WINDOW = 1024
HIGHEST_HZ = 8000.0
FLOOR = 1e-5
PEAK = 0.5


def levelled(samples: Tensor) -> Tensor:
    """The same sound [channels, samples] around 0, its peak at `PEAK`."""
    centred = samples - samples.mean()
    return PEAK * centred / (centred.abs().max() + 1e-8)


def spectrogram(samples: Tensor, rate: int, step: int, bands: int) -> Tensor:
    """[channels, samples] at `rate` Hz → [channels, frames, bands], a frame for every `step` samples."""
    beyond = (WINDOW - step) // 2
    mirrored = pad(samples[None].float(), (beyond, beyond), mode="reflect")[0]
    told = {"hop_length": step, "window": torch.hann_window(WINDOW, device=samples.device), "center": False}
    loud = torch.stft(mirrored, WINDOW, **told, return_complex=True).abs()  # type: ignore[arg-type]
    return (loud.transpose(1, 2) @ _filters(rate, bands).to(loud.device)).clamp(min=FLOOR).log()


@cache
def _filters(rate: int, bands: int) -> Tensor:
    """[frequencies, bands]."""
    from transformers.audio_utils import mel_filter_bank

    highest = min(HIGHEST_HZ, rate / 2)
    made = mel_filter_bank(WINDOW // 2 + 1, bands, 0.0, highest, rate, norm="slaney", mel_scale="slaney")
    return torch.from_numpy(np.asarray(made, dtype=np.float32))
