"""A tiny BERT with mean pooling as sentence-transformers keeps it, and pairs of texts that a model can learn to bring together."""

import random
from pathlib import Path

import tiny
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
from transformers import BertConfig, BertModel, Qwen3Config, Qwen3Model

MEANINGS = {
    "json": "braces", "text": "letters", "random": "dice", "hash": "digest", "wrap": "fold", "list": "row", "value": "worth",
    "string": "thread", "system": "whole", "user": "person", "tool": "hammer", "count": "tally",
}
PROMPTS = {"query": "find: ", "document": ""}


def tiny_encoder(folder, *, kind="bert", prompts=None, pooling="mean", dropout=0.1):
    """Writes the model to `folder`: about 30,000 weights, the same bytes for the same arguments."""
    folder = Path(folder)
    tokenizer = tiny.tiny_tokenizer()
    if kind == "bert":
        tokenizer.chat_template = None
    sizes = {"vocab_size": len(tokenizer), "hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 64}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if kind == "bert":
            config = BertConfig(
                **sizes, num_attention_heads=4, max_position_embeddings=128, hidden_dropout_prob=dropout,
                attention_probs_dropout_prob=0.0, pad_token_id=tokenizer.pad_token_id, initializer_range=0.1,
            )
            model = BertModel(config)
        else:
            tokenizer.padding_side = "left"
            config = Qwen3Config(
                **sizes, num_attention_heads=4, num_key_value_heads=2, head_dim=8, max_position_embeddings=128,
                initializer_range=0.1,
            )
            model = Qwen3Model(config)
    plain = folder.with_name(f"{folder.name}-plain")
    model.save_pretrained(plain)
    tokenizer.save_pretrained(plain)
    parts = [Transformer(str(plain), max_seq_length=64), Pooling(32, pooling_mode=pooling), Normalize()]
    SentenceTransformer(modules=parts, prompts=prompts, device="cpu").save_pretrained(str(folder), create_model_card=False)
    return folder


def pair_rows(count, seed=0, negatives=0):
    """A query of a few words, a text of what they mean, and texts in which one of them means something else."""
    draw = random.Random(seed)
    rows = []
    for _ in range(count):
        asked = draw.sample(list(MEANINGS), draw.randint(2, 4))
        told = [MEANINGS[word] for word in asked]
        wrong = []
        for _ in range(negatives):
            other = list(told)
            other[draw.randrange(len(other))] = draw.choice([one for one in MEANINGS.values() if one not in told])
            wrong.append(" ".join(other))
        row = {"query": " ".join(asked), "positive": " ".join(told)}
        rows.append({**row, "negatives": wrong} if wrong else row)
    return rows
