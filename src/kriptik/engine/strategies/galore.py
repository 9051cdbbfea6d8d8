"""AdamW whose moments live in a low-rank subspace of each matrix's gradients, so that they are small although all weights move.

Source: Zhao et al. 2024, "GaLore: Memory-Efficient LLM Training by Gradient Low-Rank Projection", Algorithm 2 (Adam with GaLore)
and section 4.2: every T updates the projector is made of the gradient's first singular vectors, from the left where the matrix is
wide, from the right where it is tall; moments stay as they are when it changes. Weight decay is AdamW's.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class GaLore(torch.optim.Optimizer):
    """Group options: `rank` (None: plain AdamW), `update_every` (T), `scale` (α). Moments and projector are fp32."""

    def __init__(self, groups: list[dict[str, Any]], betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8) -> None:
        usual = {"lr": 0.0, "weight_decay": 0.0, "betas": betas, "eps": eps, "rank": None, "update_every": 200, "scale": 0.25}
        super().__init__(groups, usual)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update of everything that has a gradient."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._move(weight, weight.grad.float(), group)

    def _move(self, weight: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[weight]
        if not state:
            state["step"] = torch.zeros(())
        wide = weight.dim() == 2 and weight.shape[0] <= weight.shape[1]
        if group["rank"] is not None:
            if int(state["step"]) % group["update_every"] == 0:
                state["projector"] = projector(gradient, group["rank"])
            found = state["projector"]
            gradient = found.T @ gradient if wide else gradient @ found
        direction = _adam(state, gradient, group["betas"], group["eps"])
        if group["rank"] is not None:
            found = state["projector"]
            direction = (found @ direction if wide else direction @ found.T) * group["scale"]
        weight.mul_(1 - group["lr"] * group["weight_decay"])
        weight.add_(direction.to(weight.dtype), alpha=-group["lr"])


def projector(gradient: Tensor, rank: int) -> Tensor:
    """The first `rank` singular vectors on the gradient's shorter side: [rows, rank] where it is wide, else [columns, rank]."""
    left, _, right = torch.linalg.svd(gradient, full_matrices=False)
    found = left[:, :rank] if gradient.shape[0] <= gradient.shape[1] else right[:rank].T
    return found.contiguous()


def _adam(state: dict[str, Any], gradient: Tensor, betas: tuple[float, float], eps: float) -> Tensor:
    """M̂ ÷ (√V̂ + ε) after this gradient."""
    if "exp_avg" not in state:
        state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(gradient), torch.zeros_like(gradient)
    state["step"] += 1
    count = int(state["step"])
    first, second = state["exp_avg"], state["exp_avg_sq"]
    first.mul_(betas[0]).add_(gradient, alpha=1 - betas[0])
    second.mul_(betas[1]).addcmul_(gradient, gradient, value=1 - betas[1])
    return (first / (1 - betas[0] ** count)) / ((second / (1 - betas[1] ** count)).sqrt() + eps)
