"""SimPO: the better answer's mean log-probability per token must lead by a margin; no reference model.

Source: Meng et al. 2024, "SimPO: Simple Preference Optimization with a Reference-Free Reward". Settings (`settings.objective`):
`beta` (2), `gamma`, the margin aimed at (1).
"""

from typing import Any

from torch.nn import functional

from kriptik.engine.interfaces import MicroBatch
from kriptik.engine.text.preference import Preference, RowLosses, lengths, number, pairs, won
from kriptik.spec.job import StageSettings


class Simpo(Preference):
    """−log σ(β (mean of the better answer − mean of the worse one) − γ) per pair."""

    def __init__(self, settings: StageSettings) -> None:
        super().__init__(settings)
        self.beta, self.gamma = number(settings, "beta", 2.0), number(settings, "gamma", 1.0)

    def row_losses(self, output: Any, micro: MicroBatch) -> RowLosses:
        """See Preference."""
        sums = self.answers(output, micro)
        better, worse = pairs(sums / lengths(micro, sums.device))
        margin = self.beta * (better - worse)
        metrics = {"preference_accuracy": won(better, worse), "margin": margin}
        return -functional.logsigmoid(margin - self.gamma), metrics
