"""Next-code prediction: cross-entropy over the codes of a neural codec, all codebooks alike (MusicGen, Copet et al. 2023).

The modality provides `codes`: a forward gives logits [rows × codebooks, steps, codes], and `extra['labels']` [rows, codebooks,
steps] has −100 where nothing is learnt; `heard` makes sounds and measures them. Settings (`settings.objective`): `heard_clips` (4),
how many held-out descriptions are made into sound at each evaluation (0: none), each of `heard_seconds` (5).
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from kriptik.engine.interfaces import Encoded, Metrics, MicroBatch, Objective, RowScores, Session
from kriptik.spec.errors import WorkerError

IGNORED = -100


class CodecLm(Objective):
    """Sum of −log p(code | what comes before, description) over codes."""

    needs: ClassVar[frozenset[str]] = frozenset({"codes"})
    form: ClassVar[str] = "sound"
    makes: ClassVar[bool] = True
    whole_evaluation: ClassVar[bool] = True

    def start(self, session: Session) -> None:
        """See Objective. Raises WorkerError where the codec hears no difference between sounds: nothing could be learnt then."""
        if len(session.rows) and max(row.fields["distinct"] for row in session.rows.encoded) < 2:
            what = "The model's codec gives one and the same code for every sound."
            raise WorkerError("degenerate_codec", what, "Choose a model with a trained codec.")

    def loss(self, output: Any, micro: MicroBatch) -> tuple[Tensor, Metrics]:
        """See Objective."""
        labels = micro.extra["labels"].flatten(0, 1)
        logits = output.logits.float()
        total = functional.cross_entropy(logits.transpose(1, 2), labels, ignore_index=IGNORED, reduction="sum")
        with torch.no_grad():
            right = (logits.argmax(-1) == labels).sum()
        return total, {"code_accuracy": right}

    def evaluate(self, encoded: Sequence[Encoded], session: Session) -> RowScores:
        """See Objective: loss per row, and the share of codes that are guessed right."""
        scores, right = RowScores([], []), 0.0
        for row in encoded:
            micro = session.modality.collate(session.bundle, [[row]], session.job.seed, 0)
            ((loss, metrics, weight),) = session.runtime.score([micro], self.loss)
            scores.sums.append(loss)
            scores.weights.append(weight)
            right += metrics["code_accuracy"]
        scores.custom["code_accuracy"] = right / sum(scores.weights)
        return scores
