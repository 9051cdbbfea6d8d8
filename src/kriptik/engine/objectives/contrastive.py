"""Contrastive learning: each anchor finds its own positive among the candidates of the whole update, over micro-batches and ranks.

Sources: Henderson et al. 2017, "Efficient Natural Language Response Suggestion for Smart Reply" (in-batch negatives); Gao et al.
2021, "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup" (cached gradients: embeddings without a graph; the
loss's gradient with respect to them; one graph per micro-batch); Kusupati et al. 2022, "Matryoshka Representation Learning".
Settings (`settings.objective`): `temperature` (0.05); `symmetric` (false; positives look for anchors too); `dims`, lengths to which
vectors are cut as well, the losses of which are added (none).

A forward's output is (anchors, positives) or (anchors, positives, hard negatives), each [rows, size]; a row may bring any number of
hard negatives, which are candidates for every anchor. `extra['positive_ids']` and `extra['negative_ids']`, where they are there,
tell texts apart: a text equal to an anchor's own positive is never its negative.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from kriptik.engine import ranks
from kriptik.engine.interfaces import Encoded, Metrics, MicroBatch, Objective, RowScores, Session, StepStats, Update
from kriptik.engine.retrieval import measures
from kriptik.spec.errors import WorkerError
from kriptik.spec.job import StageSettings

Columns = Sequence[Tensor]
"""Anchors, positives and, where there are any, hard negatives: [rows, size] each."""
IDS = ("positive_ids", "negative_ids")


@dataclass
class Pool:
    """All that an update compares: its columns over micro-batches and ranks, and which candidates are the same text."""

    columns: list[Tensor]
    ids: Tensor | None
    """Of the candidates: positives, then negatives; None where nobody says."""
    firsts: list[int]
    """Where this rank's rows begin, by column."""


class Contrastive(Objective):
    """Cross-entropy over cosine similarities ÷ temperature."""

    needs: ClassVar[frozenset[str]] = frozenset({"pairs", "own_backward"})
    form: ClassVar[str] = "pair"
    whole_evaluation: ClassVar[bool] = True

    def __init__(self, settings: StageSettings) -> None:
        super().__init__(settings)
        options: dict[str, Any] = dict(settings.objective)
        self.temperature = float(options.get("temperature", 0.05))
        self.symmetric = bool(options.get("symmetric", False))
        self.dims = [int(one) for one in options.get("dims", [])]
        if self.temperature <= 0 or any(one < 1 for one in self.dims):
            raise WorkerError("bad_contrastive", "Temperature and dims must be above 0.", "Change the objective's settings.")

    def loss(self, output: Columns, micro: MicroBatch) -> tuple[Tensor, Metrics]:
        """See Objective: with the micro-batch alone as candidates."""
        ids = _ids([micro])
        return self._row_losses(output, ids).sum(), {"accuracy": _found(self._scores(output, ids)).sum()}

    def run(self, update: Update, session: Session, total_weight: float) -> StepStats:
        """See Objective: two forwards per micro-batch, the second with the random numbers of the first."""
        runtime, micros = session.runtime, update.micros
        states, parts = [], []
        with torch.no_grad():
            for micro in micros:
                states.append(_random_state())
                parts.append(runtime.forward(micro))
        after = _random_state()
        pool = _everywhere(parts, micros, session)
        leaves = [one.requires_grad_() for one in pool.columns]
        loss = self._row_losses(leaves, pool.ids).sum()
        slopes = torch.autograd.grad(loss / total_weight, leaves, allow_unused=True)
        firsts = list(pool.firsts)
        for micro, state in zip(micros, states, strict=True):
            _set_random_state(state)
            value: Any = 0.0
            for number, (one, slope) in enumerate(zip(runtime.forward(micro), slopes, strict=False)):
                last = firsts[number] + len(one)
                if slope is not None and len(one):
                    value = value + (one * slope[firsts[number] : last]).sum()
                firsts[number] = last
            runtime.backward(value)
        _set_random_state(after)
        if runtime.rank == 0 and (term := session.adaptation.penalty(session.bundle)) is not None:
            runtime.backward(term)
        (tokens,) = runtime.all_sum([sum(micro.tokens for micro in micros)])
        with torch.no_grad():
            metrics = {"accuracy": float(_found(self._scores(leaves, pool.ids)).sum()) / total_weight}
        return StepStats(float(loss.detach()) / total_weight, total_weight, int(tokens), metrics)

    def evaluate(self, encoded: Sequence[Encoded], session: Session) -> RowScores:
        """See Objective: each anchor among all held-out texts, and what `retrieval.measures` says of the places they come to."""
        size, parts, micros = session.settings.micro_batch, [], []
        for start in range(0, len(encoded), size):
            bins = [[row] for row in encoded[start : start + size]]
            micros.append(session.modality.collate(session.bundle, bins, session.job.seed, 0))
            parts.append(session.runtime.forward(micros[-1]))
        columns, ids = _joined(parts), _ids(micros)
        custom = measures(self._scores(columns, ids))
        for dim in self.dims:
            cut = measures(self._scores([one[:, :dim] for one in columns], ids))
            custom |= {f"{name}_dim_{dim}": cut[name] for name in ("ndcg_at_10", "recall_at_1")}
        return RowScores(self._row_losses(columns, ids).tolist(), [1.0] * len(encoded), custom)

    def _scores(self, columns: Columns, ids: Tensor | None) -> Tensor:
        """Anchors × candidates, in fp32; −∞ where the candidate is another copy of the anchor's own positive."""
        anchors, *candidates = (functional.normalize(part.float(), dim=-1) for part in columns)
        scores = anchors @ torch.cat(candidates).t() / self.temperature
        if ids is not None:
            copies = ids[: len(anchors), None] == ids[None]
            copies[torch.arange(len(anchors)), torch.arange(len(anchors))] = False
            scores = scores.masked_fill(copies.to(scores.device), float("-inf"))
        return scores

    def _row_losses(self, columns: Columns, ids: Tensor | None) -> Tensor:
        """Per anchor, for whole vectors and for each length they are cut to."""
        cuts = [[one[:, :dim] for one in columns] for dim in self.dims] or [columns]
        if self.dims and self.dims[0] < columns[0].shape[1] and columns[0].shape[1] not in self.dims:
            cuts.append(columns)
        losses = [self._cross_entropies(self._scores(one, ids)) for one in cuts]
        return torch.stack(losses).sum(0)

    def _cross_entropies(self, scores: Tensor) -> Tensor:
        own = torch.arange(len(scores), device=scores.device)
        losses = functional.cross_entropy(scores, own, reduction="none")
        if self.symmetric:
            back = functional.cross_entropy(scores[:, : len(scores)].t(), own, reduction="none")
            losses = (losses + back) / 2
        return losses


def _everywhere(parts: list[Columns], micros: list[MicroBatch], session: Session) -> Pool:
    """All ranks' embeddings in the order of ranks.

    They travel as a sum in double precision in which each number meets zeros alone: bit-exact.
    """
    runtime, mine, ids = session.runtime, _joined(parts), _ids(micros)
    if runtime.data_world == 1:
        return Pool(mine, ids, [0] * len(mine))
    width, world, here = len(IDS) + 1, runtime.data_world, runtime.data_rank
    told = [0.0] * (world * width + 2)
    for number, one in enumerate(mine):
        told[here * width + number] = float(len(one))
    told[-2] = float(mine[0].shape[1] if mine and here == 0 else 0)
    told[-1] = float(ids is not None)
    *counts, size, identified = map(int, runtime.all_sum(told))
    by_column = [[counts[rank * width + number] for rank in range(world)] for number in range(width)]
    while not sum(by_column[-1]):
        by_column.pop()
    columns, firsts = [], []
    for number, lengths in enumerate(by_column):
        firsts.append(sum(lengths[:here]))
        room = torch.zeros(sum(lengths), size, dtype=torch.float64)
        if number < len(mine):
            room[firsts[-1] : firsts[-1] + len(mine[number])] = mine[number]
        columns.append(_summed(room, session).to(ranks.device(), torch.float32))
    if not identified:
        return Pool(columns, None, firsts)
    room = torch.zeros(sum(map(sum, by_column[1:])), dtype=torch.float64)
    start = 0
    for number, lengths in enumerate(by_column[1:], 1):
        own = _ids_of(micros, IDS[number - 1])
        at = start + firsts[number]
        room[at : at + len(own)] = own.double()
        start += sum(lengths)
    return Pool(columns, _summed(room, session).long(), firsts)


def _summed(room: Tensor, session: Session) -> Tensor:
    return torch.tensor(session.runtime.all_sum(room.flatten().tolist()), dtype=torch.float64).view_as(room)


def _joined(parts: list[Columns]) -> list[Tensor]:
    return [torch.cat(one) for one in zip(*parts, strict=True)]


def _ids(micros: list[MicroBatch]) -> Tensor | None:
    """Of the candidates in the order of their columns; None where a micro-batch does not say."""
    if not micros or any(IDS[0] not in micro.extra for micro in micros):
        return None
    return torch.cat([_ids_of(micros, name) for name in IDS])


def _ids_of(micros: list[MicroBatch], name: str) -> Tensor:
    found = [micro.extra[name].cpu() for micro in micros if name in micro.extra]
    return torch.cat(found) if found else torch.empty(0, dtype=torch.long)


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
