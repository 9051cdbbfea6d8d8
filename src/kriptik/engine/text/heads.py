"""The loss over the vocabulary without ever holding all logits: the output layer is left out of the forward and applied in chunks.

Idea of the chunked loss: gradients of a chunk's hidden states are made while its logits exist (as in Liger Kernel's fused linear
cross-entropy, Hsu et al. 2024), so that nothing is computed twice.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from kriptik.engine.interfaces import Bundle
from kriptik.spec.errors import WorkerError

SCORE = "score"
"""The value head of a reward model, as transformers' sequence classification calls it."""
VALUE = "value_head"
"""The value head of a policy; it is no part of what a run leaves."""
CHUNK_BYTES = 64 << 20
"""Logits of one chunk take at most about this much."""


class DeferredHead(nn.Linear):
    """An output layer that, while `deferred`, hands its input through; `project` is what it would have done."""

    deferred: bool

    def forward(self, hidden: Tensor) -> Tensor:
        """Logits, or the hidden states as they are."""
        return hidden if self.deferred else functional.linear(hidden, self.weight, self.bias)


class ValueHead(nn.Module):
    """One number per hidden state. Not an `nn.Linear`, so that no adapter takes it for a layer to adapt."""

    def __init__(self, size: int, like: Tensor, deviation: float) -> None:
        super().__init__()
        weight = torch.empty(1, size, dtype=torch.float32)
        nn.init.normal_(weight, std=deviation)
        self.weight = nn.Parameter(weight.to(like))

    def forward(self, hidden: Tensor) -> Tensor:
        """[tokens, size] → [tokens], in fp32."""
        return functional.linear(hidden, self.weight)[:, 0].float()


@dataclass
class TextOutput:
    """Hidden states [tokens, size] where something is predicted, the layer that turns them into logits, a value head if any."""

    hidden: Tensor
    head: nn.Linear
    value: ValueHead | None = None

    @property
    def values(self) -> Tensor:
        """[tokens]. Raises WorkerError without a value head."""
        if self.value is None:
            raise WorkerError("no_value_head", "The model has no value head.", "Report this as a fault.")
        return self.value(self.hidden)


def defer(model: Any) -> DeferredHead:
    """Makes the model's output layer one that can be left out. Raises TypeError where it is no plain linear layer."""
    head = model.get_output_embeddings()
    if type(head) is not nn.Linear and type(head) is not DeferredHead:
        raise TypeError(f"the output layer is a {type(head).__name__}")
    head.__class__ = DeferredHead
    head.deferred = False
    return head


def add_value_head(bundle: Bundle, name: str, deviation: float) -> None:
    """Puts a trained value head beside the model's output layer, as the model's attribute `name`."""
    model = plain(bundle.trainee)
    head = model.get_output_embeddings()
    weight = (head[0] if isinstance(head, nn.ModuleList) else head).weight  # one layer per codebook where sound is made
    setattr(model, name, ValueHead(model.config.get_text_config().hidden_size, weight, deviation))


def take_value_head(bundle: Bundle, name: str) -> None:
    """Takes it away again."""
    delattr(plain(bundle.trainee), name)


def value_head(module: nn.Module) -> tuple[str, ValueHead] | None:
    """The value head of a model (plain or with adapters) and its name in the plain model."""
    found = ((name, one) for name, one in module.named_modules() if isinstance(one, ValueHead))
    return next(((name.rpartition(".")[2], one) for name, one in found), None)


def plain(trainee: Any) -> Any:
    """The model below adapters; the trainee itself where it has none."""
    return trainee.get_base_model() if hasattr(trainee, "get_base_model") else trainee


def loss_sum(output: TextOutput, targets: Tensor) -> Tensor:
    """Cross-entropy summed over tokens, in fp32; differentiable in hidden states and, where it is trained, the layer's weight."""
    return _ChunkedLoss.apply(output.hidden, output.head.weight, output.head.bias, targets)


def log_probs(output: TextOutput, targets: Tensor, temperature: float = 1.0) -> Tensor:
    """log p of each target [tokens], chunk by chunk; differentiable (each chunk's logits are made again in the backward)."""
    rows = _rows(output.head.weight)
    found = []
    for start in range(0, len(targets), rows):
        part = output.hidden[start : start + rows]
        arguments = (part, output.head.weight, output.head.bias, targets[start : start + rows], temperature)
        if torch.is_grad_enabled():
            found.append(checkpoint(_log_probs, *arguments, use_reentrant=False))
        else:
            found.append(_log_probs(*arguments))
    return torch.cat(found) if found else output.hidden.new_zeros(0)


def _log_probs(hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, temperature: float) -> Tensor:
    logits = functional.linear(hidden, weight, bias).float() / temperature
    return logits.gather(1, targets[:, None])[:, 0] - logits.logsumexp(1)


class _ChunkedLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> Tensor:
        needs_hidden, needs_weight, needs_bias, _ = ctx.needs_input_grad
        d_hidden = torch.empty_like(hidden) if needs_hidden else None
        d_weight = torch.zeros_like(weight) if needs_weight else None
        d_bias = torch.zeros_like(bias) if needs_bias and bias is not None else None
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        rows = _rows(weight)
        for start in range(0, len(targets), rows):
            part, wanted = hidden[start : start + rows], targets[start : start + rows, None]
            logits = functional.linear(part, weight, bias).float()
            norm = logits.logsumexp(1, keepdim=True)
            total += (norm - logits.gather(1, wanted)).sum()
            if not (needs_hidden or needs_weight or needs_bias):
                continue
            slope = logits.sub_(norm).exp_()
            slope.scatter_add_(1, wanted, torch.full_like(wanted, -1, dtype=slope.dtype))
            slope = slope.to(hidden.dtype)
            if d_hidden is not None:
                torch.mm(slope, weight, out=d_hidden[start : start + rows])
            if d_weight is not None:
                d_weight.addmm_(slope.t(), part)
            if d_bias is not None:
                d_bias += slope.sum(0)
        ctx.save_for_backward(d_hidden, d_weight, d_bias)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (scale,) = grads
        return (*(None if one is None else one * scale.to(one.dtype) for one in ctx.saved_tensors), None)


def _rows(weight: Tensor) -> int:
    return max(16, CHUNK_BYTES // (4 * weight.shape[0]))
