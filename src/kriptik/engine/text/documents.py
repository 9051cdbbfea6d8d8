"""Attention that never crosses a document: the documents of a micro-batch lie end to end in one row, without padding.

`NAME` is registered with transformers. Given `doc_lengths`, it attends inside each document; without (generation), it is SDPA.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "kriptik_documents"


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
    doc_lengths: Sequence[int] | None = None,
    sliding_window: int | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Query [1, heads, tokens, size], key and value [1, kv_heads, tokens, size] → [1, tokens, heads, size]."""
    if doc_lengths is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, dropout=dropout, sliding_window=sliding_window, **options
        )
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    found = []
    start = 0
    for length in doc_lengths:
        q, k, v = (one[:, :, start : start + length] for one in (query, key, value))
        mask = _window(length, sliding_window, q.device) if sliding_window and length > sliding_window else None
        found.append(
            functional.scaled_dot_product_attention(
                q, k, v, attn_mask=mask, is_causal=mask is None, dropout_p=dropout, scale=scaling
            )
        )
        start += length
    return torch.cat(found, dim=2).transpose(1, 2).contiguous(), None


def _window(length: int, window: int, device: torch.device) -> Tensor:
    """True where a token may look: itself and the `window` - 1 before it."""
    at = torch.arange(length, device=device)
    back = at[:, None] - at[None, :]
    return (back >= 0) & (back < window)


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, sdpa_mask)
