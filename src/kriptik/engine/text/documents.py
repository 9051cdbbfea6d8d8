"""Attention that never crosses a document: the documents of a micro-batch lie end to end in one row, without padding.

`NAME` is registered with transformers. Given `doc_lengths`, it attends inside each document; given `doc_parents` too, these are
segments, and each sees the segments it goes on from (`sharing.py`). Without (generation), it is SDPA.
"""

from collections.abc import Sequence
from functools import lru_cache
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
    doc_parents: Sequence[int] | None = None,
    sliding_window: int | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Query [1, heads, tokens, size], key and value [1, kv_heads, tokens, size] → [1, tokens, heads, size]."""
    if doc_lengths is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, dropout=dropout, sliding_window=sliding_window, **options
        )
    narrow = query.dtype if query.device.type == "cpu" and query.dtype.itemsize < 4 else None
    if narrow is not None:  # torch's backward for half precision on a CPU takes six times as long
        query, key, value = query.float(), key.float(), value.float()
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    queries, keys, values = (one.split(list(doc_lengths), dim=2) for one in (query, key, value))
    found = []
    for number, length in enumerate(doc_lengths):
        line = _line(number, doc_parents)
        k, v = keys[number], values[number]
        if len(line) > 1:
            k, v = (torch.cat([parts[one] for one in line], dim=2) for parts in (keys, values))
        before, near = k.shape[2] - length, sliding_window if sliding_window and k.shape[2] > sliding_window else None
        mask = _seen(length, before, near, k.device) if before or near else None
        found.append(
            functional.scaled_dot_product_attention(
                queries[number], k, v, attn_mask=mask, is_causal=mask is None, dropout_p=dropout, scale=scaling
            )
        )
    return torch.cat(found, dim=2).transpose(1, 2).to(narrow or query.dtype).contiguous(), None


def _line(number: int, parents: Sequence[int] | None) -> list[int]:
    """The segments from the beginning of a document to this one."""
    line = [number]
    while parents is not None and parents[line[0]] >= 0:
        line.insert(0, parents[line[0]])
    return line


@lru_cache(maxsize=512)
def _seen(length: int, before: int, window: int | None, device: torch.device) -> Tensor:
    """[length, before + length]: true where a token may look: what is before it, itself, at most `window` in all."""
    back = torch.arange(before, before + length, device=device)[:, None] - torch.arange(before + length, device=device)
    return (back >= 0) & (back < (window or before + length))


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, sdpa_mask)
