"""Shifted sparse attention: half of the heads attend inside groups of tokens, the other half inside groups moved by half a group.

Source: Chen et al. 2023, "LongLoRA: Efficient Fine-tuning of Long-Context Large Language Models", section 3.2. Information passes
from group to group through the moved half. Used while training; in eval mode attention is full. Unlike the paper's roll, which
lets the first half group of the moved heads see the end of the text, nothing wraps around: that half group is one of its own, so
no token sees a later one. Groups begin anew with every document, and a document that fits into one group has full attention.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import sdpa_mask

from kriptik.engine.text import documents

NAME = "kriptik_shifted"
GROUP = "kriptik_group"
"""Attribute of a model's config: tokens of a group."""


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    doc_lengths: Sequence[int] | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """As `documents.attend`: query [1, heads, tokens, size], others [1, kv_heads, tokens, size] → [1, tokens, heads, size]."""
    group = int(getattr(module.config, GROUP))
    if doc_lengths is None or not module.training or max(doc_lengths, default=0) <= group:
        return documents.attend(module, query, key, value, attention_mask, doc_lengths=doc_lengths, **options)
    copies = query.shape[1] // key.shape[1]
    if copies > 1:  # before the cut: heads of one half may share keys with those of the other
        key, value = key.repeat_interleave(copies, 1), value.repeat_interleave(copies, 1)
    half = query.shape[1] // 2
    found = []
    for heads, first in ((slice(half), group), (slice(half, None), group // 2)):
        q, k, v = (one[:, heads] for one in (query, key, value))
        lengths = [part for length in doc_lengths for part in parts_of(length, group, first)]
        found.append(documents.attend(module, q, k, v, attention_mask, doc_lengths=lengths, **options)[0])
    return torch.cat(found, dim=2), None


def parts_of(length: int, group: int, first: int) -> list[int]:
    """Lengths of a document's groups: the first of `first` tokens, then whole ones, then what is left."""
    if length <= group:
        return [length]
    rest = length - first
    return [first, *([group] * (rest // group)), *([rest % group] if rest % group else [])]


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, sdpa_mask)
