"""A process that imported torch once, started no thread, and forks a worker for every request: `zygote.py FOLDER`.

Requests and answers are JSON lines on standard input and output. {"job", "env", "log", "point", "count"} → {"pid"}: a real worker
of the product, whose engine is the real loop over the toy network, and which kills itself (SIGKILL) when it comes to `point` for
the `count`-th time. {"poll": pid} → {"code"}. It ends, with all of its children, when its input closes.
"""

import json
import os
import signal
import sys
import threading
from pathlib import Path

import lives
import toy
from counter_pod import Counter

from kriptik.engine import pieces, train
from kriptik.worker import __main__ as worker
from kriptik.worker.link import Link
from kriptik.worker.pieces import Engine


def posting(count, emit):
    """About to send its n-th batch of events."""
    Link.post_events = lives.at_call(count, Link.post_events)
    return emit


def posted(count, emit):
    """The server has stored the batch; the worker never hears of it."""
    post, left = Link.post_events, [count]

    def dying(self, lines):
        lease = post(self, lines)
        left[0] -= 1
        if left[0] < 0:
            lives.die()
        return lease

    Link.post_events = dying
    return emit


def half_posted(count, emit):
    """Half of a batch is on its way."""
    post, left = Link.post_events, [count]

    def dying(self, lines):
        left[0] -= 1
        if left[0] < 0:
            lines = (b"{}",)

            def torn():
                yield b'{"events":['
                lives.die()

            self._http.post("/events", content=torn())
        return post(self, lines)

    Link.post_events = dying
    return emit


POINTS = {**lives.POINTS, "posting": posting, "posted": posted, "half_posted": half_posted}


class Toys(Engine):
    """The real engine over the toy modality; its smoke test is left to other tests."""

    def __init__(self, point, count):
        self.point, self.count = point, count

    def framework(self):
        return "PyTorch, loaded before"

    def probe_command(self, job_file, result):
        return Counter().probe_command(job_file, result)

    def train(self, job, emit, control):
        if self.point:
            emit = POINTS[self.point](self.count, emit)
        return train.train(job, emit, control, toy.Toy)


def fork(asked):
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        log = os.open(asked["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        empty = os.open(os.devnull, os.O_RDONLY)
        for number, target in ((empty, 0), (log, 1), (log, 2)):
            os.dup2(number, target)
        os.environ.update(asked["env"])
        code = worker.main([asked["job"]], Toys(asked.get("point"), asked.get("count", 0)))
    finally:
        os._exit(code)


def main():
    pieces.OBJECTIVES.update({"squares": "toy:Squares", "rolled": "toy:Rolled"})
    for objective in ("squares", "rolled"):
        job = toy.job_in(Path(sys.argv[1]) / objective, objective=objective)
        train.train(job, lambda body: None, toy.running, toy.Toy)
    assert threading.active_count() == 1, "a fork beside threads is none to trust"
    codes, children = {}, set()
    sys.stdout.write(json.dumps({"ready": True}) + "\n")
    sys.stdout.flush()
    for line in sys.stdin:
        asked = json.loads(line)
        if "poll" in asked:
            pid = asked["poll"]
            if pid not in codes and (found := os.waitpid(pid, os.WNOHANG))[0]:
                codes[pid] = os.waitstatus_to_exitcode(found[1])
                children.discard(pid)
            answer = {"code": codes.get(pid)}
        else:
            pid = fork(asked)
            children.add(pid)
            answer = {"pid": pid}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    for pid in children:
        os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
