"""ORPO: supervised loss on the better answer plus a term on the odds of both answers; one stage, no reference model.

Source: Hong et al. 2024, "ORPO: Monolithic Preference Optimization without Reference Model". Settings (`settings.objective`):
`beta`, the weight of the odds-ratio term (0.1; the paper's lambda); `supervised`: "answer" (the better answer's tokens) or "all"
(its prompt's too, as the authors' code and TRL do). The supervised loss is a mean over a row's tokens, the whole a mean over rows.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from kriptik.engine.interfaces import MicroBatch
from kriptik.engine.text.preference import Preference, RowLosses, lengths, number, option, pairs, won
from kriptik.engine.text.reference import sums_of
from kriptik.spec.job import StageSettings


class Orpo(Preference):
    """Mean −log p per token of the better answer − β log σ(log odds of the better answer − log odds of the worse one)."""

    def __init__(self, settings: StageSettings) -> None:
        super().__init__(settings)
        self.beta = number(settings, "beta", 0.1)
        if option(settings, "supervised", "answer", ("answer", "all")) == "all":
            self.form = "preference_whole"  # type: ignore[misc]  # of this stage alone

    def row_losses(self, output: Any, micro: MicroBatch) -> RowLosses:
        """See Preference."""
        values, mask = self._token_log_probs(output, micro)
        sums = sums_of((values, mask), micro)
        better, worse = pairs(sums / lengths(micro, sums.device))
        likely, _ = pairs((values * mask).sum(1) / mask.sum(1))
        odds = (better - worse) - (_log1mexp(better) - _log1mexp(worse))
        metrics = {"preference_accuracy": won(better, worse), "margin": odds, "supervised_loss": -likely}
        return -likely - self.beta * functional.logsigmoid(odds), metrics


def _log1mexp(values: Tensor) -> Tensor:
    """log(1 − eᵛ) for v < 0, exact near both ends (Mächler 2012)."""
    near = values > -0.6931
    return torch.where(
        near,
        torch.log(-torch.expm1(torch.where(near, values, -1.0))),
        torch.log1p(-torch.exp(torch.where(near, -1.0, values))),
    )
