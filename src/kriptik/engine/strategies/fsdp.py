"""Fully sharded data parallel by torch (`fully_shard`, FSDP2): weights, gradients and optimizer state are cut over ranks.

Source: Zhao et al. 2023, "PyTorch FSDP: Experiences on Scaling Fully Sharded Data Parallel". Every parameter is cut along its
first dimension; a block's weights are put together while it is at work and cut again afterwards. Settings
(`settings.strategy`): `reshard` (true; false keeps them together from a forward to its backward: less traffic, more memory).

The blocks are the members of the model's lists of modules; all other weights form one group with the loss, which must run inside
the wrapped module since it may use them.
"""

from typing import Any, ClassVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, Shard

from kriptik.engine import ranks
from kriptik.engine.interfaces import (
    Bundle,
    LossFn,
    Metrics,
    MicroBatch,
    Modality,
    OptimizerSpec,
    Penalty,
    Runtime,
    StepStats,
    Strategy,
)
from kriptik.engine.strategies.idle import rounds, traceless
from kriptik.engine.strategies.loss_scale import refuse
from kriptik.engine.strategies.optim import NamedOptimizer
from kriptik.engine.strategies.sharded import ShardedRuntime, blocks_of, forgotten
from kriptik.engine.strategies.single import add
from kriptik.spec.errors import WorkerError
from kriptik.spec.job import StageSettings


class Task(nn.Module):
    """The outermost sharded module: one micro-batch to its loss, so that weights the loss itself uses are whole there."""

    def __init__(self, trainee: nn.Module, modality: Modality) -> None:
        super().__init__()
        self.trainee, self.modality = trainee, modality

    def forward(self, micro: MicroBatch, loss: LossFn) -> tuple[Tensor, Metrics]:
        """(loss sum, metric sums)."""
        return loss(self.modality.forward(self.trainee, micro), micro)


class FsdpRuntime(ShardedRuntime):
    """Ranks hold their rows of every parameter, of its gradient and of the optimizer's state."""

    def __init__(self, bundle: Bundle, modality: Modality, spec: OptimizerSpec, *, reshard: bool) -> None:
        touched = forgotten(bundle)
        self._keep_plain(bundle.trainee)
        self.mesh = init_device_mesh(ranks.device().type, (dist.get_world_size(),))
        self._task = _sharded(Task(bundle.trainee, modality), self.mesh, reshard)
        super().__init__(bundle, modality, spec)
        bundle.touch(*(one for name, one in bundle.trainee.named_parameters() if name in touched))
        self._assert_sharded()

    def forward_backward(
        self, micros: list[MicroBatch], loss: LossFn, total_weight: float, penalty: Penalty | None = None
    ) -> StepStats:
        """See Runtime. Gradients are summed and cut after every micro-batch, so that no rank ever keeps whole ones."""
        if penalty is not None and penalty() is not None:
            raise WorkerError("unfit_penalty", "Sharded weights take no term of their own in the loss.", "Choose ddp.")
        sums: dict[str, Any] = {}
        for micro, idle in rounds(micros, self._device):
            with traceless(self.bundle.trainee, idle):
                value, metrics = self._task(micro, loss)
                (value * 0.0 if idle else value / total_weight).backward()
            if not idle:
                add(sums, {"loss": value.detach(), **metrics})
        return self._stats(sums, sum(micro.tokens for micro in micros), total_weight)

    def score(self, micros: list[MicroBatch], loss: LossFn) -> list[tuple[float, dict[str, float], float]]:
        """See Runtime. Afterwards weights are cut again, which torch leaves to the backward that does not come."""
        found = []
        with torch.no_grad():
            for micro in micros:
                value, metrics = self._task(micro, loss)
                found.append((float(value), {name: float(one) for name, one in metrics.items()}, micro.weight))
        self._cut_again()
        return found

    def step(self, lr: float, max_norm: float) -> float:
        """See Runtime. The norm is that over all ranks' rows, in double precision, so that all agree."""
        self._meet()
        gradients = [one.grad for one in self.optimizer.parameters.values() if one.grad is not None]
        squares = sum((one.double().square().sum() for one in gradients), torch.zeros((), dtype=torch.float64, device=self._device))
        dist.all_reduce(squares)
        norm = float(squares.sqrt())
        if norm < float("inf"):  # false for NaN too
            if norm > max_norm:
                for one in gradients:
                    one.mul_(max_norm / (norm + 1e-6))
            self.optimizer.step(lr)
        self.clear_gradients()
        return norm

    def clear_gradients(self) -> None:
        """See Runtime: torch's and the optimizer's view of them."""
        self.optimizer.zero()
        for one in self._task.parameters():
            one.grad = None

    def own_part(self, tensor: Tensor) -> Tensor | None:
        """See Runtime."""
        return _local(tensor).flatten() if isinstance(tensor, DTensor) else None

    def _whole_of(self, parameter: nn.Parameter) -> Tensor:
        return parameter.full_tensor().detach() if isinstance(parameter, DTensor) else parameter.detach().clone()

    def _build(self, spec: OptimizerSpec) -> NamedOptimizer:
        """The optimizer works on plain tensors: this rank's rows, in the memory that torch puts together from."""
        return NamedOptimizer(self.bundle.trainee, spec, own=lambda one: nn.Parameter(_local(one)))

    def _meet(self) -> None:
        """Gradients have met already: they go to where the optimizer looks. Weights must still lie in the same memory."""
        known = dict(self.bundle.trainee.named_parameters())
        for name, mine in self.optimizer.parameters.items():
            whole = known[name]
            if not isinstance(whole, DTensor) or _local(whole).data_ptr() != mine.data_ptr():
                raise WorkerError("lost_shard", f"{name} is no longer where it was cut.", "Report this as a fault.")
            mine.grad = whole.grad.to_local() if isinstance(whole.grad, DTensor) else None
        for buffer in self._buffers:
            dist.broadcast(buffer, src=0)

    def _cut_again(self) -> None:
        for module in self._task.modules():
            if isinstance(module, FSDPModule):
                module.reshard()

    def _assert_sharded(self) -> None:
        """Wrappers fall back silently (data parallel on a CPU, one process); a run must not believe that it is sharded then."""
        whole = mine = room = 0
        right = self.mesh.size() == self.world == ranks.world() > 1
        for one in self.bundle.trainee.parameters():
            right = right and isinstance(one, DTensor) and one.placements == (Shard(0),) and one.device_mesh == self.mesh
            local = _local(one)
            whole, mine = whole + one.numel(), mine + local.numel()
            room += one.numel() // max(1, one.shape[0])
        if not right or mine > whole / self.world + room:
            what = f"The weights were not cut over {ranks.world()} processes."
            raise WorkerError("not_sharded", what, "Start one process per GPU, or choose ddp.")


class Fsdp(Strategy):
    """No `generation`, no `whole_weights`, no `alone`: a rank has its rows of each weight, and a forward takes all ranks."""

    provides: ClassVar[frozenset[str]] = frozenset({"uneven_micros"})

    def __init__(self, settings: StageSettings) -> None:
        super().__init__(settings)
        self.reshard = bool(settings.strategy.get("reshard", True))

    def start(self, bundle: Bundle, modality: Modality, spec: OptimizerSpec) -> Runtime:
        """See Strategy. Raises WorkerError for one process and for a quantised base."""
        ranks.join()
        if not dist.is_initialized():
            raise WorkerError("one_process", "FSDP needs two processes or more.", "Start one process per GPU, or choose single.")
        if any(not one.is_floating_point() for one in bundle.trainee.parameters()):
            raise WorkerError("quantised_base", "FSDP does not cut a quantised base.", "Choose fp32 or bf16, or ddp.")
        refuse(bundle.trainee)
        return FsdpRuntime(bundle, modality, spec, reshard=self.reshard)


def _sharded(task: Task, mesh: DeviceMesh, reshard: bool) -> Task:
    """Blocks first, then what is left. torch divides gradients by the ranks; the gradient law wants their sum."""
    for block in blocks_of(task.trainee):
        fully_shard(block, mesh=mesh, reshard_after_forward=reshard)
    fully_shard(task, mesh=mesh, reshard_after_forward=reshard)
    for module in task.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)  # gloo knows sums alone
    return task


def _local(parameter: Tensor) -> Tensor:
    return parameter.to_local().detach() if isinstance(parameter, DTensor) else parameter.detach()
