"""Where training happens: the one loop for every method and modality, blind to which it runs.

Rows → updates → gradient → step → events → what is wanted. All randomness follows from (seed, stage, step, rank), so that a run
restored from a checkpoint goes on bit for bit; `snapshot.py` says what a checkpoint holds, `stage.py` how a stage is opened.
"""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch

from kriptik.engine import lock, pieces, ranks
from kriptik.engine.cursor import rows_of
from kriptik.engine.health import Health
from kriptik.engine.interfaces import Modality, RunOutcome, Session, StepStats, Update
from kriptik.engine.packed import settled
from kriptik.engine.peak import peak_gb
from kriptik.engine.rng import reseed
from kriptik.engine.schedule import epochs_of, learning_rate
from kriptik.engine.snapshot import take
from kriptik.engine.stage import Run, close_stage, load, open_stage, refuse_unfit
from kriptik.engine.telling import Teller
from kriptik.spec.errors import KriptikError, WorkerError
from kriptik.spec.events import CheckpointCommitted, Desired, EvalResult, Log, RunResult, StageProgress, WorkerBody, WorkerState
from kriptik.spec.job import RunLock, TrainJob

Reason = Literal["interval", "freeze", "stage_end", "stop"]
MOST_DROPPED = 5
"""Updates in a row without a finite gradient before the run gives up."""


def train(
    job: TrainJob,
    emit: Callable[[WorkerBody], None],
    control: Callable[[], Desired],
    modality: type[Modality] | None = None,
) -> RunOutcome:
    """Trains all stages, or until something else than `running` is wanted. Raises WorkerError or DataError.

    `control` is asked before every update and between chunks of evaluation. In several processes only rank 0 is heard and asked.
    """
    ranks.join()
    say = emit if ranks.rank() == 0 else _silent
    about = modality or pieces.modality(job.modality)
    found = lock.read(job.run_dir)
    job = lock.applied(job, found)
    threads = lock.settle(job, found)
    refuse_unfit(job, about)
    run = load(job, about)
    run.totals = _totals(job, found)
    if ranks.rank() == 0 and (left := run.store.sweep()):
        say(Log(message=f"Removed {len(left)} unfinished checkpoints of an earlier process."))
    first, saved = _first_stage(run), job.resume_from
    for index in range(first, len(job.stages)):
        try:
            loop = Loop(run, index, job.resume_from if index == first else None, say, control)
        except _UnwantedError as wanted:
            return RunOutcome(wanted.state, saved, index, 0)
        if index == first:
            _agree(run, found, threads, say)
        try:
            outcome = loop.run_stage()
        finally:
            loop.session.objective.leave()
        if outcome is not None:
            return outcome
        saved = loop.saved[0] if loop.saved else None
    raise WorkerError("no_stages", "The job has no stages.", "Plan the run again.")


class Loop:
    """One stage from where it is to its end."""

    def __init__(
        self, run: Run, index: int, resume: str | None, emit: Callable[[WorkerBody], None], control: Callable[[], Desired]
    ) -> None:
        self.run, self.emit, self.control = run, emit, control
        self.stage = run.job.stages[index]
        self.session, self.place = open_stage(run, index, resume, self._obey)
        self.teller = Teller(self.session, self.place, emit, self.obey)
        self.health = Health(self.session, emit)
        refills = self.session.objective.updates_per_refill
        self.teller.epochs = epochs_of(self.session.settings, self.place.cursor, self.session.total, refills)
        self.saved: tuple[str, int, str] | None = None
        """The newest checkpoint of this stage: id, step, reason."""
        if resume:
            self.saved = (resume, self.session.step, str(run.store.facts(resume).get("reason")))
        self.saved_at = self.teller.began
        self.loss: float | None = None

    def run_stage(self) -> RunOutcome | None:
        """Trains this stage; None when the next one may begin in this process."""
        session, index = self.session, self.session.stage
        if session.step == 0:
            self.emit(StageProgress(index=index, name=self.stage.name, status="started"))
        try:
            session.objective.begin(session, self.obey)
            self._updates()
        except _UnwantedError as wanted:
            reason: Reason = "freeze" if wanted.state == "frozen" else "stop"
            return self._outcome(wanted.state, self.checkpoint(reason))
        ended = self.checkpoint("stage_end")
        self.emit(StageProgress(index=index, name=self.stage.name, status="completed"))
        if index + 1 == len(self.run.job.stages):
            self._result()
            return self._outcome("completed", ended)
        following = self.run.job.stages[index + 1]
        if following.requires_approval:
            self.emit(StageProgress(index=index + 1, name=following.name, status="awaiting_approval"))
            return self._outcome("awaiting_approval", ended)
        close_stage(self.run, session)
        return None

    def obey(self) -> None:
        """Raises if something else than running is wanted."""
        self._obey(self.session)

    def _obey(self, session: Session) -> None:
        state = session.runtime.share(self.control().state if session.runtime.rank == 0 else None)
        if state != "running":
            raise _UnwantedError(state)

    def checkpoint(self, reason: Reason) -> str:
        """Saves the stage as it is, unless this very step is saved already; returns the checkpoint's id.

        A stage's end is saved as such even then, since that one is kept.
        """
        session, store, counters = self.session, self.run.store, self.place.counters
        if self.saved and self.saved[1] == session.step and (reason != "stage_end" or self.saved[2] == reason):
            return self.saved[0]
        began = time.monotonic()
        head = session.runtime.rank == 0
        name = str(session.runtime.share(store.name(session.stage, session.step, self.run.job.generation) if head else None))
        facts = {
            "stage": session.stage,
            "step": session.step,
            "world": session.runtime.world,
            "generation": self.run.job.generation,
            "reason": reason,
            "evalLoss": counters.eval_loss if counters.evaluated == session.step else None,
        }
        try:
            store.begin(name)
            store.write(name, session.runtime.rank, take(session, self.place, self.run.baseline))
            session.runtime.barrier()
            done = store.commit(name, facts) if head else None
        except KriptikError:
            store.abandon(name)
            raise
        session.runtime.barrier()
        self.saved, self.saved_at = (name, session.step, reason), time.monotonic()
        if done:
            self.emit(
                CheckpointCommitted(
                    checkpoint_id=name,
                    stage=session.stage,
                    step=session.step,
                    bytes=done.bytes,
                    manifest_sha256=done.manifest_sha256,
                    seconds=time.monotonic() - began,
                    loss=counters.eval_loss if counters.evaluated == session.step else self.loss,
                    reason=reason,
                )
            )
            store.retain([self.run.job.resume_from])
        return name

    def _updates(self) -> None:
        while True:
            self.obey()
            self._look()
            if self.session.step >= self.session.total:
                return
            if self._due():
                self.checkpoint("interval")
                self.obey()  # what was asked for while it was saved needs no further step, and no second checkpoint
            self._update()

    def _update(self) -> None:
        """One optimizer step."""
        session, place, job = self.session, self.place, self.run.job
        began = time.perf_counter()
        runtime, rank = session.runtime, session.runtime.data_rank
        update = self._next(rank)
        reseed(job.seed, "update", session.stage, session.step, rank)
        with torch.no_grad():
            update = session.objective.prepare(update, session)
        (weight,) = runtime.all_sum([update.weight])
        lr = learning_rate(session.settings, session.step, session.total)
        lr *= session.adaptation.lr_scale(session.step, session.total)
        stats, norm = StepStats(0.0, 0.0), 0.0
        if weight > 0:
            stats = session.objective.run(update, session, weight)
            norm = runtime.step(lr, session.settings.max_grad_norm)
            self._judge(stats.loss, norm, update)
        session.adaptation.after_step(session.step, session.total, session)
        if session.average:
            session.average.update(session.bundle.trainee, session.step)
        session.step += 1
        seconds = time.perf_counter() - began
        place.counters.train_seconds += seconds
        place.counters.tokens += stats.tokens
        if weight > 0:
            self.loss = stats.loss if math.isfinite(stats.loss) else self.loss
            self.teller.metrics(stats, lr, norm, seconds)
        else:
            self.emit(Log(severity="warning", message=f"Step {session.step} had nothing to learn from: rows {update.rows[:20]}."))

    def _next(self, rank: int) -> Update:
        """The next update: one that is left, else from the next rows."""
        session, place = self.session, self.place
        if not place.queue:
            session.epoch, group = place.cursor.next()
            place.counters.samples += len(rows_of(group))
            reseed(self.run.job.seed, "refill", session.stage, session.step, rank)
            with torch.no_grad():
                place.queue = session.objective.refill(group, session)
            if len(place.queue) > 1:
                place.queue = [settled(update) for update in place.queue]
            if session.runtime.rank == 0:
                self.teller.current(group[0] if group else [])
        return place.queue.pop(0)

    def _judge(self, loss: float, norm: float, update: Update) -> None:
        """Counts dropped updates in a row and gives up after several; those that a smaller loss scale may mend do not count."""
        counters = self.place.counters
        if self.session.runtime.rescaled and math.isfinite(loss):
            why = "its gradients did not fit in fp16. The loss scale is halved"
            self.emit(Log(message=f"Step {self.session.step + 1} was dropped: {why}."))
            return
        self.health.judge(loss, norm, update)
        if math.isfinite(norm):
            counters.dropped = 0
            return
        counters.dropped += 1
        rows = ", ".join(str(row) for row in update.rows[:20])
        self.emit(Log(severity="warning", message=f"Step {self.session.step + 1} was dropped: gradient {norm}; rows {rows}."))
        if counters.dropped >= MOST_DROPPED:
            raise WorkerError(
                "not_finite",
                f"{MOST_DROPPED} updates in a row had no finite gradient; the last came from rows {rows}.",
                "Lower the learning rate, or look at those rows, then retry.",
            )

    def _look(self) -> None:
        """Held-out rows and prompts, where they are due at this step and not yet done."""
        session, counters = self.session, self.place.counters
        start, end = session.step == 0, session.step >= session.total
        if counters.evaluated != session.step and (start or end or _every(session.settings.eval_every, session.step)):
            result = self.teller.evaluate(rows_too=start or end)
            counters.evaluated, counters.eval_loss = session.step, result.loss if result else None
            counters.last = result.document() if result else None
            if start and counters.last:
                counters.first[str(session.stage)] = counters.last
        if counters.sampled != session.step and (
            (start and session.stage == 0) or end or _every(session.settings.sample_every, session.step)
        ):
            self.teller.samples(base=start and session.stage == 0)
            counters.sampled = session.step

    def _due(self) -> bool:
        """Whether a checkpoint is due; by the clock of rank 0."""
        settings, step = self.session.settings, self.session.step
        if step == 0 or (self.saved and self.saved[1] == step):
            return False
        late = time.monotonic() - self.saved_at >= settings.checkpoint_every_s
        return bool(self.session.runtime.share(_every(settings.checkpoint_every, step) or late))

    def _result(self) -> None:
        """Export, and what the run has come to."""
        run, session, counters = self.run, self.session, self.place.counters
        head = session.runtime.rank == 0
        with session.runtime.gather(), session.shown():
            exported = run.modality.export(session.bundle, session.adaptation, Path(run.job.run_dir)) if head else None
        (peak,) = session.runtime.all_sum([peak_gb()])
        if exported is not None:
            before = counters.first.get(str(self._comparable()))
            self.emit(
                RunResult(
                    adapter_path=exported.adapter_path,
                    model_path=exported.model_path,
                    bytes=exported.bytes,
                    eval_before=EvalResult.model_validate(before) if before else None,
                    eval_after=EvalResult.model_validate(counters.last) if counters.last else None,
                    train_seconds=counters.train_seconds,
                    tokens=counters.tokens,
                    tokens_per_second=counters.tokens / counters.train_seconds if counters.train_seconds else 0.0,
                    peak_memory_gb=peak,
                )
            )
        session.runtime.barrier()

    def _comparable(self) -> int:
        """The first stage that minimised what the last one does: losses of other objectives are no 'before'."""
        stages = self.run.job.stages
        return next(index for index, one in enumerate(stages) if one.point.objective == stages[-1].point.objective)

    def _outcome(self, state: Literal["completed", "frozen", "stopped", "awaiting_approval"], saved: str | None) -> RunOutcome:
        return RunOutcome(state, saved, self.session.stage, self.session.step)


class _UnwantedError(Exception):
    """Something else than running is wanted; never leaves this file."""

    def __init__(self, state: Literal["frozen", "stopped"]) -> None:
        super().__init__(state)
        self.state: Literal["frozen", "stopped"] = state


def _first_stage(run: Run) -> int:
    """The stage to open: that of the checkpoint, after every byte of it was verified."""
    if run.job.resume_from is None:
        return 0
    facts = run.store.verify(run.job.resume_from)
    if facts["world"] != ranks.world():
        raise WorkerError(
            "other_world",
            f"The checkpoint was made by {facts['world']} processes; here there are {ranks.world()}.",
            "Resume on the same number of GPUs.",
        )
    return int(facts["stage"])


def _totals(job: TrainJob, found: RunLock | None) -> list[int]:
    """Steps per stage as the lock fixed them; empty before the first start."""
    if found is not None and len(found.total_steps) != len(job.stages):
        raise WorkerError("bad_lock", "The run's lock was made for another number of stages.", "Start a new run from the plan.")
    return list(found.total_steps) if found else []


def _agree(run: Run, found: RunLock | None, threads: int, say: Callable[[WorkerBody], None]) -> None:
    """Writes the lock at the first start; else compares this stack with it. Says where the run stands.

    Raises WorkerError where a resume would not be exact and the job does not allow that.
    """
    job = run.job
    now = lock.describe(job, run.bundle.info, threads, run.totals)
    if found is None and ranks.rank() == 0:
        lock.write(job.run_dir, now)
    changed = lock.differences(found, now) if found else []
    if found and changed and not job.resume_from and not run.store.ids() and ranks.rank() == 0:
        lock.write(job.run_dir, now, replace=True)  # nothing was trained under the old one
        changed = []
    if changed:
        text = "; ".join(changed)
        if job.resume_from and not job.allow_inexact:
            what = f"This resume would not be bit-exact: {text}."
            raise WorkerError("inexact", what, "Resume on the same stack, or allow inexact.")
        say(Log(severity="warning", message=f"This stack is not that of the run's lock: {text}."))
    if job.resume_from:
        say(WorkerState(state="restored", checkpoint_id=job.resume_from, exact=not changed))
    say(WorkerState(state="ready"))


def _every(interval: int | None, step: int) -> bool:
    return interval is not None and step > 0 and step % interval == 0


def _silent(body: WorkerBody) -> None:
    """Ranks other than 0 say nothing."""
