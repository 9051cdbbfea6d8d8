"""A second copy of a model, to be changed and saved: beside the first where there is room, else in main memory."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

ROOM = 1.2
"""A copy is made on a GPU that has so much more free than it takes: what is left is for looking at it."""


def spare(module: nn.Module) -> nn.Module:
    """A deep copy. A GPU that trained a model to its brim has no room for a second one: then it is made on the CPU."""
    tensors = [*module.parameters(), *module.buffers()]
    device = tensors[0].device if tensors else torch.device("cpu")
    if device.type == "cuda" and _free(device) < ROOM * sum(one.numel() * one.element_size() for one in tensors):
        return in_main_memory(module)
    return copy.deepcopy(module)


def in_main_memory(module: nn.Module) -> nn.Module:
    """A deep copy on the CPU that takes nothing more where the model is; what shares weights goes on sharing them."""
    known: dict[int, Any] = {
        id(one): nn.Parameter(_there(one), requires_grad=one.requires_grad) for one in module.parameters()
    } | {id(one): _there(one) for one in module.buffers()}
    return copy.deepcopy(module, known)


def _there(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", copy=True)


def _free(device: torch.device) -> int:
    """Bytes: what nobody has, and what torch keeps for later."""
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + kept
