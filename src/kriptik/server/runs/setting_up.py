"""Setting up: create the resource, wait for the worker's first word, then for its readiness."""

from kriptik.server.runs import training
from kriptik.server.runs.acts import Act, Create, Move
from kriptik.server.runs.view import RunView
from kriptik.spec.job import JobState


def decide(view: RunView) -> list[Act]:
    """Create if there is only the intent; training begins with the worker's `ready`, or its first step."""
    if view.resource is not None and view.resource.status == "intended":
        return training.guard_money(view) or [Create()]
    acts = training.decide(view)
    if not acts and (view.said == "ready" or (view.job.metrics or {}).get("generation") == view.job.generation):
        return [Move(JobState.TRAINING)]
    return acts
