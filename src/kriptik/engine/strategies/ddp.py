"""Data parallel over processes (torchrun): every rank holds the whole model and sees other rows.

Gradients are summed once per update, in buckets, after all micro-batches: the gradient law directly. `DistributedDataParallel`
is not used, since it takes a mean that would have to be undone and hangs where a rank has no micro-batch or where an objective
drives backward itself; what it would overlap is the last micro-batch of an update alone.
"""

import json
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from kriptik.engine import ranks
from kriptik.engine.interfaces import Bundle, Modality, OptimizerSpec, Runtime, StepStats, Strategy
from kriptik.engine.strategies.single import Single, SingleRuntime
from kriptik.spec.errors import WorkerError

BUCKET_BYTES = 32 << 20


class DdpRuntime(SingleRuntime):
    """A `SingleRuntime` whose gradients and numbers are summed over ranks."""

    def __init__(self, bundle: Bundle, modality: Modality, spec: OptimizerSpec) -> None:
        super().__init__(bundle, modality, spec)
        self.rank = self.data_rank = dist.get_rank()
        self.world = self.data_world = dist.get_world_size()
        self._device = ranks.device()
        kept = set(bundle.trainee.state_dict(keep_vars=True))
        self._buffers = [buffer for name, buffer in bundle.trainee.named_buffers() if name in kept]

    def all_sum(self, values: Sequence[float]) -> list[float]:
        """See Runtime. In double precision, in the order of the backend: the same on every rank."""
        sums = torch.tensor(list(values), dtype=torch.float64, device=self._device)
        dist.all_reduce(sums)
        return sums.tolist()

    def share(self, value: Any) -> Any:
        """See Runtime."""
        box = [json.dumps(value) if self.rank == 0 else None]
        dist.broadcast_object_list(box, src=0, device=self._device)
        return json.loads(box[0] or "null")

    def barrier(self) -> None:
        """See Runtime."""
        dist.barrier()

    def _meet(self) -> None:
        """Sums gradients over ranks. A parameter without gradient on some ranks counts there as zero, on all ranks as none."""
        parameters = [one for one in self.optimizer.parameters.values() if one.requires_grad]
        touched = torch.tensor([one.grad is not None for one in parameters], dtype=torch.int32, device=self._device)
        dist.all_reduce(touched, op=dist.ReduceOp.MAX)
        gradients = [_gradient(one) for one, any_rank in zip(parameters, touched.tolist(), strict=True) if any_rank]
        for bucket in _buckets(gradients):
            flat = torch.cat([one.reshape(-1) for one in bucket])
            dist.all_reduce(flat)
            for one, part in zip(bucket, flat.split([one.numel() for one in bucket]), strict=True):
                one.copy_(part.view_as(one))
        for buffer in self._buffers:
            dist.broadcast(buffer, src=0)

    def _stats(self, sums: dict[str, Any], tokens: int, total_weight: float) -> StepStats:
        """A rank without micro-batches knows no metric names, so rank names are joined first."""
        known: list[list[str] | None] = [None] * self.world
        dist.all_gather_object(known, sorted(sums))
        names = sorted({name for one in known for name in one or []})
        *values, all_tokens = self.all_sum([*(float(sums.get(name, 0.0)) for name in names), float(tokens)])
        means = {name: value / total_weight for name, value in zip(names, values, strict=True)}
        return StepStats(loss=means.pop("loss", 0.0), weight=total_weight, tokens=int(all_tokens), metrics=means)


class Ddp(Strategy):
    """Whole model on every rank. Weights are equal at start: all ranks load the same base and seed the same way."""

    provides: ClassVar[frozenset[str]] = Single.provides

    def start(self, bundle: Bundle, modality: Modality, spec: OptimizerSpec) -> Runtime:
        """See Strategy. Raises WorkerError for one process."""
        ranks.join()
        if not dist.is_initialized():
            what = "Data parallel needs two processes or more."
            raise WorkerError("one_process", what, "Start one process per GPU, or choose single.")
        return DdpRuntime(bundle, modality, spec)


def _gradient(parameter: nn.Parameter) -> Tensor:
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    return parameter.grad


def _buckets(gradients: list[Tensor]) -> list[list[Tensor]]:
    """Consecutive gradients of one type, up to a size; the cut is the same on every rank."""
    found: list[list[Tensor]] = []
    size = 0
    for one in gradients:
        room = size + one.numel() * one.element_size() <= BUCKET_BYTES
        if found and room and found[-1][0].dtype == one.dtype:
            found[-1].append(one)
        else:
            found.append([one])
            size = 0
        size += one.numel() * one.element_size()
    return found
