"""Contrastive learning: each anchor finds its own positive among those of the whole update, over micro-batches and ranks.

Sources: Henderson et al. 2017, "Efficient Natural Language Response Suggestion for Smart Reply" (in-batch negatives); Gao et al.
2021, "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup" (cached gradients: embeddings without a graph; the
loss's gradient with respect to them; one graph per micro-batch). Settings (`settings.objective`): `temperature`
(0.05), `symmetric` (false; positives look for anchors too).
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from kriptik.engine import ranks
from kriptik.engine.interfaces import Encoded, Metrics, MicroBatch, Objective, RowScores, Session, StepStats, Update
from kriptik.spec.job import StageSettings

Pairs = tuple[Tensor, Tensor]
"""Anchors and positives, both [rows, size]."""


class Contrastive(Objective):
    """Cross-entropy over cosine similarities ÷ temperature; a forward's output is (anchors, positives)."""

    needs: ClassVar[frozenset[str]] = frozenset({"pairs", "own_backward"})
    form: ClassVar[str] = "pair"

    def __init__(self, settings: StageSettings) -> None:
        super().__init__(settings)
        options: dict[str, Any] = dict(settings.objective)
        self.temperature = float(options.get("temperature", 0.05))
        self.symmetric = bool(options.get("symmetric", False))

    def loss(self, output: Pairs, micro: MicroBatch) -> tuple[Tensor, Metrics]:
        """See Objective: with the micro-batch alone as negatives."""
        scores = self._similar(*output)
        return self._row_losses(scores).sum(), {"accuracy": _found(scores).sum()}

    def run(self, update: Update, session: Session, total_weight: float) -> StepStats:
        """See Objective: two forwards per micro-batch, the second with the random numbers of the first."""
        runtime, micros = session.runtime, update.micros
        states, parts = [], []
        with torch.no_grad():
            for micro in micros:
                states.append(_random_state())
                parts.append(runtime.forward(micro))
        after = _random_state()
        whole, first = _everywhere(parts, session)
        leaves = [one.requires_grad_() for one in whole]
        scores = self._similar(*leaves)
        loss = self._row_losses(scores).sum()
        slopes = torch.autograd.grad(loss / total_weight, leaves)
        for micro, state in zip(micros, states, strict=True):
            _set_random_state(state)
            output = runtime.forward(micro)
            last = first + len(output[0])
            runtime.backward(sum((one * slope[first:last]).sum() for one, slope in zip(output, slopes, strict=True)))
            first = last
        _set_random_state(after)
        if runtime.rank == 0 and (term := session.adaptation.penalty(session.bundle)) is not None:
            runtime.backward(term)
        (tokens,) = runtime.all_sum([sum(micro.tokens for micro in micros)])
        metrics = {"accuracy": float(_found(scores).sum()) / total_weight}
        return StepStats(float(loss.detach()) / total_weight, total_weight, int(tokens), metrics)

    def evaluate(self, encoded: Sequence[Encoded], session: Session) -> RowScores:
        """See Objective: each row among all that are given; also the mean reciprocal rank (`mrr`)."""
        size, parts = session.settings.micro_batch, []
        for start in range(0, len(encoded), size):
            bins = [[row] for row in encoded[start : start + size]]
            parts.append(session.runtime.forward(session.modality.collate(session.bundle, bins, session.job.seed, 0)))
        scores = self._similar(*(torch.cat(one) for one in zip(*parts, strict=True)))
        places = (scores >= scores.diagonal()[:, None]).sum(1)
        custom = {"mrr": float((1 / places).mean()), "accuracy": float(_found(scores).mean())}
        return RowScores(self._row_losses(scores).tolist(), [1.0] * len(encoded), custom)

    def _similar(self, anchors: Tensor, positives: Tensor) -> Tensor:
        """Anchors × positives, in fp32."""
        one, other = (functional.normalize(part.float(), dim=-1) for part in (anchors, positives))
        return one @ other.t() / self.temperature

    def _row_losses(self, scores: Tensor) -> Tensor:
        own = torch.arange(len(scores), device=scores.device)
        losses = functional.cross_entropy(scores, own, reduction="none")
        if self.symmetric:
            losses = (losses + functional.cross_entropy(scores.t(), own, reduction="none")) / 2
        return losses


def _everywhere(parts: list[Pairs], session: Session) -> tuple[list[Tensor], int]:
    """All ranks' embeddings in the order of ranks, and where this rank's begin.

    They travel as a sum in double precision in which each number meets zeros alone: bit-exact.
    """
    runtime, mine = session.runtime, [torch.cat(one) for one in zip(*parts, strict=True)]
    if runtime.data_world == 1:
        return mine, 0
    shape = [0.0] * (runtime.data_world + 1)
    if mine:
        shape[runtime.data_rank], shape[-1] = float(len(mine[0])), float(mine[0].shape[1] if runtime.data_rank == 0 else 0)
    *counts, size = map(int, runtime.all_sum(shape))
    first = sum(counts[: runtime.data_rank])
    found = []
    for number in range(2):
        room = torch.zeros(sum(counts), size, dtype=torch.float64)
        if mine:
            room[first : first + len(mine[number])] = mine[number]
        sums = torch.tensor(runtime.all_sum(room.flatten().tolist()), dtype=torch.float64).view_as(room)
        found.append(sums.to(ranks.device(), torch.float32))
    return found, first


def _found(scores: Tensor) -> Tensor:
    """1 where the own positive is the most similar."""
    return (scores.argmax(1) == torch.arange(len(scores), device=scores.device)).float()


def _random_state() -> list[Tensor]:
    cuda = [torch.cuda.get_rng_state()] if torch.cuda.is_available() else []
    return [torch.get_rng_state(), *cuda]


def _set_random_state(state: list[Tensor]) -> None:
    torch.set_rng_state(state[0])
    if len(state) > 1:
        torch.cuda.set_rng_state(state[1])
