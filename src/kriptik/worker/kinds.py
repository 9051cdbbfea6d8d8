"""What a worker is started for: train, serve, export. One function each; `__main__` wires them to spool, server and switch."""

import json
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from kriptik.spec.errors import KriptikError, WorkerError
from kriptik.spec.events import Desired, Pending, ProbeDone, SetupName, SetupProgress, StepStatus, TestAnswered, WorkerState
from kriptik.spec.job import ProbeResult, TrainJob, WorkKind
from kriptik.spec.testing import TestRequest, TestResult
from kriptik.worker.carry import Carrier
from kriptik.worker.control import Control
from kriptik.worker.emit import heard
from kriptik.worker.group import spread
from kriptik.worker.pieces import Answerer, Emit, Pieces

PROBE_LIMIT_S = 1800.0
LEAST_FREE_BYTES = 200 << 20
"""With less disk than this nothing is begun: not even a small adapter's checkpoint would fit."""
FINAL = frozenset({"completed", "frozen", "stopped", "awaiting_approval", "failed"})
"""States that the worker says itself, last of all; the engine's own word of them is not passed on."""


@dataclass(frozen=True)
class Ending:
    """How a kind of work ended without failing."""

    state: Literal["completed", "frozen", "stopped", "awaiting_approval"]
    checkpoint_id: str | None = None


def _raised(error: KriptikError) -> None:
    raise error


@dataclass(frozen=True)
class Work:
    """What every kind is given."""

    job: TrainJob
    job_file: Path
    emit: Emit
    control: Control
    pieces: Pieces
    describe_machine: Callable[[], str] = str
    abandon: Callable[[KriptikError], None] = _raised
    """Ends this process where the engine cannot be reached any more."""
    carrier: Carrier | None = None
    """Where the worker runs elsewhere."""

    def carrier_fetch(self, _work: "Work") -> str:
        """Brings what the run needs to this machine."""
        assert self.carrier is not None
        return self.carrier.fetch()

    def setup(self, stage: SetupName, status: StepStatus, message: str = "") -> None:
        """Says where a set-up stage is."""
        progress = {"pending": 0.0, "running": 0.1, "completed": 1.0, "failed": 1.0}[status]
        self.emit(SetupProgress(stage=stage, status=status, progress=progress, message=message))


def train(work: Work) -> Ending:
    """Sets up (framework, data, monitoring, verification), then trains in this process, and in others if the job asks for it."""
    steps: list[tuple[SetupName, str, Callable[[Work], str]]] = [
        ("framework", "Loading the training framework", lambda w: w.pieces.framework()),
        ("data", "Looking at the data", _look_at_data),
        ("monitoring", "Starting to watch the machine", _look_at_machine),
        ("verification", "Smoke test: longest rows, one evaluation, one sample, one checkpoint", _verify),
    ]
    if work.carrier is not None:
        steps.insert(0, ("storage", "Fetching rows and checkpoint", work.carrier_fetch))
    for stage, doing, step in steps:
        if ended := _ended_early(work):
            return ended
        work.setup(stage, "running", doing)
        try:
            said = step(work)
        except _Unwanted:
            return _ended_early(work) or Ending("stopped")
        except KriptikError as error:
            work.setup(stage, "failed", error.sentence)
            raise
        work.setup(stage, "completed", said)
    if ended := _ended_early(work):
        return ended
    with spread(work.job, work.job_file, work.pieces.rank_command, work.abandon), heard(work.emit):
        outcome = work.pieces.train(work.job, work.emit, work.control.desired)
    return Ending(outcome.state, outcome.checkpoint_id)


def serve(work: Work) -> Ending:
    """Loads base and tuned once, answers until nobody asks for `serve_idle_s`, or until the server wants no more."""
    work.pieces.framework()
    answerer = work.pieces.answerer(work.job)
    work.emit(WorkerState(state="ready"))
    answered: set[str] = set()
    idle_since = time.monotonic()
    while (wanted := work.control.desired()).state == "running":
        waiting = [pending for pending in wanted.requests if pending.request_id not in answered]
        for pending in waiting:
            if work.control.desired().state != "running":
                break
            work.emit(_answer(work.job, answerer, pending))
            answered.add(pending.request_id)
            idle_since = time.monotonic()
        if not waiting:
            work.control.wait(0.5)
            if time.monotonic() - idle_since > work.job.serve_idle_s:
                return Ending("stopped")
    return Ending("stopped")


def export(work: Work) -> Ending:
    """Writes the trained model in the forms that were ordered and says where they are."""
    work.pieces.framework()
    work.emit(work.pieces.export(work.job, work.emit))
    return Ending("completed")


KINDS: dict[WorkKind, Callable[[Work], Ending]] = {
    WorkKind.TRAIN: train,
    WorkKind.SERVE: serve,
    WorkKind.EXPORT: export,
}


class _Unwanted(Exception):
    """Something else than running is wanted while a set-up step was at work."""


def _ended_early(work: Work) -> Ending | None:
    """Wanted to end before there was anything to save: the checkpoint to go on from is the one we came from."""
    wanted: Desired = work.control.desired()
    return None if wanted.state == "running" else Ending(wanted.state, work.job.resume_from)


def _look_at_data(work: Work) -> str:
    data = work.job.data
    if data is None:
        return "This run needs no rows"
    for path in filter(None, (data.train_path, data.eval_path)):
        if not Path(path).is_file():
            sentence = f"The file {Path(path).name} with the prepared rows is not there."
            raise WorkerError("data_missing", sentence, "Upload it again.")
    return f"{data.train_rows:,} rows to train on, {data.eval_rows:,} held out, {data.overlap_rows} in both"


def _look_at_machine(work: Work) -> str:
    free = shutil.disk_usage(work.job.run_dir).free
    if free < LEAST_FREE_BYTES:
        raise WorkerError("disk_full", f"Only {free / 1e6:.0f} MB are free for the run's folder.", "Free disk space, then retry.")
    return f"{work.describe_machine()}, {free / 1e9:.0f} GB of disk free"


def _verify(work: Work) -> str:
    job = work.job
    if (Path(job.run_dir) / "run.lock").exists():
        return "Settings are fixed by the first start of this run"
    if not job.probe:
        return "Left out as asked"
    if {"judge", "rows"} & job.stages[0].settings.objective.keys():
        return "Left out: a judge would be asked and paid twice"
    result = _probe(work)
    work.emit(ProbeDone(result=result))
    if not result.learns:
        raise _learnt_nothing(result)
    pace = f"{result.seconds_per_step:.2f} s per step, {result.peak_memory_gb:.1f} GB at most"
    return "; ".join([pace, _fitted(result), *_taught(result), _choice(result)])


def _learnt_nothing(result: ProbeResult) -> WorkerError:
    """Why a run that would learn nothing is not begun."""
    if result.moved_fraction == 0:
        why, step = "none of the weights that are trained moved", "Raise the learning rate; if it is a usual one, report this."
    else:
        why = _fitted(result)
        step = "Lower the learning rate where the loss rose, raise it where it stayed, or look at the rows."
    return WorkerError("does_not_learn", f"The smoke test did not learn: {why}.", step)


def _fitted(result: ProbeResult) -> str:
    """What came of training on the same few rows: 'loss on 8 rows 3.41 to 2.10 in 6 updates'."""
    first, last = ("no number" if one is None else f"{one:.4g}" for one in (result.loss_first, result.loss_last))
    if not result.fitted_rows:
        return f"loss {first} to {last}"
    what = f"{result.fitted_rows} {result.fitted if result.fitted_rows > 1 else result.fitted.removesuffix('s')}"
    own = "of its own " if result.fitted == "answers" else ""
    return f"loss on {what} {own}{first} to {last} in {result.fitted_updates} update{'s' if result.fitted_updates != 1 else ''}"


def _taught(result: ProbeResult) -> list[str]:
    """What rows of text teach, and what they do not."""
    if result.supervised_fraction is None:
        return []
    found = [f"{result.supervised_fraction:.{0 if result.supervised_fraction >= 0.01 else 2}%} of tokens teach"]
    if result.supervised_rows is not None and result.supervised_rows < 1:
        found.append(f"{1 - result.supervised_rows:.0%} of rows teach nothing")
    if result.eos_supervised is False:
        found.append("the end of a turn is NOT learnt, so that answers may never end: look at the model's chat template")
    return found


def _choice(result: ProbeResult) -> str:
    """How an update will be cut, and what that saves against the plan's way, which comes first among those tried."""
    if not result.tried:
        return "as planned"
    chosen, first = result.chosen, result.tried[0]
    found = next(one for one in result.tried if all(chosen[name] == one[name] for name in ("microBatch", "recompute")))
    way = f"{chosen['microBatch']} at once" + (", activations computed again" if chosen["recompute"] else "")
    others = [f"{one['microBatch']}{' recomputed' if one['recompute'] else ''}" for one in result.tried if one is not found]
    if found is first:
        return f"{way}: no other cut of an update was clearly faster"
    saved = 1 - float(str(found["secondsPerUpdate"])) / float(str(first["secondsPerUpdate"]))
    return f"{way}, {saved:.0%} less time than {', '.join(others)}"


def _probe(work: Work) -> ProbeResult:
    """The smoke test in a process of its own, so that its memory and threads leave no trace in the training process."""
    with tempfile.TemporaryDirectory(prefix="probe-") as folder:
        out, words = Path(folder) / "probe.json", Path(folder) / "said"
        try:
            with spread(work.job, work.job_file, work.pieces.probe_command, work.abandon):
                _measure(work, out, words)
        except _Broken as error:
            raise _probe_error(error.code, out, words.read_text(errors="replace")) from error
        try:
            return ProbeResult.model_validate_json(out.read_bytes())
        except (OSError, ValidationError) as error:
            raise WorkerError("probe_failed", "The smoke test left no result.", "See the run's log.") from error


class _Broken(Exception):
    """The smoke test ended with this exit code. Not a word for people: where another rank broke first, `spread` has that."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def _measure(work: Work, out: Path, words: Path) -> None:
    """Rank 0's smoke test, to its end."""
    with words.open("wb") as said:
        process = subprocess.Popen(work.pieces.probe_command(work.job_file, out), stdin=subprocess.DEVNULL, stderr=said)
        try:
            code = _wait(work, process)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    if code != 0:
        raise _Broken(code)


def _wait(work: Work, process: "subprocess.Popen[bytes]") -> int:
    end = time.monotonic() + PROBE_LIMIT_S
    while True:
        if work.control.desired().state != "running":
            raise _Unwanted
        try:
            return process.wait(0.2)
        except subprocess.TimeoutExpired:
            if time.monotonic() > end:
                raise WorkerError(
                    "probe_failed", f"The smoke test took more than {PROBE_LIMIT_S / 60:.0f} minutes.", "Use a smaller model."
                ) from None


def _probe_error(code: int, left: Path, text: str) -> WorkerError:
    """What ended the smoke test: its own words, or what can be read from how it ended."""
    try:
        words = json.loads(left.read_text())
        return WorkerError(words["code"], words["sentence"], words["nextStep"])
    except (OSError, ValueError, KeyError):
        pass  # it had no words
    if code == -signal.SIGKILL or "OutOfMemoryError" in text:
        return out_of_memory("the smoke test")
    last = next((line.strip() for line in reversed(text.splitlines()) if line.strip()), f"exit code {code}")
    return WorkerError("probe_failed", f"The smoke test failed: {last[:500]}", "See the run's log; change the plan, then retry.")


def out_of_memory(what: str) -> WorkerError:
    """The one sentence for running out of memory."""
    return WorkerError(
        "out_of_memory", f"Memory ran out in {what}.", "Choose a smaller model, a smaller batch or shorter rows, then retry."
    )


def _answer(job: TrainJob, answerer: Answerer, pending: Pending) -> TestAnswered:
    began = time.monotonic()
    try:
        result: TestResult = answerer.answer(TestRequest.model_validate(pending.request))
    except KriptikError as error:
        return TestAnswered(request_id=pending.request_id, error=error.sentence)
    except (ValueError, RuntimeError) as error:  # a request this model cannot answer must not end the session
        return TestAnswered(request_id=pending.request_id, error=f"{type(error).__name__}: {error}"[:1000])
    if job.price_per_hour:
        seconds = round(time.monotonic() - began, 3)
        result = result.model_copy(update={"cost": job.price_per_hour * int(seconds * 1000) / 3_600_000})
    return TestAnswered(request_id=pending.request_id, result=result.document())
