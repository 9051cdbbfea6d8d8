"""Reward model: a value head on the model scores answers, so that people's better answers score higher (Bradley–Terry).

The head is `score`, as in transformers' sequence classification with one label, and the result is saved as such a model. Source:
Stiennon et al. 2020, "Learning to Summarize from Human Feedback". Settings (`settings.objective`): `centre`, weight of a term that
keeps scores around 0 (0; Eisenstein et al. 2023, "Helping or Herding?"); `keeps_policy` (false): the model from before this stage
goes on to the next one, which finds the reward model among the bundle's parts.
"""

import copy
from typing import Any, ClassVar

from torch.nn import functional

from kriptik.engine.interfaces import Bundle, MicroBatch
from kriptik.engine.scorer import PART
from kriptik.engine.text.heads import SCORE, add_value_head, take_value_head
from kriptik.engine.text.preference import Preference, RowLosses, number, pairs, won
from kriptik.spec.job import StageSettings

POLICY = "policy"
"""The model from before this stage among the bundle's parts."""


class Reward(Preference):
    """−log σ(score of the better answer − score of the worse one) per pair."""

    form: ClassVar[str] = "ranked"

    def __init__(self, settings: StageSettings) -> None:
        super().__init__(settings)
        self.centre = number(settings, "centre", 0.0)
        self.keeps_policy = bool(settings.objective.get("keeps_policy", False))

    def dress(self, bundle: Bundle) -> None:
        """See Objective: a copy of the policy is put aside."""
        if self.keeps_policy:
            policy = copy.deepcopy(bundle.trainee).requires_grad_(False)
            bundle.parts[POLICY] = policy
            bundle.touch(*policy.parameters())

    def equip(self, bundle: Bundle) -> None:
        """See Objective."""
        add_value_head(bundle, SCORE, 0.02)

    def retire(self, bundle: Bundle) -> None:
        """See Objective."""
        if self.keeps_policy:
            bundle.parts[PART] = bundle.trainee.requires_grad_(False).eval()
            device = next(bundle.trainee.parameters()).device  # where parts rest on the CPU, the policy did
            bundle.trainee = bundle.parts.pop(POLICY).to(device)
        else:
            take_value_head(bundle, SCORE)

    def row_losses(self, output: Any, micro: MicroBatch) -> RowLosses:
        """See Preference."""
        better, worse = pairs(output.values)
        losses = -functional.logsigmoid(better - worse) + self.centre * (better + worse).square()
        return losses, {"preference_accuracy": won(better, worse), "margin": better - worse}
