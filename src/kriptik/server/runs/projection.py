"""What stored worker events change in the rows: newest metrics, checkpoints, set-up, worker state, answers."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy.orm import Session

from kriptik.pipeline.band import KEPT, Band, band_of
from kriptik.pipeline.looks import looks_of
from kriptik.server.runs import setup
from kriptik.spec.events import (
    Asked,
    CheckpointCommitted,
    CurrentSample,
    ExportDone,
    ExportMoved,
    Metrics,
    ProbeDone,
    RunResult,
    SetupProgress,
    StoredEvent,
    TestAnswered,
    WorkerState,
)
from kriptik.spec.job import ProbeResult, Stage, StageSettings
from kriptik.store import events, jobs, ledger
from kriptik.store.tables import ExportRow, Generation, Job, TrialCall

LEAST_UNSURE = 0.1
"""An update's time is not known better than this, whatever a few equal ones seem to say."""
MEMORY = Band(0.9, 1.0, 1.15)
"""What training takes of the expected peak memory, while nothing is known of finished runs."""
GROWTH_GB = 0.3
"""By so much a process on a CPU grows after its first updates, with holes between tensors of ever new shapes and with code made for
these (docs/estimates.md). A GPU's memory is counted by what is allocated."""
COPY_SHARE = 0.7
"""Of a second copy of the model, made for the result when training is over, what finds no place in memory that training gave back:
0.5 to 0.7 of it for models of 135 and 600 M. A GPU without room makes none (`engine/copies.py`)."""


def apply(
    session: Session, job: Job | None, generation: Generation, fresh: list[StoredEvent], price: Decimal, now: datetime
) -> None:
    """Follows new events, in order. `job` is None for the worker of a test session or export; `price` is dollars per hour."""
    for event in fresh:
        body = event.body
        if isinstance(body, WorkerState):
            generation.worker_state = body.state
            generation.worker_message = {**body.document(), "message": body.message}
        if isinstance(body, TestAnswered):
            _answer(session, generation, body, now)
        elif isinstance(body, ExportMoved | ExportDone):
            _exported(session, generation, body)
        elif job is not None:
            _follow(session, job, generation, event, price, now)
    if job is not None and fresh:
        job.updated_at = now


def _follow(session: Session, job: Job, generation: Generation, event: StoredEvent, price: Decimal, now: datetime) -> None:
    body = event.body
    for name, document in shown(event).items():
        setattr(job, name, document)
    match body:
        case SetupProgress():
            job.setup = setup.move(job.setup or setup.fresh(job).document(), body)
        case Asked():
            ledger.judged(session, job.id, generation.number, body.usd, now)
        case CheckpointCommitted():
            jobs.add_checkpoint(session, job.id, generation.number, body, event.at)
            job.checkpoint_seconds = max(job.checkpoint_seconds or 0.0, body.seconds)
            if body.step > job.start_step or body.stage > 0:
                job.fruitless_starts = 0
        case ProbeDone():
            job.probe = body.result.document()
            job.checkpoint_seconds = body.result.checkpoint_s
            settings = [Stage.model_validate(stage).settings for stage in job.stages]
            earlier = jobs.taken(session, job.provider, str(job.estimate.get("gpu", "cpu")), KEPT)
            known = measured(body.result, settings, price, earlier, on_cpu=job.estimate.get("gpu", "cpu") == "cpu")
            job.estimate = {**job.estimate, "measured": {**known, "at": event.at.isoformat()}}
        case RunResult():
            job.result = body.document()
            if ratios := took(job, body, event.at):
                job.estimate = {**job.estimate, "took": ratios}
        case WorkerState(state="started") if _provisioning(job):
            up = SetupProgress(stage="provisioning", status="completed", progress=1.0, message="The worker is up")
            job.setup = setup.move(job.setup or {}, up)
            events.say(session, job.id, up, now)
        case WorkerState(state="restored"):
            job.resumes = [*job.resumes, job.start_step]
            if body.exact is False:
                job.inexact_resumes += 1


def shown(event: StoredEvent) -> dict[str, dict[str, Any]]:
    """What the run's row shows of an event that is the newest of its kind, by column; of most kinds nothing."""
    match event.body:
        case Metrics():
            return {"metrics": {**event.body.document(), "generation": event.generation}}
        case CurrentSample():
            return {"current_sample": event.body.document()}
        case _:
            return {}


def _provisioning(job: Job) -> bool:
    """Whether the machine is still shown as being made: on a rented one only its worker's first word ends that."""
    stages = job.setup["stages"] if job.setup else []
    return any(stage["name"] == "provisioning" and stage["status"] == "running" for stage in stages)


def measured(
    probe: ProbeResult,
    stages: Sequence[StageSettings],
    price_per_hour: Decimal,
    earlier: Sequence[dict[str, float]] = (),
    *,
    on_cpu: bool = False,
) -> dict[str, Any]:
    """The re-priced estimate, from the end of the smoke test to that of the run: intervals from what it measured on the very
    machine and, once there are enough, from what `earlier` runs there took of what was expected (`took`)."""
    expected = probe.load_s + looks_of(stages, probe.total_steps, probe).seconds(probe)
    working = sum(probe.total_steps) * probe.seconds_per_step / max(expected, 1e-9)
    unsure = max(LEAST_UNSURE, working * probe.step_seconds_spread)
    time = band_of([one["time"] for one in earlier if "time" in one], Band(1 - unsure, 1.0, 1 + 1.5 * unsure))
    room = band_of([one["memory"] for one in earlier if "memory" in one], MEMORY)
    peak = probe.peak_memory_gb + (GROWTH_GB + COPY_SHARE * probe.copy_gb if on_cpu else 0.0)
    hours, price = expected / 3600, float(price_per_hour)
    low, likely, high = (hours * factor for factor in (time.low, time.middle, time.high))
    return {
        "timeHours": {"low": low, "likely": likely, "high": high, "unit": "h", "source": "calibrated"},
        "costUsd": {"min": low * price, "likely": likely * price, "max": high * price, "source": "calibrated"},
        "tokensPerSecond": probe.tokens_per_second,
        "peakMemoryGb": peak * room.middle,
        "memoryGb": {"low": peak * room.low, "likely": peak * room.middle, "high": peak * room.high},
        "expected": {"seconds": expected, "memoryGb": peak},
        "earlierRuns": time.runs,
    }


def took(job: Job, result: RunResult, at: datetime) -> dict[str, float]:
    """Taken ÷ expected by the smoke test, of time and peak memory; empty for a run that did not go through in one piece."""
    known = job.estimate.get("measured") or {}  # none where the smoke test was left out
    if "expected" not in known or job.resumes:
        return {}
    expected, since = known["expected"], datetime.fromisoformat(known["at"])
    ratios = {"time": (at - since).total_seconds() / max(expected["seconds"], 1e-9)}
    if result.peak_memory_gb and expected["memoryGb"]:
        ratios["memory"] = result.peak_memory_gb / expected["memoryGb"]
    return ratios


def _exported(session: Session, generation: Generation, body: ExportMoved | ExportDone) -> None:
    row = session.get(ExportRow, generation.stream_id)
    if row is None:
        return
    if isinstance(body, ExportDone):
        row.result, row.progress, row.message = body.result.document(), 1.0, ""
    else:
        row.progress, row.message = body.progress, body.message


def _answer(session: Session, generation: Generation, body: TestAnswered, now: datetime) -> None:
    call = session.get(TrialCall, body.request_id)
    if call is None or call.session_id != generation.stream_id or call.answered_at is not None:
        return
    call.result, call.error, call.answered_at = body.result, body.error, now
    generation.desired_version += 1
