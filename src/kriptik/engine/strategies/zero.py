"""ZeRO stages 1 and 2 by DeepSpeed: every rank holds whole weights, optimizer state (2: and gradients) are cut over ranks.

Source: Rajbhandari et al. 2020, "ZeRO: Memory Optimizations Toward Training Trillion Parameter Models". DeepSpeed's own
accumulation, mean and scheduler are out of play: it is told each micro-batch's share of the update's loss × ranks, and that `step`
ends the update. Its CPU kernels, which take minutes to build, are not used.
"""

import logging
import os
from collections.abc import Sequence
from contextlib import suppress
from types import ModuleType
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from kriptik.engine import ranks
from kriptik.engine.interfaces import (
    Bundle,
    LossFn,
    MicroBatch,
    Modality,
    OptimizerSpec,
    Penalty,
    StepStats,
)
from kriptik.engine.strategies.ddp import DdpRuntime
from kriptik.engine.strategies.idle import rounds, traceless
from kriptik.engine.strategies.single import add
from kriptik.spec.errors import WorkerError

WEIGHTS = {"stage3_param_persistence_threshold": 0, "stage3_prefetch_bucket_size": 0, "stage3_max_reuse_distance": 0}
"""Stage 3: small weights are cut too, and nothing stays whole because it may soon be wanted again."""


class Task(nn.Module):
    """What DeepSpeed wraps: one micro-batch to its share of the update's loss, so that its hooks always see a scalar."""

    def __init__(self, trainee: nn.Module, modality: Modality) -> None:
        super().__init__()
        self.trainee, self.modality = trainee, modality
        self.sums: dict[str, Any] = {}

    def forward(self, micro: MicroBatch, loss: LossFn, scale: float, penalty: Penalty | None) -> Tensor:
        """The loss times `scale`, with the penalty: all ranks bring the whole of it, of which DeepSpeed takes the mean."""
        value, metrics = loss(self.modality.forward(self.trainee, micro), micro)
        add(self.sums, {"loss": value.detach(), **metrics})
        term = penalty() if penalty is not None else None
        return value * scale if term is None else value * scale + term


class ZeroRuntime(DdpRuntime):
    """A `DdpRuntime` whose backward and step belong to DeepSpeed's engine."""

    def __init__(self, bundle: Bundle, modality: Modality, spec: OptimizerSpec, stage: int) -> None:
        super().__init__(bundle, modality, spec)
        trained = list(self.optimizer.parameters.values())
        if any(one.dtype != torch.float32 for one in trained):
            raise WorkerError(
                "unfit_precision", "ZeRO here trains fp32 weights only.", "Choose fp32 weights, or adapters on a smaller base."
            )
        self._task = Task(bundle.trainee, modality)
        self.engine = _engine(self._task, self.optimizer.optimizer, stage)
        self.zero = self.engine.optimizer
        self._assert_sharded(stage, sum(one.numel() for one in trained))

    def forward_backward(
        self, micros: list[MicroBatch], loss: LossFn, total_weight: float, penalty: Penalty | None = None
    ) -> StepStats:
        """See Runtime. DeepSpeed takes the mean over ranks, so each rank brings its share × ranks."""
        self._task.sums = {}
        for number, (micro, idle) in enumerate(rounds(micros, self._device)):
            kept = dict(self._task.sums)
            with traceless(self.bundle.trainee, idle):
                scale = 0.0 if idle else self.world / total_weight
                share = self.engine(micro, loss, scale, penalty if number == 0 else None)
                self.engine.backward(share, scale_wrt_gas=False)
            if idle:
                self._task.sums = kept
        return self._stats(self._task.sums, sum(micro.tokens for micro in micros), total_weight)

    def backward(self, value: Tensor) -> None:
        """Not offered: DeepSpeed reduces inside every backward, which all ranks must call equally often."""
        raise NotImplementedError

    def step(self, lr: float, max_norm: float) -> float:
        """See Runtime. DeepSpeed drops an update whose norm is not finite."""
        for group, scale in zip(self.zero.optimizer.param_groups, self.optimizer._scales, strict=True):
            group["lr"] = lr * scale
        self.zero.clip_grad = max_norm
        self.engine.step()
        for buffer in self._buffers:
            dist.broadcast(buffer, src=0)
        return float("inf") if self.zero.overflow else float(self.engine.get_global_grad_norm())

    def reset_optimizer(self, names: Sequence[str]) -> None:
        """Not offered: a rank's optimizer state is one flat piece that ends amid parameters."""
        raise NotImplementedError

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """See Runtime: this rank's flat pieces, one per optimizer group."""
        found = {
            f"group{number}/{key}": value
            for number, flat in enumerate(self._pieces())
            for key, value in self.zero.optimizer.state.get(flat, {}).items()
        }
        return found, {"sizes": [flat.numel() for flat in self._pieces()]}

    def load_state(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """See Runtime."""
        self.zero.refresh_fp32_params()
        self._load_pieces(tensors, state)

    def _load_pieces(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        pieces = self._pieces()
        if state["sizes"] != [flat.numel() for flat in pieces]:
            what = "The checkpoint's optimizer state was cut in another way."
            raise WorkerError("other_world", what, "Resume with the settings it was made with.")
        self.zero.optimizer.state.clear()
        for full, saved in tensors.items():
            group, _, key = full.partition("/")
            flat = pieces[int(group.removeprefix("group"))]
            value = torch.empty_like(flat) if saved.shape == flat.shape else torch.empty_like(saved)
            self.zero.optimizer.state[flat][key] = value.detach().copy_(saved)

    def close(self) -> None:
        """See Runtime: weights leave DeepSpeed's flat buffers, its hooks go."""
        self.engine.destroy()
        for parameter in self.optimizer.parameters.values():
            parameter.data = parameter.data.clone()
            parameter.grad = None

    def _pieces(self) -> list[Tensor]:
        return list(self.zero.single_partition_of_fp32_groups)

    def _assert_sharded(self, stage: int, size: int) -> None:
        """Engines fall back silently where a device is not what they expect; a run must not believe it is sharded then."""
        mine = sum(flat.numel() for flat in self._pieces())
        kept = size / self.world
        padding = 2 * self.world * len(self._pieces())
        sharded = type(self.zero).__name__ == "DeepSpeedZeroOptimizer" and kept <= mine <= kept + padding
        if not sharded or self.engine.zero_optimization_stage() != stage or self.engine.dp_world_size != ranks.world():
            raise WorkerError(
                "not_sharded",
                f"DeepSpeed did not cut the optimizer over {ranks.world()} processes.",
                "Start the run with torchrun on every GPU, or choose ddp.",
            )


def ds_config(stage: int) -> dict[str, Any]:
    """DeepSpeed's configuration. Batch numbers are placeholders: the loop owns batches, `step` ends an update."""
    weights = WEIGHTS if stage == 3 else {}
    return {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "managed_gradient_accumulation": False,
        "zero_optimization": {"stage": stage, "overlap_comm": False, "reduce_bucket_size": 5 * 10**7, **weights},
        "zero_allow_untested_optimizer": True,
        "gradient_clipping": 1.0,  # replaced at every step; not 0, or the norm would not be used
        "steps_per_print": 10**9,
    }


def _engine(task: Task, optimizer: torch.optim.Optimizer, stage: int) -> Any:
    found = library()
    before = {id(module): set(module._forward_hooks) | set(module._forward_pre_hooks) for module in task.trainee.modules()}
    engine, *_ = found.initialize(model=task, optimizer=optimizer, config=ds_config(stage), dist_init_required=False)
    for module in task.trainee.modules():
        if stage < 3 and set(module._forward_hooks) | set(module._forward_pre_hooks) != before[id(module)]:
            raise WorkerError("unfit_engine", "This version of DeepSpeed hooks into the model itself.", "Report this as a fault.")
    return engine


def library() -> ModuleType:
    """DeepSpeed, told what it has to work with. Raises WorkerError where it is not installed."""
    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    try:
        import deepspeed
        from deepspeed import ops
    except ImportError as error:
        raise WorkerError("no_deepspeed", "DeepSpeed is not installed.", "Install the extra 'deepspeed'.") from error
    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    with suppress(AttributeError):  # its shared-memory collectives: 80 s of compiling, and gloo does without
        ops.__compatible_ops__["deepspeed_shm_comm"] = False
    return deepspeed
