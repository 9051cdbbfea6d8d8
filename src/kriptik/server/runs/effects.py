"""Carrying out what a state decided. Database acts happen in one transaction that checks the state is still the one
decided on; calls to a provider happen between transactions, and every one of them may be repeated.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy.orm import Session

from kriptik.llm.purse import Purse
from kriptik.providers import provider as providers
from kriptik.server import judges, links
from kriptik.server.core import Core
from kriptik.server.runs import artefacts, bills, doubles, freezing, jobfile, messages, money, naming, room, setup, spool
from kriptik.server.runs.acts import (
    Act,
    Alert,
    Begin,
    BudgetStands,
    Complete,
    Create,
    Fail,
    Frozen,
    MeterStorage,
    Move,
    Requeue,
    Terminate,
    Want,
)
from kriptik.server.runs.view import RunView
from kriptik.spec.budget import BudgetStatus, FreezeState, asked_file
from kriptik.spec.errors import KriptikError
from kriptik.spec.events import BudgetMoved, CheckpointCommitted, Log, SetupName, SetupProgress, StateChanged
from kriptik.spec.job import TERMINAL_STATES, JobState, TrainJob
from kriptik.spec.run import Failure
from kriptik.store import events, jobs, ledger, people
from kriptik.store.tables import CheckpointRow, Generation, Job, Resource

CLOCKS_APART = timedelta(seconds=5)
"""A provider's clock may be behind ours by so much; an earlier birth means that it was there before it was asked for."""
CREATE_TRIES_S = 600
"""How long a create that fails is tried again before the run is given up."""


def carry_out(core: Core, view: RunView, acts: list[Act]) -> None:
    """Applies the acts of one decision."""
    for act in acts:
        match act:
            case Create():
                _create(core, view)
            case Terminate():
                _terminate(core, view, act)
            case Frozen() | Requeue() | Fail():
                found = to_resume(core, view.job)  # reads and hashes files: before the transaction
                _commit(core, view, lambda s, j, act=act, found=found: _settle(core, s, j, act, found))
            case _:
                _commit(core, view, lambda s, j, act=act: _apply(core, s, j, act))


def change_state(session: Session, job: Job, state: JobState, reason: str, now: datetime, checkpoint: str | None = None) -> None:
    """Moves a run to a state and says so on its stream. The one place that writes `job.state`."""
    job.state, job.reason, job.state_since, job.updated_at = state.value, reason, now, now
    if state in TERMINAL_STATES:
        job.finished_at = now
    elif job.finished_at is not None:
        job.finished_at = None
    events.say(session, job.id, StateChanged(state=state, reason=reason, checkpoint_id=checkpoint), now)


def say_budget(session: Session, core: Core, job: Job, status: BudgetStatus, now: datetime) -> None:
    """Puts the budget as it is now on the run's stream."""
    state = money.budget_state(session, core, job, now)
    job.budget_status = status.value
    events.say(
        session,
        job.id,
        BudgetMoved(
            status=status.value,
            current_spend=state.current_spend,
            max_budget=state.max_budget,
            estimated_total_spend=state.estimated_total_spend,
            spend_rate=state.spend_rate,
            percent=state.percent_used,
        ),
        now,
    )


def to_resume(core: Core, job: Job) -> str | None:
    """The checkpoint to go on from: the newest of this generation that verifies on disk, else the one it started from.

    Checkpoints of a branch that was rolled back do not count, however new they are.
    """
    with core.db.read() as session:
        made_by = {row.checkpoint_id: row.generation for row in jobs.checkpoints(session, job.id)}
        generation = jobs.generation(session, job.id, job.generation)
    run_dir = core.run_dir(job.id)
    own = [c for c in artefacts.committed(run_dir) if made_by.get(c, job.generation) == job.generation]
    start = generation.resume_from if generation else job.next_checkpoint
    return next((c for c in [*reversed(own), *([start] if start else [])] if artefacts.sound(run_dir, c)), None)


def _commit(core: Core, view: RunView, change: Callable[[Session, Job], None]) -> bool:
    """Runs `change` if the run is still in the state and generation that was decided on; False if it is not."""
    with core.db.write() as session:
        job = session.get(Job, view.job.id)
        if job is None or job.state != view.job.state or job.generation != view.job.generation:
            return False
        change(session, job)
        user = job.user_id
    core.bus.wake(view.job.id, f"user:{user}")
    return True


def _apply(core: Core, session: Session, job: Job, act: Act) -> None:
    now = core.clock()
    generation = jobs.generation(session, job.id, job.generation)
    match act:
        case Begin():
            _begin(core, session, job, now)
        case Want(state=wanted, reason=reason):
            if generation is not None:
                jobs.want(generation, wanted, reason, now)
        case Move(state=state, reason=reason):
            if state is JobState.STOPPED:
                _close_storage(core, session, job, now)
            change_state(session, job, state, reason, now)
            if state is JobState.AWAITING_APPROVAL:
                _await_approval(session, job, now)
        case Complete():
            job.disk_bytes = artefacts.disk_bytes(core.run_dir(job.id))
            spend = ledger.spend(session, job.id, now)
            say_budget(session, core, job, BudgetStatus.COMPLETED, now)
            change_state(session, job, JobState.COMPLETED, "", now)
            messages.complete(session, job, spend, now)
        case Alert():
            if not job.alert_sent:
                job.alert_sent = True
                say_budget(session, core, job, BudgetStatus.ALERT_SENT, now)
                messages.alert(session, job, ledger.spend(session, job.id, now), now)
        case BudgetStands(status=status):
            say_budget(session, core, job, status, now)
        case MeterStorage():
            _meter_storage(core, session, job, now)


def _settle(core: Core, session: Session, job: Job, act: Act, found: str | None) -> None:
    """Frozen, requeued or failed: what is kept is the newest checkpoint that verifies on disk."""
    now = core.clock()
    job.disk_bytes = artefacts.disk_bytes(core.run_dir(job.id))
    if found is not None:
        know_checkpoint(core, session, job, found, now)
    match act:
        case Frozen(reason=reason):
            _freeze(core, session, job, reason, found, now)
        case Requeue(reason=reason, checkpoint=chosen, fruitless=fruitless):
            job.next_checkpoint = chosen or found
            job.fruitless_starts = job.fruitless_starts + 1 if fruitless else 0
            events.say(session, job.id, Log(severity="warning" if fruitless else "info", message=reason), now)
            change_state(session, job, JobState.QUEUED, reason, now, job.next_checkpoint)
        case Fail(failure=failure):
            kept = f"Checkpoint {found} is kept." if found else "Nothing was trained yet."
            job.failure = failure.model_copy(update={"kept": kept}).document()
            change_state(session, job, JobState.FAILED, failure.message, now, found)
            messages.error(session, job, f"{failure.message} {kept} {failure.next_step}", now)


def _begin(core: Core, session: Session, job: Job, now: datetime) -> None:
    _close_storage(core, session, job, now)
    number = max(job.generation, jobfile.newest(core.run_dir(job.id))) + 1  # a restored state may be behind what was handed out
    resume_from = job.next_checkpoint
    token = core.worker_token(job.id, number)
    generation = jobs.add_generation(session, job.id, number, "train", people.digest(token), resume_from, now)
    jobs.add_resource(session, generation, naming.resource(core.install, job.id, number), job.provider, money.price(core, job), now)
    at = session.get(CheckpointRow, (job.id, resume_from)) if resume_from else None
    job.start_step = at.step if at else 0
    job.generation, job.next_checkpoint = number, None
    job.freeze_state, job.failure, job.link_nonce = None, None, None
    job.setup = setup.fresh(job).document()
    reason = f"Generation {number}" + (f", from checkpoint {resume_from}" if resume_from else "")
    change_state(session, job, JobState.SETTING_UP, reason, now, resume_from)
    _setup(session, job, "provisioning", "running", f"Asking {job.provider} for compute", now)


def _create(core: Core, view: RunView) -> None:
    """Writes job.json and asks the provider; a lost answer is repaired by adopting the name at the next tick."""
    assert view.resource is not None and view.generation is not None
    now = core.clock()
    with core.db.read() as session:
        job = session.get_one(Job, view.job.id)
        work = jobfile.of_run(session, core, job, view.generation, now)
    job_file = jobfile.write(core.run_dir(view.job.id), work)
    try:
        made = core.create(
            view.job.provider,
            providers.ResourceSpec(
                name=view.resource.name,
                job_file=str(job_file),
                run_dir=work.run_dir,
                gpu=str(view.job.estimate.get("gpu", "cpu")),
                gpu_count=int(view.job.estimate.get("gpuCount", 1)),
                max_price_per_hour=money.price(core, view.job) if work.carry else None,
                env=_environment(core, view.job.id, work),
                asked_before=view.resource.intended_at < core.started_at,
            ),
        )
    except KriptikError as error:
        _create_failed(core, view, error)
        return
    _commit(core, view, lambda s, j: _created(s, j, view.resource.id, made, now))  # type: ignore[union-attr]
    if work.carry:  # a request that went out twice, or one that was overtaken: what it left is ended at once, and paid by this run
        doubles.of_name(core, view.job.provider, made.name)


def _environment(core: Core, job_id: str, work: TrainJob) -> dict[str, str]:
    """What a worker is told by its environment: its token, and elsewhere also where its job is and how to give the machine back."""
    env = {"KRIPTIK_WORKER_TOKEN": core.worker_token(job_id, work.generation)}
    env |= judges.variables(work)
    if work.carry and work.control is not None:
        path = f"/api/worker/v1/jobs/{job_id}/generations/{work.generation}"
        buys = work.control.hard_stop_in_s
        patience = core.settings.grace_s if buys is None else min(core.settings.grace_s, max(1.0, buys - work.control.reserve_s))
        env |= {"KRIPTIK_JOB_URL": work.control.server_url + path, "KRIPTIK_GRACE_S": f"{patience:.0f}"}
        if end := work.control.self_end:
            env |= {"KRIPTIK_END_URL": end.url, "KRIPTIK_END_TOKEN_VARIABLE": end.token_variable}
    return env


def _created(session: Session, job: Job, resource_id: str, made: providers.Resource, now: datetime) -> None:
    resource = session.get_one(Resource, resource_id)
    if resource.gone_at is not None or resource.provider_id not in (None, made.id):
        return  # another server was quicker: what was made here is a double
    resource.provider_id, resource.status = made.id, made.status
    doubles.now_wanted(session, made.id)
    _describe(resource, made.detail)
    if made.status in ("provisioning", "running"):
        resource.price_per_hour = made.price_per_hour
    if resource.metered_at - made.created_at > CLOCKS_APART:  # one that was there before: it has billed all that time
        resource.metered_at = made.created_at
        resource.intended_at = min(resource.intended_at, made.created_at)
    where = f"{made.name} on {job.provider}" + (f": {made.detail}" if made.detail and job.provider != "local" else "")
    _setup(session, job, "provisioning", "completed" if job.provider == "local" else "running", where, now)
    if job.provider == "local":
        _setup(session, job, "storage", "completed", "Folders for checkpoints, results and logs", now)


def _create_failed(core: Core, view: RunView, error: KriptikError) -> None:
    """Tried again each tick; given up after a while, once nothing by that name is there."""
    assert view.resource is not None
    resource_id = view.resource.id
    _commit(core, view, lambda s, j: _not_yet(s, resource_id, error, core.clock()))
    if error.code == "held" or (view.in_state_s < CREATE_TRIES_S and error.status >= 500):
        return
    _terminate(core, view, Terminate(error.sentence), refused=not isinstance(error, providers.UnsureError))
    if error.code == "price_above_authorised":
        _commit(core, view, lambda s, j: _quoted(j, error.fields["pricePerHour"]))
    found = to_resume(core, view.job)
    _commit(
        core,
        view,
        lambda s, j: _settle(
            core,
            s,
            j,
            Fail(Failure(code=error.code, message=error.sentence, next_step=error.next_step)),
            found,
        ),
    )


def _describe(resource: Resource, detail: str) -> None:
    """The newest words about it; that its creation was unsure is never forgotten."""
    if detail:
        resource.detail = f"{bills.UNSURE} {detail}" if resource.detail.startswith(bills.UNSURE) else detail


def _not_yet(session: Session, resource_id: str, error: KriptikError, now: datetime) -> None:
    """While it is sure that nothing was made, nothing is metered. One lost answer, and the meter runs from there on."""
    resource = session.get_one(Resource, resource_id)
    if isinstance(error, providers.UnsureError):
        resource.detail = bills.UNSURE
    elif not resource.detail.startswith(bills.UNSURE):
        resource.metered_at = now


def _quoted(job: Job, price_per_hour: float) -> None:
    """The price that a retry accepts; the person reads it in the failure."""
    job.estimate = {**job.estimate, "quotedPricePerHour": price_per_hour}


def _terminate(core: Core, view: RunView, act: Terminate, refused: bool = False) -> None:
    """Ends the resource and looks whether it is gone; the last events of its spool are taken in before it counts as gone.

    `refused`: the provider has just said that it did not make it. Where nothing by its name is found, the look costs nothing.
    """
    assert view.resource is not None
    if view.resource.terminate_at is None:
        with core.db.write() as session:
            session.get_one(Resource, view.resource.id).terminate_at = core.clock()
    provider = core.providers[view.resource.provider]
    provider_id = view.resource.provider_id
    if provider_id is None:  # the create's answer was lost, or there was no create
        provider_id = next((r.id for r in provider.list_own(view.resource.name) if r.name == view.resource.name), None)
        if provider_id is not None:
            with core.db.write() as session:
                session.get_one(Resource, view.resource.id).provider_id = provider_id
                doubles.now_wanted(session, provider_id)
            doubles.of_name(core, view.resource.provider, view.resource.name)
    left: providers.Resource | None = None
    if provider_id is not None:
        provider.terminate(provider_id)
        left = provider.get(provider_id)
    if left is not None and left.status not in ("exited", "gone"):
        return
    left = left or view.seen  # of a machine that is gone, what was seen last
    ended_at = core.clock()  # what follows may take its time, but does not bill
    spool.take_rest(core, view.job.id, view.resource.number, core.run_dir(view.job.id))
    core.objects.pull(view.job.id, core.run_dir(view.job.id))
    _take_paid(core, view.job.id, view.resource.number)
    core.objects.abort(view.job.id)  # what it began to send and never ended
    _gone(core, view.resource.id, left, act.why, ended_at, refused)


def _take_paid(core: Core, job_id: str, number: int) -> None:
    """What the worker paid its judge and had no time to say; a call whose end it did not write down counts at its most."""
    file = asked_file(core.run_dir(job_id), number)
    if file.is_file():
        with core.db.write() as session:
            ledger.judged(session, job_id, number, Purse(file, Decimal(0)).spent(), core.clock())


def _gone(core: Core, resource_id: str, left: providers.Resource | None, why: str, now: datetime, refused: bool) -> None:
    with core.db.write() as session:
        resource = session.get_one(Resource, resource_id)
        if resource.gone_at is not None:
            return
        if not refused or resource.provider_id is not None or resource.detail.startswith(bills.UNSURE):
            ledger.meter(session, resource, now, final=True)
        resource.gone_at, resource.status = now, "gone"
        if left is not None:
            resource.exit_code = left.exit_code
            _describe(resource, left.detail)
        session.get_one(Generation, (resource.stream_id, resource.number)).gone_at = now
        events.say(
            session, resource.stream_id, Log(severity="debug", message=f"{resource.name} is gone{': ' + why if why else ''}."), now
        )
    core.bus.wake(resource.stream_id)


def _freeze(core: Core, session: Session, job: Job, reason: str, checkpoint: str | None, now: datetime) -> None:
    spend = ledger.spend(session, job.id, now)
    link = links.make_resume_link(core, job, now)
    sentence, step = _full(session, core, job) if reason == room.REASON else ("", "")
    state = FreezeState(
        job_id=job.id,
        checkpoint=checkpoint,
        frozen_at=now,
        current_spend=spend,
        can_resume=True,
        resume_url=link,
        reason=freezing.REASONS.get(reason, "budget"),
        sentence=sentence,
        next_step=step,
        percent_used=float(spend * 100 / job.max_budget),
    )
    job.freeze_state, job.next_checkpoint, job.storage_metered_at = state.document(), checkpoint, now
    job.fruitless_starts = 0
    job.alert_sent = job.alert_sent or reason == "budget"
    say_budget(session, core, job, BudgetStatus.FROZEN, now)
    change_state(session, job, JobState.FROZEN, reason, now, checkpoint)
    messages.freeze(session, job, spend, reason, link, now, f"{sentence} {step}".strip())


def _full(session: Session, core: Core, job: Job) -> tuple[str, str]:
    """What the worker said of its own disk, else what the server's lacks."""
    generation = jobs.generation(session, job.id, job.generation)
    said = (generation.worker_message if generation else None) or {}
    if said.get("code") == room.REASON:
        elsewhere = "A new machine starts with an empty disk; KRIPTIK_RUNPOD_DISK_GB sets its size."
        return str(said.get("message", "")), str(said.get("nextStep", "")) if job.provider == "local" else elsewhere
    return room.need_of(session, core, job).words()


def _await_approval(session: Session, job: Job, now: datetime) -> None:
    message = session.get_one(Generation, (job.id, job.generation)).worker_message or {}
    job.next_checkpoint = message.get("checkpointId") or job.next_checkpoint
    waiting = next((s for s in job.stages if s.get("requiresApproval")), None)
    job.storage_metered_at = now
    messages.stage_complete(session, job, waiting["name"] if waiting else "next", waiting["index"] if waiting else 0, now)


def know_checkpoint(core: Core, session: Session, job: Job, checkpoint_id: str, now: datetime) -> None:
    """A checkpoint that is on disk but was never reported (the worker died between mark and event) is entered too."""
    if session.get(CheckpointRow, (job.id, checkpoint_id)) is not None:
        return
    manifest: dict[str, Any] = artefacts.facts(core.run_dir(job.id), checkpoint_id)
    body = CheckpointCommitted(
        checkpoint_id=checkpoint_id,
        stage=int(manifest.get("stage", 0)),
        step=int(manifest.get("step", 0)),
        bytes=sum(int(f["bytes"]) for f in manifest["files"].values()),
        manifest_sha256=str(manifest.get("sha256", "")),
        seconds=0.0,
        loss=None,
        reason="interval",
    )
    jobs.add_checkpoint(session, job.id, job.generation, body, now)


def _meter_storage(core: Core, session: Session, job: Job, now: datetime) -> None:
    since = job.storage_metered_at or job.state_since
    days = Decimal(str((now - since).total_seconds())) / 86_400
    amount = (money.overheads(core, job).storage_per_day * days).quantize(Decimal("0.00000001"))
    if amount > 0:
        ledger.post(session, job.id, "storage", amount, now, "checkpoints and results while frozen", "provider:storage")
    job.storage_metered_at = now


def _close_storage(core: Core, session: Session, job: Job, now: datetime) -> None:
    """The run rests no longer: what lay on disk since the last charge is charged."""
    if job.storage_metered_at is not None:
        _meter_storage(core, session, job, now)
        job.storage_metered_at = None


def _setup(session: Session, job: Job, stage: SetupName, status: str, message: str, now: datetime) -> None:
    progress = SetupProgress.model_validate(
        {"stage": stage, "status": status, "progress": 1.0 if status == "completed" else 0.0, "message": message}
    )
    job.setup = setup.move(job.setup or setup.fresh(job).document(), progress)
    events.say(session, job.id, progress, now)
