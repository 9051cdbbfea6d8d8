"""Trying a model: sessions that end by themselves, single answers, side-by-side comparisons."""

from datetime import timedelta
from typing import Any

from fastapi import APIRouter
from fastapi.concurrency import run_in_threadpool
from pydantic import Field, model_validator
from sqlalchemy.orm import Session

from kriptik.server import present
from kriptik.server.auth import CoreDep, PersonDep
from kriptik.server.core import Core
from kriptik.server.runs import sessions
from kriptik.spec.base import Noun, new_id
from kriptik.spec.errors import BadInputError, ConflictError, KriptikError, NotFoundError
from kriptik.spec.job import JobState
from kriptik.spec.testing import Comparison, Target, TestRequest, TestResult, TestSession
from kriptik.store import jobs, trials
from kriptik.store.tables import CheckpointRow, ComparisonRow, Generation, Job, TrialCall, TrialRow

router = APIRouter(prefix="/test", tags=["testing"])

ANSWER_S = 240.0
POLL_S = 1.0


class DeployRequest(Noun):
    """Which model to try: a run (`jobId`, also called `modelId`), and a checkpoint of it if not the newest weights."""

    job_id: str | None = None
    model_id: str | None = None
    checkpoint_id: str | None = Field(default=None, max_length=200)
    expiry_minutes: int = Field(default=10, ge=1, le=240)

    @model_validator(mode="after")
    def _one_run(self) -> "DeployRequest":
        if not (self.job_id or self.model_id):
            raise ValueError("jobId is missing")
        return self


class RunRequest(Noun):
    """One input for one model."""

    session_id: str
    request: TestRequest


class CompareRequest(Noun):
    """One input for both models; the request's target is ignored."""

    session_id: str
    request: TestRequest


class ExtendRequest(Noun):
    """How many more minutes."""

    minutes: int = Field(default=10, ge=1, le=240)


class Preference(Noun):
    """Which answer was better."""

    preferred: Target | str = Field(pattern="^(base|tuned|tie)$")


@router.post("/deploy")
def deploy_test(core: CoreDep, person: PersonDep, body: DeployRequest) -> TestSession:
    """Starts a worker that answers with base and tuned weights; a live session of the same weights is reused."""
    job_id = body.job_id or body.model_id or ""
    now = core.clock()
    with core.db.write() as session:
        job = jobs.get(session, person.id, job_id)
        checkpoint = body.checkpoint_id or _newest_weights(session, job)
        if checkpoint is not None and session.get(CheckpointRow, (job_id, checkpoint)) is None:
            raise NotFoundError("checkpoint_not_found", "This run has no such checkpoint.", "See the run's list of checkpoints.")
        row = trials.live_of(session, job_id, checkpoint)
        if row is None:
            row = TrialRow(
                id=new_id(),
                job_id=job_id,
                user_id=person.id,
                checkpoint_id=checkpoint,
                provider="local",
                state="starting",
                expiry_minutes=body.expiry_minutes,
                expires_at=now + timedelta(minutes=body.expiry_minutes),
                allowance=core.settings.test_allowance_usd,
                created_at=now,
            )
            trials.add(session, row)
        return present.test_session(row, job)


@router.post("/run")
async def run_test(core: CoreDep, person: PersonDep, body: RunRequest) -> TestResult:
    """One answer; waits for it."""
    call_id = await run_in_threadpool(_ask, core, person.id, body.session_id, body.request)
    return await _answer(core, body.session_id, call_id)


@router.post("/compare")
async def compare_models(core: CoreDep, person: PersonDep, body: CompareRequest) -> Comparison:
    """The same input through base and tuned, one after the other."""
    found: dict[str, tuple[str, TestResult]] = {}
    for target in ("base", "tuned"):
        request = body.request.model_copy(update={"target": target})
        call_id = await run_in_threadpool(_ask, core, person.id, body.session_id, request)
        found[target] = (call_id, await _answer(core, body.session_id, call_id))
    comparison = Comparison(
        id=new_id(),
        session_id=body.session_id,
        prompt=body.request.text_prompt or body.request.code_input or "",
        base=found["base"][1],
        tuned=found["tuned"][1],
    )

    def keep() -> None:
        with core.db.write() as session:
            session.add(
                ComparisonRow(
                    id=comparison.id,
                    session_id=body.session_id,
                    prompt=comparison.prompt,
                    base_call=found["base"][0],
                    tuned_call=found["tuned"][0],
                    created_at=core.clock(),
                )
            )

    await run_in_threadpool(keep)
    return comparison


@router.post("/comparisons/{comparison_id}")
def prefer_answer(core: CoreDep, person: PersonDep, comparison_id: str, body: Preference) -> Comparison:
    """Keeps which answer was better: a preference pair for a later run."""
    with core.db.write() as session:
        row = session.get(ComparisonRow, comparison_id)
        if row is None:
            raise NotFoundError("comparison_not_found", "There is no such comparison.")
        job_id = trials.get(session, person.id, row.session_id).job_id
        row.preferred = body.preferred
        base, tuned = session.get_one(TrialCall, row.base_call), session.get_one(TrialCall, row.tuned_call)
        return Comparison.model_validate(
            {
                "id": row.id,
                "session_id": row.session_id,
                "prompt": row.prompt,
                "base": _result(base.result or {}, job_id),
                "tuned": _result(tuned.result or {}, job_id),
                "preferred": row.preferred,
            }
        )


@router.get("/sessions/{session_id}")
def get_test_session(core: CoreDep, person: PersonDep, session_id: str) -> TestSession:
    """A session as it is now."""
    with core.db.read() as session:
        row = trials.get(session, person.id, session_id)
        return present.test_session(row, trials.job_of(session, row))


@router.post("/sessions/{session_id}/extend")
def extend_test_session(core: CoreDep, person: PersonDep, session_id: str, body: ExtendRequest | None = None) -> TestSession:
    """Lets a session live longer."""
    with core.db.write() as session:
        row = trials.get(session, person.id, session_id)
        if row.state not in ("starting", "ready"):
            raise _ended(row)
        row.expires_at += timedelta(minutes=(body or ExtendRequest()).minutes)
        return present.test_session(row, trials.job_of(session, row))


@router.delete("/sessions/{session_id}")
def end_test_session(core: CoreDep, person: PersonDep, session_id: str) -> TestSession:
    """Ends a session now; ending it twice changes nothing."""
    with core.db.write() as session:
        row = trials.get(session, person.id, session_id)
        sessions.end(session, row, core.clock())
        shown = present.test_session(row, trials.job_of(session, row))
    core.bus.wake(session_id)
    return shown


def _newest_weights(session: Session, job: Job) -> str | None:
    """The checkpoint to answer with; None means the finished result."""
    if job.state == JobState.COMPLETED:
        return None
    rows = jobs.checkpoints(session, job.id)
    if not rows:
        raise ConflictError("nothing_to_test", "This run has no checkpoint yet.", "Wait for its first checkpoint.")
    return rows[-1].checkpoint_id


def _ask(core: Core, user_id: str, session_id: str, request: TestRequest) -> str:
    if not (request.text_prompt or request.code_input):
        raise BadInputError("prompt_missing", "There is nothing to ask.", "Give textPrompt or codeInput.")
    with core.db.write() as session:
        row = trials.get(session, user_id, session_id)
        if row.state not in ("starting", "ready"):
            raise _ended(row)
        call = trials.ask(session, session_id, request, core.clock())
        generation = session.get(Generation, (session_id, sessions.NUMBER))
        if generation is not None:
            generation.desired_version += 1
    core.bus.wake(session_id)
    return call.id


def _result(document: dict[str, Any], job_id: str) -> TestResult:
    """As kept; a file of the run becomes its address here."""
    found = TestResult.model_validate(document)
    where = f"/api/training/jobs/{job_id}/files/{found.output_url}" if found.output_url else None
    return found.model_copy(update={"output_url": where})


async def _answer(core: Core, session_id: str, call_id: str) -> TestResult:
    def read() -> tuple[TrialCall, str]:
        with core.db.read() as session:
            return session.get_one(TrialCall, call_id), session.get_one(TrialRow, session_id).job_id

    remaining = ANSWER_S
    with core.bus.listen(session_id) as waiter:
        while remaining > 0 and not core.bus.closed:
            call, job_id = await run_in_threadpool(read)
            if call.answered_at is not None:
                if call.result is None:
                    raise KriptikError("test_failed", call.error or "The model did not answer.", "Try again.", status=502)
                return _result(call.result, job_id)
            await waiter.wait(POLL_S)
            remaining -= POLL_S
    raise KriptikError("test_timeout", "The model did not answer in time.", "Try a shorter answer.", status=504)


def _ended(row: TrialRow) -> ConflictError:
    return ConflictError(
        "session_ended", f"This test session has ended{': ' + row.error if row.error else ''}.", "Start a new one."
    )
