"""What strategies share whose ranks hold a part of every weight: whole weights in a plain model, ranks in lockstep.

A forward takes all ranks, since weights are put together for it.
"""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from kriptik.engine.interfaces import Bundle, MicroBatch
from kriptik.engine.strategies.ddp import DdpRuntime
from kriptik.spec.errors import WorkerError


class ShardedRuntime(DdpRuntime):
    """A subclass cuts the trainee, and gives `_whole_of`, `own_part`, `clear_gradients`. Before that it calls `_keep_plain`."""

    lockstep = True

    def forward(self, micro: MicroBatch) -> Any:
        """Not offered: an output outlives the weights that the loss may want with it."""
        raise NotImplementedError

    def backward(self, value: Tensor) -> None:
        """Not offered: gradients leave the rank inside every backward, which all ranks must call equally often."""
        raise NotImplementedError

    def reset_optimizer(self, names: Sequence[str]) -> None:
        """Not offered, like whole weights, which who asks for this rewrites."""
        raise NotImplementedError

    @contextmanager
    def generation(self) -> Iterator[None]:
        """Not offered: ranks generate at their own pace. Raises WorkerError."""
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

    def close(self) -> None:
        """See Runtime: whole weights in the plain model."""
        touched = forgotten(self.bundle)
        _put(self._plain, self._whole(keep=True))
        self.clear_gradients()
        self.optimizer.optimizer.state.clear()
        self.bundle.trainee = self._plain.train()
        self.bundle.touch(*(one for name, one in self._plain.named_parameters() if name in touched))

    def _whole_of(self, parameter: nn.Parameter) -> Tensor:
        """A parameter put together, in memory of its own. Collective."""
        raise NotImplementedError

    def _keep_plain(self, trainee: nn.Module) -> None:
        """The same model again, its parameters without memory and its buffers the very same; for `gather`."""
        known: dict[int, Any] = {id(one): _weightless(one) for one in trainee.parameters()}
        known |= {id(one): one for one in trainee.buffers()}
        self._plain = copy.deepcopy(trainee, known)

    @torch.no_grad()
    def _whole(self, *, keep: bool) -> dict[str, nn.Parameter]:
        """Every parameter put together, one after another; on ranks that do not keep them, none."""
        found = {}
        for name, one in self.bundle.trainee.named_parameters():
            whole = self._whole_of(one)
            if keep:
                found[name] = nn.Parameter(whole, requires_grad=one.requires_grad)
        return found


def blocks_of(module: nn.Module) -> Iterator[nn.Module]:
    """Outermost members of lists of modules, where they have weights and are called as modules: a model's layers."""
    for child in module.children():
        members = list(child.children()) if isinstance(child, nn.ModuleList) else []
        for member in members:
            if not isinstance(member, nn.ModuleList | nn.ModuleDict) and any(True for _ in member.parameters()):
                yield member
        if not members:
            yield from blocks_of(child)


def forgotten(bundle: Bundle) -> set[str]:
    """Names of the trainee's parameters that differ from the base; the bundle no longer holds them, since others will follow."""
    touched = {name for name, one in bundle.trainee.named_parameters() if id(one) in bundle.modified}
    for one in bundle.trainee.parameters():
        bundle.modified.pop(id(one), None)
    return touched


def _weightless(one: nn.Parameter) -> nn.Parameter:
    return nn.Parameter(torch.empty_like(one, device="meta"), requires_grad=one.requires_grad)


def _put(module: nn.Module, weights: dict[str, nn.Parameter]) -> None:
    """Exchanges parameters; those that were shared stay so."""
    new = {id(old): weights[name] for name, old in module.named_parameters()}
    for one in module.modules():
        for key, old in list(one._parameters.items()):
            if old is not None:
                one._parameters[key] = new[id(old)]
