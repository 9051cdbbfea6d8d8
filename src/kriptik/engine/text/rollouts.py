"""Where answers of the model being trained come from: this process, by transformers, or a server beside it (`text/vllm.py`).

By transformers prompts go together, padded on the left; what a prompt says is read once for all its answers.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from kriptik.engine.interfaces import Bundle, Encoded, Session
from kriptik.engine.text.forms import pad_id

MOST_TRUST = 2.0


class Rollouts:
    """Answers by the model as it is, through `Modality.generate` here; subclasses ask elsewhere."""

    def of(self, prompts: Sequence[Encoded], session: Session, *, count: int, longest: int, temperature: float) -> list[Encoded]:
        """`count` answers per prompt, those of a prompt in a row; at temperature 0 the likeliest. Inside `Runtime.generation`.

        `fields["log_probs"]`, where present: what the sampler held each token's log-probability to be, at this temperature.
        """
        settings = {"count": count, "max_new_tokens": longest, "temperature": temperature}
        return session.modality.generate(session.bundle, prompts, settings)

    def end(self) -> None:
        """End of the stage: what was started besides goes."""


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
    lines = [_said(line, tokenizer.eos_token_id) for line in made[:, longest:].tolist()]
    return [completion(prompts[at // count], said) for at, said in enumerate(lines)]


def completion(prompt: Encoded, said: list[int], log_probs: list[float] | None = None) -> Encoded:
    """A row of form 'completion' out of a prompt and the tokens of an answer to it."""
    whole = prompt.fields["ids"] + said
    learnt = [False] * prompt.length + [True] * len(said)
    fields = {"ids": whole, "learnt": learnt, "cut": 0, "row": prompt.fields.get("row")}
    if log_probs is not None:
        fields["log_probs"] = log_probs
    return Encoded(prompt.row, len(whole), float(len(said)), fields)


def trust(answers: Sequence[Encoded], past: Tensor) -> dict[str, Tensor]:
    """`trust` and `gap`, each as `past` [rows, tokens], for answers that another program sampled; else nothing.

    Its log-probabilities differ from `past`, the trainer's own, by rounding, so that answers are a little off-policy: `trust` is
    the ratio of the two policies, at most 2 (truncated importance sampling, Yao et al. 2025, "Your Efficient RL Framework Secretly
    Brings You Off-Policy RL Training"), `gap` how far apart they are.
    """
    if not answers or "log_probs" not in answers[0].fields:
        return {}
    lines = [torch.tensor(one.fields["log_probs"], dtype=past.dtype, device=past.device) for one in answers]
    apart = past - torch.nn.utils.rnn.pad_sequence(lines, batch_first=True)
    return {"trust": apart.exp().clamp(max=MOST_TRUST), "gap": apart.abs()}


def _said(line: list[int], end: int | None) -> list[int]:
    return line[: line.index(end) + 1] if end is not None and end in line else line


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
