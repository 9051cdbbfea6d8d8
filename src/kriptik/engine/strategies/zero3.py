"""ZeRO stage 3 by DeepSpeed: weights, gradients and optimizer state are cut over ranks, in flat pieces.

Source: Rajbhandari et al. 2020, "ZeRO: Memory Optimizations Toward Training Trillion Parameter Models". DeepSpeed's hooks put a
module's weights together while it is at work. Weights outside of the model's layers are registered with the loss, which may use
them after their own module has run. `deepspeed.py` has the strategy and what all stages share.
"""

import math
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from kriptik.engine import ranks
from kriptik.engine.interfaces import Bundle, LossFn, MicroBatch, Modality, OptimizerSpec
from kriptik.engine.strategies.sharded import ShardedRuntime, blocks_of
from kriptik.engine.strategies.zero import ZeroRuntime, library
from kriptik.spec.errors import WorkerError


class Zero3Runtime(ShardedRuntime, ZeroRuntime):
    """A `ZeroRuntime` without whole weights."""

    def __init__(self, bundle: Bundle, modality: Modality, spec: OptimizerSpec) -> None:
        self._keep_plain(bundle.trainee)
        ZeroRuntime.__init__(self, bundle, modality, spec, 3)
        inside = {id(one) for block in blocks_of(bundle.trainee) for one in block.parameters()}
        for one in bundle.trainee.parameters():
            if id(one) not in inside:
                library().zero.register_external_parameter(self._task, one)

    def score(self, micros: list[MicroBatch], loss: LossFn) -> list[tuple[float, dict[str, float], float]]:
        """See Runtime."""
        found = []
        with torch.no_grad():
            for micro in micros:
                self._task.sums = {}
                self.engine(micro, loss, 1.0, None)
                metrics = {name: float(one) for name, one in self._task.sums.items()}
                found.append((metrics.pop("loss"), metrics, micro.weight))
        return found

    def load_state(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """See Runtime. Master weights were made from the restored weights when the strategy started."""
        self._load_pieces(tensors, state)

    def own_part(self, tensor: Tensor) -> Tensor | None:
        """See Runtime: without what fills up the last rank's piece."""
        if not hasattr(tensor, "ds_tensor"):
            return None
        piece: Any = tensor.ds_tensor  # type: ignore[attr-defined]  # DeepSpeed's own mark on a parameter
        return piece[: max(0, min(piece.numel(), tensor.ds_numel - self.rank * piece.numel()))]  # type: ignore[attr-defined]

    def clear_gradients(self) -> None:
        """See Runtime."""
        for one in self._task.parameters():
            one.grad = None

    def close(self) -> None:
        """See Runtime."""
        ShardedRuntime.close(self)
        self.engine.destroy()

    def _whole_of(self, parameter: nn.Parameter) -> Tensor:
        with library().zero.GatheredParameters([parameter]):
            return parameter.detach().clone()

    def _pieces(self) -> list[Tensor]:
        return list(self.zero.fp32_partitioned_groups_flat)

    def _assert_sharded(self, stage: int, size: int) -> None:
        """See ZeroRuntime; here every weight must have left the rank but for its piece."""
        right = type(self.zero).__name__ == "DeepSpeedZeroOptimizer_Stage3" and self.engine.zero_optimization_stage() == stage
        for one in self._task.parameters():
            piece: Any = getattr(one, "ds_tensor", None)
            most = one.numel() if piece is None else math.ceil(one.ds_numel / self.world) + self.world  # type: ignore[attr-defined]
            right = right and piece is not None and one.numel() == 0 and piece.numel() <= most
        if not right or not self.engine.dp_world_size == dist.get_world_size() == ranks.world() > 1:
            what = f"DeepSpeed did not cut the weights over {ranks.world()} processes."
            raise WorkerError("not_sharded", what, "Start one process per GPU, or choose ddp.")
