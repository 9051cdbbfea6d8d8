"""Opening a stage: pieces, rows, model, weights and state as they were, strategy."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kriptik.engine import pieces, ranks, recompute
from kriptik.engine.average import Average
from kriptik.engine.checkpoint import Checkpoints
from kriptik.engine.cursor import Cursor, check_plan
from kriptik.engine.interfaces import Adaptation, Bundle, Encoded, Modality, Objective, Session, UpdatePlan
from kriptik.engine.made import made_rows, makes_rows
from kriptik.engine.rng import derive, reseed
from kriptik.engine.rows import Rows, encode_rows, open_rows
from kriptik.engine.schedule import steps_of
from kriptik.engine.snapshot import Baseline, Counters, Place, named, put_back, queue_of, read_state
from kriptik.spec.errors import DataError, WorkerError
from kriptik.spec.job import Stage, StageSettings, TrainJob


@dataclass
class Run:
    """What outlives a stage: model, files, counters of the whole run."""

    job: TrainJob
    store: Checkpoints
    modality: Modality
    bundle: Bundle
    baseline: Baseline
    earlier: list[dict[str, Any]] = field(default_factory=list)
    counters: Counters = field(default_factory=Counters)
    totals: list[int] = field(default_factory=list)


def load(job: TrainJob, about: type[Modality]) -> Run:
    """The base model, ready for the first stage."""
    reseed(job.seed, "load")
    modality = about(job)
    run = Run(job, Checkpoints(job.run_dir), modality, modality.load(), Baseline())
    run.baseline.note(run.bundle)
    return run


def parts_of(stage: Stage) -> tuple[type[Adaptation], type[Objective]]:
    """The classes behind a stage's point."""
    if not stage.point.adaptation or not stage.point.objective:
        raise WorkerError("open_point", f"Stage '{stage.name}' leaves an axis open.", "Plan the run again.")
    return pieces.adaptation(stage.point.adaptation), pieces.objective(stage.point.objective)


def made(stage: Stage) -> tuple[Adaptation, Objective]:
    """The two pieces of a stage that act on the model, told of one another."""
    adapted, minimised = parts_of(stage)
    adaptation, objective = adapted(stage.settings), minimised(stage.settings)
    adaptation.keep_reference = objective.live_reference
    return adaptation, objective


def refuse_unfit(job: TrainJob, about: type[Modality]) -> None:
    """Raises WorkerError before anything is loaded if the pieces of a stage do not go together."""
    for stage in job.stages:
        adapted, minimised = parts_of(stage)
        strategy = pieces.strategy(stage.point.strategy or "single")
        lacking = pieces.missing(about, adapted, minimised, strategy, stage.settings)
        if stage.settings.ema is not None:
            lacking |= {"whole_weights"} - strategy.provided(stage.settings)
        if lacking:
            raise WorkerError(
                "unfit_pieces",
                f"Stage '{stage.name}' cannot train: nothing in it provides {', '.join(sorted(lacking))}.",
                "Choose another method or strategy.",
            )


def open_stage(
    run: Run, index: int, resume: str | None, obey: Callable[[Session], None] = lambda session: None
) -> tuple[Session, Place]:
    """The stage ready for its next update. `resume`: a verified checkpoint of this very stage.

    `obey` is called on every rank alike between chunks of long work and may raise to end it.
    """
    job, bundle, stage = run.job, run.bundle, run.job.stages[index]
    adaptation, objective = made(stage)
    state = read_state(run.store, resume, ranks.rank(), ranks.device()) if resume else None
    if state:
        replay(run, state["earlier"])
    _apply(run, adaptation, objective, index)
    if state and resume:
        adaptation.load_state(state["adaptation"])
        put_back(run.store, resume, bundle)
    session = Session(job, index, stage.settings, bundle, run.modality, adaptation, objective, rows=Rows([], []))
    bundle.trainee.train()
    recompute.settle(bundle.trainee, adaptation, stage.settings.recompute)
    if stage.settings.ema is not None:
        session.average = Average(bundle.trainee, stage.settings.ema)
    strategy = pieces.strategy(stage.point.strategy or "single")(stage.settings)
    session.runtime = strategy.start(bundle, run.modality, adaptation.optimizer(bundle))
    if session.runtime.world != ranks.world():
        raise WorkerError(
            "other_world",
            f"Strategy '{stage.point.strategy}' works with {session.runtime.world} process, {ranks.world()} were started.",
            "Choose a strategy for several processes, such as ddp.",
        )
    if job.data and job.data.eval_path:
        session.eval_rows = _rows(run, session, "eval_path", obey)
    session.rows = _rows(run, session, "train_path", obey)
    world = session.runtime.data_world
    run.totals = run.totals or [_total(run, number, session) for number in range(len(job.stages))]
    session.total = run.totals[index]
    place = Place(cursor_of(run, stage.settings, index, session.rows, world), earlier=run.earlier)
    reseed(job.seed, "start", index, session.runtime.data_rank)
    objective.start(session)
    if state and resume:
        _restore(session, place, state, run.store, resume)
        run.counters = place.counters
    else:
        run.counters.samples, run.counters.dropped = 0, 0
        run.counters.evaluated = run.counters.sampled = -1
        place.counters = run.counters
    return session, place


def close_stage(run: Run, session: Session) -> None:
    """Between two stages: what was learnt goes into the plain trainee."""
    session.runtime.close()
    if session.average:
        session.average.put(session.bundle.trainee)
    session.bundle.touch(*(one for one in session.bundle.trainee.parameters() if one.requires_grad))
    run.earlier.append(session.adaptation.state())
    session.adaptation.finish(session.bundle)
    session.objective.retire(session.bundle)


def _rows(run: Run, session: Session, which: str, obey: Callable[[Session], None]) -> Rows:
    """The job's rows, or those made out of them, in the form of the stage's objective."""
    raw = _read(run, session.job.stages[session.stage], which)
    if makes_rows(session.settings):
        raw = made_rows(session, raw, which.removesuffix("_path"), obey)
        which = f"{which} made in stage {session.stage}"
    return _encoded(run, raw, session.objective, session.settings, which)


def _encoded(run: Run, raw: Sequence[dict[str, Any]], objective: Objective, settings: StageSettings, which: str) -> Rows:
    """Rows in the objective's form. What is kept of them on disk is named after all that they depend on."""
    encode, form, data = run.modality.encode, objective.form, run.job.data
    about = {
        "which": which,
        "data": data.sha256 if data else "",
        "rows": len(raw),
        "form": form,
        "longest": settings.max_seq_len,
        "base": run.bundle.info.get("base_sha256", run.job.base_model.id),
        "modality": run.job.modality,
        "words": sorted(run.bundle.words),
    }
    return encode_rows(raw, lambda row, number: encode(run.bundle, row, number, form, settings), Path(run.job.run_dir), about)


def _read(run: Run, stage: Stage, which: str) -> Sequence[dict[str, Any]]:
    if run.job.data is None:
        raise DataError("data_missing", f"Stage '{stage.name}' has no rows to train on.", "Attach a data set.")
    return open_rows(Path(getattr(run.job.data, which)))


def cursor_of(run: Run, settings: StageSettings, index: int, rows: Rows, data_world: int) -> Cursor:
    """The order of a stage's rows; every epoch's plan is checked before it is used."""
    seed = derive(run.job.seed, "rows", index)

    def plan(epoch: int) -> list[UpdatePlan]:
        found = run.modality.plan_epoch(rows.encoded, seed, epoch, settings, data_world)
        check_plan(found, len(rows), epoch)
        return found

    return Cursor(plan, settings.epochs)


def _apply(run: Run, adaptation: Adaptation, objective: Objective, index: int) -> None:
    """Applies a stage's pieces. What they make out of weights that are no longer the base's goes into checkpoints whole."""
    before = {id(one) for _, one in named(run.bundle)}
    reseed(run.job.seed, "apply", index)
    objective.dress(run.bundle)
    adaptation.apply(run.bundle)
    objective.equip(run.bundle)
    if index == 0:
        run.baseline.note(run.bundle)
    else:
        run.bundle.touch(*(one for _, one in named(run.bundle) if id(one) not in before))


def replay(run: Run, earlier: list[dict[str, Any]]) -> None:
    """Gives the model the structure that earlier stages left; their weights come from the checkpoint afterwards."""
    for index, state in enumerate(earlier):
        adaptation, objective = made(run.job.stages[index])
        _apply(run, adaptation, objective, index)
        adaptation.load_state(state)
        run.bundle.touch(*(one for one in run.bundle.trainee.parameters() if one.requires_grad))
        adaptation.finish(run.bundle)
        objective.retire(run.bundle)
    run.earlier = list(earlier)


def _restore(session: Session, place: Place, state: dict[str, Any], store: Checkpoints, name: str) -> None:
    runtime = session.runtime
    runtime.load_state(store.tensors(name, "optimizer", runtime.rank), state["runtime"])
    session.objective.load_state(state["objective"])
    if session.average:
        session.average.load_state(state["average"])
    place.cursor.load_state(state["cursor"])
    place.queue, place.counters = queue_of(state), Counters(**state["counters"])
    session.step, session.epoch = state["step"], place.cursor.epoch


def _total(run: Run, index: int, opened: Session) -> int:
    """Updates of a stage. Once per run: `run.lock` keeps them."""
    stage = run.job.stages[index]
    objective, settings = opened.objective if index == opened.stage else made(stage)[1], stage.settings
    if index == opened.stage:
        rows = opened.rows
    elif makes_rows(settings):
        raw = _read(run, stage, "train_path")
        rows = Rows(raw, [Encoded(number, 1, 1.0) for number in range(len(raw))])
    else:
        rows = _encoded(run, _read(run, stage, "train_path"), objective, settings, "train_path")
    cursor = cursor_of(run, stage.settings, index, rows, opened.runtime.data_world)
    return steps_of(stage.settings, cursor, objective.updates_per_refill)
