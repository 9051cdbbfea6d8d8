"""Data sets: rows of the table, newest first, always of one user."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from kriptik.spec.errors import NotFoundError
from kriptik.spec.plan import PlanStatus
from kriptik.store.tables import Dataset, TrainingPlan

UNDECIDED = (PlanStatus.DRAFT.value, PlanStatus.PENDING_APPROVAL.value, PlanStatus.MODIFIED.value)


def get(session: Session, user_id: str, dataset_id: str) -> Dataset:
    """That data set of that user. Raises `NotFoundError`."""
    row = session.get(Dataset, dataset_id)
    if row is None or row.user_id != user_id:
        raise NotFoundError("dataset_not_found", "There is no such data set.", "Look at your data sets, or upload it again.")
    return row


def page(session: Session, user_id: str, limit: int, before: str | None) -> list[Dataset]:
    """The newest `limit` data sets older than the one called `before`."""
    wanted = select(Dataset).where(Dataset.user_id == user_id).order_by(Dataset.id.desc()).limit(limit)
    if before:
        wanted = wanted.where(Dataset.id < before)
    return list(session.scalars(wanted))


def same(session: Session, user_id: str, source: str, name: str, sha256: str) -> Dataset | None:
    """A data set of that origin and name that holds the same bytes."""
    wanted = select(Dataset).where(
        Dataset.user_id == user_id, Dataset.source == source, Dataset.name == name, Dataset.sha256 == sha256
    )
    return session.scalars(wanted).first()


def wanted(session: Session, user_id: str, dataset_id: str) -> bool:
    """Whether a plan that is not decided on yet would train on it."""
    plans = session.scalars(
        select(TrainingPlan.plan).where(TrainingPlan.user_id == user_id, TrainingPlan.status.in_(UNDECIDED))
    )
    return any((plan.get("choices") or {}).get("datasetId") == dataset_id for plan in plans)
