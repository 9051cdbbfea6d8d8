"""This machine as a provider: the worker is a process in a session of its own, and outlives the server.

All that is known of a resource lies in files under `folder/<name>/`, so a server that starts again knows as much as before. A
small keeper process (`keeper.py`) starts the worker, waits for it and writes its exit code down. Whether a keeper lives is told
by the lock it holds; which processes belong to a resource is told by a mark in their environment. A process number alone is
never trusted: it may have been given to somebody else since.
"""

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import psutil

from kriptik.providers import keeper
from kriptik.providers.gpus import Gpu, cpu_bf16, gpus_here
from kriptik.providers.packages import packages_here
from kriptik.providers.provider import Offer, Resource, ResourceSpec
from kriptik.spec.base import utc_now
from kriptik.spec.errors import BadInputError, KriptikError

MARK = "KRIPTIK_RESOURCE"
"""Environment variable that every process of a resource inherits: the resource's folder and the moment it was asked for."""
START_S = 20.0
"""At most this long a create waits for its worker to be started, and a keeper that was asked for counts as on its way."""
KILL_S = 10.0
POLL_S = 0.02
KEPT = 100
"""Traces of so many ended resources are kept."""


class LocalProvider:
    """Workers on this machine at a price per hour of the owner's choosing.

    `command` starts a worker in place of `python -m kriptik.worker`; the job file is added to it. `grace_s`: how long a
    worker may take to leave after SIGTERM before it is killed.
    """

    name = "local"
    self_end = None

    def __init__(
        self, folder: Path, price_per_hour: Decimal = Decimal(0), *, command: Sequence[str] | None = None, grace_s: float = 5.0
    ) -> None:
        self.folder = Path(folder).resolve()
        self.price_per_hour = Decimal(price_per_hour)
        self.command = list(command) if command else [sys.executable, "-m", "kriptik.worker"]
        self.grace_s = grace_s
        self._keepers: dict[str, subprocess.Popen[bytes]] = {}

    def offers(self) -> list[Offer]:
        """This machine without a GPU, and with one or all of its NVIDIA GPUs."""
        bf16, packages = cpu_bf16(), packages_here()
        cores, memory = psutil.cpu_count() or 1, round(psutil.virtual_memory().total / 1e9, 1)
        gpus = gpus_here()
        counts = sorted({1, len(gpus)}) if gpus else []
        text = f"This machine: {cores} CPU cores, {memory:.0f} GB of memory"
        choices: list[tuple[str, int, float]] = [("cpu", 1, 0.0), *((gpus[0].id, n, gpus[0].memory_gb) for n in counts)]
        return [
            Offer(
                provider=self.name,
                gpu=gpu,
                gpu_count=count,
                gpu_memory_gb=size,
                cpu_cores=cores,
                cpu_bf16=bf16,
                packages=packages,
                memory_gb=memory,
                price_per_hour=self.price_per_hour,
                detail=text if gpu == "cpu" else f"{text}, {count} × {gpu}",
            )
            for gpu, count, size in choices
        ]

    def create(self, spec: ResourceSpec) -> Resource:
        """Starts the worker, or answers with what that name already is. Raises `KriptikError` 503 where it does not start."""
        home = self.folder / spec.name
        with self._locked():
            if not (home / "intent.json").exists():
                self._prune()
                home.mkdir(parents=True, exist_ok=True)
                gpus = self._take_gpus(spec)
                intent = {
                    "name": spec.name,
                    "jobFile": str(Path(spec.job_file).resolve()),
                    "runDir": str(Path(spec.run_dir).resolve()),
                    "createdAt": utc_now().isoformat(),
                    "pricePerHour": str(self.price_per_hour),
                    "gpus": gpus,
                    "mark": f"{home} {time.time_ns()}",
                }
                keeper.write_json(home / "intent.json", intent)
            if not _begun(home):
                self._start(home, spec)
        found = self.get(spec.name)
        assert found is not None
        return found

    def get(self, resource_id: str) -> Resource | None:
        """The resource as it is now; its exit code also where another server process started it."""
        home = self._home(resource_id)
        intent = _read(home / "intent.json") if home else None
        if home is None or intent is None:
            return None
        self._reap(resource_id)
        gone, ended = _read(home / "gone.json"), _read(home / "exit.json")
        if gone:
            status, code, detail = "gone", gone.get("code"), gone.get("detail", "")
        elif ended:
            status, code = "exited", int(ended["code"])
            detail = "" if code == 0 else _last_line(home)
        elif _keeper_lives(home):
            status, code, detail = "running" if (home / "started.json").exists() else "provisioning", None, ""
        elif any(True for _ in _processes(intent["mark"])):
            status, code, detail = "running", None, "Its keeper was ended; the exit code will not be known."
        elif not _begun(home) and _age_s(intent) < START_S:
            status, code, detail = "provisioning", None, "Being started."
        elif late := _read(home / "exit.json"):  # it ended between the looks above
            status, code, detail = "exited", int(late["code"]), _last_line(home)
        else:
            status, code, detail = "exited", None, _last_line(home) or "It ended without a trace; did the machine restart?"
        return Resource(
            id=resource_id,
            name=intent["name"],
            status=status,  # type: ignore[arg-type]
            price_per_hour=Decimal(intent["pricePerHour"]),
            exit_code=code,
            created_at=datetime.fromisoformat(intent["createdAt"]),
            detail=detail,
        )

    def list_own(self, prefix: str) -> list[Resource]:
        """Resources of that prefix that were not terminated, oldest first."""
        homes = self.folder.glob("*/intent.json") if self.folder.is_dir() else []
        names = [home.parent.name for home in homes if home.parent.name.startswith(prefix)]
        found = [resource for name in names if (resource := self.get(name)) is not None and resource.status != "gone"]
        return sorted(found, key=lambda resource: (resource.created_at, resource.name))

    def terminate(self, resource_id: str) -> None:
        """SIGTERM to the worker, `grace_s` of patience, SIGKILL to whatever carries the mark; returns when none is left."""
        home = self._home(resource_id)
        intent = _read(home / "intent.json") if home else None
        if home is None or intent is None or (home / "gone.json").exists():
            return
        keeper.write_json(home / "ending.json", {"at": utc_now().isoformat()})
        started = _read(home / "started.json") or {}
        if not (home / "exit.json").exists():
            for process in _processes(intent["mark"]):
                if process.pid == started.get("worker"):
                    _send(process, kill=False)
            self._wait(lambda: (home / "exit.json").exists() or not _keeper_lives(home), self.grace_s)
        patience = time.monotonic() + KILL_S / 2  # a keeper that lives writes the exit code and leaves by itself
        done = self._wait(lambda: self._kill_all(home, intent["mark"], resource_id, time.monotonic() > patience), KILL_S)
        if not done:
            raise KriptikError(
                "terminate_unconfirmed",
                f"The processes of {resource_id} are still there after being killed.",
                "It is tried again; if it lasts, look for processes stuck in disk or driver waits.",
                status=503,
            )
        ended = _read(home / "exit.json")
        code = int(ended["code"]) if ended else None
        keeper.write_json(home / "gone.json", {"code": code, "detail": "" if code == 0 else _last_line(home)})

    def logs(self, resource_id: str, tail: int = 100) -> list[str]:
        """The newest lines of what the worker printed, its older log part included."""
        home = self._home(resource_id)
        if home is None or tail <= 0:
            return []
        return _log_tail(home, tail)

    def billed(self, resource_id: str, since: datetime) -> Decimal | None:
        """This machine sends no bill."""
        return None

    def billed_beside(self, known: set[str], since: datetime) -> dict[str, Decimal] | None:
        """This machine sends no bill."""
        return None

    def _start(self, home: Path, spec: ResourceSpec) -> None:
        """Starts a keeper and waits until it has started the worker; a second keeper leaves by itself."""
        intent = _read(home / "intent.json") or {}
        if not _keeper_lives(home):
            command = [sys.executable, "-I", "-S", keeper.__file__, str(home), "--", *self.command, intent["jobFile"]]
            run_dir = Path(intent["runDir"])
            self._keepers[spec.name] = subprocess.Popen(
                command,
                env=_environment(spec, intent),
                cwd=run_dir if run_dir.is_dir() else home,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        if not self._wait(lambda: _begun(home), START_S):
            raise KriptikError("worker_not_started", f"The worker {spec.name} did not start in time.", "Ask again.", status=503)

    def _take_gpus(self, spec: ResourceSpec) -> list[int]:
        """Numbers of GPUs that no live resource holds; none for the CPU."""
        if spec.gpu == "cpu":
            return []
        here: list[Gpu] = gpus_here()
        if len(here) < spec.gpu_count:
            raise BadInputError(
                "no_such_gpu",
                f"This machine has {len(here)} NVIDIA GPUs; {spec.gpu_count} × {spec.gpu} were asked for.",
                "Choose the CPU or another provider.",
            )
        held = {n for r in self.list_own("") if r.status != "exited" for n in _read_gpus(self.folder / r.name)}
        free = [gpu.index for gpu in here if gpu.index not in held]
        if len(free) < spec.gpu_count:
            raise KriptikError("gpus_busy", "All GPUs of this machine are in use.", "It is tried again.", status=503)
        return free[: spec.gpu_count]

    def _kill_all(self, home: Path, mark: str, resource_id: str, keeper_too: bool) -> bool:
        """Kills every marked process but the keeper, in the end the keeper too; True when none is left."""
        keeper_pid = (_read(home / "started.json") or {}).get("pid")
        others = False
        for process in _processes(mark):
            if keeper_too or process.pid != keeper_pid:
                others = True
                _send(process, kill=True)
        self._reap(resource_id)
        return not others and not _keeper_lives(home) and not any(True for _ in _processes(mark))

    def _reap(self, resource_id: str) -> None:
        """A keeper that is our own child must be waited for, or it stays as a zombie."""
        own = self._keepers.get(resource_id)
        if own is not None and own.poll() is not None:
            self._keepers.pop(resource_id, None)

    def _home(self, resource_id: str) -> Path | None:
        """The folder of a name; None for what can be none (it may come from outside)."""
        plain = bool(resource_id) and all(c.isascii() and (c.isalnum() or c == "-") for c in resource_id)
        return self.folder / resource_id if plain else None

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """One create at a time, over all processes that use this folder."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (self.folder / "create.lock").open("a") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    def _prune(self) -> None:
        """Removes the traces of all but the `KEPT` newest ended resources."""
        gone = sorted(self.folder.glob("*/gone.json"), key=lambda path: path.stat().st_mtime)
        for path in gone[: max(0, len(gone) - KEPT)]:
            shutil.rmtree(path.parent, ignore_errors=True)

    @staticmethod
    def _wait(condition: Any, limit_s: float) -> bool:
        end = time.monotonic() + limit_s
        while not condition():
            if time.monotonic() >= end:
                return False
            time.sleep(POLL_S)
        return True


def _environment(spec: ResourceSpec, intent: dict[str, Any]) -> dict[str, str]:
    """The server's environment without its own settings and the keys of its storage, then what the worker is given."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("KRIPTIK_", "AWS_"))}
    kept.setdefault("GOMP_SPINCOUNT", "10000")  # two jobs on one machine crawl when their idle threads spin
    kept["PYTHONUNBUFFERED"] = "1"
    if intent["gpus"] or spec.gpu == "cpu":
        kept["CUDA_VISIBLE_DEVICES"] = ",".join(str(n) for n in intent["gpus"])
    return {**kept, **spec.env, MARK: intent["mark"]}


def _processes(mark: str) -> Iterator[psutil.Process]:
    """Living processes that carry the mark. psutil refuses to signal one whose number was given away since."""
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                yield process
        except (psutil.Error, OSError):
            continue


def _send(process: psutil.Process, *, kill: bool) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.kill() if kill else process.terminate()


def _keeper_lives(home: Path) -> bool:
    """True while a keeper holds its lock. The lock goes with the process, however it ended."""
    try:
        with (home / "lock").open() as handle:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def _begun(home: Path) -> bool:
    """The worker was started once, or must not be any more."""
    worker = (_read(home / "started.json") or {}).get("worker")
    return worker is not None or any((home / name).exists() for name in ("exit.json", "ending.json", "gone.json"))


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


def _read_gpus(home: Path) -> list[int]:
    return (_read(home / "intent.json") or {}).get("gpus", [])


def _age_s(intent: dict[str, Any]) -> float:
    return (datetime.now(UTC) - datetime.fromisoformat(intent["createdAt"])).total_seconds()


def _log_tail(home: Path, tail: int) -> list[str]:
    text = b""
    for name in ("worker.log.1", "worker.log"):
        with contextlib.suppress(FileNotFoundError), (home / name).open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - keeper.LOG_LIMIT))
            text += file.read()
    return text.decode("utf-8", "replace").splitlines()[-tail:]


def _last_line(home: Path) -> str:
    """The last words of a worker that ended badly, for people."""
    lines = [line.strip() for line in _log_tail(home, 20) if line.strip()]
    return lines[-1][:300] if lines else ""
