"""Plans made out of other services' job descriptions."""

from dataclasses import dataclass
from typing import Any

from kriptik.pipeline.openai_job import read_job
from kriptik.server import planning
from kriptik.server.core import Core
from kriptik.spec.contract import TrainingContract
from kriptik.spec.plan import PlanModification, TrainingImplementationPlan


@dataclass(frozen=True)
class ImportedPlan:
    """A plan as it would be without the job's own settings, its contract, the edit that puts them in, what became of each field."""

    contract: TrainingContract
    plan: TrainingImplementationPlan
    edit: planning.Edited | None
    notes: list[str]


def from_openai(core: Core, user_id: str, job: dict[str, Any], dataset_id: str | None, budget: float | None) -> ImportedPlan:
    """Plans what an OpenAI fine-tuning job asks for. Raises `BadInputError` for a job that cannot be read."""
    read = read_job(job)
    dataset = planning.dataset_for(core, user_id, dataset_id)
    wanted = {**read.selections, **({"budget_max_usd": budget} if budget else {})}
    contract, plan = planning.from_selections(core, user_id, wanted, dataset)
    settings: dict[str, Any] = dict(read.settings)
    if read.rate_times is not None:
        settings["learning_rate"] = float(f"{plan.choices.settings.learning_rate * read.rate_times:.4g}")
    edit = None
    if settings:
        tile = next(tile for tile in plan.tiles if tile.category == "config")
        change = PlanModification(type="custom_value", value=settings, nlp_prompt=None)
        edit = planning.edit_tile(core, user_id, contract, plan, tile, change)
    return ImportedPlan(contract, plan, edit, read.notes)
