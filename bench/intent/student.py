"""Trains the two small models of the offline parser (`kriptik.pipeline.intent.learned`) with torch: `Grams` and `Net`."""

import random
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from kriptik.pipeline.intent.learned import BUCKETS, MEAN, cut, ends, features, plain
from kriptik.pipeline.intent.text import fold

WIDTH, FILTERS, INNER = 64, 160, 96
GRAM_EPOCHS, GRAM_RATE, GRAM_DECAY = 12, 0.02, 2e-5
NET_EPOCHS, NET_RATE, NET_DECAY, DROP, LOSE = 14, 2e-3, 1e-2, 0.35, 0.12
BATCH = 64
SMOOTH = 0.05


@dataclass(frozen=True)
class Text:
    """A text as the models see it, its class, its weight."""

    grams: list[int]
    pieces: list[int]
    label: int
    weight: float


def prepared(items: list[tuple[str, str, float]], classes: list[str], scores: dict[str, tuple[int, float]]) -> list[Text]:
    """(class, text, weight) → what the models see."""
    return [Text(features(fold(ends(t))), cut(plain(ends(t)), scores), classes.index(label), w) for label, t, w in items]


class Grams(nn.Module):
    """Linear over hashed n-grams; a text counts by the root of how many it has."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.table = nn.EmbeddingBag(BUCKETS, count, mode="sum")
        nn.init.zeros_(self.table.weight)
        self.bias = nn.Parameter(torch.zeros(count))

    def forward(self, batch: list[Text]) -> torch.Tensor:
        starts = np.cumsum([0, *(len(t.grams) for t in batch)])[:-1]
        values = [1 / np.sqrt(max(len(t.grams), 1)) for t in batch for _ in t.grams]
        index = torch.tensor([g for t in batch for g in t.grams], dtype=torch.long)
        return self.table(index, torch.tensor(starts), per_sample_weights=torch.tensor(values, dtype=torch.float32)) + self.bias


class Net(nn.Module):
    """Vectors of pieces → convolution over three → strongest and mean → two layers."""

    def __init__(self, vectors: np.ndarray, count: int) -> None:
        super().__init__()
        width = vectors.shape[1]
        self.vectors = nn.Embedding.from_pretrained(torch.tensor(np.vstack([vectors, np.zeros((1, width), np.float32)])), freeze=True)
        self.conv = nn.Linear(3 * width, FILTERS)
        self.inner = nn.Linear(FILTERS + width, INNER)
        self.outer = nn.Linear(INNER, count)
        self.drop = nn.Dropout(DROP)

    def forward(self, batch: list[Text]) -> torch.Tensor:
        length = max(1, max(len(t.pieces) for t in batch))
        blank = self.vectors.num_embeddings - 1
        ids = torch.full((len(batch), length + 2), blank)
        mask = torch.zeros(len(batch), length, 1)
        for row, text in enumerate(batch):
            kept = text.pieces
            if self.training and len(kept) > 3:
                kept = [p if random.random() > LOSE else blank for p in kept]
            ids[row, 1 : len(kept) + 1] = torch.tensor(kept, dtype=torch.long)
            mask[row, : max(len(kept), 1)] = 1
        x = self.vectors(ids)
        seen = torch.relu(self.conv(torch.cat([x[:, :-2], x[:, 1:-1], x[:, 2:]], dim=2)))
        strongest = (seen * mask).amax(dim=1)
        mean = (x[:, 1:-1] * mask).sum(dim=1) / mask.sum(dim=1)
        pooled = torch.cat([self.drop(strongest), self.drop(mean) * MEAN], dim=1)
        return self.outer(self.drop(torch.relu(self.inner(pooled))))


def fit(model: nn.Module, texts: list[Text], seed: int, *, epochs: int, rate: float, decay: float) -> None:
    """Weighted cross-entropy, AdamW, the rate falling to nothing."""
    rng = random.Random(seed)
    random.seed(seed)
    torch.manual_seed(seed)
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate, weight_decay=decay)
    total = epochs * ((len(texts) + BATCH - 1) // BATCH)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: max(0.02, 1 - step / total))
    model.train()
    order = list(range(len(texts)))
    for _ in range(epochs):
        rng.shuffle(order)
        for at in range(0, len(order), BATCH):
            batch = [texts[i] for i in order[at : at + BATCH]]
            losses = nn.functional.cross_entropy(
                model(batch), torch.tensor([t.label for t in batch]), reduction="none", label_smoothing=SMOOTH
            )
            weights = torch.tensor([t.weight for t in batch], dtype=torch.float32)
            loss = (losses * weights).sum() / weights.sum()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    model.eval()


def scored(model: nn.Module, texts: list[Text]) -> np.ndarray:
    """Log probabilities [texts, classes]."""
    with torch.inference_mode():
        parts = [torch.log_softmax(model(texts[at : at + 256]), dim=1).numpy() for at in range(0, len(texts), 256)]
    return np.concatenate(parts)


def trained(texts: list[Text], vectors: np.ndarray, count: int, seed: int) -> tuple[Grams, Net]:
    """Both models."""
    torch.manual_seed(seed)
    grams, net = Grams(count), Net(vectors, count)
    fit(grams, texts, seed, epochs=GRAM_EPOCHS, rate=GRAM_RATE, decay=GRAM_DECAY)
    fit(net, texts, seed, epochs=NET_EPOCHS, rate=NET_RATE, decay=NET_DECAY)
    return grams, net
