"""The most memory that this process has held so far."""

import resource

import torch


def peak_gb() -> float:
    """GB (1e9 bytes): allocated on the GPU where there is one, else resident."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
