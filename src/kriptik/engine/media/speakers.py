"""Who speaks: a network that turns speech into a vector of the voice. Two clips of one person lie nearer than those of two.

Network and sizes as Resemblyzer 0.1.4 has them (Apache-2.0), trained by Wan et al. 2018, "Generalized End-to-End Loss for Speaker
Verification". Its preparation of sound is repeated without librosa and webrtcvad: silence is told by its power, not by a model.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

RATE, WINDOW, STEP, BANDS = 16_000, 400, 160, 40
"""Hz, and samples: frames of 25 ms, 10 ms apart."""
WIDTH, LAYERS = 256, 3
PART, APART, COVERED = 160, 77, 0.75
"""Frames that are heard at once (1.6 s), frames between two beginnings (1.3 a second), the share that the last part must fill."""
QUIETEST_DBFS = -30.0
"""What is quieter in the mean is made as loud."""
QUIET_DB, LONGEST_PAUSE = 40.0, 18
"""Frames so far below the loud ones count as silence; of a pause so many frames (180 ms) stay."""


class SpeakerEncoder(nn.Module):
    """[clips, frames, BANDS] → [clips, WIDTH], of length 1 and nowhere below 0."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(BANDS, WIDTH, LAYERS, batch_first=True)
        self.linear = nn.Linear(WIDTH, WIDTH)

    def forward(self, mels: Tensor) -> Tensor:
        """Of the last frame's state of the last layer."""
        _, (hidden, _) = self.lstm(mels)
        return functional.normalize(functional.relu(self.linear(hidden[-1])), dim=1)

    @torch.no_grad()
    def voice(self, samples: Tensor) -> Tensor:
        """[samples] at `RATE` Hz → [WIDTH], of length 1: the mean over parts of `PART` frames."""
        mel = spectrogram(spoken(samples))
        starts = range(0, max(1, len(mel) - PART + APART + 1), APART)
        kept = [start for start in starts if start == 0 or (len(mel) - start) >= COVERED * PART]
        parts = torch.stack([functional.pad(one, (0, 0, 0, PART - len(one))) for one in (mel[s : s + PART] for s in kept)])
        return functional.normalize(self(parts).mean(0), dim=0)


def load(folder: Path) -> SpeakerEncoder:
    """The network with the weights of a folder. Raises RuntimeError for other weights. No generator is drawn from."""
    with torch.device("meta"):
        encoder = SpeakerEncoder()
    encoder.load_state_dict(load_file(folder / "model.safetensors"), strict=True, assign=True)
    return encoder.requires_grad_(False).eval()


def similarity(one: Sequence[Tensor], other: Sequence[Tensor]) -> float:
    """Mean cosine of the voices of each clip of one list with each of the other; vectors of length 1."""
    return float((torch.stack(list(one)) @ torch.stack(list(other)).T).mean())


def spoken(samples: Tensor) -> Tensor:
    """The same at a usual loudness, without long pauses."""
    power = samples.square().mean().clamp(min=1e-12)
    gain = 10 ** (QUIETEST_DBFS / 20) / power.sqrt()
    samples = samples * gain.clamp(min=1.0)
    count = len(samples) // STEP
    frames = samples[: count * STEP].view(count, STEP).square().mean(1)
    if not count or not frames.any():
        return samples
    heard = frames > torch.quantile(frames, 0.95) * 10 ** (-QUIET_DB / 10)
    near = functional.max_pool1d(heard.float()[None, None], LONGEST_PAUSE + 1, 1, LONGEST_PAUSE // 2)[0, 0] > 0
    return samples[: count * STEP].view(count, STEP)[near].flatten()


def spectrogram(samples: Tensor) -> Tensor:
    """[samples] → [frames, BANDS]: power in mel bands (Slaney's), as librosa makes it; no logarithm."""
    wide = {"n_fft": WINDOW, "hop_length": STEP, "window": torch.hann_window(WINDOW), "pad_mode": "constant"}
    return torch.stft(samples.float(), return_complex=True, **wide).abs().square().T @ _filters()


@cache
def _filters() -> Tensor:
    """[frequencies, BANDS]."""
    from transformers.audio_utils import mel_filter_bank

    made = mel_filter_bank(WINDOW // 2 + 1, BANDS, 0.0, RATE / 2, RATE, norm="slaney", mel_scale="slaney")
    return torch.from_numpy(np.asarray(made, dtype=np.float32))
