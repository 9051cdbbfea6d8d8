"""Answers sampled by transformers: prompts together, padded on the left; what a prompt says is read once for all its answers."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from kriptik.engine.interfaces import Bundle, Encoded
from kriptik.engine.text.forms import pad_id


def sampled(bundle: Bundle, prompts: Sequence[Encoded], settings: dict[str, Any]) -> list[Encoded]:
    """`count` answers per prompt, in the order of the prompts, as rows of form 'completion'. See `Modality.generate`."""
    tokenizer, count = bundle.tokenizer, int(settings.get("count", 1))
    longest = max(row.length for row in prompts)
    pad = pad_id(tokenizer)
    device = next(bundle.trainee.parameters()).device
    ids = torch.tensor([[pad] * (longest - row.length) + row.fields["ids"] for row in prompts], device=device)
    mask = torch.tensor([[0] * (longest - row.length) + [1] * row.length for row in prompts], device=device)
    temperature = float(settings.get("temperature", 1.0))
    model: Any = bundle.trainee
    made = model.generate(
        input_ids=ids.repeat_interleave(count, 0),
        attention_mask=mask.repeat_interleave(count, 0),
        past_key_values=_read(model, ids, mask, count),
        max_new_tokens=int(settings.get("max_new_tokens", 64)),
        do_sample=temperature > 0,
        temperature=temperature if temperature > 0 else None,
        top_p=None,
        top_k=0 if temperature > 0 else None,
        pad_token_id=pad,
    )
    return [_answer(prompts[at // count], line, tokenizer.eos_token_id) for at, line in enumerate(made[:, longest:].tolist())]


def _read(model: Any, ids: Tensor, mask: Tensor, count: int) -> DynamicCache | None:
    """Keys and values of all tokens of the prompts but the last, for each of their answers; None where nothing is saved by it."""
    if count == 1 or ids.shape[1] == 1:
        return None
    cache = DynamicCache(config=model.config)
    places = (mask.cumsum(-1) - 1).clamp_min(0)
    read = {"input_ids": ids[:, :-1], "attention_mask": mask[:, :-1], "position_ids": places[:, :-1]}
    with torch.no_grad():
        model(**read, past_key_values=cache, use_cache=True, logits_to_keep=1)
    cache.batch_repeat_interleave(count)
    return cache


def _answer(prompt: Encoded, line: list[int], end: int | None) -> Encoded:
    said = line[: line.index(end) + 1] if end is not None and end in line else line
    whole = prompt.fields["ids"] + said
    learnt = [False] * prompt.length + [True] * len(said)
    fields = {"ids": whole, "learnt": learnt, "cut": 0, "row": prompt.fields.get("row")}
    return Encoded(prompt.row, len(whole), float(len(said)), fields)
