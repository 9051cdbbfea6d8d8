"""How often a run stops to look: held-out rows, answers to prompts, checkpoints. The same count as the engine's loop makes."""

from collections.abc import Sequence
from dataclasses import dataclass

from kriptik.spec.job import ProbeResult, StageSettings


@dataclass(frozen=True)
class Looks:
    """How many of each are still to come, and how many updates."""

    updates: int
    evaluations: int
    samples: int
    checkpoints: int

    def seconds(self, probe: ProbeResult, seconds_per_step: float | None = None) -> float:
        """What all of them take by the smoke test's figures; `seconds_per_step` where the run's own pace is known."""
        pace = probe.seconds_per_step if seconds_per_step is None else seconds_per_step
        looking = self.evaluations * probe.eval_s + self.samples * probe.sample_s + self.checkpoints * probe.checkpoint_s
        return self.updates * pace + looking


def looks_of(stages: Sequence[StageSettings], totals: Sequence[int], probe: ProbeResult, stage: int = 0, step: int = 0) -> Looks:
    """What is left from update `step` of `stage` on, with what is due right after it; by default all of it.

    Held-out rows are scored at the start and end of every stage and at its intervals, prompts answered at the start of the run,
    at the end of every stage and at its intervals. Checkpoints come at their intervals and at the end of every stage.
    """
    updates = evaluations = samples = checkpoints = 0
    for index, (settings, total) in enumerate(zip(stages, totals, strict=False)):
        if index < stage:
            continue
        made = step if index == stage else 0
        left = max(0, total - made)
        evaluated = _due(made, settings.eval_every, total, start=True)
        answered = _due(made, settings.sample_every, total, start=index == 0)
        updates, evaluations, samples = updates + left, evaluations + evaluated, samples + answered
        working = left * probe.seconds_per_step + evaluated * probe.eval_s + answered * probe.sample_s
        by_step = _due(made, settings.checkpoint_every, total, start=False)
        checkpoints += max(by_step, 1 + int(working // settings.checkpoint_every_s))
    return Looks(updates, evaluations, samples, checkpoints)


def _due(made: int, every: int | None, total: int, *, start: bool) -> int:
    """Steps from `made` on at which something is due: the stage's start if `start`, every so many, its end."""
    steps = {total, *range(every or total, total, every or total)} | ({0} if start else set())
    return sum(step >= made for step in steps)
