"""The loss scale of weights in fp16: gradients below 6e-8 would be lost, so the loss is multiplied before the backward.

Source: Micikevicius et al. 2017, "Mixed Precision Training", sections 3.2 and 4; factors are torch's `GradScaler`'s. Scales are
powers of two and what is trained is held in fp32, so that dividing again is exact.
"""

from typing import Any

import torch
from torch import Tensor, nn

from kriptik.spec.errors import WorkerError

FIRST, LEAST, MOST = 2.0**16, 1.0, 2.0**24
GROW_AFTER = 2000
"""Updates in a row without an overflow before the scale doubles."""


class LossScale:
    """Halves at an overflow, doubles after `GROW_AFTER` updates without one."""

    def __init__(self) -> None:
        self.value, self.good = FIRST, 0

    def divide(self, parameters: list[nn.Parameter]) -> None:
        """Gradients as if there had been no scale, in place."""
        found: list[Tensor] = [one.grad for one in parameters if one.grad is not None]
        if found:
            torch._foreach_mul_(found, 1.0 / self.value)

    def judge(self, *, finite: bool) -> bool:
        """After an update. Whether a smaller scale may help the next one."""
        if finite:
            self.good += 1
            if self.good >= GROW_AFTER:
                self.value, self.good = min(2 * self.value, MOST), 0
            return False
        smaller, self.good = self.value > LEAST, 0
        self.value = max(self.value / 2, LEAST)
        return smaller

    def state(self) -> dict[str, Any]:
        """JSON."""
        return {"value": self.value, "good": self.good}

    def load_state(self, state: dict[str, Any]) -> None:
        """Inverse of `state`."""
        self.value, self.good = float(state["value"]), int(state["good"])


def refuse(module: nn.Module) -> None:
    """For strategies that know no loss scale. Raises WorkerError for weights in fp16."""
    if in_fp16(module):
        what = "Weights in fp16 train on one GPU, or on several with ddp."
        raise WorkerError("precision_not_available", what, "Choose fp32 or bf16, or the strategy ddp.")


def in_fp16(module: nn.Module) -> bool:
    """Whether any weight is."""
    return any(one.dtype == torch.float16 for one in module.parameters())


def scale_for(module: nn.Module, trained: list[nn.Parameter]) -> LossScale | None:
    """A scale where weights are in fp16. Raises WorkerError where trained ones are: dividing their gradients would lose some."""
    if not in_fp16(module):
        return None
    if any(one.dtype == torch.float16 for one in trained):
        what = "Weights held in fp16 cannot be trained, only adapters beside them."
        raise WorkerError("precision_not_available", what, "Choose fp32 or bf16, or an adapter such as LoRA.")
    return LossScale()
