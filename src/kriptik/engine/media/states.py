"""Frozen parts beside a denoiser: text encoders as modules, and parts that are on the GPU only while they work."""

from collections.abc import Sequence
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor, nn

from kriptik.engine.interfaces import Bundle


class TextStates(nn.Module):
    """A text encoder of CLIP's kind: token ids to the states that the denoiser takes."""

    gives = "encoder_hidden_states"
    """The denoiser's argument."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, token_ids: Tensor) -> Tensor:
        """[rows, tokens] → [rows, tokens, size]."""
        return self.encoder(token_ids)[0]

    def get_input_embeddings(self) -> nn.Module:
        """The encoder's own table."""
        encoder: Any = self.encoder
        return encoder.get_input_embeddings()

    def set_input_embeddings(self, table: nn.Module) -> None:
        """Puts another table in its place."""
        encoder: Any = self.encoder
        encoder.set_input_embeddings(table)


def states_of(several: Sequence[dict[str, Tensor]], device: torch.device) -> dict[str, Tensor]:
    """What the text encoders said of several captions, as one batch; shorter ones are filled up with zeros (their `mask` too)."""
    found = {}
    for name in several[0]:
        parts = [one[name] for one in several]
        alike = all(part.shape == parts[0].shape for part in parts)
        found[name] = (torch.stack(parts) if alike else nn.utils.rnn.pad_sequence(parts, batch_first=True)).to(device)
    return found


def bare(trainee: nn.Module) -> nn.Module:
    """The library's own module inside what an adaptation made of it; adapters that are layers of it stay."""
    inner: Any = trainee.get_base_model() if isinstance(trainee, PeftModel) else trainee
    return bare(inner.model) if type(inner).__name__ == "Told" else inner


def awake(bundle: Bundle, names: Sequence[str]) -> None:
    """These parts are where the trainee is, until `rest`."""
    device = next(bundle.trainee.parameters()).device
    for name in names:
        if name in bundle.parts and next(bundle.parts[name].parameters()).device != device:
            bundle.parts[name].to(device)


def rest(bundle: Bundle) -> None:
    """Parts give a GPU's memory free, but for the model as it was: every update asks it."""
    for name, part in bundle.parts.items():
        if name != Bundle.REFERENCE and next(part.parameters()).device.type != "cpu":
            part.to("cpu")
