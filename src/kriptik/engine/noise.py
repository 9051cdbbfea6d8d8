"""Ways from a clean sample to noise, and what a model is to predict on the way. Rows first; `level` and `times` are [rows]."""

import torch
from torch import Tensor


def flow(clean: Tensor, noise: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
    """(sample, velocity) on the straight line from clean (0) to noise (1). Source: Lipman et al. 2022, "Flow Matching"."""
    share = _wide(times, clean)
    return (1 - share) * clean + share * noise, noise - clean


def epsilon(clean: Tensor, noise: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
    """(sample, noise); `level`: product of alphas so far. Source: Ho et al. 2020, "Denoising Diffusion Probabilistic Models"."""
    kept = _wide(level, clean)
    return kept.sqrt() * clean + (1 - kept).sqrt() * noise, noise


def v_prediction(clean: Tensor, noise: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
    """(sample, v). Source: Salimans & Ho 2022, "Progressive Distillation for Fast Sampling of Diffusion Models"."""
    kept = _wide(level, clean)
    return kept.sqrt() * clean + (1 - kept).sqrt() * noise, kept.sqrt() * noise - (1 - kept).sqrt() * clean


def drawn(shape: torch.Size, generators: list[torch.Generator], how: str) -> tuple[Tensor, Tensor]:
    """(noise, times) on the CPU, each row from its own generator: first its time, then its noise.

    `how`: "uniform" over 0 to 1, or "logit_normal" (Esser et al. 2024), which favours the middle.
    """
    times, noise = [], []
    for generator in generators:
        times.append(torch.rand((), generator=generator) if how == "uniform" else torch.randn((), generator=generator).sigmoid())
        noise.append(torch.randn(shape[1:], generator=generator))
    return torch.stack(noise), torch.stack(times)


def min_snr(snr: Tensor, most: float, predicts: str) -> Tensor:
    """Weight per row: as if the picture itself were predicted, signal-to-noise ratios cut at `most`. `predicts`: epsilon or v.

    Source: Hang et al. 2023, "Efficient Diffusion Training via Min-SNR Weighting Strategy", equations 7 and 8.
    """
    cut = snr.clamp(max=most)
    return cut / (snr + 1) if predicts == "v_prediction" else cut / snr.clamp(min=1e-8)


def _wide(values: Tensor, like: Tensor) -> Tensor:
    return values.view(-1, *([1] * (like.dim() - 1)))
