"""`python -m kriptik.worker.pod`: what a rented machine starts. Gets the job, runs one worker, ends the machine, whatever happened.

Environment: KRIPTIK_JOB_URL (the generation's address at the server), KRIPTIK_WORKER_TOKEN, KRIPTIK_WORK_DIR (default /workspace),
KRIPTIK_GRACE_S (how long the server may be away before the machine gives up). The worker is a process of its own, so that even
one that was killed hard leaves nobody behind who pays.
"""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx

from kriptik.spec.carry import reward_folder
from kriptik.spec.job import SelfEnd, Stage, TrainJob

GIVEN_UP, UNUSABLE = 5, 2
WORKER = (sys.executable, "-m", "kriptik.worker")
END_TRIES = 8
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


def main() -> int:
    """The worker's exit code; 5 where the server was never reached."""
    url, token = os.environ.get("KRIPTIK_JOB_URL", ""), os.environ.get("KRIPTIK_WORKER_TOKEN", "")
    if not url or not token:
        sys.stderr.write("KRIPTIK_JOB_URL and KRIPTIK_WORKER_TOKEN are not set.\n")
        return UNUSABLE
    job = get_job(url, token, float(os.environ.get("KRIPTIK_GRACE_S", "900")))
    if job is None:
        sys.stderr.write("The server could not be reached, or knows no such job; giving the machine back.\n")
        end_machine(_own_end())
        return GIVEN_UP
    try:
        return run(localised(job, Path(os.environ.get("KRIPTIK_WORK_DIR", "/workspace"))))
    finally:
        end_machine(job.control.self_end if job.control else None)


def get_job(url: str, token: str, patience_s: float) -> TrainJob | None:
    """The job, or None: refused for good, or nobody answered for `patience_s`."""
    end, delay = time.monotonic() + patience_s, 0.5
    with httpx.Client(headers={"Authorization": f"Bearer {token}"}, timeout=20, trust_env=_trusted(url)) as http:
        while time.monotonic() < end:
            try:
                answer = http.get(f"{url}/job")
                if answer.status_code == 200:
                    return TrainJob.model_validate_json(answer.content)
                if answer.status_code in (404, 409, 422):
                    return None
            except (httpx.HTTPError, ValueError):
                pass
            time.sleep(delay)
            delay = min(10.0, delay * 2)
    return None


def localised(job: TrainJob, home: Path) -> Path:
    """Writes the job file with this machine's folders; returns its path."""
    folder = home / "run"
    data = job.data
    if data is not None:
        held_out = str(folder / "data" / "eval.jsonl") if data.eval_path else None
        data = data.model_copy(update={"train_path": str(folder / "data" / "train.jsonl"), "eval_path": held_out})
    stages = [_with_reward_here(stage, folder) for stage in job.stages]
    here = job.model_copy(update={"run_dir": str(folder), "cache_dir": str(home / "cache"), "data": data, "stages": stages})
    path = folder / "jobs" / f"g{job.generation}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    (home / "cache").mkdir(parents=True, exist_ok=True)
    path.write_text(here.model_dump_json(by_alias=True, indent=1))
    return path


def _with_reward_here(stage: Stage, folder: Path) -> Stage:
    """A reward model is fetched into the run's folder."""
    if not stage.settings.objective.get("reward_model"):
        return stage
    settings = stage.settings.with_objective(reward_model=str(folder / reward_folder(stage.index)))
    return stage.model_copy(update={"settings": settings})


def run(job_file: Path) -> int:
    """One worker to its end; SIGTERM is passed on."""
    worker = subprocess.Popen([*WORKER, str(job_file)], stdin=subprocess.DEVNULL)
    signal.signal(signal.SIGTERM, lambda *_: worker.terminate())
    return worker.wait()


def end_machine(end: SelfEnd | None) -> None:
    """Asks the provider to take this machine back. The server does so too; whoever comes first."""
    token = os.environ.get(end.token_variable, "") if end else ""
    if end is None or not token:
        return
    url = re.sub(r"\{(\w+)\}", lambda m: os.environ.get(m[1], ""), end.url)
    for attempt in range(END_TRIES):
        try:
            answer = httpx.request(
                end.method, url, headers={"Authorization": f"Bearer {token}"}, timeout=20, trust_env=_trusted(url)
            )
            if answer.status_code < 300 or answer.status_code == 404:
                return
            sys.stderr.write(f"The provider answered {answer.status_code} to giving the machine back.\n")
        except httpx.HTTPError as error:
            sys.stderr.write(f"The provider could not be reached ({type(error).__name__}).\n")
        time.sleep(min(60.0, 2.0**attempt))


def _own_end() -> SelfEnd | None:
    """How to end this machine where no job said so: by the descriptor in its own environment."""
    url, variable = os.environ.get("KRIPTIK_END_URL", ""), os.environ.get("KRIPTIK_END_TOKEN_VARIABLE", "")
    return SelfEnd(url=url, token_variable=variable) if url and variable else None


def _trusted(url: str) -> bool:
    return httpx.URL(url).host not in LOOPBACK


if __name__ == "__main__":
    sys.exit(main())
