"""A run of several processes on this machine, as torchrun would start it: this process is rank 0, the others are started here.

What is wanted is known to rank 0 alone; the engine agrees on it at every step, so that all ranks freeze at the same one. One rank
that ends badly ends all: the others would wait for it for ever. Checkpoints make that harmless.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from kriptik.spec.errors import KriptikError, WorkerError
from kriptik.spec.job import TrainJob

LOOK_S = 0.2
UNWIND_S = 15.0
"""After a rank's death, rank 0 may take so long to notice by itself; it then is ended."""
LEAVE_S = 30.0
"""When rank 0 is done, the others may take so long to end."""
PLACE = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "GLOO_SOCKET_IFNAME")


@dataclass
class Rank:
    """One started process and where it leaves its words if it fails."""

    number: int
    process: "subprocess.Popen[bytes]"
    words: Path


class Group:
    """Ranks 1 and up. `stuck` is called, from a thread, where a rank has died and rank 0 does not unwind: it ends this process."""

    def __init__(self, ranks: list[Rank], stuck: Callable[[KriptikError], None]) -> None:
        self.ranks = ranks
        self.lost: KriptikError | None = None
        """Why the group cannot go on."""
        self._stuck = stuck
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, name="group", daemon=True)

    def start(self) -> None:
        """Begins to look at the others."""
        self._thread.start()

    def end(self, patience_s: float) -> None:
        """Waits for the others to end, then kills those that did not."""
        self._ended.set()
        self._thread.join()
        until = time.monotonic() + patience_s
        for rank in self.ranks:
            with contextlib.suppress(subprocess.TimeoutExpired):
                rank.process.wait(max(0.0, until - time.monotonic()))
        for rank in self.ranks:
            _close(rank)
            if rank.process.poll() is None:
                rank.process.kill()
                rank.process.wait()

    def _look(self) -> None:
        while not self._ended.wait(LOOK_S):
            dead = next((rank for rank in self.ranks if rank.process.poll() not in (None, 0)), None)
            if dead is not None:
                self.lost = _loss(dead, len(self.ranks) + 1)
                if not self._ended.wait(UNWIND_S):
                    for rank in self.ranks:
                        rank.process.kill()
                    self._stuck(self.lost)
                return


@contextlib.contextmanager
def spread(
    job: TrainJob, job_file: Path, command: Callable[[Path, Path], list[str]], stuck: Callable[[KriptikError], None]
) -> Iterator[None]:
    """Inside, the other ranks of the job run, and the environment says that this process is rank 0. One process: nothing.

    Raises `WorkerError` `rank_lost`, or what that rank said, in place of what its end did to rank 0.
    """
    if job.world == 1:
        yield
        return
    if missing := _gpus_missing(job.world):
        raise missing
    before = {name: os.environ.get(name) for name in PLACE}
    with tempfile.TemporaryDirectory(prefix="ranks-") as folder:
        places = [_place(number, job.world) for number in range(job.world)]
        port = str(_free_port())
        ranks: list[Rank] = []
        group = Group(ranks, stuck)
        patience = 0.0
        try:
            os.environ.update(places[0], MASTER_PORT=port)
            for number in range(1, job.world):
                words = Path(folder) / f"rank{number}.json"
                environment = {**os.environ, **places[number]}
                process = subprocess.Popen(command(job_file, words), env=environment, stdin=subprocess.PIPE)
                ranks.append(Rank(number, process, words))
            group.start()
            yield
            patience = LEAVE_S
        except KriptikError:
            raise
        except Exception as error:
            if lost := _wait_for_loss(group):
                raise lost from error
            raise
        finally:
            group.end(patience)
            for name, value in before.items():
                os.environ.pop(name, None) if value is None else os.environ.update({name: value})


def settle_threads(job: TrainJob) -> None:
    """Before torch is imported: threads, what it keeps, and no busy waiting (two processes on one machine else crawl).

    Ranks that are not told share the machine's cores.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # code that is made for a shape and kept: packed rows hardly ever have the same, and the usual 1,024 pieces held 0.5 GB
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "32")
    threads = job.threads or (max(1, (os.cpu_count() or 1) // job.world) if job.world > 1 else None)
    if threads:
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            os.environ[name] = str(threads)


def _place(number: int, world: int) -> dict[str, str]:
    """What a rank is told, in torchrun's words. Ranks of one machine meet on it alone."""
    place = {"RANK": number, "LOCAL_RANK": number, "WORLD_SIZE": world, "LOCAL_WORLD_SIZE": world, "MASTER_ADDR": "127.0.0.1"}
    loopback = "lo0" if sys.platform == "darwin" else "lo"
    return {**{name: str(value) for name, value in place.items()}, "GLOO_SOCKET_IFNAME": loopback}


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _gpus_missing(world: int) -> KriptikError | None:
    """Where the provider has dealt out GPUs, one for each rank."""
    dealt = [one for one in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if one.strip()]
    if not dealt or len(dealt) >= world:
        return None
    what = f"The run has {world} processes; this machine gave it {len(dealt)} GPUs."
    return WorkerError("too_few_gpus", what, "Choose a machine with a GPU for each process.")


def _wait_for_loss(group: Group) -> KriptikError | None:
    """What broke rank 0 may be a rank's end that nobody has looked at yet."""
    until = time.monotonic() + 5 * LOOK_S
    while group.lost is None and time.monotonic() < until:
        time.sleep(LOOK_S / 4)
    return group.lost


def _loss(dead: Rank, world: int) -> KriptikError:
    """A rank's own words, or how it ended."""
    try:
        words = json.loads(dead.words.read_text())
        return WorkerError(words["code"], words["sentence"], words["nextStep"])
    except (OSError, ValueError):
        code = dead.process.returncode
        how = f"was killed by signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"ended with exit code {code}"
        what = f"Process {dead.number + 1} of {world} {how}."
        return WorkerError("rank_lost", what, "Retry: the run goes on from its last checkpoint. The run's log has more.")


def _close(rank: Rank) -> None:
    if rank.process.stdin is not None:
        with contextlib.suppress(OSError):
            rank.process.stdin.close()
