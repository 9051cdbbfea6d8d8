"""Workers beside a run, for test sessions and exports: each ends by itself, at its expiry, or when its allowance is used up."""

import dataclasses
import shutil
from datetime import datetime
from decimal import Decimal

from sqlalchemy.orm import Session

from kriptik.providers import provider as providers
from kriptik.server.core import Core
from kriptik.server.runs import exporting, jobfile, naming, spool
from kriptik.spec.errors import KriptikError
from kriptik.spec.job import TrainJob
from kriptik.store import jobs, ledger, people, trials
from kriptik.store.tables import ExportRow, Generation, Job, Resource, TrialRow

NUMBER = 1
"""A session has one generation; one that dies is not started again."""


TOO_MUCH = (
    "export_over",
    "The export took longer or cost more than it may, and was ended.",
    "Export fewer forms, or raise KRIPTIK_TEST_ALLOWANCE_USD.",
)
Row = TrialRow | ExportRow


@dataclasses.dataclass(frozen=True)
class SessionView:
    """A session as one tick sees it."""

    row: Row
    job: Job
    generation: Generation | None
    resource: Resource | None
    spend: Decimal
    now: datetime


def tick(core: Core, session_id: str) -> None:
    """One look at one session: begin, create, watch, end."""
    seen = _load(core, session_id)
    if seen is None:
        return
    if seen.resource is None or seen.generation is None:
        _begin(core, seen) if seen.row.state == "starting" else _set(core, seen, "ended")
        return
    if seen.row.state != "ending" and _over(core, seen):
        _want_end(core, seen)
        return
    if seen.resource.gone_at is not None:
        _ended(core, seen)
    elif seen.resource.status == "intended":
        _terminate(core, seen) if seen.row.state == "ending" else _create(core, seen)
    else:
        _watch(core, seen)


def _load(core: Core, session_id: str) -> SessionView | None:
    with core.db.read() as session:
        row = _row(session, session_id)
        if row is None or row.state not in trials.LIVE:
            return None
        now = core.clock()
        return SessionView(
            row=row,
            job=session.get_one(Job, row.job_id),
            generation=jobs.generation(session, session_id, NUMBER),
            resource=jobs.resource(session, session_id, NUMBER),
            spend=ledger.spend(session, session_id, now),
            now=now,
        )


def _begin(core: Core, seen: SessionView) -> None:
    with core.db.write() as session:
        token = core.worker_token(seen.row.id, NUMBER)
        generation = jobs.add_generation(
            session, seen.row.id, NUMBER, _kind(seen.row), people.digest(token), seen.row.checkpoint_id, seen.now
        )
        price = core.settings.local_price_per_hour if seen.row.provider == "local" else Decimal(0)
        jobs.add_resource(
            session, generation, naming.resource(core.install, seen.row.id, NUMBER), seen.row.provider, price, seen.now
        )


def _create(core: Core, seen: SessionView) -> None:
    assert seen.resource is not None
    folder = core.session_dir(seen.row.id)
    work = _work(core, seen)
    spec = providers.ResourceSpec(
        name=seen.resource.name,
        job_file=str(jobfile.write(folder, work)),
        run_dir=work.run_dir,
        gpu="cpu",
        gpu_count=1,
        env={"KRIPTIK_WORKER_TOKEN": core.worker_token(seen.row.id, NUMBER)},
    )
    try:
        made = core.create(seen.resource.provider, spec)
    except KriptikError as error:
        if error.status < 500:
            _terminate(core, seen)
            _set(core, seen, "failed", error.sentence, error.code, error.next_step)
        return
    with core.db.write() as session:
        resource = session.get_one(Resource, seen.resource.id)
        resource.provider_id, resource.status = made.id, made.status


def _watch(core: Core, seen: SessionView) -> None:
    assert seen.resource is not None and seen.generation is not None and seen.resource.provider_id is not None
    found = core.providers[seen.resource.provider].get(seen.resource.provider_id)
    if found is None or found.status in ("exited", "gone"):
        _terminate(core, seen)
        return
    if seen.row.state == "ending":
        since = seen.generation.desired_at or seen.now
        if (seen.now - since).total_seconds() >= core.settings.teardown_s:
            _terminate(core, seen)
        return
    heard = seen.generation.last_contact_at
    patience = core.settings.boot_s if heard is None else core.settings.lease_s * 4
    if (seen.now - (heard or seen.generation.created_at)).total_seconds() > patience:
        _terminate(core, seen)
    elif seen.row.state == "starting" and seen.generation.worker_state == ("ready" if _kind(seen.row) == "serve" else "started"):
        _set(core, seen, "ready")


def _over(core: Core, seen: SessionView) -> bool:
    """Expired, or the next ticks would pass the allowance."""
    assert seen.resource is not None
    tail = Decimal(str(core.settings.teardown_s + 2 * core.settings.tick_s)) * seen.resource.price_per_hour / 3600
    return seen.now >= seen.row.expires_at or (seen.resource.price_per_hour > 0 and seen.spend + tail >= seen.row.allowance)


def _want_end(core: Core, seen: SessionView) -> None:
    with core.db.write() as session:
        row = _row(session, seen.row.id)
        assert row is not None
        if isinstance(row, ExportRow):
            row.code, row.error, row.next_step = TOO_MUCH
        end(session, row, seen.now)
    core.bus.wake(seen.row.id)


def end(session: Session, row: Row, now: datetime) -> None:
    """Asks the session's worker to stop."""
    if row.state not in ("starting", "ready"):
        return
    row.state = "ending"
    generation = jobs.generation(session, row.id, NUMBER)
    if generation is not None:
        jobs.want(generation, "stopped", "the session has ended", now)


def _terminate(core: Core, seen: SessionView) -> None:
    """Ends the worker; gone only when the provider says so."""
    assert seen.resource is not None
    provider = core.providers[seen.resource.provider]
    name, known = seen.resource.name, seen.resource.provider_id
    provider_id = known or next((r.id for r in provider.list_own(name) if r.name == name), None)
    left = None
    if provider_id is not None:
        provider.terminate(provider_id)
        left = provider.get(provider_id)
    if left is not None and left.status not in ("exited", "gone"):
        return
    spool.take_rest(core, seen.row.id, NUMBER, core.session_dir(seen.row.id))
    now = core.clock()
    with core.db.write() as session:
        resource = session.get_one(Resource, seen.resource.id)
        if resource.gone_at is None:
            ledger.meter(session, resource, now, final=True)
            resource.gone_at, resource.status = now, "gone"
            resource.exit_code, resource.detail = (left.exit_code, left.detail) if left else (None, resource.detail)
            session.get_one(Generation, (seen.row.id, NUMBER)).gone_at = now


def _ended(core: Core, seen: SessionView) -> None:
    """What a session whose worker is gone has come to."""
    assert seen.generation is not None and seen.resource is not None
    if seen.row.state == "ending" or seen.generation.worker_state in ("stopped", "completed"):
        _set(core, seen, "ended")
        return
    said = seen.generation.worker_message or {}
    sentence = said.get("message") or seen.resource.detail or "The worker ended without a word."
    _set(core, seen, "failed", sentence, said.get("code") or "worker_ended", said.get("nextStep") or "Start it again.")


def _set(core: Core, seen: SessionView, state: str, error: str | None = None, code: str = "", next_step: str = "") -> None:
    with core.db.write() as session:
        row = _row(session, seen.row.id)
        assert row is not None
        if state == "ready" and row.state != "starting":
            return  # ended meanwhile
        row.state = state
        if state in ("ended", "failed"):
            row.ended_at = seen.now
            if isinstance(row, TrialRow) or error is not None:
                row.error = error
            if isinstance(row, ExportRow):
                row.code, row.next_step = code or row.code, next_step or row.next_step
                shutil.rmtree(core.run_dir(row.job_id) / "exports" / f".{row.id}", ignore_errors=True)  # where it was ended midway
            for call in trials.waiting(session, row.id):
                call.error, call.answered_at = error or "The test session has ended.", seen.now
    core.bus.wake(seen.row.id)


def _row(session: Session, session_id: str) -> Row | None:
    return session.get(TrialRow, session_id) or session.get(ExportRow, session_id)


def _kind(row: Row) -> str:
    return "serve" if isinstance(row, TrialRow) else "export"


def _work(core: Core, seen: SessionView) -> TrainJob:
    row = seen.row
    if isinstance(row, TrialRow):
        return jobfile.of_session(core, seen.job, row.id, row.checkpoint_id, row.expiry_minutes * 60)
    return jobfile.of_export(core, seen.job, exporting.order_of(row, seen.job), row.checkpoint_id)
