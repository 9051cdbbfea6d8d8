"""MoRA: one square matrix beside each linear layer in place of two thin ones: as many numbers as LoRA's, but of high rank.

Source: Jiang et al. 2024, "MoRA: High-Rank Updating for Parameter-Efficient Fine-Tuning": h = W x + f_decomp(M f_comp(x)), M of
⌊√((in + out) r)⌋ rows and columns, begun at zero. Settings (`settings.adaptation`): `compress`: `share` (the paper's equation 7:
inputs that are equal modulo the size are summed, outputs repeated) or `rotate` (equations 8 and 9: the input is cut into pieces of
that size, each rotated by its number so that M tells them apart); by default `rotate` below rank 64, `share` from there on, as the
paper found best. An input that does not come out even is filled with zeros, an output with repeats. There is no alpha: the scale
is 1.

PEFT has no MoRA: `save` writes `mora_config.json` and `mora_model.safetensors`, `attach` puts them back on a base.
"""

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from kriptik.engine.copies import spare
from kriptik.engine.interfaces import Adaptation, Bundle
from kriptik.engine.linear import linear_names
from kriptik.spec.errors import WorkerError

CONFIG, WEIGHTS = "mora_config.json", "mora_model.safetensors"
SHARE_FROM = 64
MERGE_ROWS = 1024
"""Columns of a weight's change that are made at a time."""


class MoraLinear(nn.Module):
    """A frozen linear layer with its square matrix `mora_M`, in fp32."""

    cos: Tensor
    sin: Tensor

    def __init__(self, base: nn.Linear, rank: int, compress: str, dropout: float = 0.0) -> None:
        super().__init__()
        self.base_layer, self.compress, self.enabled = base, compress, True
        size = math.isqrt((base.in_features + base.out_features) * rank)
        size -= size % 2 if compress == "rotate" else 0
        self.pieces = math.ceil(base.in_features / size)
        self.dropout = nn.Dropout(dropout)
        device = base.weight.device
        self.mora_M = nn.Parameter(torch.zeros(size, size, device=device))
        if compress == "rotate":
            speed = 10000.0 ** (-torch.arange(0, size, 2, dtype=torch.float64) / size)
            angle = (torch.arange(self.pieces, dtype=torch.float64)[:, None] * speed).float().to(device)
            self.register_buffer("cos", angle.cos(), persistent=False)
            self.register_buffer("sin", angle.sin(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """[…, in] → […, out]."""
        result = self.base_layer(x)
        return result + self.change(self.dropout(x)).to(result.dtype) if self.enabled else result

    def change(self, x: Tensor) -> Tensor:
        """f_decomp(M f_comp(x)): […, in] → […, out]."""
        size, wanted = len(self.mora_M), self.base_layer.out_features
        x = functional.pad(x.to(self.mora_M.dtype), (0, self.pieces * size - x.shape[-1]))
        x = x.unflatten(-1, (self.pieces, size))
        x = self._rotated(x) if self.compress == "rotate" else x.sum(-2, keepdim=True)
        made = functional.linear(x, self.mora_M).flatten(-2)
        times = math.ceil(wanted / made.shape[-1])
        return torch.cat([made] * times, -1)[..., :wanted] if times > 1 else made[..., :wanted]

    @torch.no_grad()
    def delta(self) -> Tensor:
        """The change as a matrix [out, in]: what it does to each unit vector."""
        unit = torch.eye(self.base_layer.in_features, device=self.mora_M.device)
        return torch.cat([self.change(some) for some in unit.split(MERGE_ROWS)]).T.contiguous()

    def _rotated(self, x: Tensor) -> Tensor:
        """Pairs of neighbours turned by (number of the piece) × θ, as in rotary positions: [pieces, size]."""
        even, odd = x[..., ::2], x[..., 1::2]
        turned = (even * self.cos - odd * self.sin, even * self.sin + odd * self.cos)
        return torch.stack(turned, -1).flatten(-2)


class Mora(Adaptation):
    """Square matrices on `lora.targets`, of the size that `lora.rank` pays for; everything else is frozen."""

    provides: ClassVar[frozenset[str]] = frozenset({"reference"})
    adapter: ClassVar[bool] = True

    def apply(self, bundle: Bundle) -> None:
        """See Adaptation. Raises WorkerError where no layer bears a target's name, and on a quantised base."""
        lora = self.settings.lora
        if bundle.unquantised is not None:
            raise WorkerError("quantised_base", "Mora does not train on a quantised base.", "Choose fp32 or bf16, or qlora.")
        bundle.trainee.requires_grad_(False)
        names = linear_names(bundle.trainee, lora.targets)
        if not names:
            raise WorkerError("no_such_layers", "The adapter's target layers do not exist in this model.", "Use 'all-linear'.")
        compress = str(self.settings.adaptation.get("compress", "share" if lora.rank >= SHARE_FROM else "rotate"))
        if compress not in ("share", "rotate"):
            raise WorkerError("bad_setting", f"MoRA cannot compress by '{compress}'.", "Choose share or rotate.")
        _wrap(bundle.trainee, names, lora.rank, compress, lora.dropout)

    @contextmanager
    def reference(self, bundle: Bundle) -> Iterator[None]:
        """See Adaptation: the matrices are off."""
        layers = [layer for _, layer in _layers(bundle.trainee)]
        try:
            for layer in layers:
                layer.enabled = False
            yield
        finally:
            for layer in layers:
                layer.enabled = True

    def finish(self, bundle: Bundle) -> None:
        """See Adaptation: the change goes into the weights it was for."""
        bundle.touch(*(layer.base_layer.weight for _, layer in _layers(bundle.trainee)))
        _fold(bundle.trainee)

    def save(self, bundle: Bundle, folder: Path) -> None:
        """See Adaptation: `mora_config.json` and `mora_model.safetensors`."""
        model: Any = bundle.trainee
        layers = _layers(model)
        config = {
            "adapter": "mora",
            "base_model_name_or_path": model.config._name_or_path,
            "rank": self.settings.lora.rank,
            "compress": layers[0][1].compress,
            "layers": [name for name, _ in layers],
        }
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {f"{name}.mora_M": layer.mora_M.detach().cpu().contiguous() for name, layer in layers}
        save_file(tensors, folder / WEIGHTS, {"format": "pt"})
        (folder / CONFIG).write_text(json.dumps(config, indent=2))

    def merged(self, bundle: Bundle) -> nn.Module:
        """See Adaptation."""
        return _fold(spare(bundle.trainee))


def attach(model: nn.Module, folder: Path) -> nn.Module:
    """Puts the saved matrices on a plain model, in place. Raises KeyError or ValueError where they are another model's."""
    config = json.loads((folder / CONFIG).read_text())
    _wrap(model, config["layers"], config["rank"], config["compress"])
    tensors = load_file(folder / WEIGHTS)
    with torch.no_grad():
        for name, layer in _layers(model):
            if layer.mora_M.shape != tensors[f"{name}.mora_M"].shape:
                raise ValueError(f"{name} has another size than the one that was trained")
            layer.mora_M.copy_(tensors[f"{name}.mora_M"])
    return model


def _wrap(model: nn.Module, names: Sequence[str], rank: int, compress: str, dropout: float = 0.0) -> None:
    for name in names:
        base = model.get_submodule(name)
        assert isinstance(base, nn.Linear), name
        model.set_submodule(name, MoraLinear(base, rank, compress, dropout))


@torch.no_grad()
def _fold(model: nn.Module) -> nn.Module:
    """Every matrix into the weight it stands beside."""
    for name, layer in _layers(model):
        weight = layer.base_layer.weight
        weight += layer.delta().to(weight.dtype)
        model.set_submodule(name, layer.base_layer)
    return model


def _layers(model: nn.Module) -> list[tuple[str, MoraLinear]]:
    return [(name, one) for name, one in model.named_modules() if isinstance(one, MoraLinear)]
