"""KTO: answers that were found good become likelier, those found bad less so, each against a common point of reference; no pairs.

The point of reference is the KL between model and reference, estimated on prompts with other rows' answers: over a whole update
(all micro-batches and ranks), each prompt is given the answer of the next row. Source: Ethayarajh et al. 2024, "KTO: Model
Alignment as Prospect Theoretic Optimization". Settings (`settings.objective`): `beta` (0.1), `desirable_weight` and
`undesirable_weight` (1), which should even out unequal numbers of good and bad answers.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from kriptik.engine.cursor import rows_of
from kriptik.engine.interfaces import Encoded, MicroBatch, RowScores, Session, Update, UpdatePlan
from kriptik.engine.text.forms import mismatched
from kriptik.engine.text.preference import Referenced, RowLosses, number
from kriptik.engine.text.reference import answer_log_probs
from kriptik.spec.errors import WorkerError
from kriptik.spec.job import StageSettings


class Kto(Referenced):
    """1 − σ(β (log-ratio − KL)) of a good answer, 1 − σ(β (KL − log-ratio)) of a bad one."""

    needs: ClassVar[frozenset[str]] = Referenced.needs | {"alone"}
    form: ClassVar[str] = "feedback"

    def __init__(self, settings: StageSettings) -> None:
        super().__init__(settings)
        self.beta = number(settings, "beta", 0.1)
        self.good, self.bad = number(settings, "desirable_weight", 1.0), number(settings, "undesirable_weight", 1.0)
        self._held_out_kl = 0.0

    @property
    def live_reference(self) -> bool:
        """See Objective: mismatched answers are not known beforehand."""
        return True

    def start(self, session: Session) -> None:
        """See Objective. Raises WorkerError where the KL has nothing to be measured against."""
        super().start(session)
        if not session.adaptation.has_reference(session.bundle):
            raise WorkerError(
                "no_reference",
                "KTO needs the model as it was; this adaptation does not keep it.",
                "Choose LoRA or full fine-tuning.",
            )

    def refill(self, plan: UpdatePlan, session: Session) -> list[Update]:
        """See Objective: which row's answer each row of this rank is given for the KL."""
        everybody = rows_of(plan)
        following = dict(zip(everybody, everybody[1:] + everybody[:1], strict=True))
        if len(everybody) == 1:
            following = {everybody[0]: (everybody[0] + 1) % len(session.rows)}
        (update,) = super().refill(plan, session)
        return [Update(update.micros, {"others": [[row, following[row]] for row in update.rows]})]

    def prepare(self, update: Update, session: Session) -> Update:
        """See Objective."""
        encoded = session.rows.encoded
        kl = self._kl([(encoded[row], encoded[other]) for row, other in update.state["others"]], session, everywhere=True)
        for micro in super().prepare(update, session).micros:
            micro.extra["kl"] = kl
        return update

    def row_losses(self, output: Any, micro: MicroBatch) -> RowLosses:
        """See Preference."""
        ratios = self.answers(output, micro) - micro.extra["reference"]
        good, kl = micro.extra["label"], micro.extra["kl"]
        above = torch.where(good, ratios - kl, kl - ratios)
        weights = torch.where(good, self.good, self.bad)
        signs = torch.where(good, 1.0, -1.0)
        by_row = _by_row(weights * (1 - torch.sigmoid(self.beta * above)), micro)
        return by_row, {"margin": _by_row(self.beta * signs * ratios, micro), "kl": _by_row(torch.full_like(ratios, kl), micro)}

    def evaluate(self, encoded: Sequence[Encoded], session: Session) -> RowScores:
        """See Objective: the KL over all rows that are given."""
        following = [*encoded[1:], encoded[0]] if encoded else []
        self._held_out_kl = self._kl(list(zip(encoded, following, strict=True)), session, everywhere=False)
        return super().evaluate(encoded, session)

    def held_out(self, micro: MicroBatch, session: Session) -> MicroBatch:
        """See Preference."""
        micro.extra["kl"] = self._held_out_kl
        return super().held_out(micro, session)

    def _kl(self, couples: list[tuple[Encoded, Encoded]], session: Session, *, everywhere: bool) -> float:
        """max(0, mean log-ratio of mismatched answers), over this rank's couples or those of all data ranks."""
        longest, size = session.settings.max_seq_len, session.settings.micro_batch
        rows = [mismatched(asked, said, longest) for asked, said in couples]
        micros = [
            session.modality.collate(session.bundle, [[row] for row in rows[start : start + size]], session.job.seed, 0)
            for start in range(0, len(rows), size)
        ]
        now = answer_log_probs(micros, session)
        with session.adaptation.reference(session.bundle):
            before = answer_log_probs(micros, session)
        sums = [sum(map(sum, now)) - sum(map(sum, before)), float(sum(map(len, now)))]
        total, count = session.runtime.all_sum(sums) if everywhere else sums
        return max(0.0, total / max(1.0, count))


def _by_row(values: Tensor, micro: MicroBatch) -> Tensor:
    """Sums of a row's documents."""
    return torch.stack([part.sum() for part in values.split(micro.extra["per_row"])])
