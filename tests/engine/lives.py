"""Lives of a training process, forked from this one (everything is imported already), and killed where a test says."""

import json
import os
import signal
import socket
import time
import traceback
from functools import cache
from importlib import import_module
from pathlib import Path

import torch
import toy

from kriptik.engine import checkpoint, pieces, stage, train
from kriptik.engine.strategies import zero
from kriptik.engine.strategies.optim import NamedOptimizer
from kriptik.server.runs import artefacts
from kriptik.spec.events import CheckpointCommitted


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def at_call(count, function):
    """`function` replaced by one that dies at its n-th call, before it does anything."""
    left = [count]

    def dying(*args, **kwargs):
        left[0] -= 1
        if left[0] < 0:
            die()
        return function(*args, **kwargs)

    return dying


def mid_step(count, emit):
    """Between clipping and the update of the weights."""
    NamedOptimizer.step = at_call(count, NamedOptimizer.step)
    return emit


def in_optimizer(count, emit):
    """Gradients are there, weights are not moved, whoever calls the optimizer."""
    torch.optim.AdamW.step = at_call(count, torch.optim.AdamW.step)
    return emit


def mid_shard(count, emit):
    """Half of a shard's bytes are in the file."""
    write, left = checkpoint.write_tensors, [count]

    def dying(path, tensors):
        write(path, tensors)
        left[0] -= 1
        if left[0] < 0:
            os.truncate(path, path.stat().st_size // 2)
            die()

    checkpoint.write_tensors = dying
    return emit


def before_mark(count, emit):
    """The manifest is there, the mark is not."""
    checkpoint.mark = at_call(count, checkpoint.mark)
    return emit


def before_event(count, emit):
    """The mark is there, the event is not; at the first or the second checkpoint of a life."""
    left = [count % 2]

    def dying(body):
        if isinstance(body, CheckpointCommitted):
            left[0] -= 1
            if left[0] < 0:
                die()
        emit(body)

    return dying


def during_load(count, emit):
    """Weights are restored, the optimizer is not (0); in the middle of a file (1); before anything was read (2)."""
    if count == 0:
        NamedOptimizer.load_state = at_call(0, NamedOptimizer.load_state)
    elif count == 1:
        stage.put_back = at_call(0, stage.put_back)
    else:
        checkpoint.Checkpoints.verify = at_call(0, checkpoint.Checkpoints.verify)
    return emit


POINTS = {
    "mid_step": mid_step,
    "in_optimizer": in_optimizer,
    "mid_shard": mid_shard,
    "before_mark": before_mark,
    "before_event": before_event,
    "during_load": during_load,
}


def preload(folder, about=None, job=None):
    """Runs once in this process, so that forked lives find everything imported."""
    train.train(job or toy.job_in(folder), lambda body: None, toy.running, about)


@cache
def preload_strategy(name):
    """What a strategy imports, once: each forked life would take seconds for it."""
    import_module("torch._inductor")
    pieces.strategy(name)
    if name == "deepspeed":
        zero.library()
        import_module("deepspeed.runtime.zero.muon.muon_optimizer")


def live(job, about=None, control=toy.running, point=None, count=0):
    """One life in a process of its own: (exit status or -signal, what it said as dictionaries)."""
    log = Path(job.run_dir) / f"said-g{job.generation}.jsonl"
    child = os.fork()
    if child == 0:
        code = 1
        try:
            handle = log.open("w")

            def emit(body):
                handle.write(json.dumps(body.document()) + "\n")
                handle.flush()

            train.train(job, POINTS[point](count, emit) if point else emit, control, about)
            code = 0
        except BaseException:  # noqa: BLE001 - the child tells its parent whatever it was
            (log.parent / f"error-g{job.generation}.txt").write_text(traceback.format_exc())
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    said = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    return os.waitstatus_to_exitcode(status), said


def live_together(job, world=2, about=None, control=toy.running, point=None, count=0):
    """One life of `world` processes that meet over gloo on this machine; returns (exit codes, what rank 0 said).

    `point` kills the last rank alone; the others then wait for it in vain, so they are killed too.
    """
    preload_strategy(job.stages[0].point.strategy)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = Path(job.run_dir) / f"said-g{job.generation}.jsonl"
    children = []
    for rank in range(world):
        child = os.fork()
        if child == 0:
            dies = point if rank == world - 1 else None
            place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "MASTER_PORT": port}
            _rank(job, about, control, log, place, dies, count)
        children.append(child)
    codes = dict.fromkeys(children)
    while left := [child for child in children if codes[child] is None]:
        for child in left:
            ended, status = os.waitpid(child, os.WNOHANG)
            codes[child] = os.waitstatus_to_exitcode(status) if ended else None
            if codes[child] == -signal.SIGKILL:
                for other in left:
                    if codes[other] is None:
                        os.kill(other, signal.SIGKILL)
        time.sleep(0.01)
    return [codes[child] for child in children], [json.loads(line) for line in log.read_text().splitlines()]


def _rank(job, about, control, log, environment, point=None, count=0):
    code = 1
    try:
        if point:
            POINTS[point](count, None)
        os.environ.update({name: str(value) for name, value in environment.items()}, MASTER_ADDR="127.0.0.1")
        os.environ["GLOO_SOCKET_IFNAME"] = "lo"
        handle = log.open("w") if environment["RANK"] == 0 else None

        def emit(body):
            handle.write(json.dumps(body.document()) + "\n")
            handle.flush()

        train.train(job, emit, control, about)
        code = 0
    except BaseException:  # noqa: BLE001 - as above
        (log.parent / f"error-r{environment['RANK']}.txt").write_text(traceback.format_exc())
    finally:
        os._exit(code)


def newest(run_dir):
    """The checkpoint the server would resume from: the newest that is committed and sound."""
    return next((one for one in reversed(artefacts.committed(Path(run_dir))) if artefacts.sound(Path(run_dir), one)), None)


def losses(said):
    """(stage, step) → numbers of that update."""
    return {
        (body["stage"], body["step"]): (body["loss"], body["gradientNorm"], body["learningRate"], body["tokens"])
        for body in said
        if body["type"] == "metrics"
    }


def final_tensors(run_dir):
    """All tensors of the newest checkpoint by file: weights, optimizer, the loop's own."""
    folder = Path(run_dir) / "checkpoints" / newest(run_dir)
    return {one.name: checkpoint.sha256(one) for one in folder.glob("*.safetensors")}


def killed_again_and_again(job, point, about=None, kills=3):
    """Generations each killed at `point`, the last one left to end; returns (their merged losses, last life's events)."""
    merged, generation, start = {}, 0, None
    if point == "during_load":
        job = job.model_copy(update={"generation": 1})
        code, said = live(job, about, toy.Wish(9))
        assert code == 0
        merged, generation, start = losses(said), 1, newest(job.run_dir)
    for kill in range(kills + 1):
        generation += 1
        job = job.model_copy(update={"generation": generation, "resume_from": start})
        last = kill == kills
        code, said = live(job, about, toy.running, None if last else point, kill)
        error = Path(job.run_dir) / f"error-g{generation}.txt"
        assert code == (0 if last else -signal.SIGKILL), error.read_text() if error.exists() else f"life {kill} ended with {code}"
        merged |= losses(said)
        start = newest(job.run_dir)
    return merged, said
