"""Which linear layers of a model an adaptation stands on, by name."""

from typing import Any

from torch import nn


def linear_names(model: Any, targets: str | list[str]) -> list[str]:
    """Names of linear layers: all but the output layer ('all-linear'), or those whose last names are given."""
    head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    linear = [name for name, one in model.named_modules() if isinstance(one, nn.Linear) and one is not head]
    if targets == "all-linear":
        return linear
    wanted = [targets] if isinstance(targets, str) else targets
    return [name for name in linear if any(f".{name}".endswith(f".{one}") for one in wanted)]
