"""Where every backward takes all ranks: what a rank does that has fewer micro-batches of an update than the others.

It runs one of rank 0's at weight 0. A sum over its weights would do for the numbers, but not for the order in which gradients come
about: engines put them into buckets in that order, and on ranks with unlike graphs unlike weights would meet.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import nn

from kriptik.engine.interfaces import MicroBatch


def rounds(micros: list[MicroBatch], device: torch.device) -> list[tuple[MicroBatch, bool]]:
    """This rank's micro-batches, and as many repeated ones (True) as bring it to the most that a rank has. Collective.

    Rank 0 has the most.
    """
    counts = torch.tensor([len(micros), -len(micros)], device=device)
    dist.all_reduce(counts, op=dist.ReduceOp.MAX)
    most, least = int(counts[0]), -int(counts[1])
    found = [(micro, False) for micro in micros]
    if most > least:
        box = [micros[0] if dist.get_rank() == 0 else None]
        dist.broadcast_object_list(box, src=0, device=device)
        assert box[0] is not None
        found += [(box[0], True)] * (most - len(micros))
    return found


@contextmanager
def traceless(module: nn.Module, idle: bool) -> Iterator[None]:
    """Around a repeated micro-batch: the module is in eval mode, so that nothing in it counts these rows once more."""
    modes = [(one, one.training) for one in module.modules()] if idle else []
    for one, _ in modes:
        one.training = False
    try:
        yield
    finally:
        for one, training in modes:
            one.training = training
