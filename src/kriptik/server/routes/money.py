"""A run's budget, ledger and receipt."""

import csv
import io
from decimal import Decimal
from typing import Literal

from fastapi import APIRouter, Response
from pydantic import Field

from kriptik.server.auth import CoreDep, PersonDep
from kriptik.server.problems import checked
from kriptik.server.runs import commands, money
from kriptik.spec.base import Money, Noun
from kriptik.spec.budget import BudgetAuthorization, BudgetState, Channel, LedgerEntry
from kriptik.store import jobs, ledger

router = APIRouter(prefix="/jobs/{job_id}", tags=["budget"])


class BudgetChange(Noun):
    """What to change of a run's authorisation; what is left out stays."""

    max_budget: Money | None = Field(default=None, gt=Decimal(0))
    notify_at_percent: float | None = Field(default=None, gt=0, lt=100)
    freeze_at_percent: float | None = Field(default=None, gt=0, le=100)
    notification_channels: list[Channel] | None = None


class Receipt(Noun):
    """Every charge of a run, and their sum; `running` is used since the last posting."""

    job_id: str
    entries: list[LedgerEntry]
    posted: Money
    running: Money
    total: Money
    testing: Money
    """Test sessions of this run: charged apart from its cap."""


@router.get("/budget")
def get_budget(core: CoreDep, person: PersonDep, job_id: str) -> BudgetState:
    """The budget as it is now."""
    with core.db.read() as session:
        return money.budget_state(session, core, jobs.get(session, person.id, job_id), core.clock())


@router.put("/budget")
def change_budget(core: CoreDep, person: PersonDep, job_id: str, change: BudgetChange) -> BudgetState:
    """Changes cap, marks or channels; re-arms alert and freeze. A cap below spend + reserve is refused."""
    now = core.clock()
    with core.db.write() as session:
        job = jobs.get(session, person.id, job_id)
        given = change.model_dump(exclude_none=True)
        authorization = checked(
            BudgetAuthorization, {**BudgetAuthorization.model_validate(job.authorization).model_dump(), **given}
        )
        commands.change_budget(session, core, job, authorization, now)
        state = money.budget_state(session, core, job, now)
    core.bus.wake(job_id)
    return state


@router.get("/ledger")
def get_ledger(core: CoreDep, person: PersonDep, job_id: str) -> Receipt:
    """The receipt: every charge with price, seconds and generation."""
    now = core.clock()
    with core.db.read() as session:
        jobs.get(session, person.id, job_id)
        entries = ledger.entries(session, job_id)
        running = ledger.running(session, job_id, now)
        testing = ledger.testing(session, job_id, now)
    posted = sum((entry.amount for entry in entries), Decimal(0))
    return Receipt(job_id=job_id, entries=entries, posted=posted, running=running, total=posted + running, testing=testing)


@router.get("/receipt", response_class=Response)
def download_receipt(core: CoreDep, person: PersonDep, job_id: str, format: Literal["csv", "json"] = "csv") -> Response:
    """The receipt as a file."""
    receipt = get_ledger(core, person, job_id)
    headers = {"Content-Disposition": f'attachment; filename="receipt-{job_id}.{format}"'}
    if format == "json":
        return Response(receipt.model_dump_json(by_alias=True, indent=1), media_type="application/json", headers=headers)
    sink = io.StringIO()
    writer = csv.writer(sink)
    names = list(LedgerEntry.model_fields)
    writer.writerow(names)
    for entry in receipt.entries:
        writer.writerow([getattr(entry, name) for name in names])
    return Response(sink.getvalue(), media_type="text/csv", headers=headers)
