"""How near made sounds or pictures are to real ones, in the features of a model that is at hand. Small numbers are better.

The usual Fréchet audio distance (Kilgour et al. 2019, "Fréchet Audio Distance") uses VGGish, whose weights are not here: these are
distances in the features of the model's own codec, good to compare two states of one model, not to compare with published numbers.
"""

import torch
from torch import Tensor


def standard(real: Tensor, made: Tensor) -> tuple[Tensor, Tensor]:
    """Both [frames, size] in units in which the real ones have mean 0 and deviation 1: no feature counts for its scale alone."""
    mean, deviation = real.mean(0), real.std(0)
    deviation = deviation.clamp(min=1e-6 * float(deviation.max()) + 1e-12)
    return (real - mean) / deviation, (made - mean) / deviation


def frechet(real: Tensor, made: Tensor) -> float:
    """Fréchet distance of two normal distributions fitted to features [frames, size].

    Few frames bias it upwards; `kernel` does not have that fault. Source: Dowson and Landau 1982.
    """
    one, other = real.double(), made.double()
    first, second = torch.atleast_2d(torch.cov(one.T)), torch.atleast_2d(torch.cov(other.T))
    values, vectors = torch.linalg.eigh(first)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    both = torch.linalg.eigvalsh(root @ second @ root).clamp(min=0).sqrt().sum()
    return float((one.mean(0) - other.mean(0)).square().sum() + first.trace() + second.trace() - 2 * both)


def kernel(real: Tensor, made: Tensor) -> float:
    """Unbiased squared maximum mean discrepancy with the kernel (x·y ÷ size + 1)³: the substitute for small samples.

    Near 0, and below it by chance, where both are alike. Source: Bińkowski et al. 2018, "Demystifying MMD GANs" (KID).
    """
    one, other = real.double(), made.double()
    like = [(a @ b.T / a.shape[1] + 1) ** 3 for a, b in ((one, one), (other, other), (one, other))]
    inner = [(gram.sum() - gram.trace()) / (len(gram) * (len(gram) - 1)) for gram in like[:2]]
    return float(inner[0] + inner[1] - 2 * like[2].mean())
