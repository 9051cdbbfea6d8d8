"""The signed resume link: needs no sign-in, is limited in time, GET shows and changes nothing, POST resumes once."""

from fastapi import APIRouter
from pydantic import Field

from kriptik.server import links
from kriptik.server.auth import CoreDep
from kriptik.server.routes.jobs import ResumeRequest
from kriptik.server.runs import commands, money
from kriptik.spec.base import Money, Noun
from kriptik.spec.budget import BudgetState, FreezeState
from kriptik.spec.job import JobState
from kriptik.store.tables import Job

router = APIRouter(prefix="/resume", tags=["resume link"])


class ResumePage(Noun):
    """What the link's page shows."""

    job_id: str
    name: str
    base_model: str
    state: JobState
    freeze_state: FreezeState | None
    budget: BudgetState
    minimum_budget: Money
    can_resume: bool


class LinkResume(ResumeRequest):
    """The link's token, and the new total cap if any."""

    token: str = Field(min_length=1, max_length=2000)


class LinkResumed(Noun):
    """The run goes on."""

    success: bool
    resumed_at: str


@router.get("/{job_id}")
def show_resume_link(core: CoreDep, job_id: str, token: str) -> ResumePage:
    """The frozen run as the link's holder may see it. Changes nothing."""
    now = core.clock()
    with core.db.read() as session:
        job = links.check_resume_token(core, session.get(Job, job_id), job_id, token)
        state = money.budget_state(session, core, job, now)
        return ResumePage(
            job_id=job.id,
            name=job.name,
            base_model=job.base_model,
            state=JobState(job.state),
            freeze_state=FreezeState.model_validate(job.freeze_state) if job.freeze_state else None,
            budget=state,
            minimum_budget=money.smallest_cap(session, core, job, now),
            can_resume=job.state == JobState.FROZEN,
        )


@router.post("/{job_id}")
def use_resume_link(core: CoreDep, job_id: str, body: LinkResume) -> LinkResumed:
    """Resumes; the link is used up."""
    now = core.clock()
    with core.db.write() as session:
        job = links.check_resume_token(core, session.get(Job, job_id), job_id, body.token)
        commands.resume(session, core, job, body.new_budget, now)
    core.bus.wake(job_id)
    return LinkResumed(success=True, resumed_at=now.isoformat())
