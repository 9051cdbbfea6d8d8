"""What objectives over answers as wholes have in common: a loss per row out of its documents, held-out rows scored together."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from kriptik.engine.interfaces import Encoded, Metrics, MicroBatch, Objective, RowScores, Session, Update
from kriptik.engine.text.packing import together
from kriptik.engine.text.reference import References, sums_of
from kriptik.spec.errors import WorkerError
from kriptik.spec.job import StageSettings

RowLosses = tuple[Tensor, dict[str, Tensor]]
"""Loss per row [rows], and metrics per row."""


class Preference(Objective):
    """A subclass gives `row_losses`. Documents of a micro-batch lie in pairs: better answer, worse answer."""

    needs: ClassVar[frozenset[str]] = frozenset({"tokens"})
    form: ClassVar[str] = "preference"

    def start(self, session: Session) -> None:
        """See Objective."""
        self._token_log_probs = session.modality.token_log_probs

    def row_losses(self, output: Any, micro: MicroBatch) -> RowLosses:
        """Pure: of every row of the micro-batch."""
        raise NotImplementedError

    def held_out(self, micro: MicroBatch, session: Session) -> MicroBatch:
        """A micro-batch of held-out rows with all that the loss needs."""
        return micro

    def loss(self, output: Any, micro: MicroBatch) -> tuple[Tensor, Metrics]:
        """See Objective."""
        losses, metrics = self.row_losses(output, micro)
        return losses.sum(), {name: one.detach().sum() for name, one in metrics.items()}

    def evaluate(self, encoded: Sequence[Encoded], session: Session) -> RowScores:
        """See Objective: several rows per forward. Metrics of `row_losses` are means by weight."""
        scores = RowScores([], [row.weight for row in encoded])
        total = sum(scores.weights)
        for group in together(encoded):
            micro = session.modality.collate(session.bundle, [group], session.job.seed, 0)
            ((_, sums, _),) = session.runtime.score([self.held_out(micro, session)], self._by_row)
            scores.sums += [sums.pop(str(place)) for place in range(len(group))]
            for name, value in sums.items():
                scores.custom[name] = scores.custom.get(name, 0.0) + value / total
        return scores

    def answers(self, output: Any, micro: MicroBatch) -> Tensor:
        """[documents]: log p of each answer."""
        return sums_of(self._token_log_probs(output, micro), micro)

    def _by_row(self, output: Any, micro: MicroBatch) -> tuple[Tensor, Metrics]:
        losses, metrics = self.row_losses(output, micro)
        by_place: Metrics = {str(place): one for place, one in enumerate(losses)}
        return losses.sum(), by_place | {name: one.sum() for name, one in metrics.items()}


class Referenced(Preference):
    """A preference objective that compares with the model before the stage: `extra['reference']` [documents]."""

    def __init__(self, settings: StageSettings) -> None:
        super().__init__(settings)
        self.references = References()

    def begin(self, session: Session, obey: Callable[[], None]) -> None:
        """See Objective."""
        self.references.begin(session, obey)

    def prepare(self, update: Update, session: Session) -> Update:
        """See Objective."""
        for micro in update.micros:
            micro.extra["reference"] = self.references.of("train", micro, session.rows, session)
        return update

    def held_out(self, micro: MicroBatch, session: Session) -> MicroBatch:
        """See Preference."""
        assert session.eval_rows is not None
        micro.extra["reference"] = self.references.of("eval", micro, session.eval_rows, session)
        return micro

    def state(self) -> dict[str, Any]:
        """See Objective."""
        return {"references": self.references.state()}

    def load_state(self, state: dict[str, Any]) -> None:
        """See Objective."""
        self.references.load_state(state["references"])


def pairs(documents: Tensor) -> tuple[Tensor, Tensor]:
    """Values by document → (better, worse), both [pairs]."""
    return documents[0::2], documents[1::2]


def lengths(micro: MicroBatch, device: torch.device) -> Tensor:
    """[documents]: answer tokens of each."""
    counts = micro.extra["counts"]
    if "answer" in micro.extra:
        return torch.stack([part.sum() for part in micro.extra["answer"].split(counts)]).to(device)
    return torch.tensor(counts, device=device)


def won(better: Tensor, worse: Tensor) -> Tensor:
    """1 where the better answer has the larger number."""
    return (better > worse).float()


def option(settings: StageSettings, name: str, default: str, known: tuple[str, ...]) -> str:
    """An option of the objective that names one of several. Raises WorkerError for another."""
    chosen = str(settings.objective.get(name, default))
    if chosen not in known:
        raise WorkerError("bad_option", f"'{chosen}' is no choice for {name}.", f"Choose one of: {', '.join(known)}.")
    return chosen


def number(settings: StageSettings, name: str, default: float) -> float:
    """An option of the objective that is a number. Raises WorkerError for anything else."""
    value = settings.objective.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise WorkerError("bad_option", f"'{value}' is no number for {name}.", "Give a number.")
    return float(value)
