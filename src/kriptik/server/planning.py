"""The one place where the server calls the planner: request → contract and plan → job."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kriptik.server.core import Core
from kriptik.spec.contract import TrainingContract
from kriptik.spec.errors import KriptikError
from kriptik.spec.job import DataRef, Modality, Precision, SamplePrompt, Stage
from kriptik.spec.plan import ImplementationTile, PlanChange, PlanModification, TileCategory, TrainingImplementationPlan
from kriptik.store.tables import Dataset


@dataclass(frozen=True)
class Edited:
    """A plan after an edit, what moved, and on which tiles."""

    contract: TrainingContract
    plan: TrainingImplementationPlan
    changes: list[PlanChange]
    affected: list[TileCategory]


def dataset_for(core: Core, user_id: str, dataset_id: str | None) -> Dataset | None:
    raise _missing()


def from_words(
    core: Core, user_id: str, prompt: str, dataset: Dataset | None, *, existing_model: str | None
) -> tuple[TrainingContract, TrainingImplementationPlan]:
    raise _missing()


def from_selections(
    core: Core, user_id: str, selections: dict[str, Any], dataset: Dataset | None
) -> tuple[TrainingContract, TrainingImplementationPlan]:
    raise _missing()


def edit_tile(
    core: Core,
    user_id: str,
    contract: TrainingContract,
    plan: TrainingImplementationPlan,
    tile: ImplementationTile,
    modification: PlanModification,
) -> Edited:
    raise _missing()


def edit_words(core: Core, user_id: str, contract: TrainingContract, plan: TrainingImplementationPlan, words: str) -> Edited:
    raise _missing()


def prepare_rows(
    core: Core, user_id: str, plan: TrainingImplementationPlan, folder: Path
) -> tuple[DataRef | None, list[SamplePrompt]]:
    raise _missing()


def stages(plan: TrainingImplementationPlan) -> list[Stage]:
    raise _missing()


def modality(plan: TrainingImplementationPlan) -> Modality:
    raise _missing()


def precision(plan: TrainingImplementationPlan) -> Precision:
    raise _missing()


def run_name(plan: TrainingImplementationPlan) -> str:
    raise _missing()


def _missing() -> KriptikError:
    return KriptikError("planner_missing", "The planner is not wired yet.", status=501)
