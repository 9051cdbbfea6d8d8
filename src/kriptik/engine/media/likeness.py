"""How near made pictures are to real ones, in the features of the model's own VAE. Small numbers are better.

FID (Heusel et al. 2017) and KID (Bińkowski et al. 2018) take thousands of pictures and an Inception network, whose weights are not
here. `kernel_vae` is a substitute and called so: KID's distance, without bias however few the pictures, of latents instead. It sees
what a latent's parts are like (colour, light, contrast, where something is), not what is shown: a picture of the wrong thing in the
right colours is near. A few pictures make it coarse: four of the very same kind are 0 ± 0.4 away (`bench/likeness.py`). Captions
and seeds never change, so that it compares the states of one run, but not runs on other data or other models, and no published
numbers.

A Fréchet distance is left out on purpose: it needs more pictures than features to fit a covariance, and on four it would be all
bias. Sounds have frames enough for it (`hearing.py`).
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from kriptik.engine.media.hearing import kernel, standard

GRID = 4
"""Cells per side in which a latent is looked at: where things are, but not to the pixel."""
FEWEST = 2
"""Pictures of each kind below which nothing can be said."""


def features(latents: Sequence[Tensor]) -> Tensor:
    """[pictures, cells, 2 × channels]: mean and deviation of each channel in each cell, of latents [channels, height, width].

    They may be of any size and shape: there are always `GRID`² cells.
    """
    found = []
    for one in latents:
        mean = functional.adaptive_avg_pool2d(one.double(), GRID)
        spread = functional.adaptive_avg_pool2d(one.double().square(), GRID) - mean.square()
        found.append(torch.cat([mean, spread.clamp(min=0).sqrt()]).flatten(1).T)
    return torch.stack(found)


def kernel_vae(real: Sequence[Tensor], made: Sequence[Tensor]) -> float:
    """`hearing.kernel` over pictures, each of them one sample; of latents [channels, height, width], `FEWEST` or more of each kind.

    Each number is in units of its spread over all cells of all real pictures: a spread over few pictures alone would be chance.
    """
    one, other = features(real), features(made)
    units = standard(one.flatten(0, 1), other.flatten(0, 1))
    return kernel(*(both.reshape(len(whole), -1) for both, whole in zip(units, (one, other), strict=True)))
