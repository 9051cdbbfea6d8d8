"""DPO: a better answer is made likelier than a worse one, against the model as it was before the stage; no reward model.

Source: Rafailov et al. 2023, "Direct Preference Optimization". Settings (`settings.objective`): `beta`, how strongly the model is
held to the reference (0.1); `loss`: "sigmoid" (the paper's), "hinge" (Zhao et al. 2023, "SLiC-HF") or "ipo" (Azar et al. 2023, "A
General Theoretical Paradigm to Understand Learning from Human Preferences"; log-probabilities per token, as its authors advise);
`reference_free` (false): the reference counts as uniform.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from kriptik.engine.interfaces import MicroBatch, Session, Update
from kriptik.engine.text.preference import Referenced, RowLosses, lengths, number, option, pairs, won
from kriptik.spec.job import StageSettings


class Dpo(Referenced):
    """−log σ(β (log-ratio of the better answer − log-ratio of the worse one)) per pair."""

    def __init__(self, settings: StageSettings) -> None:
        super().__init__(settings)
        self.beta = number(settings, "beta", 0.1)
        self.kind = option(settings, "loss", "sigmoid", ("sigmoid", "hinge", "ipo"))
        self.free = bool(settings.objective.get("reference_free", False))

    def begin(self, session: Session, obey: Callable[[], None]) -> None:
        """See Objective."""
        if not self.free:
            super().begin(session, obey)

    def prepare(self, update: Update, session: Session) -> Update:
        """See Objective."""
        return update if self.free else super().prepare(update, session)

    def held_out(self, micro: MicroBatch, session: Session) -> MicroBatch:
        """See Preference."""
        return micro if self.free else super().held_out(micro, session)

    def row_losses(self, output: Any, micro: MicroBatch) -> RowLosses:
        """See Preference."""
        ratios = self.answers(output, micro)
        if not self.free:
            ratios = ratios - micro.extra["reference"]
        better, worse = pairs(ratios)
        margin = self.beta * (better - worse)
        metrics = {"preference_accuracy": won(better, worse), "margin": margin}
        return self._losses(better, worse, margin, micro), metrics

    def _losses(self, better: Tensor, worse: Tensor, margin: Tensor, micro: MicroBatch) -> Tensor:
        if self.kind == "sigmoid":
            return -functional.logsigmoid(margin)
        if self.kind == "hinge":
            return torch.relu(1 - margin)
        longer, other = pairs(lengths(micro, better.device))
        return (better / longer - worse / other - 1 / (2 * self.beta)).square()
