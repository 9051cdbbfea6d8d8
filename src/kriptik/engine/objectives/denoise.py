"""Denoising: noise is added to a clean sample at a drawn time, and the model predicts what its kind of diffusion asks for.

The modality says how noise is added and what is predicted (`Modality.add_noise`). A row's time and noise follow from (seed, epoch,
row) alone, however rows are spread. Settings (`settings.objective`): `times`, "uniform" (as in Ho et al. 2020) or "logit_normal".
"""

from typing import Any, ClassVar

import torch
from torch import Tensor

from kriptik.engine import noise
from kriptik.engine.interfaces import Encoded, Metrics, MicroBatch, Objective, RowScores, Session, Update
from kriptik.engine.rng import row_generator
from kriptik.spec.errors import WorkerError
from kriptik.spec.job import StageSettings

HELD_OUT_DRAWS = 4
"""Times and noises per held-out row, the same at every evaluation."""


class Denoise(Objective):
    """Mean squared error per row against `extra['target']`, summed over rows."""

    needs: ClassVar[frozenset[str]] = frozenset({"noise"})
    form: ClassVar[str] = "image"

    def __init__(self, settings: StageSettings) -> None:
        super().__init__(settings)
        self.times = str(settings.objective.get("times", "uniform"))
        if self.times not in ("uniform", "logit_normal"):
            raise WorkerError("bad_times", f"Times cannot be drawn as '{self.times}'.", "Choose uniform or logit_normal.")

    def prepare(self, update: Update, session: Session) -> Update:
        """See Objective."""
        micros = [self._noised(micro, session, session.epoch, "noise") for micro in update.micros]
        return Update(micros, update.state, update.fresh)

    def loss(self, output: Any, micro: MicroBatch) -> tuple[Tensor, Metrics]:
        """See Objective."""
        return (output.float() - micro.extra["target"].float()).square().flatten(1).mean(1).sum(), {}

    def evaluate(self, encoded: list[Encoded], session: Session) -> RowScores:  # type: ignore[override]
        """See Objective: the mean over a few draws per row that never change."""
        scores = RowScores([], [])
        for row in encoded:
            clean = session.modality.collate(session.bundle, [[row]], session.job.seed, 0)
            micros = [self._noised(clean, session, draw, "held out") for draw in range(HELD_OUT_DRAWS)]
            found = session.runtime.score(micros, self.loss)
            scores.sums.append(sum(loss for loss, _, _ in found) / HELD_OUT_DRAWS)
            scores.weights.append(clean.weight)
        return scores

    def _noised(self, micro: MicroBatch, session: Session, epoch: int, purpose: str) -> MicroBatch:
        clean = micro.extra["clean"]
        generators = [row_generator(session.job.seed, epoch, row, purpose) for row in micro.rows]
        mixed, times = noise.drawn(clean.shape, generators, self.times)
        with torch.no_grad():
            return session.modality.add_noise(session.bundle, micro, mixed.to(clean), times.to(clean.device))
