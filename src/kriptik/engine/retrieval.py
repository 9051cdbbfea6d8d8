"""How well anchors find their own among all candidates: recall, mean reciprocal rank, nDCG.

One text per anchor is right; another with the very same similarity counts as before it, so that a model that gives all texts the
same vector gets nothing.
"""

import torch
from torch import Tensor

RECALLS = (1, 5, 10)
DEPTH = 10


def measures(scores: Tensor) -> dict[str, float]:
    """Of [anchors, candidates], the own of anchor i at place i; −∞ is no candidate. Means over anchors, 0 to 1."""
    own = scores[:, : len(scores)].diagonal()[:, None]
    places = (scores >= own).sum(1).double()
    gains = torch.where(places <= DEPTH, 1 / torch.log2(places + 1), torch.zeros_like(places))
    found = {f"recall_at_{k}": float((places <= k).double().mean()) for k in RECALLS}
    return {**found, "mrr": float((1 / places).mean()), f"ndcg_at_{DEPTH}": float(gains.mean())}
