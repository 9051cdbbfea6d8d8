"""`python -m kriptik.worker.rank job.json words.json`: one rank of a run of several processes. `group.py` starts it.

It trains like rank 0, with which it agrees at every step, but speaks to nobody: what it has to say goes through rank 0. If it
fails, it leaves its words in `words.json`. It ends at once when its standard input closes, which is when rank 0 is gone.
"""

import faulthandler
import json
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from kriptik.spec.errors import KriptikError, WorkerError
from kriptik.spec.events import Desired, WorkerBody
from kriptik.spec.job import TrainJob
from kriptik.worker.pieces import Engine
from kriptik.worker.tab import open_tab

DONE, FAILED, ORPHANED = 0, 1, 5


def main(argv: Sequence[str]) -> int:
    """Trains until rank 0 and this one agree to end; returns the exit code."""
    job_file, words = map(Path, argv)
    faulthandler.enable()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # whoever sends one to all processes means the run, and rank 0 decides for it
    threading.Thread(target=_end_with_rank_0, name="orphan", daemon=True).start()
    job = TrainJob.model_validate_json(job_file.read_bytes())
    open_tab(job)
    try:
        Engine().train(job, _unheard, _unasked)
    except KriptikError as error:
        words.write_text(json.dumps({"code": error.code, "sentence": error.sentence, "nextStep": error.next_step}))
        return FAILED
    return DONE


def _end_with_rank_0() -> None:
    while sys.stdin.buffer.read(1):
        pass
    os._exit(ORPHANED)


def _unheard(body: WorkerBody) -> None:
    """Rank 0 alone is heard."""


def _unasked() -> Desired:
    raise WorkerError("asked_elsewhere", "Rank 0 alone knows what is wanted.", "Report this as a fault.")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
