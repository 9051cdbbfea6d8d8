"""What a run measured: the report as JSON, Markdown or a page."""

from typing import Literal

from fastapi import APIRouter, Response

from kriptik.pipeline import report_pages
from kriptik.pipeline.report import Measured, build_report
from kriptik.server import pages, present
from kriptik.server.auth import CoreDep, PersonDep
from kriptik.server.core import Core
from kriptik.spec.errors import NotFoundError
from kriptik.spec.events import StateChanged
from kriptik.spec.job import DataRef, JobState
from kriptik.spec.report import RunReport
from kriptik.store import events, jobs, ledger, plans

router = APIRouter(prefix="/jobs/{job_id}/report", tags=["reports"])

MOST_STATES = 1000
Form = Literal["json", "md", "html"]


@router.get("", response_model=RunReport)
def get_report(core: CoreDep, person: PersonDep, job_id: str, format: Form = "json") -> RunReport | Response:
    """The report of a run; every number in it was measured."""
    report = report_of(core, person.id, job_id)
    if format == "md":
        return Response(report_pages.markdown(report), media_type="text/markdown")
    if format == "html":
        return Response(report_pages.html(report), media_type="text/html", headers=pages.INLINE_STYLE)
    return report


def report_of(core: Core, user_id: str, job_id: str) -> RunReport:
    """Gathers what the report is made of."""
    now = core.clock()
    with core.db.read() as session:
        job = jobs.get(session, user_id, job_id)
        page = present.detail(session, core, job, now)
        entries = ledger.entries(session, job_id)
        said = events.newest(session, job_id, ["state"], MOST_STATES)
        data = DataRef.model_validate(job.data) if job.data else None
        try:
            contract, plan = plans.get(session, user_id, job.plan_id)
        except ValueError as error:
            raise NotFoundError("plan_unreadable", "The plan of this run cannot be read.", "Look at the run's own page.") from error
    freezes = sum(isinstance(e.body, StateChanged) and e.body.state is JobState.FROZEN for e in said)
    return build_report(contract, plan, page, Measured(ledger=entries, data=data, freezes=freezes, now=now))
