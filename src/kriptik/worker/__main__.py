"""`python -m kriptik.worker job.json`: one life of one worker. Environment: KRIPTIK_WORKER_TOKEN, the generation's token.

Exit codes: 0 ended as wanted (completed, frozen, stopped, waiting for approval) · 1 failed, and said so in its last event ·
2 the job file or the command cannot be used · 3 fenced: a newer generation has taken over · 4 the dead-man switch ended an
engine that did not obey. No torch is imported before the first event is on disk, so that even its failure is an event.
"""

import contextlib
import faulthandler
import json
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from kriptik.spec.base import boot_clock
from kriptik.spec.errors import KriptikError, WorkerError
from kriptik.spec.events import DesiredAck, Log, WorkerBody, WorkerState
from kriptik.spec.job import TrainJob
from kriptik.worker.carry import Carrier
from kriptik.worker.control import Control, Watch, acknowledge
from kriptik.worker.emit import Emitter
from kriptik.worker.group import settle_threads
from kriptik.worker.kinds import FINAL, KINDS, Ending, Work, out_of_memory
from kriptik.worker.link import FencedError, Link
from kriptik.worker.machine import Machine
from kriptik.worker.outbox import Outbox
from kriptik.worker.pieces import Engine, Pieces
from kriptik.worker.spool import Spool, spool_path
from kriptik.worker.tab import open_tab

DONE, FAILED, UNUSABLE, FENCED, SWITCHED = 0, 1, 2, 3, 4
FLUSH_S = 30.0
"""At most this long the last events wait for a server; on this machine they stay in the spool anyway."""
FLUSH_LOST_S = 3.0
TERM_LEAVE_S = 60.0
"""After SIGTERM the engine has so long to save; whoever sent it may be less patient."""


def main(argv: Sequence[str], pieces: Pieces | None = None) -> int:
    """Runs one job file to its end; returns the exit code."""
    faulthandler.enable()
    try:
        (path,) = argv
        job = TrainJob.model_validate_json(Path(path).read_bytes())
    except (ValueError, OSError) as error:
        what = "it is no job file" if isinstance(error, ValidationError) else str(error)
        sys.stderr.write(f"usage: python -m kriptik.worker job.json ({what})\n")
        return UNUSABLE
    settle_threads(job)
    try:
        life = Life(job, Path(path), pieces or Engine())
    except KriptikError as error:
        sys.stderr.write(f"{error.sentence} {error.next_step}\n")
        return FENCED if error.code == "already_running" else FAILED
    return life.run()


class Life:
    """One worker process: spool, link, switch and the work itself."""

    def __init__(self, job: TrainJob, job_file: Path, pieces: Pieces) -> None:
        self.job = job
        self.control = Control(job.control)
        spool_file = spool_path(job_file, Path(job.run_dir), job.generation)
        self.spool = Spool(spool_file, job.generation)
        self.alive_file = spool_file.with_suffix(".worker.json")
        machine = Machine()
        self.emitter = Emitter(self.spool, machine, self.control.check)
        self._ended_with: int | None = None
        self.tab = open_tab(job)
        self.link = self._link()
        self.outbox = Outbox(self.spool, self.link, self.control) if self.link else None
        self.watch = Watch(self.control, self.link, self._beat, self._leave)
        run_dir = Path(job.run_dir)
        self.carrier = Carrier(self.link, run_dir, self.control, self.emitter) if job.carry and self.link else None
        describe = machine.describe
        self.work = Work(job, job_file, self._from_engine, self.control, pieces, describe, self._abandon, self.carrier)

    def run(self) -> int:
        """From the first event to the last."""
        try:
            self.emitter(WorkerState(state="started", checkpoint_id=self.job.resume_from, message=f"process {os.getpid()}"))
            signal.signal(signal.SIGTERM, lambda *_: self.control.ask("frozen", "terminated", TERM_LEAVE_S))
            signal.signal(signal.SIGINT, lambda *_: self.control.ask("frozen", "terminated", TERM_LEAVE_S))
            self._beat()
            if self.outbox:
                self.outbox.start()
            self.watch.start()
            ending = KINDS[self.job.kind](self.work)
            return self._end(self._last_word(ending), DONE, ending)
        except FencedError as error:
            return self._fenced(error)
        except Exception as error:  # the one broad door of the worker: whatever it was, it becomes an event
            traceback.print_exc()
            if self.control.fenced:
                return FENCED
            return self._end(failure(error, self.job), FAILED)

    def _end(self, last: WorkerState, code: int, ending: Ending | None = None) -> int:
        """The last event, delivered if anybody listens, acknowledged if the server had asked for it."""
        try:
            self._deliver_rest()
            self._tell_paid()
            self.emitter.finish()
            self.emitter(last)
            self.emitter.silence(0)  # a line that waited for its second must not follow the last word
            self._ended_with = code
        except FencedError as error:
            return self._fenced(error)
        except KriptikError as error:
            sys.stderr.write(f"{error.sentence}\n")
            code = FAILED
        self.spool.sync()
        if self.outbox and self.link:
            left = self.control.seconds_to_spare()
            limit = FLUSH_LOST_S if self.control.override == "lost_contact" else FLUSH_S
            delivered = self.outbox.flush(limit if left is None else max(0.5, min(limit, left)))
            wanted = self.control.version
            if delivered and wanted and ending and ending.state in ("frozen", "stopped") and not self.control.override:
                done = DesiredAck(version=wanted, result="done", checkpoint_id=ending.checkpoint_id)
                acknowledge(self.control, self.link, done)
            self.outbox.stop()
        self.watch.stop()
        self._beat(ended=code)
        return FENCED if self.control.fenced else code

    def _deliver_rest(self) -> None:
        """Checkpoints that could not be sent when they were made. Whatever comes of it, the last word is said."""
        try:
            for said in self.carrier.deliver() if self.carrier else []:
                self.emitter(said)
        except WorkerError as error:
            self.emitter(Log(severity="error", message=error.sentence))

    def _tell_paid(self) -> None:
        if self.tab is not None:
            self.tab.tell(self.emitter)

    def _fenced(self, error: FencedError) -> int:
        sys.stderr.write(f"Fenced: {error}. This worker ends and writes nothing more.\n")
        self.spool.sync()
        return FENCED

    def _last_word(self, ending: Ending) -> WorkerState:
        reason = self.control.override
        words = {
            "hard_stop": "The budget's time is used up; the work was saved.",
            "lost_contact": "The server could not be reached for too long; the work was saved.",
            "terminated": "This process was told to end; the work was saved.",
        }
        ended_so = ending.state in ("frozen", "stopped") and reason is not None
        return WorkerState(
            state=ending.state,
            checkpoint_id=ending.checkpoint_id,
            code=reason if ended_so else None,
            message=words.get(reason or "") if ended_so else None,
        )

    def _from_engine(self, body: WorkerBody) -> None:
        if not (isinstance(body, WorkerState) and body.state in FINAL):
            for said in self.carrier.before(body) if self.carrier else [body]:
                self.emitter(said)

    def _leave(self) -> None:
        """Time is up: end the process. An engine that was told to end and did not gets a word, where that is still allowed."""
        if self._ended_with is not None and not self.control.fenced:  # all is said and saved, only delivery was slow
            self.spool.sync()
            os._exit(self._ended_with)
        if not self.control.fenced:
            sys.stderr.write(f"Ended hard: {self.control.override}; the engine did not stop in its time.\n")
            text = f"The training did not stop in time ({self.control.override}); the process was ended."
            step = "Nothing after the last checkpoint was kept: resume from there."
            self.emitter.silence()
            self.spool.append(WorkerState(state="failed", code=self.control.override, message=text, next_step=step))
            self.spool.sync()
            if self.outbox:
                self.outbox.flush(1.0)
        faulthandler.dump_traceback(all_threads=True)
        os._exit(FENCED if self.control.fenced else SWITCHED)

    def _abandon(self, error: KriptikError) -> None:
        """The engine waits for a process that is gone: say so, and end this one."""
        sys.stderr.write(f"Ended hard: {error.sentence}\n")
        self.emitter.silence()
        self.spool.append(failure(error, self.job))
        self.spool.sync()
        if self.outbox:
            self.outbox.flush(FLUSH_LOST_S)
        self._beat(ended=FAILED)
        os._exit(FAILED)

    def _beat(self, ended: int | None = None) -> None:
        self.emitter.tick()
        with contextlib.suppress(FencedError, OSError):  # the engine meets them itself
            self._tell_paid()
        acked = self.outbox.acked if self.outbox else None
        now = datetime.now(UTC).isoformat(timespec="seconds")
        facts = {"pid": os.getpid(), "at": now, "seq": self.spool.last_seq, "acked": acked, "exitCode": ended}
        part = self.alive_file.with_suffix(".part")
        try:
            part.write_text(json.dumps(facts))
            part.replace(self.alive_file)
        except OSError:  # a sign of life for people; a full disk must not end the training over it
            return

    def _link(self) -> Link | None:
        link = self.job.control
        if link is None:
            return None
        token = os.environ.get("KRIPTIK_WORKER_TOKEN", "")
        return Link(
            link.server_url, self.job.job_id, self.job.generation, token, boot_clock, self.control.heard, self.control.missed
        )


def failure(error: BaseException, job: TrainJob) -> WorkerState:
    """Whatever ended the work, as words for people: what happened, what is safe, what to do."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        error = out_of_memory("training")
    if isinstance(error, KriptikError):
        code, sentence, step = error.code, error.sentence, error.next_step
    else:
        code, sentence, step = "worker_failed", f"{type(error).__name__}: {error}"[:2000], ""
    safe = "Every committed checkpoint is kept." if job.kind == "train" else "The run itself is untouched."
    return WorkerState(
        state="failed",
        code=code,
        message=f"{sentence} {safe}",
        next_step=step or "See the run's log, then retry: it goes on from the last checkpoint.",
        cause="".join(traceback.format_exception(error)[-6:])[-4000:],
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
