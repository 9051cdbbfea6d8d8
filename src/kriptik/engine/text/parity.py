"""Whether what was exported is what was trained: the same token ids from the template, the same logits within stated limits.

Limits are on the largest difference of logits over fixed conversations, relative to the largest logit. Measured on
SmolLM2-135M: f16 0.002, bf16 0.008, q8_0 0.031; a wrong layout or template is off by 0.3 and more.
"""

from collections.abc import Sequence
from typing import Any

import torch

from kriptik.engine.text.chat import encode_prompt, render
from kriptik.spec.errors import DataError, WorkerError
from kriptik.spec.export import GgufType, Parity

MERGED_FP32, MERGED_HALF = 1e-3, 5e-2
GGUF_LIMITS: dict[GgufType, float] = {"f32": 1e-3, "f16": 1e-2, "bf16": 3e-2, "q8_0": 1e-1}
LONGEST = 96
"""Tokens of a conversation that are compared."""

Messages = list[dict[str, Any]]
CONVERSATIONS: tuple[Messages, ...] = (
    [{"role": "user", "content": "Hello, how are you?"}],
    [{"role": "system", "content": "Answer briefly."}, {"role": "user", "content": "What's 1234 + 56.78?\n\nShow the steps."}],
    [
        {"role": "user", "content": "List 3 fruits   (don't explain)."},
        {"role": "assistant", "content": "1. Apple\n2. Pear\n3. Plum"},
        {"role": "user", "content": "Übersetze das ins Deutsche: naïve café, 東京, 🙂!"},
    ],
    [
        {"role": "system", "content": "You're a helper for code."},
        {"role": "user", "content": "def f(x):\n\treturn x**2  # it's <b>fine</b>"},
        {"role": "assistant", "content": "It squares its input."},
        {"role": "user", "content": "And {{ this }}?"},
    ],
)


def usable(tokenizer: Any) -> list[Messages]:
    """The fixed conversations that this template can write (some know no system turn). Raises DataError where it writes none."""
    found, refused = [], None
    for messages in CONVERSATIONS:
        try:
            render(tokenizer, messages, 0, ask=True)
        except DataError as error:
            refused = error
            continue
        found.append(messages)
    if not found and refused is not None:
        raise refused
    return found


def same_tokens(name: Any, trained: Any, exported: Any, *, bos: int | None = None) -> Parity:
    """Token ids of every conversation by two tokenizers. `bos`: what the exported side's reader puts before a text by itself."""
    wrong = 0
    conversations = usable(trained)
    for messages in conversations:
        wanted = encode_prompt(trained, messages)
        try:
            got = encode_prompt(exported, messages)
        except DataError:
            got = []
        if bos is not None and got[:1] != [bos]:
            got = [bos, *got]
        wrong += wanted != got
    what = "the exported tokenizer and template" if name == "template" else "the GGUF file's vocabulary and template"
    sentence = f"{len(conversations) - wrong} of {len(conversations)} conversations have the same token ids by {what}."
    return Parity(name=name, sentence=sentence, measured=wrong, limit=0, passed=wrong == 0)


def token_rows(tokenizer: Any) -> list[list[int]]:
    """The conversations as token ids; where the template writes none of them, their words."""
    try:
        rows = [encode_prompt(tokenizer, messages) for messages in usable(tokenizer)]
    except DataError:
        rows = [tokenizer(messages[-1]["content"], add_special_tokens=False)["input_ids"] for messages in CONVERSATIONS]
    return [row[:LONGEST] or [0] for row in rows]


def logits_of(model: Any, rows: Sequence[list[int]]) -> list[torch.Tensor]:
    """Logits [tokens, vocabulary] per row, fp32 on the CPU, in eval mode; the model's modes are left as they were."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    device = next(model.parameters()).device
    try:
        with torch.no_grad():
            return [model(input_ids=torch.tensor([row], device=device)).logits[0].float().cpu() for row in rows]
    finally:
        for module, training in modes:
            module.training = training


def difference(one: Sequence[torch.Tensor], two: Sequence[torch.Tensor]) -> float:
    """Largest difference over all rows, relative to the largest logit of `one`."""
    top = max(float(rows.abs().max()) for rows in one)
    return max(float((a - b).abs().max()) for a, b in zip(one, two, strict=True)) / max(top, 1e-6)


def same_logits(name: Any, what: str, one: Sequence[torch.Tensor], two: Sequence[torch.Tensor], limit: float) -> Parity:
    """Logits of two models within a limit; says how often their next token is the same."""
    off = difference(one, two)
    pairs = [(a.argmax(-1) == b.argmax(-1)).float() for a, b in zip(one, two, strict=True)]
    agree = float(torch.cat(pairs).mean())
    sentence = f"Logits of {what} are off by {off:.1e} of the largest (limit {limit:g}); the next token is the same at {agree:.1%}."
    return Parity(name=name, sentence=sentence, measured=off, limit=limit, passed=off <= limit)


def exactly(one: Any, other: Any) -> bool:
    """Whether two models can be held to the largest difference: in fp32 and on one device, since each rounds in its own way."""
    first, second = next(one.parameters()), next(other.parameters())
    return first.dtype.itemsize == second.dtype.itemsize == 4 and first.device == second.device


def same_merged(what: str, one: Sequence[torch.Tensor], two: Sequence[torch.Tensor], exact: bool) -> Parity:
    """Logits of a merged model and of the adapter on its base. `exact`: held by the largest difference (`exactly`).

    In half precision every merged weight is rounded, and a single logit may be off by far more than all are: there it is the root
    of the mean square, relative to that of `one`.
    """
    if exact:
        return same_logits("merged", what, one, two, MERGED_FP32)
    off = float(sum((a - b).square().sum() for a, b in zip(one, two, strict=True))) ** 0.5
    off /= max(float(sum(rows.square().sum() for rows in one)) ** 0.5, 1e-6)
    sentence = f"Logits of {what} are off by {off:.1e}, root mean square (limit {MERGED_HALF:g})."
    return Parity(name="merged", sentence=sentence, measured=off, limit=MERGED_HALF, passed=off <= MERGED_HALF)


def must_pass(check: Parity) -> Parity:
    """The check, if it passed. Raises WorkerError with the code of what differs."""
    if check.passed:
        return check
    code, step = FAILURES[check.name]
    raise WorkerError(code, check.sentence, step)


FAILURES = {
    "template": ("template_differs", "The files were not kept. Report this as a fault, with the base model's name."),
    "merged": ("merge_differs", "The files were not kept. Use the adapter with its base; report this as a fault."),
    "gguf_template": ("template_differs", "The files were not kept. Export it merged; report this with the base model's name."),
    "gguf": ("gguf_differs", "The files were not kept. Try a type with more bits (f16), or export it merged."),
    "modelfile": ("template_not_portable", "Export as gguf: the file itself holds the template. Ollama would write another one."),
}
