"""Which rows come next. The order is a pure function of (seed, epoch); the cursor is (epoch, group in the epoch).

A modality that packs overrides `Modality.plan_epoch`; its plan is cut into updates here with `into_updates`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kriptik.engine.rng import permutation
from kriptik.engine.rowfile import KEPT, Aside, Outline, RowFile
from kriptik.spec.errors import DataError

if TYPE_CHECKING:
    from kriptik.engine.interfaces import Bins, Encoded, UpdatePlan


def plan_rows(count: int, seed: int, epoch: int, micro_batch: int, micros: int) -> "list[UpdatePlan]":
    """One row per bin, shuffled by (seed, epoch): updates of `micros` micro-batches of `micro_batch` rows."""
    return into_updates([[row] for row in permutation(count, seed, "order", epoch)], micro_batch, micros)


def into_updates(bins: "Bins", micro_batch: int, micros: int) -> "list[UpdatePlan]":
    """Bins in order → updates; the last micro-batch and the last update may be smaller."""
    groups = [bins[start : start + micro_batch] for start in range(0, len(bins), micro_batch)]
    return [groups[start : start + micros] for start in range(0, len(groups), micros)]


class Rows:
    """Rows of a JSONL file, encoded once. Row numbers are line numbers from 0 over the non-empty lines.

    Of more than `KEPT` rows the encoded ones lie on disk and `outline` says what planning needs of them: nothing else differs.
    """

    def __init__(self, rows: Sequence[dict[str, Any]], encode: "Callable[[dict[str, Any], int], Encoded]") -> None:
        self.raw = rows
        self.encoded: Sequence[Encoded]
        self.outline: Sequence[Encoded]
        if len(rows) > KEPT:
            self.encoded = Aside(rows, encode)
            self.outline = Outline(self.encoded)
        else:
            self.encoded = self.outline = [encode(row, index) for index, row in enumerate(rows)]

    def __len__(self) -> int:
        return len(self.encoded)


def read_rows(path: str | Path) -> Sequence[dict[str, Any]]:
    """The rows of a JSONL file, read when they are asked for. Raises DataError naming the line."""
    return RowFile(Path(path))


@dataclass
class Cursor:
    """Where the run is in its rows. `position` counts groups of the current epoch already handed out."""

    plan: "Callable[[int], list[UpdatePlan]]"
    """Epoch → its updates."""
    epochs: float
    epoch: int = 0
    position: int = 0
    _plans: "dict[int, list[UpdatePlan]]" = field(default_factory=dict)

    def next(self) -> "tuple[int, UpdatePlan]":
        """(epoch, the next group of rows). Past the last epoch it goes on with further epochs (max_steps may ask)."""
        if self.position >= len(self.of(self.epoch)):
            self.epoch, self.position = self.epoch + 1, 0
        group = self.of(self.epoch)[self.position]
        self.position += 1
        return self.epoch, group

    def of(self, epoch: int) -> "list[UpdatePlan]":
        """The plan of an epoch; one is kept."""
        if epoch not in self._plans:
            self._plans = {epoch: self.plan(epoch)}
        return self._plans[epoch]

    def groups(self) -> int:
        """Groups in all epochs; a fraction of an epoch rounds up. At least one."""
        whole = int(self.epochs)
        count = sum(len(self.plan(epoch)) for epoch in range(whole))
        if self.epochs > whole:
            count += ceil((self.epochs - whole) * len(self.plan(whole)))
        return max(1, count)

    def progress(self) -> float:
        """Epochs used so far, with the fraction of the current one."""
        return self.epoch + self.position / len(self.of(self.epoch))

    def state(self) -> dict[str, int]:
        return {"epoch": self.epoch, "position": self.position}

    def load_state(self, state: dict[str, int]) -> None:
        self.epoch, self.position = state["epoch"], state["position"]


def rows_of(group: "UpdatePlan") -> list[int]:
    """All row numbers of a planned group."""
    return [row for bins in group for one in bins for row in one]


def check_plan(plan: "Sequence[UpdatePlan]", count: int, epoch: int) -> None:
    """Each row exactly once in an epoch, or the run must not start."""
    seen = sorted(row for group in plan for row in rows_of(group))
    if seen != list(range(count)):
        raise DataError("bad_plan", f"The rows of epoch {epoch + 1} were not planned exactly once each.",
                        "This is a fault of the modality's packing; report it.")
