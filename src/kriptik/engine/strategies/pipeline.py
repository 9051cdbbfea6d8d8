"""Pipeline over processes: each rank trains a run of layers, micro-batches flow through by one-forward-one-backward (1F1B).

Source: Narayanan et al. 2019, "PipeDream"; the schedule is torch's own. One stage per rank. All ranks see the same rows, so the
data world is 1. Activations of one schedule must be equal in shape, so micro-batches are scheduled in runs of equal shape; a run
shorter than the pipeline is filled with repeats that weigh nothing. A new shape costs one more forward and backward (torch asks
the layers for their shapes): rows of many lengths are better packed.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import groupby
from typing import Any, ClassVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.pipelining import PipelineStage, Schedule1F1B

from kriptik.engine import ranks
from kriptik.engine.interfaces import (
    Bundle,
    LossFn,
    MicroBatch,
    Modality,
    OptimizerSpec,
    Penalty,
    Runtime,
    StepStats,
    Strategy,
)
from kriptik.engine.strategies.loss_scale import refuse
from kriptik.engine.strategies.optim import NamedOptimizer
from kriptik.spec.errors import WorkerError

Job = tuple[MicroBatch, float]
"""A micro-batch and what its loss is multiplied by; 0 for a repeat that only fills the pipeline."""


class Cut(nn.Module):
    """One rank's layers as torch's schedule calls them: with the number of a micro-batch, whose inputs every rank has."""

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers
        self.jobs: list[Job] = []
        self.asked = False
        """The next forward is torch's question for shapes: it must leave no trace in buffers."""

    def forward(self, first: Tensor, number: Tensor | None = None) -> Tensor:
        """The first rank is given the number alone; the others the activations and, by keyword, the number."""
        before = [(one, one.clone()) for one in self.layers.buffers()] if self.asked else []
        self.asked = False
        if number is None:
            output = self.layers(**self.jobs[int(first)][0].inputs)
        else:
            output = self.layers(first, **self.jobs[int(number)][0].inputs)
        with torch.no_grad():
            for one, value in before:
                one.copy_(value)
        return output


class PipelineRuntime(Runtime):
    """This rank's stage: its layers, its part of the optimizer, its shard of a checkpoint."""

    def __init__(self, bundle: Bundle, modality: Modality, spec: OptimizerSpec) -> None:
        self.rank, self.world = dist.get_rank(), dist.get_world_size()
        self.bundle, self.modality = bundle, modality
        self._device = ranks.device()
        stages = modality.layers(bundle, self.world)
        self._owner = _owners(bundle.trainee, stages)
        self.cut = Cut(stages[self.rank])
        groups = [replace(group, names=[name for name in group.names if self._owner[name] == self.rank]) for group in spec.groups]
        mine = [group for group in groups if group.names]
        if not mine:
            raise WorkerError(
                "nothing_trained", f"Pipeline stage {self.rank} has nothing to train.", "Use fewer stages, or train more layers."
            )
        self.optimizer = NamedOptimizer(bundle.trainee, OptimizerSpec(mine, spec.kind, spec.options))
        self._schedules: dict[Any, Schedule1F1B] = {}
        self._loss: LossFn | None = None
        self._results: dict[int, dict[str, Any]] = {}

    @property
    def last(self) -> int:
        """The rank whose output is the model's."""
        return self.world - 1

    def forward(self, micro: MicroBatch) -> Any:
        """See Runtime: without gradients only. The output is on every rank."""
        if torch.is_grad_enabled():
            raise WorkerError("unfit_forward", "A pipeline cannot give a forward with its graph.", "Choose another strategy.")
        return _broadcast(self._through(micro), self.last)

    def forward_backward(
        self, micros: list[MicroBatch], loss: LossFn, total_weight: float, penalty: Penalty | None = None
    ) -> StepStats:
        """See Runtime. The schedule sums over micro-batches (no mean), so each brings its loss ÷ total weight."""
        sums: dict[str, float] = {}
        self._loss = loss
        for shape, run in groupby(micros, key=_shape):
            jobs = [(micro, 1.0 / total_weight) for micro in run]
            jobs += [(jobs[-1][0], 0.0)] * (self.world - len(jobs))
            self._run(shape, jobs)
            for number, (_, scale) in enumerate(jobs):
                for name, value in self._results.get(number, {}).items() if scale else ():
                    sums[name] = sums.get(name, 0.0) + float(value)
        sums = _broadcast(sums, self.last)
        means = {name: value / total_weight for name, value in sums.items()}
        tokens = sum(micro.tokens for micro in micros)
        return StepStats(loss=means.pop("loss", 0.0), weight=total_weight, tokens=tokens, metrics=means)

    def score(self, micros: list[MicroBatch], loss: LossFn) -> list[tuple[float, dict[str, float], float]]:
        """See Runtime."""
        found = []
        with torch.no_grad():
            for micro in micros:
                output = self._through(micro)
                if self.rank == self.last:
                    value, metrics = loss(output, micro)
                    found.append((float(value), {name: float(one) for name, one in metrics.items()}, micro.weight))
        return _broadcast(found, self.last)

    def step(self, lr: float, max_norm: float) -> float:
        """See Runtime. Every rank clips by the norm over all stages, in double precision, so that all agree."""
        gradients = [one.grad for one in self.optimizer.parameters.values() if one.grad is not None]
        squares = sum((one.double().square().sum() for one in gradients), torch.zeros((), dtype=torch.float64, device=self._device))
        dist.all_reduce(squares)
        norm = float(squares.sqrt())
        if norm < float("inf"):  # false for NaN too
            if norm > max_norm:
                for one in gradients:
                    one.mul_(max_norm / (norm + 1e-6))
            self.optimizer.step(lr)
        self.optimizer.zero()
        return norm

    def share(self, value: Any) -> Any:
        """See Runtime."""
        return _broadcast(value, 0)

    def barrier(self) -> None:
        """See Runtime."""
        dist.barrier()

    def owns(self, name: str) -> bool:
        """See Runtime: the rank that has the layer; rank 0 what no stage has."""
        return self._owner.get(name, 0) == self.rank

    @contextmanager
    def gather(self) -> Iterator[None]:
        """See Runtime: every rank gets every stage's weights and buffers."""
        state = self.bundle.trainee.state_dict(keep_vars=True)
        with torch.no_grad():
            for name in sorted(self._owner):
                if name in state:
                    dist.broadcast(state[name].data, src=self._owner[name])
        yield

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """See Runtime."""
        return self.optimizer.state(), {"stages": self.world}

    def load_state(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """See Runtime."""
        self.optimizer.load_state(tensors)

    def close(self) -> None:
        """See Runtime: every rank has the whole trainee again."""
        with self.gather():
            self.optimizer.zero()
            self.optimizer.optimizer.state.clear()
            self._schedules.clear()

    def _run(self, shape: Any, jobs: list[Job]) -> None:
        """One schedule over micro-batches of equal shape. Results of the last rank go to `_results` by number."""
        self.cut.jobs, self._results = jobs, {}
        schedule = self._schedules.get((shape, len(jobs)))
        if schedule is None:
            stage = PipelineStage(self.cut, self.rank, self.world, self._device)
            schedule = Schedule1F1B(stage, len(jobs), loss_fn=self._share_of, scale_grads=False)
            self._schedules = {(shape, len(jobs)): schedule}  # one is kept: shapes mostly stay
            self.cut.asked = True
        numbers = torch.arange(len(jobs), device=self._device)
        with torch.enable_grad():
            if self.rank == 0:
                schedule.step(numbers, target=numbers if self.last == 0 else None, return_outputs=False)
            else:
                target = numbers if self.rank == self.last else None
                schedule.step(number=numbers, target=target, return_outputs=False)

    def _share_of(self, output: Tensor, number: Tensor) -> Tensor:
        micro, scale = self.cut.jobs[int(number)]
        assert self._loss is not None
        value, metrics = self._loss(self._result(output), micro)
        self._results[int(number)] = {"loss": value.detach(), **metrics}
        return value * scale

    def _result(self, output: Tensor) -> Any:
        """What the objective takes: between processes go tensors alone, the last stage may make something else of them."""
        make = getattr(self.cut.layers, "result", None)
        return make(output) if make is not None else output

    def _through(self, micro: MicroBatch) -> Any:
        """One micro-batch through all stages without gradients; the output on the last rank, None elsewhere."""
        if self.rank == 0:
            output = self.cut.layers(**micro.inputs)
        else:
            box: list[Any] = [None]
            dist.recv_object_list(box, src=self.rank - 1, device=self._device)
            output = self.cut.layers(box[0].to(self._device), **micro.inputs)
        if self.rank == self.last:
            return self._result(output)
        dist.send_object_list([output], dst=self.rank + 1, device=self._device)
        return None


class Pipeline(Strategy):
    """One stage per process. No generation, no penalty, no whole weights: a rank sees its own layers alone."""

    needs: ClassVar[frozenset[str]] = frozenset({"layers"})
    provides: ClassVar[frozenset[str]] = frozenset({"uneven_micros", "alone"})

    def start(self, bundle: Bundle, modality: Modality, spec: OptimizerSpec) -> Runtime:
        """See Strategy."""
        ranks.join()
        if not dist.is_initialized():
            raise WorkerError("one_process", "A pipeline needs two processes or more.", "Start with torchrun, or choose single.")
        refuse(bundle.trainee)
        return PipelineRuntime(bundle, modality, spec)


def _owners(trainee: nn.Module, stages: Sequence[nn.Module]) -> dict[str, int]:
    """Name of parameter or buffer in the trainee → its stage. Raises WorkerError for one in two stages (tied) or in none."""
    places: dict[int, int] = {}
    for number, stage in enumerate(stages):
        for tensor in (*stage.parameters(), *stage.buffers()):
            if places.setdefault(id(tensor), number) != number and tensor.requires_grad:
                raise WorkerError(
                    "tied_stages", "Two stages of the pipeline share a weight.", "Use fewer stages or a model without tied weights."
                )
    lost = [name for name, one in trainee.named_parameters() if one.requires_grad and id(one) not in places]
    if lost:
        raise WorkerError("lost_weight", f"No stage of the pipeline holds {lost[0]}.", "Report this as a fault.")
    named = [*trainee.named_parameters(), *trainee.named_buffers()]
    return {name: places[id(one)] for name, one in named if id(one) in places}


def _shape(micro: MicroBatch) -> tuple[Any, ...]:
    """What decides the shape of activations."""
    return tuple((name, tuple(one.shape)) for name, one in sorted(micro.inputs.items()) if isinstance(one, Tensor))


def _broadcast(value: Any, source: int) -> Any:
    box = [value]
    dist.broadcast_object_list(box, src=source, device=ranks.device())
    return box[0]
