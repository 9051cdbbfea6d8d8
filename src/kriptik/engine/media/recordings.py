"""Recordings as numbers: opened at a model's rate, written as WAV."""

import io
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kriptik.data import waves
from kriptik.engine.media.library import library
from kriptik.spec.errors import DataError


def opened(path: Path, row: int, rate: int, channels: int = 1, longest_s: float | None = None) -> Tensor:
    """[channels, samples] at `rate` Hz, from −1 to 1, cut off after `longest_s`. Raises DataError naming the row."""
    soundfile = library("soundfile")
    try:
        samples, found = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError, RuntimeError) as error:
        what = f"The recording of row {row + 1} cannot be read: {error}"[:300]
        raise DataError("bad_sound", what, "Attach the data set again, without it.", fields={"row": row}) from error
    if longest_s is not None:
        samples = samples[: int(longest_s * found)]
    if not len(samples):
        what = f"The recording of row {row + 1} is empty."
        raise DataError("bad_sound", what, "Attach the data set again, without it.", fields={"row": row})
    if samples.shape[1] != channels:
        samples = np.repeat(samples.mean(1, keepdims=True), channels, axis=1)
    return torch.from_numpy(np.ascontiguousarray(waves.resampled(samples, found, rate).T))


def resampled(samples: Tensor, rate: int, wanted: int) -> Tensor:
    """[samples] at another rate, in Hz."""
    return torch.from_numpy(waves.resampled(samples.detach().float().cpu().numpy(), rate, wanted))


def wav(samples: Tensor, rate: int) -> bytes:
    """The file's bytes, 16 bits a sample; [samples] or [channels, samples] from −1 to 1, what is beyond is cut off."""
    sink = io.BytesIO()
    numbers = samples.detach().float().cpu().clamp(-1, 1)
    library("soundfile").write(sink, numbers.reshape(-1, numbers.shape[-1]).T.numpy(), rate, format="WAV", subtype="PCM_16")
    return sink.getvalue()
