"""Models of two denoisers, one for much noise and one for little, as Wan 2.2 has them: trained together as one module.

Which of them a row meets, its noise level says (the pipeline's `boundary_ratio`), as in the library's own sampler. Source: Wan 2.2;
Balaji et al. 2022, "eDiff-I".
"""

from typing import Any

import torch
from torch import Tensor, nn

from kriptik.engine.media.families import Family

LOW = "transformer_2"
"""Where the library's pipelines keep the denoiser for little noise."""


class NoiseExperts(nn.Module):
    """Called as one of its denoisers; each row goes to its own.

    Among several processes both work in every forward, if need be on a row that then counts nothing: where weights are spread over
    the processes, all have to ask for the same ones.
    """

    def __init__(self, high: nn.Module, low: nn.Module, boundary: float) -> None:
        super().__init__()
        self.transformer, self.transformer_2 = high, low
        self.boundary = boundary
        """The denoiser's time from which on a row is one of much noise."""

    @property
    def supports_gradient_checkpointing(self) -> bool:
        """As `engine/recompute.py` asks it of the library's models."""
        return all(getattr(one, "_supports_gradient_checkpointing", False) for one in self.children())

    def enable_gradient_checkpointing(self, function: Any) -> None:
        """Of both."""
        for one in self.children():
            one.enable_gradient_checkpointing(function)  # type: ignore[operator]

    def disable_gradient_checkpointing(self) -> None:
        """Of both."""
        for one in self.children():
            one.disable_gradient_checkpointing()  # type: ignore[operator]

    def forward(self, timestep: Tensor, **told: Any) -> tuple[Tensor]:
        """`timestep`: [rows]; tensors of as many rows are divided among the two. Returns a tuple as the library's models do."""
        high = timestep.flatten(1)[:, 0] >= self.boundary if timestep.dim() > 1 else timestep >= self.boundary
        together = torch.distributed.is_available() and torch.distributed.is_initialized()
        found: Tensor | None = None
        for expert, mine in ((self.transformer, high), (self.transformer_2, ~high)):
            places, share = mine.nonzero()[:, 0], 1.0
            if not len(places):
                if not together:
                    continue
                places, share = torch.zeros(1, dtype=torch.long, device=timestep.device), 0.0  # sharded weights are gathered by all
            part = {name: _rows(one, places, len(timestep)) for name, one in told.items()}
            made = expert(timestep=timestep[places], **part)[0] * share
            found = made.new_zeros(len(timestep), *made.shape[1:]) if found is None else found
            found = found.index_add(0, places, made)
        assert found is not None
        return (found,)


def joined(pipe: Any, family: Family) -> nn.Module:
    """What is trained of a pipeline: its denoiser, or both of them."""
    first, second = getattr(pipe, family.part), getattr(pipe, LOW, None)
    if second is None:
        return first
    return NoiseExperts(first, second, float(pipe.config.boundary_ratio) * pipe.scheduler.config.num_train_timesteps)


def denoisers(module: nn.Module, family: Family) -> dict[str, nn.Module]:
    """Name in the pipeline → denoiser, of what `joined` gave."""
    return dict(module.named_children()) if isinstance(module, NoiseExperts) else {family.part: module}


def _rows(value: Any, places: Tensor, rows: int) -> Any:
    return value[places] if isinstance(value, torch.Tensor) and value.dim() and len(value) == rows else value
