"""One process, one device."""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

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
from kriptik.engine.strategies.loss_scale import scale_for
from kriptik.engine.strategies.optim import NamedOptimizer


class SingleRuntime(Runtime):
    """Forward and backward in this process. `ddp` builds on it: only what crosses processes is added there."""

    def __init__(self, bundle: Bundle, modality: Modality, spec: OptimizerSpec) -> None:
        self.bundle, self.modality = bundle, modality
        self.optimizer = self._build(spec)
        self._keep_gradients = spec.keep_gradients
        self._scale = scale_for(bundle.trainee, list(self.optimizer.parameters.values()))

    def forward(self, micro: MicroBatch) -> Any:
        """See Runtime."""
        return self.modality.forward(self.bundle.trainee, micro)

    def forward_backward(
        self, micros: list[MicroBatch], loss: LossFn, total_weight: float, penalty: Penalty | None = None
    ) -> StepStats:
        """See Runtime. Losses stay on the device until the last micro-batch, so that a GPU is asked once."""
        sums: dict[str, Any] = {}
        for micro in micros:
            value, metrics = loss(self.forward(micro), micro)
            self.backward(value / total_weight)
            add(sums, {"loss": value.detach(), **metrics})
        if self.rank == 0 and penalty is not None and (term := penalty()) is not None:
            self.backward(term)
        return self._stats(sums, sum(micro.tokens for micro in micros), total_weight)

    def backward(self, value: Tensor) -> None:
        """See Runtime."""
        (value * self._scale.value if self._scale else value).backward()

    def score(self, micros: list[MicroBatch], loss: LossFn) -> list[tuple[float, dict[str, float], float]]:
        """See Runtime."""
        found = []
        with torch.no_grad():
            for micro in micros:
                value, metrics = loss(self.forward(micro), micro)
                found.append((float(value), {name: float(one) for name, one in metrics.items()}, micro.weight))
        return found

    def step(self, lr: float, max_norm: float) -> float:
        """See Runtime."""
        self._meet()
        if self._scale:
            self._scale.divide(list(self.optimizer.parameters.values()))
        norm = self.optimizer.clip(max_norm)
        finite = norm < float("inf")  # false for NaN too
        self.rescaled = self._scale is not None and self._scale.judge(finite=finite)
        if finite:
            self.optimizer.step(lr)
        if not (finite and self._keep_gradients):
            self.optimizer.zero()
        return norm

    def clear_gradients(self) -> None:
        """See Runtime."""
        self.optimizer.zero()

    def reset_optimizer(self, names: Sequence[str]) -> None:
        """See Runtime."""
        self.optimizer.reset(names)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """See Runtime."""
        return self.optimizer.state(), {"loss_scale": self._scale.state()} if self._scale else {}

    def load_state(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """See Runtime."""
        self.optimizer.load_state(tensors)
        if self._scale and "loss_scale" in state:
            self._scale.load_state(state["loss_scale"])

    def close(self) -> None:
        """See Runtime: gradients and optimizer state go, the trainee was never wrapped."""
        self.optimizer.zero()
        self.optimizer.optimizer.state.clear()

    def _build(self, spec: OptimizerSpec) -> NamedOptimizer:
        return NamedOptimizer(self.bundle.trainee, spec)

    def _meet(self) -> None:
        """Before clipping: gradients of all processes become one. Alone there is nothing to do."""

    def _stats(self, sums: dict[str, Any], tokens: int, total_weight: float) -> StepStats:
        names = sorted(sums)
        values = [float(sums[name]) / total_weight for name in names]
        means = dict(zip(names, values, strict=True))
        return StepStats(loss=means.pop("loss", 0.0), weight=total_weight, tokens=tokens, metrics=means)


class Single(Strategy):
    """Everything on one device; it can do all that a strategy may be asked for."""

    provides: ClassVar[frozenset[str]] = frozenset(
        {"generation", "own_backward", "whole_weights", "reset_optimizer", "penalty", "gradients", "uneven_micros", "alone"}
    )

    def start(self, bundle: Bundle, modality: Modality, spec: OptimizerSpec) -> Runtime:
        """See Strategy."""
        return SingleRuntime(bundle, modality, spec)


def add(sums: dict[str, Any], more: dict[str, Any]) -> None:
    """Adds numbers by name; tensors stay where they are."""
    for name, value in more.items():
        value = value.detach() if isinstance(value, Tensor) else value
        sums[name] = sums[name] + value if name in sums else value
