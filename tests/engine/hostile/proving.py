"""Straight run = frozen and resumed, for any pieces on one or two processes. Every life ends by itself within a time limit."""

import json
import os
import signal
import socket
import traceback
from pathlib import Path

import lives
import toy

from kriptik.engine.train import train

LIFE_S = 150


def lived(job, about=None, control=None, world=1):
    """One life of `world` processes on this machine; what rank 0 said. Fails with the processes' own words."""
    log = Path(job.run_dir) / f"said-g{job.generation}.jsonl"
    port = free_port()
    children = []
    for rank in range(world):
        child = os.fork()
        if child == 0:
            _live(job, about, control or toy.running, log, rank, world, port)
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    words = [one.read_text() for one in Path(job.run_dir).glob("error-*")]
    assert codes == [0] * world, f"{codes}\n" + "\n".join(words)
    return [json.loads(line) for line in log.read_text().splitlines()]


def proved(make, folder, at, about=None, world=1, control=None):
    """What a straight run said and its job, after a frozen (at `at` updates) and resumed one came to the same bits.

    `control` freezes it there; by default it counts how often it is asked, which is once per update where nothing is held out.
    """
    whole = make(folder / "straight")
    said = lived(whole, about, world=world)
    job = make(folder / "frozen")
    early = lived(job, about, control or toy.Wish(at), world)
    start = lives.newest(job.run_dir)
    assert start and start.startswith(f"s0-{at:06d}"), start
    late = lived(job.model_copy(update={"generation": 2, "resume_from": start}), about, world=world)
    losses = lives.losses(said)
    assert len(lives.losses(late)) == len(losses) - at > 0
    assert lives.losses(early) | lives.losses(late) == losses
    assert lives.final_tensors(job.run_dir) == lives.final_tensors(whole.run_dir)
    return said, whole


def metrics(said, name="loss"):
    """One number per update."""
    return [body[name] for body in said if body["type"] == "metrics"]


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _live(job, about, control, log, rank, world, port):
    # the parent's handler would never run inside a collective call
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(LIFE_S)
    code = 1
    try:
        if world > 1:
            place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "MASTER_PORT": port, "MASTER_ADDR": "127.0.0.1"}
            os.environ.update({name: str(value) for name, value in place.items()}, GLOO_SOCKET_IFNAME="lo")
        handle = log.open("w") if rank == 0 else None

        def emit(body):
            handle.write(json.dumps(body.document()) + "\n")
            handle.flush()

        train(job, emit, control, about)
        code = 0
    except BaseException:  # noqa: BLE001 - the child tells its parent whatever it was
        (log.parent / f"error-g{job.generation}-r{rank}.txt").write_text(traceback.format_exc())
    finally:
        os._exit(code)
