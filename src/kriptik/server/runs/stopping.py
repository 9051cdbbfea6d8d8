"""Stopping: the worker saves and leaves. A rollback stops too, and then queues again from the checkpoint asked for."""

from kriptik.server.runs import freezing, training
from kriptik.server.runs.acts import Act, Move, Requeue, Terminate, Want
from kriptik.server.runs.view import RunView
from kriptik.spec.job import JobState


def decide(view: RunView) -> list[Act]:
    """End the resource, then stop for good or go back to the checkpoint."""
    if view.gone:
        if view.job.next_checkpoint is not None:
            return [Requeue("Rolled back to the checkpoint you chose.", checkpoint=view.job.next_checkpoint)]
        return [Move(JobState.STOPPED, "You stopped it.")]
    if view.resource is not None and view.resource.status == "intended":
        return [Terminate("stopped before it was created")]
    if view.said in ("completed", "failed", "frozen", "stopped", "awaiting_approval") or freezing.acknowledged(view):
        return training.leave_time(view)
    if view.over or view.verdict.cut or view.in_state_s > view.limits.freeze_s:
        return [Terminate("stopped")]
    if view.generation is not None and view.generation.desired_state != "stopped":
        return [Want("stopped", "user")]
    return []
