"""Trains the two models of the offline parser (`kriptik.pipeline.intent.learned`) with torch: `Grams` and the encoder."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from encoder import Encoder
from torch import nn

from kriptik.pipeline.intent.encoder import shortened
from kriptik.pipeline.intent.learned import BUCKETS, cut, ends, features, plain, spaced
from kriptik.pipeline.intent.text import fold

GRAM_EPOCHS, GRAM_RATE, GRAM_DECAY = 8, 0.03, 1e-4
NET_EPOCHS, NET_RATE, NET_DECAY, NET_BATCH = 6, 1.5e-3, 1e-2, 32
WARM = 60
"""Steps in which the rate rises to its height."""
BATCH = 128
SMOOTH = 0.05
Batch = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class Texts:
    """Texts as the models see them: buckets and pieces of each, classes, weights."""

    grams: list[np.ndarray]
    pieces: list[np.ndarray]
    labels: np.ndarray
    weights: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


def prepared(items: list[tuple[str, str, float]], classes: list[str], scores: dict[str, tuple[int, float]]) -> Texts:
    """(class, text, weight) → what the models see."""
    return Texts(
        [np.array(features(fold(ends(text))), np.int64) for _, text, _ in items],
        [np.array([one for one, _, _ in shortened(cut(spaced(plain(ends(text))), scores))], np.int64) for _, text, _ in items],
        np.array([classes.index(label) for label, _, _ in items]),
        np.array([weight for _, _, weight in items], np.float32),
    )


class Grams(nn.Module):
    """Linear over hashed n-grams; a text counts by the root of how many it has."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.table = nn.EmbeddingBag(BUCKETS, count, mode="sum")
        nn.init.zeros_(self.table.weight)
        self.bias = nn.Parameter(torch.zeros(count))

    def batch(self, found: list[np.ndarray]) -> Batch:
        """(buckets of all texts, where each text begins)."""
        starts = np.cumsum([0, *map(len, found)])[:-1]
        return torch.from_numpy(np.concatenate(found)), torch.from_numpy(starts)

    def forward(self, index: torch.Tensor, starts: torch.Tensor) -> torch.Tensor:
        counts = torch.diff(starts, append=torch.tensor([len(index)])).clamp(min=1)
        values = torch.repeat_interleave(counts.float().rsqrt(), torch.diff(starts, append=torch.tensor([len(index)])))
        return self.table(index, starts, per_sample_weights=values) + self.bias


def _batch(model: Grams | Encoder, texts: Texts, rows: np.ndarray) -> Batch:
    return model.batch([(texts.grams if isinstance(model, Grams) else texts.pieces)[row] for row in rows])


def _batches(texts: Texts, rng: np.random.Generator, size: int) -> Iterator[np.ndarray]:
    """Rows in random order, texts of about the same length together."""
    order = rng.permutation(len(texts))
    for at in range(0, len(order), size * 16):
        pool = order[at : at + size * 16]
        pool = pool[np.argsort([len(texts.pieces[row]) for row in pool], kind="stable")]
        parts = [pool[start : start + size] for start in range(0, len(pool), size)]
        for place in rng.permutation(len(parts)):
            yield parts[place]


def fit(model: Grams | Encoder, texts: Texts, seed: int, *, epochs: int, rate: float, decay: float, size: int) -> None:
    """Weighted cross-entropy, AdamW, the rate rising first, then falling to nothing; what came with the encoder moves slowly."""
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    kept = [p for name, p in model.named_parameters() if isinstance(model, Encoder) and model.is_given(name)]
    fresh = [p for p in model.parameters() if all(p is not k for k in kept)]
    groups = [{"params": fresh}, {"params": kept, "lr": rate / 10, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW([g for g in groups if g["params"]], lr=rate, weight_decay=decay)
    total = epochs * (len(texts) // size + 1)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: min((step + 1) / WARM, max(0.02, 1 - step / total)))
    labels, weights = torch.from_numpy(texts.labels), torch.from_numpy(texts.weights)
    model.train()
    for _ in range(epochs):
        for rows in _batches(texts, rng, size):
            losses = nn.functional.cross_entropy(
                model(*_batch(model, texts, rows)), labels[rows], reduction="none", label_smoothing=SMOOTH
            )
            loss = (losses * weights[rows]).sum() / weights[rows].sum()
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            schedule.step()
    model.eval()


def scored(model: Grams | Encoder, texts: Texts) -> np.ndarray:
    """Log probabilities [texts, classes]."""
    order = np.argsort([len(pieces) for pieces in texts.pieces], kind="stable")
    out: list[np.ndarray] = []
    with torch.inference_mode():
        for at in range(0, len(order), BATCH):
            out.append(torch.log_softmax(model(*_batch(model, texts, order[at : at + BATCH])), dim=1).numpy())
    return np.concatenate(out)[np.argsort(order)]


def trained(texts: Texts, encoder: Encoder, count: int, seed: int) -> tuple[Grams, Encoder]:
    """Both models; the encoder is changed in place."""
    torch.manual_seed(seed)
    grams = Grams(count)
    fit(grams, texts, seed, epochs=GRAM_EPOCHS, rate=GRAM_RATE, decay=GRAM_DECAY, size=BATCH)
    fit(encoder, texts, seed, epochs=NET_EPOCHS, rate=NET_RATE, decay=NET_DECAY, size=NET_BATCH)
    return grams, encoder
