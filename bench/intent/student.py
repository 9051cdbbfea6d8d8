"""Trains the two small models of the offline parser (`kriptik.pipeline.intent.learned`) with torch: `Grams` and `Net`."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from kriptik.pipeline.intent.learned import BUCKETS, MEAN, cut, ends, features, plain
from kriptik.pipeline.intent.text import fold

WIDTH, FILTERS, INNER = 80, 192, 96
GRAM_EPOCHS, GRAM_RATE, GRAM_DECAY = 8, 0.03, 1e-4
NET_EPOCHS, NET_RATE, NET_DECAY, DROP, LOSE = 12, 2e-3, 2e-2, 0.3, 0.12
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
        [np.array(cut(plain(ends(text)), scores), np.int64) for _, text, _ in items],
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

    def batch(self, texts: Texts, rows: np.ndarray) -> Batch:
        found = [texts.grams[row] for row in rows]
        starts = np.cumsum([0, *map(len, found)])[:-1]
        return torch.from_numpy(np.concatenate(found)), torch.from_numpy(starts)

    def forward(self, index: torch.Tensor, starts: torch.Tensor) -> torch.Tensor:
        counts = torch.diff(starts, append=torch.tensor([len(index)])).clamp(min=1)
        values = torch.repeat_interleave(counts.float().rsqrt(), torch.diff(starts, append=torch.tensor([len(index)])))
        return self.table(index, starts, per_sample_weights=values) + self.bias


class Net(nn.Module):
    """Vectors of pieces → fewer dimensions → convolution over three → strongest and mean → two layers.

    The teacher's vectors stay as they are; which of their directions matter is learned, so that pieces never seen profit too.
    """

    def __init__(self, vectors: np.ndarray, directions: np.ndarray, count: int) -> None:
        super().__init__()
        width = directions.shape[1]
        table = np.vstack([vectors, np.zeros((1, vectors.shape[1]), np.float32)])
        self.vectors = nn.Embedding.from_pretrained(torch.from_numpy(table), freeze=True)
        self.down = nn.Linear(vectors.shape[1], width, bias=False)
        self.down.weight.data = torch.from_numpy(np.ascontiguousarray(directions.T))
        self.conv = nn.Linear(3 * width, FILTERS)
        self.inner = nn.Linear(FILTERS + width, INNER)
        self.outer = nn.Linear(INNER, count)
        self.drop = nn.Dropout(DROP)

    def small(self) -> np.ndarray:
        """The vectors in the learned dimensions, as they are shipped."""
        with torch.inference_mode():
            return self.down(self.vectors.weight[:-1]).numpy()

    def batch(self, texts: Texts, rows: np.ndarray) -> Batch:
        found = [texts.pieces[row] for row in rows]
        length = max(1, *(len(f) for f in found))
        ids = np.full((len(found), length + 2), self.vectors.num_embeddings - 1)
        mask = np.zeros((len(found), length, 1), np.float32)
        for row, pieces in enumerate(found):
            ids[row, 1 : len(pieces) + 1] = pieces
            mask[row, : max(len(pieces), 1)] = 1
        return torch.from_numpy(ids), torch.from_numpy(mask)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        if self.training:
            ids = torch.where(torch.rand(ids.shape) < LOSE, self.vectors.num_embeddings - 1, ids)
        x = self.down(self.vectors(ids))
        seen = torch.relu(self.conv(torch.cat([x[:, :-2], x[:, 1:-1], x[:, 2:]], dim=2)))
        strongest = (seen * mask).amax(dim=1)
        mean = (x[:, 1:-1] * mask).sum(dim=1) / mask.sum(dim=1)
        pooled = torch.cat([self.drop(strongest), self.drop(mean) * MEAN], dim=1)
        return self.outer(self.drop(torch.relu(self.inner(pooled))))


def _batches(texts: Texts, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Rows in random order, texts of about the same length together."""
    order = rng.permutation(len(texts))
    for at in range(0, len(order), BATCH * 16):
        pool = order[at : at + BATCH * 16]
        pool = pool[np.argsort([len(texts.pieces[row]) for row in pool], kind="stable")]
        parts = [pool[start : start + BATCH] for start in range(0, len(pool), BATCH)]
        for place in rng.permutation(len(parts)):
            yield parts[place]


def fit(model: Grams | Net, texts: Texts, seed: int, *, epochs: int, rate: float, decay: float) -> None:
    """Weighted cross-entropy, AdamW, the rate falling to nothing."""
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate, weight_decay=decay)
    total = epochs * (len(texts) // BATCH + 1)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: max(0.02, 1 - step / total))
    labels, weights = torch.from_numpy(texts.labels), torch.from_numpy(texts.weights)
    model.train()
    for _ in range(epochs):
        for rows in _batches(texts, rng):
            losses = nn.functional.cross_entropy(
                model(*model.batch(texts, rows)), labels[rows], reduction="none", label_smoothing=SMOOTH
            )
            loss = (losses * weights[rows]).sum() / weights[rows].sum()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    model.eval()


def scored(model: Grams | Net, texts: Texts) -> np.ndarray:
    """Log probabilities [texts, classes]."""
    with torch.inference_mode():
        parts = [
            torch.log_softmax(model(*model.batch(texts, np.arange(at, min(at + 256, len(texts))))), dim=1).numpy()
            for at in range(0, len(texts), 256)
        ]
    return np.concatenate(parts)


def trained(texts: Texts, vectors: np.ndarray, directions: np.ndarray, count: int, seed: int) -> tuple[Grams, Net]:
    """Both models."""
    torch.manual_seed(seed)
    grams, net = Grams(count), Net(vectors, directions, count)
    fit(grams, texts, seed, epochs=GRAM_EPOCHS, rate=GRAM_RATE, decay=GRAM_DECAY)
    fit(net, texts, seed, epochs=NET_EPOCHS, rate=NET_RATE, decay=NET_DECAY)
    return grams, net
