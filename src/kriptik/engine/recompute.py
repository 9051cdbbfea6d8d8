"""Activations kept for the backward, or computed again there.

Source: Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost". The libraries' own layers do it, by
`torch.utils.checkpoint`, which brings random numbers back as they were: gradients stay the same.
"""

from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint

from kriptik.engine.interfaces import Adaptation
from kriptik.spec.errors import WorkerError


def settle(trainee: nn.Module, adaptation: Adaptation, on: bool) -> None:
    """Switches it on or off for every layer of the trainee. Raises WorkerError where it is wanted and cannot be."""
    model = _plain(trainee)
    if not able(trainee, adaptation):
        if not on:
            return
        who = f"{type(model).__name__} with {type(adaptation).__name__}"
        what = f"{who} cannot compute activations again in the backward."
        raise WorkerError("cannot_recompute", what, "Choose a smaller batch or shorter rows, and leave 'recompute' off.")
    if hasattr(model, "activation_checkpointing_enable"):  # transformers
        if on:
            model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
        elif model.is_activation_checkpointing:
            model.activation_checkpointing_disable()
    elif on:  # diffusers
        model.enable_gradient_checkpointing(_again)
    else:
        model.disable_gradient_checkpointing()


def able(trainee: nn.Module, adaptation: Adaptation) -> bool:
    """Whether the library's layers know how, and a forward may be done twice."""
    model = _plain(trainee)
    known = getattr(model, "supports_gradient_checkpointing", getattr(model, "_supports_gradient_checkpointing", False))
    return bool(known) and adaptation.repeatable


def _plain(trainee: Any) -> Any:
    return trainee.get_base_model() if hasattr(trainee, "get_base_model") else trainee


def _again(function: Any, *arguments: Any, **named: Any) -> Any:
    return checkpoint(function, *arguments, use_reentrant=False, **named)
