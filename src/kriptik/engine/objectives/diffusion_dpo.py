"""Diffusion DPO: what was preferred is denoised better than the model did before the stage, what was not, worse; no reward model.

Per pair, both sides at the same time t with the same noise ε, in the same micro-batch:

    −log σ(−β/2 · [(e_θ(better) − e_ref(better)) − (e_θ(worse) − e_ref(worse))]),  e(x) = mean ‖prediction − target‖²

Source: Wallace et al. 2023, "Diffusion Model Alignment Using Direct Preference Optimization", section 4, with T·ω(λ_t) constant
and part of β, as in the authors' program; `beta` has its scale. Their values: 2000 (Stable Diffusion 1.5) to 5000 (SDXL). For flows
e is that of velocities (Liu et al. 2025, "Improving Video Generation with Human Feedback": Flow-DPO with a constant β). Settings
(`settings.objective`): `beta` (2000), how strongly the model is held to the reference; `times`, as for denoising.

Metrics: `preference_accuracy`, the share of pairs whose better side gained more on the reference than the worse one (a tie: half);
`margin`, what stands inside σ; `chosen_gain`, e_ref − e_θ of the better side. Where that falls below 0, the model grows worse at
what was preferred too, only slower than at the rest: the known way in which DPO fails.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from kriptik.engine import noise
from kriptik.engine.interfaces import Encoded, Metrics, MicroBatch, Objective, RowScores, Session, Update
from kriptik.engine.objectives.denoise import HELD_OUT_DRAWS, TIMES
from kriptik.engine.rng import row_generator
from kriptik.engine.text.preference import number, option, pairs
from kriptik.spec.job import StageSettings


class DiffusionDpo(Objective):
    """Rows of a micro-batch come as pairs: `extra["clean"]` holds better, worse, better, worse …"""

    needs: ClassVar[frozenset[str]] = frozenset({"noise", "reference", "alone"})
    form: ClassVar[str] = "preference"
    makes: ClassVar[bool] = True

    def __init__(self, settings: StageSettings) -> None:
        super().__init__(settings)
        self.beta = number(settings, "beta", 2000.0)
        self.times = option(settings, "times", TIMES[0], TIMES) if settings.objective.get("times") else None

    @property
    def live_reference(self) -> bool:
        """See Objective: times and noise are others in each epoch."""
        return True

    def prepare(self, update: Update, session: Session) -> Update:
        """See Objective."""
        micros = [self._compared(micro, session, session.epoch, "noise") for micro in update.micros]
        return Update(micros, update.state, update.fresh)

    def loss(self, output: Any, micro: MicroBatch) -> tuple[Tensor, Metrics]:
        """See Objective."""
        better, worse = pairs(errors(output, micro) - micro.extra["reference"])
        margin = -self.beta / 2 * (better - worse)
        ahead = margin.detach()
        metrics = {"preference_accuracy": won(ahead).sum(), "margin": ahead.sum(), "chosen_gain": -better.detach().sum()}
        return -functional.logsigmoid(margin).sum(), metrics

    def evaluate(self, encoded: Sequence[Encoded], session: Session) -> RowScores:
        """See Objective: means over a few draws per pair that never change; a pair is won by its mean margin."""
        scores, margins, gains = RowScores([], []), [], []
        for row in encoded:
            clean = session.modality.collate(session.bundle, [[row]], session.job.seed, 0)
            micros = [self._compared(clean, session, draw, "held out") for draw in range(HELD_OUT_DRAWS)]
            found = session.runtime.score(micros, self.loss)
            scores.sums.append(sum(loss for loss, _, _ in found) / len(found))
            scores.weights.append(row.weight)
            margins.append(sum(one["margin"] for _, one, _ in found) / len(found))
            gains.append(sum(one["chosen_gain"] for _, one, _ in found) / len(found))
        ahead = torch.tensor(margins)
        scores.custom["preference_accuracy"] = float(won(ahead).mean())
        scores.custom |= {"margin": float(ahead.mean()), "chosen_gain": sum(gains) / len(gains)}
        return scores

    def _compared(self, micro: MicroBatch, session: Session, epoch: int, purpose: str) -> MicroBatch:
        """Both sides of each pair with one noise at one time, and `extra["reference"]`: the errors of the model before the stage.

        That model is called itself, not through the runtime, which may hold on to the one that is trained.
        """
        clean, bundle = micro.extra["clean"], session.bundle
        how = self.times or session.modality.noise_times(bundle)
        generators = [row_generator(session.job.seed, epoch, row, purpose) for row in micro.rows]
        mixed, times = (one.repeat_interleave(2, 0) for one in noise.drawn(clean[::2].shape, generators, how))
        with torch.no_grad():
            noised = session.modality.add_noise(bundle, micro, mixed.to(clean), times.to(clean.device))
        with session.adaptation.reference(bundle), session.quiet():
            noised.extra["reference"] = errors(session.modality.forward(bundle.trainee, noised), noised)
        return noised


def won(margins: Tensor) -> Tensor:
    """1 where the margin is above 0, half where it is 0."""
    return torch.heaviside(margins, torch.full_like(margins, 0.5))


def errors(output: Tensor, micro: MicroBatch) -> Tensor:
    """[sides]: mean squared error of what was predicted."""
    return (output.float() - micro.extra["target"].float()).square().flatten(1).mean(1)
