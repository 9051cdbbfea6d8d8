"""Codes of a MusicGen decoder: how they are drawn, step by step, and what a forward gives."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kriptik.engine.text.heads import ValueHead
from kriptik.spec.errors import WorkerError


@dataclass
class SoundOutput:
    """Logits [rows × codebooks, steps, codes]; hidden states [places, size] where something is valued, a value head if any."""

    logits: Tensor
    hidden: Tensor | None = None
    value: ValueHead | None = None

    @property
    def values(self) -> Tensor:
        """[places]. Raises WorkerError without a value head."""
        if self.value is None or self.hidden is None:
            raise WorkerError("no_value_head", "The model has no value head.", "Report this as a fault.")
        return self.value(self.hidden)


def behind(config: Any) -> list[int]:
    """Steps by which each codebook is late; in stereo left and right go together."""
    count = int(config.num_codebooks)
    return [book // 2 for book in range(count)] if config.audio_channels == 2 else list(range(count))


def codes(
    decoder: Any, config: Any, states: dict[str, Tensor], frames: int, temperature: float, seed: int | None = None
) -> Tensor:
    """[rows, codebooks, frames], on the CPU, drawn from the decoder's own distribution, without guidance or cut.

    The library's `generate` makes sound of descriptions, not codes, and that of the decoder alone takes no states (transformers
    5): so this is its loop, with the same delays. `states`: what the decoder takes of the descriptions. With a `seed` of its own
    it leaves the process's dice alone.
    """
    late, pad = behind(config), int(config.pad_token_id)
    rows, device = len(states["encoder_hidden_states"]), states["encoder_hidden_states"].device
    given = torch.full((rows * len(late), 1), pad, device=device)
    dice = None if seed is None else torch.Generator(device).manual_seed(seed)
    past, made = None, []
    with torch.no_grad():
        for step in range(frames + max(late)):
            output = decoder(input_ids=given, **states, past_key_values=past, use_cache=True)
            past = output.past_key_values
            likely = (output.logits[:, -1].float() / temperature).softmax(-1)
            chosen = torch.multinomial(likely, 1, generator=dice).view(rows, len(late))
            for book, delay in enumerate(late):
                if not delay <= step < delay + frames:
                    chosen[:, book] = pad
            given = chosen.reshape(-1, 1)
            made.append(chosen)
    lines = torch.stack(made, 2).cpu()
    return torch.stack([lines[:, book, delay : delay + frames] for book, delay in enumerate(late)], 1)
