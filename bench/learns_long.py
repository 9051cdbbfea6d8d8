"""LongLoRA beside plain LoRA: a small model trained here at 256 tokens, stretched to 1,024 by as many updates of either.

The text is the source of Python's standard library, whole modules held out. What counts is the loss on tokens from the 257th on, in
pieces of 1,024, by transformers alone and with full attention. Plain LoRA is taken twice: as it is, and with positions
interpolated.
"""

import json
import shutil
import sysconfig
from pathlib import Path
from typing import Any

from measure import job_of, trained

SHORT, LONG = 256, 1024
BASE_UPDATES, UPDATES = 400, 50
HELD_OUT = 24
"""Pieces."""


def stretch(folder: Path) -> dict[str, Any]:
    """Perplexity beyond the first 256 tokens, by way of training."""
    texts = [file.read_text(encoding="utf-8", errors="ignore") for file in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))]
    base = small_model(folder / "small", texts)
    held, train = texts[::7], [text for at, text in enumerate(texts) if at % 7]
    write(folder, base, train, SHORT)
    teach(folder, base, "full", BASE_UPDATES, micro_batch=8, learning_rate=2e-3, max_seq_len=SHORT)
    made = (folder / "run" / "result" / "model").rename(folder / "base")
    pieces = cut(made, held, LONG)[:HELD_OUT]
    found: dict[str, Any] = {"base_within": perplexity(made, pieces, 0, SHORT)}
    found["base_beyond"] = perplexity(made, pieces, SHORT, LONG)
    scaled = interpolated(made, folder / "scaled")
    write(folder, made, train, LONG)
    for name, base, method in (("lora", made, "lora"), ("lora_interpolated", scaled, "lora"), ("longlora", made, "longlora")):
        teach(folder, base, method, UPDATES, micro_batch=4, learning_rate=1e-3, max_seq_len=LONG)
        result = (folder / "run" / "result" / "model").rename(folder / name)
        found[name] = perplexity(result, pieces, SHORT, LONG)
    return {**found, "pieces": len(pieces), "holds": found["longlora"] < min(found["lora"], found["lora_interpolated"])}


def small_model(folder: Path, texts: list[str]) -> Path:
    """A Llama of about 1.3 million weights with a tokenizer trained on the same text."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=2048, special_tokens=["<eos>"], initial_alphabet=alphabet))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>", pad_token="<eos>").save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=2048, hidden_size=160, intermediate_size=432, num_hidden_layers=4, num_attention_heads=5, num_key_value_heads=5,
        max_position_embeddings=SHORT, tie_word_embeddings=True, bos_token_id=None, eos_token_id=0, pad_token_id=0, dtype="float32",
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def interpolated(base: Path, folder: Path) -> Path:
    """The same model with positions divided by four."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from kriptik.engine.adaptations.longlora import scale_positions, scaled_positions

    model = AutoModelForCausalLM.from_pretrained(base, dtype="float32")
    scale_positions(model, scaled_positions(model, LONG) or {})
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(base).save_pretrained(folder)
    return folder


def cut(base: Path, texts: list[str], length: int) -> list[list[int]]:
    """Whole pieces of `length` tokens, in order."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    pieces = []
    for text in texts:
        ids = tokenizer(text, add_special_tokens=False).input_ids
        pieces += [ids[at : at + length] for at in range(0, len(ids) - length + 1, length)]
    return pieces


def write(folder: Path, base: Path, texts: list[str], length: int) -> None:
    """train.jsonl: raw rows that come to at most `length` tokens with their end."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    rows = [{"text": tokenizer.decode(piece)} for piece in cut(base, texts, length - 8)]
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def teach(folder: Path, base: Path, adaptation: str, updates: int, **settings: Any) -> None:
    """One run of the product's own loop on `base`."""
    from kriptik.spec.job import LoraSettings, ModelRef

    shutil.rmtree(folder / "run", ignore_errors=True)
    job = job_of(
        folder, adaptation, "causal_lm", "text_generation", adaptation, max_steps=updates, epochs=50,
        lora=LoraSettings(rank=16, alpha=32, targets="all-linear"), **settings,
    )  # fmt: skip
    trained(job.model_copy(update={"base_model": ModelRef(id="small", path=str(base))}))


def perplexity(model: Path, pieces: list[list[int]], start: int, end: int) -> float:
    """exp of the mean loss of the tokens from `start` to `end` of each piece."""
    import torch
    from transformers import AutoModelForCausalLM

    found = AutoModelForCausalLM.from_pretrained(model, dtype="float32").eval()
    losses = []
    for piece in pieces:
        ids = torch.tensor([piece[:end]])
        with torch.no_grad():
            logits = found(input_ids=ids).logits[0, :-1].float()
        losses.append(torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="none")[max(0, start - 1) :])
    return float(torch.cat(losses).mean().exp())
