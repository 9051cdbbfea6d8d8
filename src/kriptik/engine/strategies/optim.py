"""Optimizers by name, and their state by parameter name. A new one: one line in `OPTIMIZERS`.

Weights held in half precision are moved through a copy in fp32 (Micikevicius et al. 2017, "Mixed Precision Training", section 3.1):
most updates are smaller than the distance between two of their numbers and would be lost.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from kriptik.engine.interfaces import OptimizerSpec
from kriptik.engine.strategies.galore import GaLore
from kriptik.spec.errors import WorkerError


def adamw(groups: list[dict[str, Any]], **options: Any) -> torch.optim.Optimizer:
    """AdamW (Loshchilov & Hutter 2019), one fused kernel per step where every parameter is a float."""
    fused = all(parameter.is_floating_point() for group in groups for parameter in group["params"])
    return torch.optim.AdamW(groups, **{"fused": fused, **options})


def sgd(groups: list[dict[str, Any]], **options: Any) -> torch.optim.Optimizer:
    """Plain gradient descent; momentum by option."""
    return torch.optim.SGD(groups, **options)


OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {"adamw": adamw, "sgd": sgd, "galore": GaLore}


MASTER = "master"
"""Key under which the fp32 copy stands in a state."""


class NamedOptimizer:
    """A torch optimizer whose learning rate is told at each step and whose state goes by '<parameter name>/<key>'."""

    def __init__(self, module: nn.Module, spec: OptimizerSpec, own: Callable[[nn.Parameter], nn.Parameter] | None = None) -> None:
        """`own`: what this rank holds and updates of a parameter; by default all of it."""
        self.parameters = {name: own(one) if own else one for name, one in trained(module, spec).items()}
        self.masters = {
            name: nn.Parameter(one.detach().float())
            for name, one in self.parameters.items()
            if one.is_floating_point() and one.dtype.itemsize < 4
        }
        groups = [
            {"params": [self._moved(name) for name in group.names], "weight_decay": group.weight_decay, "lr": 0.0}
            | group.options
            for group in spec.groups
        ]
        if spec.kind not in OPTIMIZERS:
            known = ", ".join(sorted(OPTIMIZERS))
            raise WorkerError("unknown_optimizer", f"There is no optimizer called '{spec.kind}'.", f"Known: {known}.")
        self.optimizer = OPTIMIZERS[spec.kind](groups, **spec.options)
        self._scales = [group.lr_scale for group in spec.groups]

    def clip(self, max_norm: float) -> float:
        """Scales all gradients to the global norm `max_norm` at most; returns the norm before."""
        return float(nn.utils.clip_grad_norm_(self.parameters.values(), max_norm))

    def step(self, lr: float) -> None:
        """One update at `lr` × each group's own factor."""
        for group, scale in zip(self.optimizer.param_groups, self._scales, strict=True):
            group["lr"] = lr * scale
        for name, master in self.masters.items():
            gradient = self.parameters[name].grad
            master.grad = None if gradient is None else gradient.float()
        self.optimizer.step()
        with torch.no_grad():
            for name, master in self.masters.items():
                self.parameters[name].copy_(master)

    def zero(self) -> None:
        """No gradients."""
        for one in (*self.parameters.values(), *self.masters.values()):
            one.grad = None

    def reset(self, names: Iterable[str]) -> None:
        """State of these parameters back to none, as before the first step."""
        for name in names:
            self.optimizer.state.pop(self._moved(name), None)

    def state(self) -> dict[str, Tensor]:
        """'<name>/<key>' → tensor; only parameters that have moved."""
        found: dict[str, Tensor] = {}
        for name in self.parameters:
            moved = self.optimizer.state.get(self._moved(name), {})
            if moved and name in self.masters:
                found[f"{name}/{MASTER}"] = self.masters[name].detach()
            for key, value in moved.items():
                if value is not None:
                    found[f"{name}/{key}"] = value if isinstance(value, Tensor) else torch.tensor(value, dtype=torch.float64)
        return found

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Inverse of `state`. Memory layout follows the parameter, so that the same kernels run as before."""
        self.optimizer.state.clear()
        with torch.no_grad():
            for name, master in self.masters.items():
                master.copy_(tensors.get(f"{name}/{MASTER}", self.parameters[name]))
        for full, saved in tensors.items():
            name, _, key = full.rpartition("/")
            parameter = self._moved(name)
            if key == MASTER:
                continue
            if saved.shape == parameter.shape:
                value = torch.empty_like(parameter, dtype=saved.dtype).detach().copy_(saved)
            else:  # a count stays on the CPU; moments in a subspace belong to their parameter's device
                value = saved.to(parameter.device if saved.dim() else "cpu", copy=True)
            self.optimizer.state[parameter][key] = value

    def _moved(self, name: str) -> nn.Parameter:
        """What the optimizer moves: the parameter, or its copy in fp32."""
        return self.masters.get(name, self.parameters[name])


def trained(module: nn.Module, spec: OptimizerSpec) -> dict[str, nn.Parameter]:
    """Name → parameter of everything in the spec's groups, in their order. Raises WorkerError for an unknown name."""
    known = dict(module.named_parameters())
    names = [name for group in spec.groups for name in group.names]
    unknown: Sequence[str] = [name for name in names if name not in known]
    if unknown or len(set(names)) != len(names) or not names:
        what = f"{unknown[0]} is not in the model" if unknown else "a parameter is named twice" if names else "nothing is trained"
        raise WorkerError("bad_groups", f"The optimizer's groups cannot be used: {what}.", "Report this as a fault.")
    return {name: known[name] for name in names}
