"""Frozen parts beside a denoiser: text encoders as modules, and parts that are on the GPU only while they work."""

from collections.abc import Sequence
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor, nn

from kriptik.engine.interfaces import Bundle


class TextStates(nn.Module):
    """Text encoders of CLIP's kind: token ids to what the denoiser takes, as the library's pipelines have it.

    One (Stable Diffusion) tells the states of its last layer; of two (XL) those of the layer before it lie side by side, and the
    second one's pooled state is told besides.
    """

    def __init__(self, encoders: Sequence[nn.Module], tokenizers: Sequence[Any]) -> None:
        super().__init__()
        self.encoders, self.tokenizers = nn.ModuleList(encoders), tuple(tokenizers)

    def forward(self, token_ids: Tensor) -> dict[str, Any]:
        """[rows, encoders, tokens] → the denoiser's arguments."""
        several = [one(token_ids[:, place], output_hidden_states=True) for place, one in enumerate(self.encoders)]
        if len(several) == 1:
            return {"encoder_hidden_states": several[0][0]}
        states = torch.cat([one.hidden_states[-2] for one in several], -1)
        return {"encoder_hidden_states": states, "added_cond_kwargs": {"text_embeds": several[-1][0]}}

    def tables(self) -> list[tuple[nn.Module, Any]]:
        """Each encoder's own table of words, and its tokenizer."""
        several: list[Any] = list(self.encoders)
        return [(one.get_input_embeddings(), tokenizer) for one, tokenizer in zip(several, self.tokenizers, strict=True)]

    def replace(self, tables: Sequence[nn.Module]) -> None:
        """Puts other tables in their places."""
        several: list[Any] = list(self.encoders)
        for one, table in zip(several, tables, strict=True):
            one.set_input_embeddings(table)


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
