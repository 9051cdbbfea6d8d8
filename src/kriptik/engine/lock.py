"""`run.lock`: what must not change inside a run for a resume to be bit-exact. Written once, by the smoke test or the first start.

What the lock chose (how an update is cut, recomputation, threads, total steps) wins over the job: a resume never re-tunes.
"""

import contextlib
import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from kriptik.spec.errors import WorkerError
from kriptik.spec.job import RunLock, TrainJob

NAME = "run.lock"
STACK = (
    *("torch", "transformers", "peft", "bitsandbytes", "library"),
    *("python", "machine", "precision", "compile", "attention", "data_sha256"),
)
"""Fields that are found, not chosen: a difference in one of these makes a resume inexact."""
CHOSEN = ("micro_batch", "accumulation", "recompute")
"""Settings of a stage that the smoke test may choose."""


def read(run_dir: str | Path) -> RunLock | None:
    """The run's lock; None before its first start. Raises WorkerError if it is damaged."""
    try:
        return RunLock.model_validate_json((Path(run_dir) / NAME).read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise WorkerError("bad_lock", "The run's lock file cannot be read.", "Start a new run from the same plan.") from error


def write(run_dir: str | Path, lock: RunLock, *, replace: bool = False) -> None:
    """Puts the lock in place as a whole; one that is there already stays unless `replace`."""
    target = Path(run_dir) / NAME
    part = target.with_suffix(f".{os.getpid()}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with part.open("w") as handle:
            handle.write(lock.model_dump_json(by_alias=True, indent=1))
            handle.flush()
            os.fsync(handle.fileno())
        if replace:
            part.replace(target)
        else:
            with contextlib.suppress(FileExistsError):
                os.link(part, target)
    except OSError as error:
        what = f"The run's folder cannot be written: {error.strerror}."
        raise WorkerError("disk_full", what, "Free disk space, then retry.") from error
    finally:
        part.unlink(missing_ok=True)


def describe(job: TrainJob, info: dict[str, Any], threads: int, total_steps: list[int]) -> RunLock:
    """The lock as this process would write it: this stack, these choices. `info` is the bundle's."""
    first = job.stages[0].settings
    return RunLock(
        torch=torch.__version__,
        transformers=_version("transformers"),
        peft=_version("peft"),
        bitsandbytes=_version("bitsandbytes") if job.precision in ("nf4", "int8") else "",
        library=str(info.get("library", "")),
        python=platform.python_version(),
        machine=machine(),
        threads=threads,
        precision=job.precision,
        micro_batch=first.micro_batch,
        accumulation=first.accumulation,
        recompute=first.recompute,
        compile=bool(info.get("compile", False)),
        attention=str(info.get("attention", "sdpa")),
        total_steps=total_steps,
        data_sha256=job.data.sha256 if job.data else "",
    )


def differences(lock: RunLock, now: RunLock) -> list[str]:
    """What of the stack is not as it was, in words; empty means that a resume is exact."""
    pairs = [(name, getattr(lock, name), getattr(now, name)) for name in STACK]
    return [f"{name} was {was!r}, is {found!r}" for name, was, found in pairs if was != found]


def applied(job: TrainJob, lock: RunLock | None) -> TrainJob:
    """The job with the lock's choices: how an update is cut, for every stage that asked for what stage 0 asked for."""
    if lock is None:
        return job
    first, chosen = job.stages[0].settings, {name: getattr(lock, name) for name in CHOSEN}
    stages = [
        stage.model_copy(update={"settings": stage.settings.model_copy(update=chosen)})
        if all(getattr(stage.settings, name) == getattr(first, name) for name in CHOSEN)
        else stage
        for stage in job.stages
    ]
    return job.model_copy(update={"stages": stages})


def settle(job: TrainJob, lock: RunLock | None) -> int:
    """Fixes this process's arithmetic: threads, deterministic kernels. Returns the threads."""
    threads = lock.threads if lock else job.threads or torch.get_num_threads()
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    setattr(torch.utils.deterministic, "fill_uninitialized_memory", False)  # noqa: B010 - a module property; costs time and every kernel we call fills its output
    return threads


def machine() -> str:
    """The processor that does the arithmetic, as far as its kind decides which kernels run."""
    if torch.cuda.is_available():
        return f"{torch.cuda.get_device_name(0)}, CUDA {torch.version.cuda}"
    return f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}, {_processor()}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor())


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""
