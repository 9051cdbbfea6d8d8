"""LongLoRA: a longer context by LoRA with shifted sparse attention while training, embeddings and norms trained beside it.

Source: Chen et al. 2023, "LongLoRA: Efficient Fine-tuning of Long-Context Large Language Models"; positions beyond the base's
context are interpolated (Chen et al. 2023, "Extending Context Window of Large Language Models via Positional Interpolation"). The
attention is `text/shifted.py`; after training it is full. `max_seq_len` is the context to reach: where it is beyond the base's,
all positions are divided by the next whole factor, and the exported config says so (`rope_parameters`: linear). Settings
(`settings.adaptation`): `group`, tokens of a group (a quarter of `max_seq_len`, as in the paper).
"""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from kriptik.engine.adaptations.lora import Lora
from kriptik.engine.interfaces import Bundle
from kriptik.engine.text import documents, shifted
from kriptik.spec.errors import WorkerError
from kriptik.spec.job import StageSettings

POSITIONS = "positions.json"
"""In an adapter's folder: how the base's positions are to be scaled before the adapter is put on."""


class LongLora(Lora):
    """LoRA that stretches the context. It offers no reference: with adapters off, embeddings and positions are still changed."""

    needs: ClassVar[frozenset[str]] = frozenset({"tokens"})
    provides: ClassVar[frozenset[str]] = frozenset()
    few_bits: ClassVar[bool] = False

    def __init__(self, settings: StageSettings) -> None:
        super().__init__(settings)
        own: dict[str, Any] = dict(settings.adaptation)
        self._group = int(own.get("group", max(2, settings.max_seq_len // 4)))
        self._scaled: dict[str, Any] | None = None

    def apply(self, bundle: Bundle) -> None:
        """See Adaptation. Raises WorkerError where attention or positions of the model cannot be changed."""
        if self._group < 2:
            raise WorkerError("bad_group", f"A group of {self._group} tokens cannot be shifted.", "Set adaptation.group above 1.")
        model: Any = bundle.trainee
        self._scaled = scaled_positions(model, self.settings.max_seq_len)
        if self._scaled:
            scale_positions(model, self._scaled)
            bundle.tokenizer.model_max_length = max(bundle.tokenizer.model_max_length, self.settings.max_seq_len)
        model.set_attn_implementation(shifted.NAME)
        setattr(model.config, shifted.GROUP, self._group)
        if model.config._attn_implementation != shifted.NAME:
            raise WorkerError("fixed_attention", "This model's attention cannot be exchanged.", "Choose lora.")
        bundle.info["attention"] = shifted.NAME
        super().apply(bundle)
        for _, parameter in _beside(bundle):
            parameter.requires_grad_(True)

    def finish(self, bundle: Bundle) -> None:
        """See Adaptation. Positions stay scaled, attention is full again."""
        changed = [parameter for _, parameter in _beside(bundle)]
        super().finish(bundle)
        bundle.touch(*changed)
        _plain_attention(bundle.trainee)
        bundle.info["attention"] = documents.NAME

    def save(self, bundle: Bundle, folder: Path) -> None:
        """See Adaptation: PEFT's format, embeddings and norms as its `modules_to_save`; scaled positions in a file beside it."""
        super().save(bundle, folder)
        model: Any = bundle.trainee
        tied = bool(getattr(model.get_base_model().config, "tie_word_embeddings", False))
        tensors: dict[str, Tensor] = load_file(folder / "adapter_model.safetensors")
        beside = dict(_beside(bundle))
        tensors |= {name: one.detach().cpu().contiguous() for name, one in beside.items()}
        if tied:  # PEFT asks for the output layer's share by its own name too
            head = model.get_base_model().get_output_embeddings()
            name = next(name for name, one in model.named_modules() if one is head)
            tensors[f"{name}.weight"] = head.weight.detach().cpu().clone()
        save_file(tensors, folder / "adapter_model.safetensors", {"format": "pt"})
        config = json.loads((folder / "adapter_config.json").read_text())
        config["modules_to_save"] = sorted({name.rsplit(".", 2)[1] for name in beside})
        config["ensure_weight_tying"] = tied
        (folder / "adapter_config.json").write_text(json.dumps(config, indent=2, sort_keys=True))
        if self._scaled:
            (folder / POSITIONS).write_text(json.dumps({"rope_parameters": self._scaled}, indent=2))

    def merged(self, bundle: Bundle) -> nn.Module:
        """See Adaptation."""
        found = super().merged(bundle)
        _plain_attention(found)
        return found


def scaled_positions(model: Any, longest: int) -> dict[str, Any] | None:
    """The config's `rope_parameters` for `longest` tokens; None where the base reaches that far. Raises WorkerError."""
    context = int(model.config.max_position_embeddings)
    if longest <= context:
        return None
    rope = dict(getattr(model.config, "rope_parameters", None) or {})
    if rope.get("rope_type") != "default" or not hasattr(model.base_model, "rotary_emb"):
        raise WorkerError(
            "cannot_stretch",
            f"Positions of a {model.config.model_type} model cannot be stretched beyond {context} tokens.",
            f"Set max_seq_len to {context} or less, or choose a base with plain rotary positions.",
        )
    return {**rope, "rope_type": "linear", "factor": float(math.ceil(longest / context))}


def scale_positions(model: Any, rope: dict[str, Any]) -> None:
    """Gives a plain model these `rope_parameters`. Its `max_position_embeddings` stays: readers multiply it by the factor."""
    model.config.rope_parameters = rope
    body = model.base_model
    device = body.rotary_emb.inv_freq.device
    body.rotary_emb = type(body.rotary_emb)(model.config).to(device)


def _plain_attention(model: Any) -> None:
    model.set_attn_implementation(documents.NAME)
    delattr(model.config, shifted.GROUP)


def _beside(bundle: Bundle) -> Iterator[tuple[str, nn.Parameter]]:
    """Embeddings and norms, by name."""
    model: Any = bundle.trainee
    table = model.get_base_model().get_input_embeddings()
    for name, module in model.named_modules():
        if module is table or type(module).__name__.endswith("Norm"):
            yield from ((f"{name}.{one}", parameter) for one, parameter in module.named_parameters(recurse=False))
