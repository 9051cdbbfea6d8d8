"""PEFT's LoRA layer in fewer passes over memory: x W + s (x A) B, where scaling and addition are part of the second product.

The same numbers up to rounding. On a base in half precision the small matrices are rounded to it for the product, and kept and
updated in fp32, as autocast does; PEFT widens the activations instead, which costs more than the product.
"""

from typing import Any

import torch
from peft.tuners.lora.layer import Linear
from torch import Tensor, nn
from torch.nn import functional


class LoraLinear(Linear):
    """Steps aside for all that is not one plain adapter on a linear layer."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """[..., in] → [..., out]."""
        names = self.active_adapters
        if len(names) != 1 or self.disable_adapters or self.merged or kwargs or names[0] in self.lora_variant:
            return super().forward(x, *args, **kwargs)
        name = names[0]
        result: Tensor = self.base_layer(x, *args)
        low = functional.linear(self.lora_dropout[name](x), self.lora_A[name].weight.to(x.dtype))
        wide = self.lora_B[name].weight.to(x.dtype).t()
        return torch.addmm(result.flatten(0, -2), low.flatten(0, -2), wide, alpha=self.scaling[name]).view_as(result)


def settle(model: nn.Module) -> None:
    """Every plain LoRA layer of `model` computes so from now on."""
    for layer in model.modules():
        if type(layer) is Linear and isinstance(layer.get_base_layer(), nn.Linear) and not any(layer.lora_bias.values()):
            layer.__class__ = LoraLinear
