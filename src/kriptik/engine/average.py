"""A running average of what is trained (EMA): steadier than the weights themselves; shown, measured and left in their place.

Source: Karras et al. 2024, "Analyzing and Improving the Training Dynamics of Diffusion Models", section 3; warm-up as in diffusers'
`EMAModel`: the decay of update n is at most (1 + n) / (10 + n).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class Average:
    """Of every parameter that is trained, by name, in fp32."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.tensors: dict[str, Tensor] = {name: one.detach().float().clone() for name, one in _trained(module)}

    def update(self, module: nn.Module, step: int) -> None:
        """Takes the weights in as they are after update `step` (0-based)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        with torch.no_grad():
            for name, one in _trained(module):
                self.tensors[name].lerp_(one.float(), 1 - decay)

    def put(self, module: nn.Module) -> None:
        """The average takes the weights' place for good."""
        with torch.no_grad():
            for name, one in _trained(module):
                one.copy_(self.tensors[name])

    @contextmanager
    def shown(self, module: nn.Module) -> Iterator[None]:
        """Inside, the module has the averaged weights; afterwards its own, bit for bit."""
        own = {name: one.detach().clone() for name, one in _trained(module)}
        self.put(module)
        try:
            yield
        finally:
            with torch.no_grad():
                for name, one in _trained(module):
                    one.copy_(own[name])

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        return dict(self.tensors)

    def load_state(self, state: dict[str, Any]) -> None:
        """Inverse of `state`."""
        for name, one in self.tensors.items():
            one.copy_(state[name])


def _trained(module: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return [(name, one) for name, one in module.named_parameters() if one.requires_grad]
