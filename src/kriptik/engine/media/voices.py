"""What of a voice can be told without a model of voices: a print of its spectrum; and speech out of a spectrogram."""

import torch
from torch import Tensor
from torch.nn import functional

LOUD = 2.5
"""Frames that are at most so many powers of ten below the loudest count as speech."""
SEED = 160


def print_of(spectrogram: Tensor, size: int) -> Tensor:
    """[size], of length 1: shape and spread of a voice's spectrum, spread over `size` numbers by a fixed random turn.

    `spectrogram`: [frames, bands] of log10 amplitudes. It tells voices apart by their colour alone: it stands where a speaker
    model's vector would stand, and is no measure of identity; that is measured by `speakers.py`.
    """
    loud = spectrogram[spectrogram.amax(1) > spectrogram.max() - LOUD]
    mean = loud.mean(0)
    deviation = loud.std(0, correction=0)
    traits = torch.cat([mean - mean.mean(), deviation - deviation.mean()])
    turn = torch.randn(len(traits), size, generator=torch.Generator().manual_seed(SEED))
    return functional.normalize(traits @ turn, dim=0)


def griffin_lim(
    spectrogram: Tensor, filters: Tensor, n_fft: int, hop: int, window: Tensor, rounds: int = 32, momentum: float = 0.99
) -> Tensor:
    """[samples]: speech whose mel amplitudes are near 10 ** `spectrogram` [frames, bands]; the same every time.

    `filters`: [frequencies, bands]. Source: Perraudin et al. 2013, "A fast Griffin-Lim algorithm".
    """
    wanted = (10**spectrogram.float().clamp(max=4.0) @ torch.linalg.pinv(filters.float())).clamp(min=0).T
    wide = {"n_fft": n_fft, "hop_length": hop, "win_length": len(window), "window": window}
    angle = 2 * torch.pi * torch.rand(wanted.shape, generator=torch.Generator().manual_seed(SEED))
    guess, before = torch.polar(wanted, angle), torch.zeros_like(wanted, dtype=torch.complex64)
    for _ in range(rounds):
        again = torch.stft(torch.istft(guess, **wide), return_complex=True, **wide)[:, : wanted.shape[1]]
        ahead = again + momentum * (again - before)
        before = again
        guess = wanted * ahead / ahead.abs().clamp(min=1e-9)
    return torch.istft(guess, **wide)
