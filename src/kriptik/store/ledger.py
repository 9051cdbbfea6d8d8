"""The ledger: double entry, rows are only added, sums are exact decimals."""

from datetime import datetime
from decimal import ROUND_UP, Decimal

from sqlalchemy import bindparam, func, select
from sqlalchemy.orm import Session

from kriptik.spec.base import new_id
from kriptik.spec.budget import SMALLEST, LedgerEntry, cost
from kriptik.store.tables import Base, ExportRow, LedgerRow, Resource, TrialRow

POST_EVERY_S = 60
JUDGE = "judge"
"""Kind of the rows of what a judge was paid."""
_RESOURCES, _LEDGER = Base.metadata.tables[Resource.__tablename__].c, Base.metadata.tables[LedgerRow.__tablename__].c
_LIVE = select(_RESOURCES.price_per_hour, _RESOURCES.metered_at).where(
    _RESOURCES.stream_id == bindparam("stream"), _RESOURCES.gone_at.is_(None)
)
_POSTED = select(_LEDGER.amount).where(_LEDGER.stream_id == bindparam("stream"))


def meter(session: Session, resource: Resource, now: datetime, *, final: bool) -> None:
    """Moves the resource's use up to `now` into the ledger: each minute, and at the end."""
    seconds = (now - resource.metered_at).total_seconds()
    if seconds <= 0 or (not final and seconds < POST_EVERY_S):
        return
    amount = cost(resource.price_per_hour, resource.metered_at, now)
    session.add(
        LedgerRow(
            id=new_id(),
            stream_id=resource.stream_id,
            at=now,
            kind="compute",
            debit=f"run:{resource.stream_id}",
            credit=f"provider:{resource.provider}",
            amount=amount,
            generation=resource.number,
            seconds=seconds,
            price_per_hour=resource.price_per_hour,
            note=resource.name,
        )
    )
    resource.metered_at = now


def post(
    session: Session,
    stream_id: str,
    kind: str,
    amount: Decimal,
    now: datetime,
    note: str,
    credit: str,
    generation: int | None = None,
) -> None:
    """Any other entry: storage, judge, adjustment."""
    what = {"kind": kind, "debit": f"run:{stream_id}", "credit": credit, "amount": amount, "generation": generation, "note": note}
    session.add(LedgerRow(id=new_id(), stream_id=stream_id, at=now, **what))


def judged(session: Session, stream_id: str, generation: int, total: Decimal, now: datetime) -> None:
    """A generation has paid its judge `total`: what of it is not posted yet, is."""
    session.flush()
    mine = (LedgerRow.stream_id == stream_id, LedgerRow.kind == JUDGE, LedgerRow.generation == generation)
    missing = total.quantize(SMALLEST, rounding=ROUND_UP) - sum(session.scalars(select(LedgerRow.amount).where(*mine)), Decimal(0))
    if missing > 0:
        post(session, stream_id, JUDGE, missing, now, "answers of the judge", "judge", generation)


def paid_judges(session: Session, stream_id: str) -> Decimal:
    """What a run has paid its judges."""
    paid = select(LedgerRow.amount).where(LedgerRow.stream_id == stream_id, LedgerRow.kind == JUDGE)
    return sum(session.scalars(paid), Decimal(0))


def spend(session: Session, stream_id: str, now: datetime) -> Decimal:
    """Everything spent up to `now`: posted, and what runs since the last posting."""
    posted = session.scalars(select(LedgerRow.amount).where(LedgerRow.stream_id == stream_id)).all()
    return sum(posted, Decimal(0)) + running(session, stream_id, now)


def running(session: Session, stream_id: str, now: datetime) -> Decimal:
    """What live resources have used since their last posting."""
    total = Decimal(0)
    for resource in live(session, stream_id):
        total += running_of(resource, now)
    return total


def running_of(resource: Resource, now: datetime) -> Decimal:
    """What one resource has used since its last posting."""
    return cost(resource.price_per_hour, resource.metered_at, now)


def live(session: Session, stream_id: str) -> list[Resource]:
    """Resources of a stream that are not confirmed gone."""
    return list(session.scalars(select(Resource).where(Resource.stream_id == stream_id, Resource.gone_at.is_(None))))


def metered_until(session: Session) -> datetime | None:
    """The newest moment up to which something that still bills was metered."""
    return session.scalars(select(func.max(Resource.metered_at)).where(Resource.gone_at.is_(None))).one()


def rate(session: Session, stream_id: str) -> Decimal:
    """Dollars per hour right now."""
    return sum((resource.price_per_hour for resource in live(session, stream_id)), Decimal(0))


def pace(session: Session, stream_id: str, now: datetime) -> tuple[Decimal, Decimal]:
    """(`rate`, `spend`) in two statements on tables, without objects of rows: every worker that posts asks for them."""
    asked = {"stream": stream_id}
    billing = session.execute(_LIVE, asked).all()
    spent = sum(session.execute(_POSTED, asked).scalars(), Decimal(0))
    spent += sum((cost(row.price_per_hour, row.metered_at, now) for row in billing), Decimal(0))
    return sum((row.price_per_hour for row in billing), Decimal(0)), spent


def entries(session: Session, stream_id: str) -> list[LedgerEntry]:
    """The receipt, oldest first."""
    rows = session.scalars(select(LedgerRow).where(LedgerRow.stream_id == stream_id).order_by(LedgerRow.at, LedgerRow.id))
    names = [name for name in LedgerEntry.model_fields if name != "job_id"]
    return [LedgerEntry.model_validate({"job_id": row.stream_id} | {name: getattr(row, name) for name in names}) for row in rows]


def testing(session: Session, job_id: str, now: datetime) -> Decimal:
    """What the test sessions and exports of a run have cost."""
    beside = [*session.scalars(select(TrialRow.id).where(TrialRow.job_id == job_id))]
    beside += session.scalars(select(ExportRow.id).where(ExportRow.job_id == job_id))
    return sum((spend(session, stream_id, now) for stream_id in beside), Decimal(0))
