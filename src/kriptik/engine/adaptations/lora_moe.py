"""A mixture of LoRA experts: several low-rank updates beside each linear layer, a router picks those of a token.

Source: Dou et al. 2023, "LoRAMoE": h = W x + s Σ_e g_e(x) B_e A_e x, with g the softmax of a router over the experts, here the
`top_k` of them, their shares made to sum to 1. Experts are kept in use without a term in the loss, as in Wang et al. 2024,
"Auxiliary-Loss-Free Load Balancing": a bias is added to the scores for the choice alone (not for the share), and after every update
it moves by `balance` towards the experts that had fewer tokens than the mean. That needs counts alone, which add up over
micro-batches and processes in any order. Settings (`settings.adaptation`): `experts` (8), `top_k` (2), `balance` (0.01).

The choice depends on the token, so that nothing can be merged: `save` writes `lora_moe_config.json` and
`lora_moe_model.safetensors`, `attach` puts them back on a base. A second stage goes on with the experts of the first.
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

from kriptik.engine.interfaces import Adaptation, Bundle, Session
from kriptik.engine.linear import linear_names
from kriptik.spec.errors import WorkerError

CONFIG, WEIGHTS = "lora_moe_config.json", "lora_moe_model.safetensors"
TRAINED = ("router", "expert_A", "expert_B")
ROUTER_STD = 0.02


class ExpertsLinear(nn.Module):
    """A frozen linear layer with its experts and their router, in fp32."""

    bias: Tensor
    load: Tensor

    def __init__(self, base: nn.Linear, experts: int, top_k: int, rank: int, alpha: float, dropout: float = 0.0) -> None:
        super().__init__()
        self.base_layer, self.experts, self.top_k, self.scale, self.enabled = base, experts, top_k, alpha / rank, True
        self.dropout = nn.Dropout(dropout)
        device, inputs, inner = base.weight.device, base.in_features, experts * rank
        self.router = nn.Parameter(torch.randn(experts, inputs, device=device) * ROUTER_STD)
        self.expert_A = nn.Parameter(torch.empty(inner, inputs, device=device))
        nn.init.kaiming_uniform_(self.expert_A, a=math.sqrt(5))
        self.expert_B = nn.Parameter(torch.zeros(base.out_features, inner, device=device))
        self.register_buffer("bias", torch.zeros(experts, device=device))
        self.register_buffer("load", torch.zeros(experts, device=device), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """[…, in] → […, out]."""
        result = self.base_layer(x)
        return result + self.change(x).to(result.dtype) if self.enabled else result

    def change(self, x: Tensor) -> Tensor:
        """s Σ_e g_e(x) B_e A_e x: […, in] → […, out]. All experts are computed, those not chosen times 0: they are thin."""
        x = x.to(self.expert_A.dtype)
        gates = self.gates(x)
        inner = functional.linear(self.dropout(x), self.expert_A).unflatten(-1, (self.experts, -1))
        return functional.linear((inner * gates[..., None]).flatten(-2), self.expert_B) * self.scale

    def gates(self, x: Tensor) -> Tensor:
        """Shares of the experts, [..., experts]: `top_k` of them above 0, summing to 1. Counts them while training."""
        shares = functional.linear(x, self.router).softmax(-1)
        chosen = (shares.detach() + self.bias).topk(self.top_k, dim=-1).indices
        mask = torch.zeros_like(shares).scatter_(-1, chosen, 1.0)
        if self.training and torch.is_grad_enabled():
            self.load += mask.detach().flatten(0, -2).sum(0)
        kept = shares * mask
        return kept / kept.sum(-1, keepdim=True)


class LoraMoe(Adaptation):
    """Experts on `lora.targets`, each of rank `lora.rank`; everything else is frozen."""

    provides: ClassVar[frozenset[str]] = frozenset({"reference"})
    adapter: ClassVar[bool] = True
    merges: ClassVar[bool] = False
    repeatable: ClassVar[bool] = False
    """A forward counts what each expert was given."""

    @property
    def _own(self) -> dict[str, Any]:
        return dict(self.settings.adaptation)

    def apply(self, bundle: Bundle) -> None:
        """See Adaptation: new experts, or those that an earlier stage left. Raises WorkerError where they cannot stand."""
        if bundle.unquantised is not None:
            raise WorkerError("quantised_base", "Experts do not train on a quantised base.", "Choose fp32 or bf16, or qlora.")
        self.last: list[list[float]] = []
        bundle.trainee.requires_grad_(False)
        layers = _layers(bundle.trainee)
        self.goes_on = bool(layers)
        if not layers:
            layers = self._new(bundle)
        for _, layer in layers:
            for name in TRAINED:
                one = getattr(layer, name)
                one.requires_grad_(True)
                if self.goes_on and self.keep_reference:
                    layer.register_parameter(f"before_{name}", nn.Parameter(one.detach().clone(), requires_grad=False))
            if self.goes_on and self.keep_reference:
                layer.register_buffer("before_bias", layer.bias.clone(), persistent=False)

    def after_step(self, step: int, total: int, session: Session) -> None:
        """See Adaptation: biases move towards experts that had less than the mean."""
        layers = [layer for _, layer in _layers(session.bundle.trainee)]
        speed = float(self._own.get("balance", 0.01))
        counts = session.runtime.all_sum([count for layer in layers for count in layer.load.tolist()])
        self.last = []
        for number, layer in enumerate(layers):
            load = torch.tensor(counts[number * layer.experts : (number + 1) * layer.experts], device=layer.bias.device)
            layer.bias += speed * torch.sign(load.mean() - load)
            layer.load.zero_()
            self.last.append((load / load.sum().clamp_min(1.0)).tolist())

    def measured(self) -> dict[str, float]:
        """`experts_used`: the mean over layers of exp(entropy of the experts' shares of tokens), from 1 to their number."""
        if not self.last:
            return {}
        entropies = [-sum(share * math.log(share) for share in shares if share > 0) for shares in self.last]
        return {"experts_used": sum(math.exp(one) for one in entropies) / len(entropies)}

    @contextmanager
    def reference(self, bundle: Bundle) -> Iterator[None]:
        """See Adaptation: the experts are off, or as the earlier stage left them."""
        layers = [layer for _, layer in _layers(bundle.trainee)]
        with torch.no_grad():
            try:
                for layer in layers:
                    self._turn(layer, there=True)
                yield
            finally:
                for layer in layers:
                    self._turn(layer, there=False)

    def has_reference(self, bundle: Bundle) -> bool:
        """See Adaptation."""
        return not self.goes_on or self.keep_reference

    def finish(self, bundle: Bundle) -> None:
        """See Adaptation: nothing can be folded; the experts stay, frozen."""
        for _, layer in _layers(bundle.trainee):
            for name in TRAINED:
                getattr(layer, name).requires_grad_(False)
                layer._parameters.pop(f"before_{name}", None)
            layer._buffers.pop("before_bias", None)

    def save(self, bundle: Bundle, folder: Path) -> None:
        """See Adaptation: `lora_moe_config.json` and `lora_moe_model.safetensors`."""
        model: Any = bundle.trainee
        layers = _layers(model)
        one = layers[0][1]
        config = {
            "adapter": "lora_moe",
            "base_model_name_or_path": getattr(getattr(model, "config", None), "_name_or_path", ""),
            "experts": one.experts,
            "top_k": one.top_k,
            "rank": len(one.expert_A) // one.experts,
            "alpha": one.scale * (len(one.expert_A) // one.experts),
            "layers": [name for name, _ in layers],
        }
        folder.mkdir(parents=True, exist_ok=True)
        parts = [(f"{name}.{part}", getattr(layer, part)) for name, layer in layers for part in (*TRAINED, "bias")]
        tensors = {name: one.detach().cpu().contiguous() for name, one in parts}
        save_file(tensors, folder / WEIGHTS, {"format": "pt"})
        (folder / CONFIG).write_text(json.dumps(config, indent=2))

    def _new(self, bundle: Bundle) -> list[tuple[str, ExpertsLinear]]:
        lora, own = self.settings.lora, self._own
        experts, top_k = int(own.get("experts", 8)), int(own.get("top_k", 2))
        if not 1 <= top_k <= experts:
            what = f"{top_k} of {experts} experts cannot be chosen."
            raise WorkerError("bad_setting", what, "Choose at least one expert for a token, and no more than there are.")
        names = linear_names(bundle.trainee, lora.targets)
        if not names:
            raise WorkerError("no_such_layers", "The adapter's target layers do not exist in this model.", "Use 'all-linear'.")
        _wrap(bundle.trainee, names, experts, top_k, lora.rank, lora.alpha, lora.dropout)
        return _layers(bundle.trainee)

    def _turn(self, layer: ExpertsLinear, *, there: bool) -> None:
        """To the model before this stage, or back: off and on, or the kept numbers in the place of the trained ones."""
        if not self.goes_on:
            layer.enabled = not there
            return
        for name in (*TRAINED, "bias"):
            one, other = getattr(layer, name), getattr(layer, f"before_{name}")
            one.data, other.data = other.data, one.data


def attach(model: nn.Module, folder: Path) -> nn.Module:
    """Puts saved experts on a plain model, in place. Raises KeyError or ValueError where they are another model's."""
    config = json.loads((folder / CONFIG).read_text())
    _wrap(model, config["layers"], config["experts"], config["top_k"], config["rank"], config["alpha"])
    tensors = load_file(folder / WEIGHTS)
    with torch.no_grad():
        for name, layer in _layers(model):
            for part in (*TRAINED, "bias"):
                place, saved = getattr(layer, part), tensors[f"{name}.{part}"]
                if place.shape != saved.shape:
                    raise ValueError(f"{name} has another size than the one that was trained")
                place.copy_(saved)
    return model


def _wrap(model: nn.Module, names: Sequence[str], experts: int, top_k: int, rank: int, alpha: float, dropout: float = 0.0) -> None:
    for name in names:
        base = model.get_submodule(name)
        assert isinstance(base, nn.Linear), name
        model.set_submodule(name, ExpertsLinear(base, experts, top_k, rank, alpha, dropout))


def _layers(model: nn.Module) -> list[tuple[str, ExpertsLinear]]:
    return [(name, one) for name, one in model.named_modules() if isinstance(one, ExpertsLinear)]
