"""Contracts and plans. The planner's nouns go in and come out; a locked contract is never written again."""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from kriptik.spec.contract import TrainingContract
from kriptik.spec.errors import NotFoundError
from kriptik.spec.plan import PlanStatus, TrainingImplementationPlan
from kriptik.store.tables import ContractRow, TrainingPlan


def add(session: Session, contract: TrainingContract, plan: TrainingImplementationPlan) -> None:
    """Stores a new plan with its contract."""
    add_contract(session, contract)
    session.add(
        TrainingPlan(
            id=plan.id,
            user_id=plan.user_id,
            contract_id=contract.id,
            contract=contract.document(),
            plan=plan.document(),
            status=plan.status.value,
            created_at=plan.created_at,
            updated_at=plan.updated_at,
        )
    )
    session.flush()


def add_contract(session: Session, contract: TrainingContract) -> None:
    """Stores a version of a contract."""
    session.add(
        ContractRow(
            id=contract.id,
            user_id=contract.user_id,
            parent_id=contract.parent_id,
            version=contract.version,
            locked=contract.locked,
            hash=contract.hash,
            body=contract.document(),
            created_at=contract.created_at,
        )
    )
    session.flush()


def get(session: Session, user_id: str, plan_id: str) -> tuple[TrainingContract, TrainingImplementationPlan]:
    """A user's plan and its contract; 404 otherwise."""
    row = session.get(TrainingPlan, plan_id)
    if row is None or row.user_id != user_id:
        raise NotFoundError("plan_not_found", "There is no such plan.", "List your plans with GET /api/training/plans.")
    return TrainingContract.model_validate(row.contract), TrainingImplementationPlan.model_validate(row.plan)


def page(session: Session, user_id: str, limit: int, before: str | None) -> list[TrainingImplementationPlan]:
    """Newest plans first, from below id `before`."""
    query = select(TrainingPlan).where(TrainingPlan.user_id == user_id).order_by(TrainingPlan.id.desc()).limit(limit)
    if before:
        query = query.where(TrainingPlan.id < before)
    return [TrainingImplementationPlan.model_validate(row.plan) for row in session.scalars(query)]


def save(session: Session, contract: TrainingContract, plan: TrainingImplementationPlan, *, seen: datetime | None = None) -> bool:
    """Writes a changed plan; False if somebody changed it since `seen` (its `updated_at` when it was read)."""
    row = session.get_one(TrainingPlan, plan.id)
    if seen is not None and row.updated_at != seen:
        return False
    if session.get(ContractRow, contract.id) is None:
        add_contract(session, contract)
    else:
        _update_contract(session, contract)
    row.contract_id, row.contract, row.plan = contract.id, contract.document(), plan.document()
    row.status, row.updated_at, row.approved_at = plan.status.value, plan.updated_at, plan.approved_at
    if plan.budget_authorization is not None:
        row.budget_authorization = plan.budget_authorization.document()
    return True


def count_waiting(session: Session, user_id: str) -> int:
    """Plans that wait for a decision."""
    waiting = (PlanStatus.DRAFT.value, PlanStatus.PENDING_APPROVAL.value, PlanStatus.MODIFIED.value)
    query = select(TrainingPlan.id).where(TrainingPlan.user_id == user_id, TrainingPlan.status.in_(waiting))
    return len(session.scalars(query).all())


def _update_contract(session: Session, contract: TrainingContract) -> None:
    row = session.get_one(ContractRow, contract.id)
    if row.locked:
        return
    row.body, row.locked, row.hash = contract.document(), contract.locked, contract.hash
    row.version, row.parent_id = contract.version, contract.parent_id
