"""What a person may ask of a run. Each command checks the state and changes rows; the reconciler does the rest."""

from datetime import datetime
from decimal import Decimal

from sqlalchemy.orm import Session

from kriptik.pipeline import budget
from kriptik.server import places
from kriptik.server.core import Core
from kriptik.server.runs import artefacts, effects, money, room
from kriptik.spec.budget import BudgetAuthorization, BudgetStatus
from kriptik.spec.errors import ConflictError, NotFoundError
from kriptik.spec.job import TERMINAL_STATES, JobState
from kriptik.spec.run import PlaceChoice
from kriptik.store import jobs, ledger
from kriptik.store.tables import CheckpointRow, Job

LIVE = frozenset({JobState.SETTING_UP, JobState.TRAINING})
RESTING = frozenset({JobState.FROZEN, JobState.AWAITING_APPROVAL, JobState.QUEUED})


def freeze(session: Session, job: Job, now: datetime) -> None:
    """Saves a checkpoint and ends what bills; asking twice changes nothing."""
    if job.state in (JobState.FREEZING, JobState.FROZEN):
        return
    if job.state not in LIVE | {JobState.QUEUED}:
        raise _wrong(job, "frozen", "Only a run that is queued or training can be frozen.")
    _want(session, job, "frozen", now)
    effects.change_state(session, job, JobState.FREEZING, "user", now)


def stop(session: Session, job: Job, now: datetime) -> None:
    """Ends a run for good; its checkpoints stay."""
    if job.state in (JobState.STOPPING, JobState.STOPPED):
        return
    if job.state in TERMINAL_STATES:
        raise _wrong(job, "stopped", "It has ended already.")
    job.next_checkpoint = None
    _want(session, job, "stopped", now)
    effects.change_state(session, job, JobState.STOPPING, "user", now)


def resume(
    session: Session, core: Core, job: Job, new_budget: Decimal | None, now: datetime, place: PlaceChoice | None = None
) -> None:
    """Goes on from the freeze. `new_budget` is the new total cap; it re-arms alert and freeze. `place`: elsewhere, at its price."""
    if job.state in TERMINAL_STATES:
        raise ConflictError("run_finished", f"This run is {job.state}; there is nothing to resume.", _after(job))
    if job.state != JobState.FROZEN:
        raise ConflictError(
            "not_frozen", f"This run is {job.state.replace('_', ' ')}, not frozen.", "Only a frozen run is resumed."
        )
    if place is not None:
        places.move(job, place)
    if new_budget is not None:
        change_cap(session, core, job, new_budget, now)
    else:
        _check(session, core, job, now)
    room.must_fit(session, core, job)
    checkpoint = (job.freeze_state or {}).get("checkpoint")
    where = f" It goes on at {place.provider}, {place.gpu_count} × {place.gpu}." if place else ""
    requeue(session, job, checkpoint, f"Resumed.{where}", now)


def retry(session: Session, core: Core, job: Job, checkpoint: str | None, now: datetime) -> None:
    """Starts a failed or stopped run again from `checkpoint` (its newest sound one)."""
    if job.state == JobState.COMPLETED:
        raise ConflictError("run_finished", "This run is completed; there is nothing to retry.", _after(job))
    if job.state not in (JobState.FAILED, JobState.STOPPED):
        raise ConflictError("not_ended", f"This run is {job.state.replace('_', ' ')}.", "Only a failed or stopped run is retried.")
    if quoted := job.estimate.get("quotedPricePerHour"):  # the failure named it, and said that a retry accepts it
        job.estimate = {**job.estimate, "pricePerHour": quoted, "quotedPricePerHour": None}
    _check(session, core, job, now)
    requeue(session, job, checkpoint, "Retried.", now)


def rollback(session: Session, core: Core, job: Job, checkpoint_id: str, now: datetime) -> None:
    """A new generation from an earlier checkpoint; what was spent stays spent."""
    if session.get(CheckpointRow, (job.id, checkpoint_id)) is None:
        raise NotFoundError("checkpoint_not_found", "This run has no such checkpoint.", "See the run's list of checkpoints.")
    if not artefacts.sound(core.run_dir(job.id), checkpoint_id):
        raise ConflictError("checkpoint_damaged", "This checkpoint does not verify on disk.", "Choose another one.")
    if job.state == JobState.COMPLETED:
        raise ConflictError("run_finished", "This run is completed.", _after(job))
    if job.state in (JobState.STOPPING, JobState.FREEZING):
        raise ConflictError("busy", f"This run is {job.state}.", "Try again in a moment.")
    _check(session, core, job, now)
    if job.state in LIVE:
        job.next_checkpoint = checkpoint_id
        _want(session, job, "stopped", now)
        effects.change_state(session, job, JobState.STOPPING, "rollback", now)
    else:
        requeue(session, job, checkpoint_id, "Rolled back to the checkpoint you chose.", now)


def approve_stage(session: Session, core: Core, job: Job, index: int, now: datetime) -> None:
    """Lets the run go on with a stage that waited for a person."""
    if not 0 <= index < len(job.stages):
        raise NotFoundError("stage_not_found", f"This run has {len(job.stages)} stages, counted from 0.")
    if job.state != JobState.AWAITING_APPROVAL:
        raise ConflictError("not_waiting", "This run does not wait for an approval.")
    _check(session, core, job, now)
    job.stages = [{**s, "requiresApproval": s.get("requiresApproval", False) and s["index"] > index} for s in job.stages]
    requeue(session, job, job.next_checkpoint, f"Stage {index} approved.", now)


def change_cap(session: Session, core: Core, job: Job, cap: Decimal, now: datetime) -> None:
    """A new total cap; lowering it below spend + reserve is refused. Re-arms alert and freeze."""
    authorization = BudgetAuthorization.model_validate(job.authorization).model_copy(update={"max_budget": cap})
    change_budget(session, core, job, authorization, now)


def change_budget(session: Session, core: Core, job: Job, authorization: BudgetAuthorization, now: datetime) -> None:
    """A new authorisation, in any state but completed: what failed or was stopped may need more money for its retry."""
    if job.state == JobState.COMPLETED:
        raise ConflictError("run_finished", f"This run is {job.state}; its budget is closed.", _after(job))
    spend = ledger.spend(session, job.id, now)
    terms = budget.Terms(
        cap=authorization.max_budget,
        alert_percent=Decimal(str(authorization.notify_at_percent)),
        freeze_percent=Decimal(str(authorization.freeze_at_percent)),
    )
    budget.check_cap(terms, money.overheads(core, job), spend)
    job.authorization, job.max_budget, job.alert_sent = authorization.document(), authorization.max_budget, False
    effects.say_budget(session, core, job, BudgetStatus(job.budget_status), now)


def requeue(session: Session, job: Job, checkpoint: str | None, reason: str, now: datetime) -> None:
    """Back to the queue; the link of an earlier freeze stops working."""
    job.next_checkpoint, job.link_nonce, job.fruitless_starts = checkpoint, None, 0
    job.budget_status = BudgetStatus.RESUMED.value
    effects.change_state(session, job, JobState.QUEUED, reason, now, checkpoint)


def _check(session: Session, core: Core, job: Job, now: datetime) -> None:
    budget.check_cap(money.terms(job), money.overheads(core, job), ledger.spend(session, job.id, now))


def _want(session: Session, job: Job, state: str, now: datetime) -> None:
    generation = jobs.generation(session, job.id, job.generation)
    if generation is not None and generation.gone_at is None:
        jobs.want(generation, state, "user", now)


def _wrong(job: Job, verb: str, why: str) -> ConflictError:
    return ConflictError(f"not_{verb}", f"This run is {job.state.replace('_', ' ')} and cannot be {verb}. {why}")


def _after(job: Job) -> str:
    return "Start a new run from its plan." if job.state == JobState.COMPLETED else "Retry it, or start a new run."
