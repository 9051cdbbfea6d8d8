"""Log-probabilities of whole answers, by the model at work and by the model as it was before the stage.

Where the adaptation can show that model, it is asked when a row is used; else all rows are scored before the first update. What was
found is kept per row (it goes into checkpoints), so that later epochs and resumed runs use the very same numbers.
"""

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from kriptik.engine.interfaces import Encoded, Metrics, MicroBatch, Session
from kriptik.engine.rows import Rows
from kriptik.spec.errors import WorkerError

CHUNK = 32
"""Rows per data rank scored between two looks at what is wanted."""


def answer_log_probs(micros: list[MicroBatch], session: Session) -> list[list[float]]:
    """Per micro-batch, log p of the answer of each of its documents by the trainee as it is; eval mode, no gradients."""

    def by_document(output: Any, micro: MicroBatch) -> tuple[Tensor, Metrics]:
        sums = sums_of(session.modality.token_log_probs(output, micro), micro)
        return sums.sum(), {str(place): one for place, one in enumerate(sums)}

    with session.quiet():
        found = session.runtime.score(micros, by_document)
    return [list(sums.values()) for _, sums, _ in found]


def sums_of(token_log_probs: tuple[Tensor, Tensor], micro: MicroBatch) -> Tensor:
    """[documents]: log p of each answer. Predicted tokens that are the prompt's do not count."""
    values, mask = token_log_probs
    if "answer" in micro.extra:
        mask = mask.clone()
        mask[mask.clone()] = micro.extra["answer"]
    return (values * mask).sum(1)


class References:
    """Kept values of training and held-out rows: name → [rows, documents], NaN where not asked yet."""

    def __init__(self) -> None:
        self.tables: dict[str, Tensor] = {}

    def begin(self, session: Session, obey: Callable[[], None]) -> None:
        """Scores every row now if the model before the stage cannot be shown later, or not at a rank's own pace.

        Each data rank does its share.
        """
        if session.adaptation.has_reference(session.bundle) and not session.runtime.lockstep:
            return
        for name, rows in (("eval", session.eval_rows), ("train", session.rows)):
            step = CHUNK * session.runtime.data_world
            for start in range(0, len(rows) if rows else 0, step):
                assert rows is not None
                chunk = range(start, min(start + step, len(rows)))
                if not self._known(name, rows, chunk):
                    obey()
                    self._score(name, rows, chunk, session)

    def of(self, name: str, micro: MicroBatch, rows: Rows, session: Session) -> Tensor:
        """[documents] for a micro-batch of rows of the table `name`."""
        if not self._known(name, rows, micro.rows):
            with _before(session):
                self._keep(name, rows, micro.rows, answer_log_probs([micro], session)[0])
        table = self._table(name, rows)
        flat = [value for row in micro.rows for value in table[row, : _documents(rows.encoded[row])]]
        return torch.stack(flat).to(micro.extra["targets"].device)

    def state(self) -> dict[str, Any]:
        """For checkpoints."""
        return dict(self.tables)

    def load_state(self, state: dict[str, Any]) -> None:
        """Inverse of `state`."""
        self.tables = dict(state)

    def _score(self, name: str, rows: Rows, chunk: range, session: Session) -> None:
        """This rank's rows of a chunk, then everybody's: each number meets zeros alone, so it stays as it is."""
        runtime = session.runtime
        mine = list(chunk)[runtime.data_rank :: runtime.data_world]
        size = session.settings.micro_batch
        table = self._table(name, rows)
        room = torch.zeros(len(chunk), table.shape[1], dtype=torch.float64)
        for start in range(0, math.ceil(len(chunk) / runtime.data_world), size):  # equally often on every rank
            some = mine[start : start + size]
            asked = [[rows.encoded[row]] for row in some or chunk[:1]]
            micro = session.modality.collate(session.bundle, asked, session.job.seed, 0)
            with _before(session):
                values = iter(answer_log_probs([micro], session)[0])
            for row in some:
                for place in range(_documents(rows.encoded[row])):
                    room[row - chunk.start, place] = next(values)
        sums = runtime.all_sum(room.flatten().tolist())
        table[chunk.start : chunk.stop] = torch.tensor(sums, dtype=torch.float64).view_as(room).float()

    def _keep(self, name: str, rows: Rows, numbers: Sequence[int], values: list[float]) -> None:
        table, left = self._table(name, rows), iter(values)
        for row in numbers:
            for place in range(_documents(rows.encoded[row])):
                table[row, place] = next(left)

    def _known(self, name: str, rows: Rows, numbers: Sequence[int]) -> bool:
        table = self._table(name, rows)
        return not bool(torch.isnan(table[list(numbers)][:, 0]).any())

    def _table(self, name: str, rows: Rows) -> Tensor:
        if name not in self.tables:
            self.tables[name] = torch.full((len(rows), max(map(_documents, rows.encoded))), torch.nan)
        return self.tables[name]


def _before(session: Session) -> AbstractContextManager[Any]:
    """The model before the stage. Where it cannot be shown, that is the trainee until it moves (a smoke test asks so)."""
    if session.adaptation.has_reference(session.bundle):
        return session.adaptation.reference(session.bundle)
    if session.step > 0:
        raise WorkerError("no_reference", "The model before this stage is gone.", "Report this as a fault.")
    return nullcontext()


def _documents(row: Encoded) -> int:
    return len(row.fields.get("documents", [row.fields]))
