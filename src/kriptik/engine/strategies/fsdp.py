"""Fully sharded data parallel by torch (`fully_shard`, FSDP2): weights, gradients and optimizer state are cut over ranks.

Source: Zhao et al. 2023, "PyTorch FSDP: Experiences on Scaling Fully Sharded Data Parallel". Every parameter is cut along its
first dimension; a block's weights are put together while it is at work and cut again afterwards. Settings
(`settings.strategy`): `reshard` (true; false keeps them together from a forward to its backward: less traffic, more memory).

The blocks are the members of the model's lists of modules; all other weights form one group with the loss, which must run inside
the wrapped module since it may use them. A forward therefore takes all ranks, and a rank without a micro-batch repeats one at
weight 0.
"""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
from kriptik.engine.strategies.ddp import DdpRuntime
from kriptik.engine.strategies.optim import NamedOptimizer
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


class FsdpRuntime(DdpRuntime):
    """A `DdpRuntime` whose ranks hold their rows of every parameter, and a plain model without weights to put them together in."""

    lockstep = True

    def __init__(self, bundle: Bundle, modality: Modality, spec: OptimizerSpec, *, reshard: bool) -> None:
        touched = {name for name, one in bundle.trainee.named_parameters() if id(one) in bundle.modified}
        for one in bundle.trainee.parameters():
            bundle.modified.pop(id(one), None)
        self._plain = _without_weights(bundle.trainee)
        self.mesh = init_device_mesh(ranks.device().type, (dist.get_world_size(),))
        self._task = _sharded(Task(bundle.trainee, modality), self.mesh, reshard)
        super().__init__(bundle, modality, spec)
        bundle.touch(*(one for name, one in bundle.trainee.named_parameters() if name in touched))
        self._assert_sharded()

    def forward(self, micro: MicroBatch) -> Any:
        """Not offered: an output outlives the weights that the loss may want with it."""
        raise NotImplementedError

    def forward_backward(
        self, micros: list[MicroBatch], loss: LossFn, total_weight: float, penalty: Penalty | None = None
    ) -> StepStats:
        """See Runtime. Gradients are summed and cut after every micro-batch, so that no rank ever keeps whole ones."""
        if penalty is not None and penalty() is not None:
            raise WorkerError("unfit_penalty", "Sharded weights take no term of their own in the loss.", "Choose ddp.")
        sums: dict[str, Any] = {}
        most, filler = self._filled(micros)
        for number in range(most):
            idle = number >= len(micros)
            value, metrics = self._task(filler if idle else micros[number], loss)
            (value * 0.0 if idle else value / total_weight).backward()
            if not idle:
                add(sums, {"loss": value.detach(), **metrics})
        return self._stats(sums, sum(micro.tokens for micro in micros), total_weight)

    def backward(self, value: Tensor) -> None:
        """Not offered: gradients leave the rank inside every backward, which all ranks must call equally often."""
        raise NotImplementedError

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

    def reset_optimizer(self, names: Sequence[str]) -> None:
        """Not offered, with whole weights, which who asks for this rewrites."""
        raise NotImplementedError

    @contextmanager
    def generation(self) -> Iterator[None]:
        """Not offered: ranks generate at their own pace, a sharded forward takes all of them."""
        raise WorkerError("unfit_generation", "A model with sharded weights cannot generate while it trains.", "Choose ddp.")
        yield

    @contextmanager
    def gather(self) -> Iterator[None]:
        """See Runtime: on rank 0 the plain model takes the trainee's place."""
        weights = self._whole(keep=self.rank == 0)
        if self.rank != 0:
            yield
            return
        sharded, self.bundle.trainee = self.bundle.trainee, self._plain
        _put(self._plain, weights)
        modes = {name: module.training for name, module in sharded.named_modules()}
        for name, module in self._plain.named_modules():
            module.training = modes[name]
        try:
            yield
        finally:
            self.bundle.trainee = sharded
            _put(self._plain, {name: _weightless(one) for name, one in weights.items()})

    def own_rows(self, tensor: Tensor) -> Tensor | None:
        """See Runtime."""
        return tensor.to_local() if isinstance(tensor, DTensor) else None

    def close(self) -> None:
        """See Runtime: whole weights in the plain model."""
        touched = {name for name, one in self.bundle.trainee.named_parameters() if id(one) in self.bundle.modified}
        for one in self.bundle.trainee.parameters():
            self.bundle.modified.pop(id(one), None)
        self.clear_gradients()
        self.optimizer.optimizer.state.clear()
        _put(self._plain, self._whole(keep=True))
        self.bundle.trainee = self._plain.train()
        self.bundle.touch(*(one for name, one in self._plain.named_parameters() if name in touched))

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

    def _filled(self, micros: list[MicroBatch]) -> tuple[int, MicroBatch | None]:
        """The most micro-batches a rank has, and what ranks with fewer of them run instead: one of rank 0, which has the most."""
        counts = torch.tensor([len(micros), -len(micros)], device=self._device)
        dist.all_reduce(counts, op=dist.ReduceOp.MAX)
        most, least = int(counts[0]), -int(counts[1])
        if most == least:
            return most, None
        box = [micros[0] if self.rank == 0 else None]
        dist.broadcast_object_list(box, src=0, device=self._device)
        return most, box[0]

    def _cut_again(self) -> None:
        for module in self._task.modules():
            if isinstance(module, FSDPModule):
                module.reshard()

    @torch.no_grad()
    def _whole(self, *, keep: bool) -> dict[str, nn.Parameter]:
        """Every parameter put together, one after another; on ranks that do not keep them, none."""
        found = {}
        for name, one in self.bundle.trainee.named_parameters():
            whole = one.full_tensor() if isinstance(one, DTensor) else one
            if keep:
                found[name] = nn.Parameter(whole.detach(), requires_grad=one.requires_grad)
        return found

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
        return FsdpRuntime(bundle, modality, spec, reshard=self.reshard)


def _sharded(task: Task, mesh: DeviceMesh, reshard: bool) -> Task:
    """Blocks first, then what is left. torch divides gradients by the ranks; the gradient law wants their sum."""
    for block in _blocks(task.trainee):
        fully_shard(block, mesh=mesh, reshard_after_forward=reshard)
    fully_shard(task, mesh=mesh, reshard_after_forward=reshard)
    for module in task.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)  # gloo knows sums alone
    return task


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    """Outermost members of lists of modules, where they have weights and are called as modules."""
    for child in module.children():
        members = list(child.children()) if isinstance(child, nn.ModuleList) else []
        for member in members:
            if not isinstance(member, nn.ModuleList | nn.ModuleDict) and any(True for _ in member.parameters()):
                yield member
        if not members:
            yield from _blocks(child)


def _local(parameter: Tensor) -> Tensor:
    return parameter.to_local().detach() if isinstance(parameter, DTensor) else parameter.detach()


def _without_weights(module: nn.Module) -> nn.Module:
    """The same model again, its parameters without memory and its buffers the very same."""
    known: dict[int, Any] = {id(one): _weightless(one) for one in module.parameters()}
    known |= {id(one): one for one in module.buffers()}
    return copy.deepcopy(module, known)


def _weightless(one: nn.Parameter) -> nn.Parameter:
    return nn.Parameter(torch.empty_like(one, device="meta"), requires_grad=one.requires_grad)


def _put(module: nn.Module, weights: dict[str, nn.Parameter]) -> None:
    """Exchanges parameters; those that were shared stay so."""
    new = {id(old): weights[name] for name, old in module.named_parameters()}
    for one in module.modules():
        for key, old in list(one._parameters.items()):
            if old is not None:
                one._parameters[key] = new[id(old)]
