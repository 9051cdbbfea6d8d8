"""The lower layers of a multilingual sentence encoder in numpy: pieces of a text → log odds of each class.

Weights of four bits in blocks of 32 with one scale each, as the encoder came (multilingual-e5-small, MIT), and beside each matrix
the product of two thin ones that was learned (LoRA). `bench/intent/encoder.py` computes the same in torch and trains it.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
from threadpoolctl import ThreadpoolController

HEADS = 12
BLOCK = 32
MATRICES = ("q", "k", "v", "o", "up", "down")
EPSILON = 1e-12
FIRST, LAST = 64, 24
"""Pieces of a long text that are read: from its beginning and from its end."""
INNER = (4, 6)
"""After so many layers what is seen is kept: the last ones were tuned to tell what a model is for, and see less of the rest."""
_GELU = (2 / np.pi) ** 0.5
Arrays = dict[str, np.ndarray]
T = TypeVar("T")


def unpacked(nibbles: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """[rows, width / 2] bytes and [rows, width / BLOCK] scales → [rows, width]: low halves of the bytes first, then high ones."""
    whole = np.concatenate([nibbles & 15, nibbles >> 4], axis=1).astype(np.float32) - 8
    rows, width = whole.shape
    return (whole.reshape(rows, width // BLOCK, BLOCK) * scales.astype(np.float32)[:, :, None]).reshape(rows, width)


def packed(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The reverse of `unpacked`; exact for weights that are whole multiples of -8 to 7 of a scale in each block."""
    rows, width = weights.shape
    blocks = weights.reshape(rows, width // BLOCK, BLOCK).astype(np.float32)
    top = np.take_along_axis(blocks, np.abs(blocks).argmax(axis=2)[:, :, None], axis=2)[:, :, 0]
    best, scales, whole = np.full(top.shape, np.inf, np.float32), np.zeros_like(top), np.zeros_like(blocks)
    for steps in (*range(-8, 0), *range(1, 8)):
        scale = (top / steps).astype(np.float16).astype(np.float32)
        tried = np.clip(np.round(blocks / np.where(scale == 0, 1, scale)[:, :, None]), -8, 7)
        error = ((tried * scale[:, :, None] - blocks) ** 2).sum(axis=2)
        better = error < best
        best, scales = np.where(better, error, best), np.where(better, scale, scales)
        whole = np.where(better[:, :, None], tried, whole)
    nibbles = (whole.reshape(rows, width) + 8).astype(np.uint8)
    return nibbles[:, : width // 2] | (nibbles[:, width // 2 :] << 4), scales.astype(np.float16)


def shortened(ids: list[T]) -> list[T]:
    """The beginning and the end of a long text."""
    return ids if len(ids) <= FIRST + LAST else ids[:FIRST] + ids[-LAST:]


@dataclass(frozen=True)
class Encoder:
    """Arrays by name: `words`, `places`, `norm`, for each layer its matrices and norms, and `outer`, each as the file holds it."""

    arrays: Arrays

    @cached_property
    def _threads(self) -> ThreadpoolController:
        return ThreadpoolController()

    @cached_property
    def layers(self) -> list[Arrays]:
        """The layers with their matrices whole, [from, to] each."""
        count = len({name.split(".")[0] for name in self.arrays if name[0] == "l" and name[1].isdigit()})
        found = []
        for place in range(count):
            mine = {n.split(".", 1)[1]: a for n, a in self.arrays.items() if n.startswith(f"l{place}.")}
            for name in MATRICES:
                whole = unpacked(mine.pop(f"{name}.nibbles"), mine.pop(f"{name}.scales"))
                mine[name] = np.ascontiguousarray((whole + mine.pop(f"{name}.b") @ mine.pop(f"{name}.a")).T)
            found.append(mine)
        return found

    def judged(self, ids: list[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(log odds of each class, the view of the text [5 × width], that of each piece of `shortened(ids)` [pieces, 2 × width]).

        `ids`: rows of `words`, the last two being the beginning and the end. The view of the text begins with what the odds are
        read from. In one thread: products this small gain nothing from more, which beside a training wait for each other.
        """
        with self._threads.limit(limits=1, user_api="blas"):
            return self._judged(ids)

    def _judged(self, ids: list[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        here = self.arrays
        count = len(here["words.nibbles"])
        rows = [count - 2, *shortened(ids), count - 1]
        words = unpacked(here["words.nibbles"][rows], here["words.scales"][rows])
        start = _normed(words + here["places"][: len(rows)], here["norm.weight"], here["norm.bias"])
        x, inner = start, []
        for place, layer in enumerate(self.layers, start=1):
            x = _layer(layer, x)
            if place in INNER:
                inner.append(x)
        seen = np.concatenate([x.mean(axis=0), x.max(axis=0), start.mean(axis=0)])
        within = np.concatenate(inner, axis=1)
        odds = seen @ here["outer.weight"].T + here["outer.bias"]
        return odds, np.concatenate([seen, within.mean(axis=0)]), within[1:-1]


def _layer(mine: Arrays, x: np.ndarray) -> np.ndarray:
    length, width = x.shape
    q, k, v = ((x @ mine[n] + mine[f"{n}.bias"]).reshape(length, HEADS, width // HEADS).transpose(1, 0, 2) for n in "qkv")
    scores = q @ k.transpose(0, 2, 1) / (width // HEADS) ** 0.5
    scores = np.exp(scores - scores.max(axis=2, keepdims=True))
    mixed = (scores / scores.sum(axis=2, keepdims=True)) @ v
    x = _normed(
        x + mixed.transpose(1, 0, 2).reshape(length, width) @ mine["o"] + mine["o.bias"],
        mine["first.weight"],
        mine["first.bias"],
    )
    up = x @ mine["up"] + mine["up.bias"]
    up = 0.5 * up * (1 + np.tanh(_GELU * up * (1 + 0.044715 * up * up)))
    return _normed(x + up @ mine["down"] + mine["down.bias"], mine["second.weight"], mine["second.bias"])


def _normed(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    x = x - x.mean(axis=1, keepdims=True)
    return x / np.sqrt((x * x).mean(axis=1, keepdims=True) + EPSILON) * weight + bias
