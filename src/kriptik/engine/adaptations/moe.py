"""Experts out of a dense diffusion model: its feed-forward layers become experts, a router picks those of a token.

Sources: Komatsuzaki et al. 2022, "Sparse Upcycling" (every expert begins as a copy of the dense layer, so that the model is at
first what it was); Balaji et al. 2022, "eDiff-I", and Wan 2.2 (experts for high and for low noise); Fedus et al. 2021, "Switch
Transformers", equation 4 (balance). Experts and routers are trained, everything else is frozen.

The router sees the token and the noise level: expert e begins with a liking for levels around (e + ½) / experts, which it may
unlearn. Settings (`settings.adaptation`): `experts` (8), `top_k` (2), `balance` (0.01; 1 is even use, `experts` is one for all),
`noise_specialisation` (true). The choice depends on the token, so that nothing can be merged: `save` writes `moe_config.json` and
`moe_model.safetensors`, `attach` puts them back on the dense model. A second stage goes on with the experts of the first.
"""

import copy
import inspect
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from kriptik.engine.interfaces import Adaptation, Bundle, Session
from kriptik.engine.media.noise_experts import NoiseExperts
from kriptik.spec.errors import WorkerError

CONFIG, WEIGHTS = "moe_config.json", "moe_model.safetensors"
LIKING = 2.0
"""Logits by which an expert's own noise level leads at the start."""
SAME = 1e-4
"""Largest difference, relative to the largest number, of experts from the dense layer (fp32; bf16: 100 times that)."""
NAMES = ("timestep", "t")
"""What denoisers call the time they are told."""
FEED_FORWARD = re.compile(r"(.*\.)?(transformer_blocks|blocks|layers|noise_refiner)\.\d+\.(ff|ffn|img_mlp|feed_forward|mlp)")
"""The feed-forward layers of the blocks through which go the tokens of what is made, by all families' names. Not those of a text
stream (`ff_context`, `txt_mlp`, refiners of captions), nor those that are one layer with their block's attention, as in the
single-stream blocks of FLUX."""


@dataclass
class Level:
    """The noise level of the forward that runs now, by row; told to all layers by one hook."""

    value: Tensor | None = None


@dataclass
class Use:
    """What one layer's router did since the last update: tokens by expert at low and at high noise, shares, tokens."""

    low: Tensor | None = None
    high: Tensor | None = None
    shares: Tensor | None = None
    tokens: int = 0
    grown: list[Tensor] = field(default_factory=list)


class Experts(nn.Module):
    """Copies of a feed-forward layer and their router."""

    def __init__(self, dense: nn.Module, size: int, experts: int, top_k: int, level: Level, *, by_noise: bool) -> None:
        super().__init__()
        first = next(dense.parameters())
        self.experts = nn.ModuleList(copy.deepcopy(dense) for _ in range(experts))
        self.router = nn.Parameter(torch.randn(experts, size, device=first.device) * 0.02)
        self.liking = nn.Parameter(torch.eye(experts, device=first.device) * (LIKING if by_noise else 0.0))
        self.top_k, self.level, self.by_noise, self.use = top_k, level, by_noise, Use()

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """[rows, tokens, size] → the same, each token by its experts."""
        told = self._told(len(x))
        odds = self._odds(x, told)
        gates, chosen = odds.topk(self.top_k, -1)
        gates = (gates / gates.sum(-1, keepdim=True)).to(x.dtype)
        if self.training:
            self._note(x, told, chosen)
        found = torch.zeros_like(x)
        for number, expert in enumerate(self.experts):
            here = chosen == number
            rows, places = here.any(-1).nonzero(as_tuple=True)
            if len(rows):
                weight = (gates * here)[rows, places].sum(-1, keepdim=True)
                found = found.index_put((rows, places), expert(x[rows, places]) * weight, accumulate=True)
        return found

    def _told(self, rows: int) -> Tensor:
        """The noise level of each row; a forward without one counts as half."""
        level = self.level.value
        if level is None:
            return torch.full((rows,), 0.5, device=self.router.device)
        return level.expand(rows) if len(level) == 1 else level.repeat(rows // len(level))

    def _odds(self, x: Tensor, level: Tensor) -> Tensor:
        """[rows, tokens, experts], each token's sum to 1."""
        logits = x.float() @ self.router.float().t()
        if self.by_noise:
            logits = logits + (self._near(level) @ self.liking.float())[:, None]
        return logits.softmax(-1)

    def _near(self, level: Tensor) -> Tensor:
        """[rows, experts]: how near the level is to each expert's own."""
        count = len(self.experts)
        own = (torch.arange(count, device=level.device) + 0.5) / count
        return torch.exp(-(((level[:, None] - own) * count) ** 2) / 2)

    def _note(self, x: Tensor, level: Tensor, chosen: Tensor) -> None:
        """Counts, and the router's shares with a graph of their own, which leads to the router alone."""
        use, count = self.use, len(self.experts)
        hits = nn.functional.one_hot(chosen, count).sum(2).sum(1).float()
        low, high = hits[level < 0.5].sum(0), hits[level >= 0.5].sum(0)
        use.low, use.high = (low if use.low is None else use.low + low), (high if use.high is None else use.high + high)
        if torch.is_grad_enabled():
            use.grown.append(self._odds(x.detach(), level).sum((0, 1)))
            use.tokens += x.shape[0] * x.shape[1]


class Moe(Adaptation):
    """Experts in the place of every feed-forward layer that `FEED_FORWARD` names."""

    needs: ClassVar[frozenset[str]] = frozenset({"noise", "penalty"})
    adapter: ClassVar[bool] = True
    merges: ClassVar[bool] = False
    repeatable: ClassVar[bool] = False

    def __init__(self, settings: Any) -> None:
        super().__init__(settings)
        options: dict[str, Any] = dict(settings.adaptation)
        self.count, self.top_k = int(options.get("experts", 8)), int(options.get("top_k", 2))
        self.balance = float(options.get("balance", 0.01))
        self.by_noise = bool(options.get("noise_specialisation", True))
        self.layers: list[Experts] = []
        self.seen: dict[str, float] = {}
        if not 1 <= self.top_k <= self.count or self.balance < 0:
            raise WorkerError("bad_experts", "There must be top_k experts or more, and no negative balance.", "Change them.")

    def apply(self, bundle: Bundle) -> None:
        """See Adaptation. Raises WorkerError without feed-forward layers, and where experts do not begin as the dense layer."""
        if not any(isinstance(one, Experts) for one in bundle.trainee.modules()):
            upcycle(bundle, self._config(bundle))
        self.layers = [one for one in bundle.trainee.modules() if isinstance(one, Experts)]
        bundle.trainee.requires_grad_(False)
        for layer in self.layers:
            layer.requires_grad_(True)

    def penalty(self, bundle: Bundle) -> Tensor | None:
        """See Adaptation: mean over layers of experts × Σ share of tokens × share of the router."""
        terms = []
        for layer in self.layers:
            use = layer.use
            if use.grown and use.low is not None and use.high is not None:
                hits = use.low + use.high
                odds = torch.stack(use.grown).sum(0) / use.tokens
                terms.append(self.count * (hits / hits.sum() * odds).sum())
        if not terms:
            return None
        mean = torch.stack(terms).mean()
        self.seen["balance"] = float(mean.detach())
        return self.balance * mean if self.balance else None

    def after_step(self, step: int, total: int, session: Session) -> None:
        """See Adaptation: counts become numbers for the curve, and begin anew."""
        for name in ("low", "high"):
            several = [used for layer in self.layers if (used := getattr(layer.use, name)) is not None]
            hits = torch.stack(several).sum(0) if several else torch.zeros(self.count)
            if float(hits.sum()):
                self.seen |= {f"expert_{number}_{name}_noise": float(one) for number, one in enumerate(hits / hits.sum())}
        for layer in self.layers:
            layer.use = Use()

    def measured(self) -> dict[str, float]:
        """See Adaptation: `balance`, and each expert's share of the tokens at low and at high noise."""
        return self.seen

    def finish(self, bundle: Bundle) -> None:
        """See Adaptation: the experts stay."""
        for layer in self.layers:
            layer.requires_grad_(False)
        bundle.touch(*(one for layer in self.layers for one in layer.parameters()))

    def save(self, bundle: Bundle, folder: Path) -> None:
        """See Adaptation."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CONFIG).write_text(json.dumps(self._config(bundle), indent=1))
        state = {}
        for name, module in bundle.trainee.named_modules():
            if isinstance(module, Experts):
                state |= {f"{name}.{key}": one.detach().cpu().contiguous().clone() for key, one in module.state_dict().items()}
        save_file(state, folder / WEIGHTS)

    def _config(self, bundle: Bundle) -> dict[str, Any]:
        scale = float(bundle.info.get("time_scale", 1.0))
        return {"experts": self.count, "top_k": self.top_k, "noise_specialisation": self.by_noise, "time_scale": scale,
                "time_reversed": bool(bundle.info.get("time_reversed", False))}


def attach(model: nn.Module, folder: Path) -> nn.Module:
    """The dense model with saved experts in it; changed in place."""
    config = json.loads((folder / CONFIG).read_text())
    _replace(model, config)
    missing, unexpected = model.load_state_dict(load_file(folder / WEIGHTS), strict=False)
    ours = [name for name in missing if ".experts." in name or name.endswith((".router", ".liking"))]
    if ours or unexpected:
        raise WorkerError("bad_adapter", "These experts were made for another model.", "Load them on their own base.")
    return model


def upcycle(bundle: Bundle, config: dict[str, Any]) -> None:
    """Puts experts in, and asserts that each layer gives what the dense one gave."""
    dense = _feed_forwards(bundle.trainee)
    if not dense:
        raise WorkerError("no_feed_forward", "This model has no feed-forward layers to make experts of.", "Choose LoRA.")
    _replace(bundle.trainee, config)
    for name, (layer, size) in dense.items():
        first = next(layer.parameters())
        probe = torch.randn(2, 5, size).to(first.device, first.dtype)
        with torch.no_grad():
            was, now = layer(probe), bundle.trainee.get_submodule(name)(probe)
        off = float((was - now).abs().max() / was.abs().max().clamp(min=1e-12))
        if off > SAME * (1 if first.dtype.itemsize == 4 else 100):
            raise WorkerError("not_a_copy", f"The experts of {name} are off by {off:.1e} at the start.", "Report this as a fault.")


def _replace(model: nn.Module, config: dict[str, Any]) -> None:
    if isinstance(model, NoiseExperts):
        for one in model.children():
            _replace(one, config)
        return
    level = Level()
    for name, (layer, size) in _feed_forwards(model).items():
        outer, _, last = name.rpartition(".")
        made = Experts(layer, size, config["experts"], config["top_k"], level, by_noise=config["noise_specialisation"])
        setattr(model.get_submodule(outer), last, made.train(layer.training))
    names = list(inspect.signature(model.forward).parameters)

    def hear(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        told = next((kwargs[name] for name in NAMES if name in kwargs), None)
        if told is None:
            place = next(names.index(name) for name in NAMES if name in names)
            told = args[place]
        times = torch.as_tensor(told, device=next(module.parameters()).device).float()
        share = (times[:, 0] if times.dim() > 1 else times.reshape(-1)) / config["time_scale"]  # by row, or by row and token
        level.value = 1 - share if config["time_reversed"] else share

    model.register_forward_pre_hook(hear, with_kwargs=True)


def _feed_forwards(model: nn.Module) -> dict[str, tuple[nn.Module, int]]:
    """Name → (layer, width)."""
    found = {}
    for name, one in model.named_modules():
        if FEED_FORWARD.fullmatch(name):
            size = next(layer.in_features for layer in one.modules() if isinstance(layer, nn.Linear))
            found[name] = (one, size)
    return found
