"""Rows as the API shows them: runs, run pages, sessions, datasets."""

from datetime import datetime

from sqlalchemy.orm import Session

from kriptik.server.core import Core
from kriptik.server.runs import money
from kriptik.spec.budget import FreezeState
from kriptik.spec.environment import EnvironmentSetup
from kriptik.spec.events import Alarm, CurrentSample, EvalResult, Metrics, QualitySample, RunResult, StageProgress
from kriptik.spec.job import JobState, ProbeResult, Stage
from kriptik.spec.run import Failure, JobDetail, JobSummary, StageView
from kriptik.spec.testing import TestSession
from kriptik.store import events, jobs, ledger
from kriptik.store.tables import Job, TrialRow

SHOWN_SAMPLES = 60
SHOWN_ALARMS = 40
MOST_SAMPLES = 2000


def summary(session: Session, job: Job, now: datetime) -> JobSummary:
    """A row of the list of runs."""
    return JobSummary.model_validate(_summary(session, job, now))


def detail(session: Session, core: Core, job: Job, now: datetime) -> JobDetail:
    """The whole run page."""
    generation = jobs.generation(session, job.id, job.generation)
    samples = events.newest(session, job.id, ["sample"], MOST_SAMPLES)
    evals = events.newest(session, job.id, ["eval"], SHOWN_SAMPLES)
    return JobDetail.model_validate(
        {
            **_summary(session, job, now),
            "generation": job.generation,
            "stages": stages(session, job),
            "stage_specs": [Stage.model_validate(s) for s in job.stages],
            "setup": EnvironmentSetup.model_validate(job.setup) if job.setup else None,
            "budget": money.budget_state(session, core, job, now),
            "metrics": _metrics(job),
            "current_sample": CurrentSample.model_validate(job.current_sample) if job.current_sample else None,
            "checkpoints": [jobs.checkpoint_noun(row) for row in jobs.checkpoints(session, job.id)],
            "samples": _with_base([e.body for e in samples if isinstance(e.body, QualitySample)]),
            "alarms": [e.body for e in events.newest(session, job.id, ["alarm"], SHOWN_ALARMS) if isinstance(e.body, Alarm)],
            "evals": [
                e.body.model_copy(update={"row_losses": None, "row_tokens": None}) for e in evals if isinstance(e.body, EvalResult)
            ],
            "probe": ProbeResult.model_validate(job.probe) if job.probe else None,
            "freeze_state": FreezeState.model_validate(job.freeze_state) if job.freeze_state else None,
            "failure": Failure.model_validate(job.failure) if job.failure else None,
            "result": RunResult.model_validate(job.result) if job.result else None,
            "estimate": job.estimate,
            "resumes": job.resumes,
            "inexact_resumes": job.inexact_resumes,
            "eta_seconds": money.remaining_s(job) if job.state == JobState.TRAINING else None,
            "last_contact_at": generation.last_contact_at if generation else None,
            "last_event_id": events.last_id(session, job.id),
            "run_dir": str(core.run_dir(job.id)),
        }
    )


def stages(session: Session, job: Job) -> list[StageView]:
    """The pipeline with how far each stage is, from its events and the newest metrics."""
    said: dict[int, str] = {}
    for event in events.newest(session, job.id, ["stage"], 500):
        if isinstance(event.body, StageProgress):
            said[event.body.index] = event.body.status
    metrics = _metrics(job)
    found = []
    for stage in (Stage.model_validate(s) for s in job.stages):
        status = {"started": "running"}.get(said.get(stage.index, "pending"), said.get(stage.index, "pending"))
        if status == "running" and job.state == JobState.FAILED:
            status = "failed"
        progress = 1.0 if status == "completed" else 0.0
        if status != "completed" and metrics and metrics.stage == stage.index and metrics.total_steps:
            progress = min(1.0, metrics.step / metrics.total_steps)
        found.append(
            StageView.model_validate(
                {
                    "index": stage.index,
                    "name": stage.name,
                    "method": stage.method,
                    "status": status,
                    "progress": progress,
                    "requires_approval": stage.requires_approval,
                }
            )
        )
    return found


def percent_complete(job: Job) -> float:
    """Share of all optimizer steps made, 0 to 100."""
    if job.state == JobState.COMPLETED:
        return 100.0
    if not job.metrics:
        return 0.0
    metrics = _metrics(job)
    assert metrics is not None
    totals = [int(n) for n in (job.probe or {}).get("totalSteps", [])] or [metrics.total_steps]
    if metrics.stage >= len(totals):
        return 0.0
    return round(100 * (sum(totals[: metrics.stage]) + metrics.step) / max(1, sum(totals)), 2)


def test_session(row: TrialRow, job: Job) -> TestSession:
    """A session as shown."""
    return TestSession.model_validate(
        {
            "id": row.id,
            "job_id": row.job_id,
            "checkpoint_id": row.checkpoint_id,
            "pretrained_model": job.base_model,
            "finetuned_model": job.name,
            "modality": job.estimate["modality"],
            "state": "ended" if row.state == "ending" else row.state,
            "expires_at": row.expires_at,
            "expiry_minutes": row.expiry_minutes,
            "error": row.error,
        }
    )


def _summary(session: Session, job: Job, now: datetime) -> dict[str, object]:
    place = None
    if job.state == JobState.QUEUED:
        waiting = jobs.queue(session, job.provider)
        place = waiting.index(job.id) + 1 if job.id in waiting else None
    return {
        "id": job.id,
        "user_id": job.user_id,
        "plan_id": job.plan_id,
        "name": job.name,
        "notes": job.notes,
        "prompt": job.estimate["prompt"],
        "capability": job.estimate["capability"],
        "base_model": job.base_model,
        "method": job.estimate["method"],
        "state": job.state,
        "reason": job.reason,
        "percent_complete": percent_complete(job),
        "current_spend": ledger.spend(session, job.id, now),
        "max_budget": job.max_budget,
        "queue_position": place,
        "created_at": job.created_at,
        "updated_at": job.updated_at,
        "finished_at": job.finished_at,
        "disk_bytes": job.disk_bytes,
    }


def _with_base(samples: list[QualitySample]) -> list[QualitySample]:
    """The untrained model's answers, however old, and the newest others."""
    return [s for s in samples[:-SHOWN_SAMPLES] if s.base] + samples[-SHOWN_SAMPLES:]


def _metrics(job: Job) -> Metrics | None:
    if not job.metrics:
        return None
    return Metrics.model_validate({k: v for k, v in job.metrics.items() if k != "generation"})
