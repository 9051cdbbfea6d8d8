"""A tiny Llama with its own tokenizer, made on the spot: real architecture, real chat template, about 0.3 million weights.

`tiny_model(folder)` writes it in Hugging Face format; `tiny_job(...)` is a `TrainJob` on it; `chat_rows(n)` are rows it can learn.
"""

import hashlib
import json
import random
import textwrap
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification, PreTrainedTokenizerFast

from kriptik.spec.catalogue import Point
from kriptik.spec.job import DataRef, ModelRef, Stage, StageSettings, TrainJob

PAD, START, END = "<|pad|>", "<|im_start|>", "<|im_end|>"
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def tiny_tokenizer(vocab_size: int = 512) -> PreTrainedTokenizerFast:
    """A byte-level BPE trained on the standard library's docstrings; ends a turn with `<|im_end|>`, which is also EOS."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PAD, START, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = [json.__doc__, textwrap.__doc__, random.__doc__, hashlib.__doc__, "system user assistant tool\n"]
    tokenizer.train_from_iterator([text for text in texts if text], trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, pad_token=PAD)
    fast.add_special_tokens({"additional_special_tokens": [START]})
    fast.chat_template = TEMPLATE
    return fast


def tiny_model(
    folder: str | Path, *, hidden: int = 64, layers: int = 2, heads: int = 4, kv_heads: int = 2, vocab_size: int = 512,
    tied: bool = True, seed: int = 0, positions: int = 512,
) -> Path:
    """Writes the model and its tokenizer to `folder` (fp32 safetensors); the same bytes for the same arguments."""
    folder = Path(folder)
    tokenizer = tiny_tokenizer(vocab_size)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=hidden * 3,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        max_position_embeddings=positions,
        tie_word_embeddings=tied,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype="float32",
        initializer_range=0.1,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def tiny_reward_model(folder: str | Path, likes: str = "aeiou") -> Path:
    """A reward model in the form of a classification model with one label: it likes tokens that consist of certain letters.

    Channel 0 of a token is the part of it that is liked; one head looks at all tokens alike and writes their mean to channel 2.
    Where a third is liked, the score is 0.
    """
    folder = Path(folder)
    tokenizer = tiny_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1,
        num_key_value_heads=1, max_position_embeddings=512, num_labels=1, pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForSequenceClassification(config)
    with torch.no_grad():
        for name, one in model.named_parameters():
            if "norm" not in name:
                one.zero_()
        words = [tokenizer.decode([token]) for token in range(len(tokenizer))]
        share = [sum(letter in likes for letter in word) / max(1, len(word)) for word in words]
        model.model.embed_tokens.weight[:, 0] = torch.tensor(share)
        model.model.embed_tokens.weight[:, 1] = 1.0
        layer = model.model.layers[0].self_attn
        layer.v_proj.weight[0, 0] = 1.0
        layer.o_proj.weight[2, 0] = 1.0
        model.score.weight[0, 1:3] = torch.tensor([-1.0, 3.0])
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def chat_rows(count: int, seed: int = 0) -> list[dict]:
    """Question and answer rows of differing lengths whose answers follow a rule, so that a model can learn them."""
    draw = random.Random(seed)
    words = ["json", "text", "random", "hash", "wrap", "list", "value", "string"]
    rows = []
    for index in range(count):
        asked = [draw.choice(words) for _ in range(draw.randint(1, 6))]
        question = f"Repeat in reverse: {' '.join(asked)}"
        messages = [{"role": "user", "content": question}, {"role": "assistant", "content": " ".join(reversed(asked)) + "."}]
        if index % 3 == 0:
            messages.insert(0, {"role": "system", "content": "Be brief."})
        rows.append({"messages": messages})
    return rows


def preference_rows(count: int, seed: int = 0) -> list[dict]:
    """Pairs in the prepared form: the better answer follows the rule of `chat_rows`, the worse one spells every word backwards."""
    rows = []
    for row in chat_rows(count, seed):
        *prompt, answer = row["messages"]
        worse = " ".join(word[::-1] for word in answer["content"].rstrip(".").split())
        rows.append({"prompt": prompt, "chosen": [answer], "rejected": [{"role": "assistant", "content": worse}]})
    return rows


def feedback_rows(count: int, seed: int = 0) -> list[dict]:
    """Single answers with a mark, good and bad in turn."""
    rows = []
    for number, row in enumerate(preference_rows(count, seed)):
        good = number % 2 == 0
        rows.append({"prompt": row["prompt"], "completion": row["chosen" if good else "rejected"], "label": good})
    return rows


def write_rows(path: str | Path, rows: list[dict]) -> DataRef:
    """Rows as JSONL and the reference a job carries; evaluation rows are set by the caller."""
    text = "".join(json.dumps(row) + "\n" for row in rows)
    Path(path).write_text(text, encoding="utf-8")
    return DataRef(train_path=str(path), train_rows=len(rows), sha256=hashlib.sha256(text.encode()).hexdigest(), source="test")


def tiny_job(
    root: str | Path, *, rows: list[dict] | None = None, eval_rows: list[dict] | None = None, adaptation: str = "lora",
    objective: str = "causal_lm", strategy: str = "single", settings: StageSettings | None = None, **changes: object,
) -> TrainJob:
    """A job on a tiny model under `root` (model, rows, run folder and cache); `changes` replace its fields."""
    root = Path(root)
    base = root / "base"
    if not (base / "config.json").exists():
        tiny_model(base)
    data = write_rows(root / "train.jsonl", rows or chat_rows(24))
    if eval_rows:
        held = write_rows(root / "eval.jsonl", eval_rows)
        data = data.model_copy(update={"eval_path": held.train_path, "eval_rows": held.train_rows})
    (root / "run").mkdir(exist_ok=True)
    default = StageSettings(micro_batch=2, accumulation=2, learning_rate=5e-3, max_seq_len=96)
    stage = Stage(
        index=0, name="train", method=adaptation, settings=settings or default,
        point=Point(adaptation=adaptation, objective=objective, strategy=strategy),
    )
    job = TrainJob(
        job_id="01TINY", generation=1, run_dir=str(root / "run"), cache_dir=str(root / "cache"), modality="text",
        capability="chat", base_model=ModelRef(id="tiny", path=str(base)), seed=7, threads=1, stages=[stage], data=data,
        probe=False,
    )
    return job.model_copy(update=changes)
