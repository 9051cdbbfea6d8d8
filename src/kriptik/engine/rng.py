"""Randomness without saved generator state: everything random follows from (seed, what, where).

A resume at an update boundary then needs no generator from the checkpoint.
"""

import hashlib
import random
import sys
from typing import Any

import torch


def derive(*parts: int | str) -> int:
    """A 63-bit seed from the given numbers and words, stable over versions and machines."""
    text = "/".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def reseed(*parts: int | str) -> None:
    """Set every generator a piece may draw from: Python, NumPy where imported, torch on all devices."""
    seed = derive(*parts)
    random.seed(seed)
    torch.manual_seed(seed)
    numpy = _numpy()
    if numpy is not None:
        numpy.random.seed(seed % 2**32)


def row_generator(seed: int, epoch: int, row: int, purpose: str = "row") -> torch.Generator:
    """A CPU generator of one row's own: the same draw whatever else is in the batch."""
    return torch.Generator().manual_seed(derive(seed, epoch, row, purpose))


def permutation(count: int, *parts: int | str) -> list[int]:
    """A shuffled range; Python's own shuffle, whose algorithm does not change with torch."""
    order = list(range(count))
    random.Random(derive(*parts)).shuffle(order)
    return order


def _numpy() -> Any:
    return sys.modules.get("numpy")
