"""Next-token prediction: cross-entropy over the tokens that are learnt (supervised fine-tuning, continued pre-training)."""

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor

from kriptik.engine.interfaces import Encoded, Metrics, MicroBatch, Objective, RowScores, Session
from kriptik.engine.text.heads import TextOutput, log_probs, loss_sum
from kriptik.engine.text.packing import together


class CausalLm(Objective):
    """Sum of −log p(token | what comes before) over learnt tokens."""

    needs: ClassVar[frozenset[str]] = frozenset({"tokens"})
    form: ClassVar[str] = "completion"

    def loss(self, output: TextOutput, micro: MicroBatch) -> tuple[Tensor, Metrics]:
        """See Objective."""
        return loss_sum(output, micro.extra["targets"]), {}

    def evaluate(self, encoded: Sequence[Encoded], session: Session) -> RowScores:
        """See Objective: several rows per forward; the loss of each is the same as alone."""
        scores = RowScores([], [])
        for group in together(encoded):
            micro = session.modality.collate(session.bundle, [group], session.job.seed, 0)
            ((_, sums, _),) = session.runtime.score([micro], _by_row)
            filled = iter([sums[str(place)] for place in range(len(micro.rows))])
            for row in group:
                scores.sums.append(next(filled) if row.length else 0.0)
                scores.weights.append(row.weight)
        return scores


def _by_row(output: Any, micro: MicroBatch) -> tuple[Tensor, Metrics]:
    """The loss, and as metrics that of each row by its place."""
    losses = -log_probs(output, micro.extra["targets"])
    parts = losses.split(micro.extra["counts"])
    return losses.sum(), {str(place): part.sum() for place, part in enumerate(parts)}
