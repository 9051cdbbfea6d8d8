"""What a run's judge and rollouts need of the server's environment: looked for before the run is made, handed to its worker."""

import os
from typing import Any

from kriptik.pipeline.plan.judging import takes
from kriptik.spec.errors import ConflictError
from kriptik.spec.job import TrainJob
from kriptik.spec.plan import TrainingImplementationPlan

VLLM = "KRIPTIK_VLLM"
"""Names the Python of vLLM's own environment (`engine/text/vllm.py`)."""


def must_be_there(plan: TrainingImplementationPlan) -> None:
    """409 `judge_key_missing` where the variable with the judge's key is not set, `no_vllm` where vLLM is not set up here."""
    taken, judge = takes(plan.choices), plan.choices.judge
    if "judge" in taken and judge is not None and judge.key_env and not os.environ.get(judge.key_env, "").strip():
        what = f"The variable {judge.key_env}, for the key of the judge {judge.model}, is not set where the server runs."
        raise ConflictError("judge_key_missing", what, "Set it and start the server again, or choose another judge.")
    if "rollouts" in taken and plan.choices.rollouts == "vllm" and plan.choices.provider == "local" and not os.environ.get(VLLM):
        what = "Rollouts by vLLM were chosen, and no environment with vLLM is known here."
        step = f"Install vLLM in an environment of its own, set {VLLM} to its Python and start the server again."
        raise ConflictError("no_vllm", what, step)


def variables(work: TrainJob) -> dict[str, str]:
    """What the worker is not given by itself: keys of its judges; on this machine, where vLLM is."""
    told: list[dict[str, Any]] = [dict(stage.settings.objective) for stage in work.stages]
    judges = [one["judge"] for one in told if isinstance(one.get("judge"), dict)]
    wanted = {str(one["key_env"]) for one in judges if one.get("key_env")}
    if not work.carry and any(one.get("rollouts") == "vllm" for one in told):
        wanted.add(VLLM)
    return {name: os.environ[name] for name in wanted if name in os.environ}
