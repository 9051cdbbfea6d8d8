"""How well KripTik's estimates hold: runs of a drawn grid, each planned, tested and trained as a user's: `make bench-estimates`.

Every run goes the whole way through a server in a process of its own: rows uploaded, a plan made and its settings set, approved,
tried by the smoke test in a worker, trained with held-out rows, samples and checkpoints. What is judged are the figures that the
product itself shows, as it showed them at that moment: the plan's time and memory, and what the smoke test made of them.

Time before: from approval to the end of the run, which is what the plan promises. Time after: from the end of the smoke test to
the end of the run. Memory: the peak that the training process itself recorded. All runs share one home, in order: whatever the
product learns from earlier runs it knows in later ones, and from no later one.

How many updates make `--seconds` of training is found by a run that is stopped after its smoke test; its figures are not used.
Results: one line a run in `bench/estimates/results.jsonl`; a run that is there already is left out, so a broken series goes on
where it was. A run that fails is kept as failed and counts against the product. Models: see `estimates_made.py`.
"""

import argparse
import contextlib
import json
import math
import os
import platform
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psutil
from estimates_grid import DEVELOPMENT, SEED, Setting, grid
from estimates_judged import summary
from estimates_made import rows_in
from measure import BUSY, used, used_in

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).with_name("estimates") / "results.jsonl"
HOME = ROOT / "build" / "estimates-home"
SECONDS = 75.0
"""Of updates; a run must have 60."""
LEAST_UPDATES = 3
BUDGET = 100.0
PATIENCE_S = 600.0
"""So long a busy machine is waited for."""
LOOK_S = 3.0
"""Between two looks at a run: seldom, since the machine is measured upon."""
PILOT_S, RUN_S, STOP_S, MAKE_S = 900.0, 2400.0, 300.0, 900.0
"""Limits of every wait."""
ENDED = frozenset({"completed", "failed", "stopped", "frozen", "awaiting_approval"})
Found = dict[str, Any]


class RunError(Exception):
    """A run that could not be measured, and why."""


def main() -> int:
    """Runs what is not there yet; exit code 2 where the machine stays busy, 1 where a run failed."""
    asked = _asked()
    if asked.summary:
        print(summary(_there(asked.results, asked.seed)))
        return 0
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    began, failed = time.monotonic(), False
    there = {one["index"] for one in _there(asked.results, asked.seed)}
    for index, setting in enumerate(grid(asked.seed)):
        if index in there or (asked.only is not None and index not in asked.only):
            continue
        if asked.limit_s is not None and time.monotonic() - began > asked.limit_s:
            break
        if not asked.force and not _idle(asked.patience_s):
            print("The machine stays busy; end other work, then run this again.")
            return 2
        print(f"{index}: {setting.name}", flush=True)
        line = {**_about(asked, index, setting), **_measured(asked, setting)}
        failed = failed or line["failure"] is not None
        _keep(asked.results, line)
        print(f"   {_told(line)}", flush=True)
    print(summary(_there(asked.results, asked.seed)))
    return 1 if failed else 0


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=SEED, help=f"of the grid; {SEED} is judged, {DEVELOPMENT} is for development")
    parser.add_argument("--only", type=int, nargs="+", metavar="N", help="these runs of the grid alone")
    parser.add_argument("--limit-s", type=float, help="begin no further run after so many seconds")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of training that a run is sized to")
    parser.add_argument("--home", type=Path, default=HOME, help="state of the server, with a cache of models of its own")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--patience-s", type=float, default=PATIENCE_S, help="how long a busy machine is waited for")
    parser.add_argument("--force", action="store_true", help="run although the machine is busy; the figures are then worthless")
    parser.add_argument("--summary", action="store_true", help="print the table of what is there, and end")
    return parser.parse_args()


def _there(file: Path, seed: int) -> list[Found]:
    """The runs of a seed in a file of results."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    return [one for one in map(json.loads, filter(None, lines)) if one["seed"] == seed]


def _keep(file: Path, line: Found) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a", encoding="utf-8") as sink:
        sink.write(json.dumps(line) + "\n")


def _idle(patience_s: float) -> bool:
    """Waits for an idle machine; False where it stays busy."""
    end = time.monotonic() + patience_s
    while (busy := used_in(3.0)) > BUSY:
        if time.monotonic() > end:
            return False
        print(f"   busy ({busy:.0%}), waiting", flush=True)
        time.sleep(20)
    return True


def _about(asked: argparse.Namespace, index: int, setting: Setting) -> Found:
    """What a line says besides what was measured."""
    asks = ["git", "-C", str(ROOT), "rev-parse", "--short=12", "HEAD"]
    commit = subprocess.run(asks, capture_output=True, text=True, check=False)
    memory = psutil.virtual_memory().total / 1e9
    return {
        "seed": asked.seed, "index": index, "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit.stdout.strip(), "machine": f"{_processor()}, {os.cpu_count()} cores, {memory:.0f} GB",
        "setting": setting.document(), "aim_s": asked.seconds,
    }  # fmt: skip


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.machine()
    return next((line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")), platform.machine())


def _measured(asked: argparse.Namespace, setting: Setting) -> Found:
    """One run with a server of its own, which is gone afterwards. What fails is a finding, not an end of the series."""
    from kriptik.cli.client import Client
    from kriptik.cli.demo import end_earlier, start_server
    from kriptik.spec.errors import KriptikError

    home = asked.home.resolve()
    found: Found = {"failure": None, "before": None, "after": None, "actual": None}
    try:
        _made(home, setting)
        url, _ = start_server(home, home / "server.log")
        run = _Run(Client(url), home, setting, found)
        try:
            run.whole(asked.seconds)
        finally:
            run.end()
    except (KriptikError, RunError, OSError, subprocess.SubprocessError, httpx.HTTPError, psutil.Error) as error:
        said = error.sentence if isinstance(error, KriptikError) else str(error)
        code = error.code if isinstance(error, KriptikError) else type(error).__name__
        found["failure"] = found["failure"] or {"code": code, "message": said[-1000:]}
    finally:
        left = _processes(home)
        end_earlier(home)
        _kill(left)
    return found


def _processes(home: Path) -> list[psutil.Process]:
    """The server on `home` and all that it started and that still lives."""
    try:
        server = psutil.Process(json.loads((home / "server.json").read_text())["pid"])
        ours = server.environ().get("KRIPTIK_HOME") == str(home)  # a number alone may be somebody else's by now
        return [server, *server.children(recursive=True)] if ours else []
    except (OSError, ValueError, psutil.Error):
        return []


def _kill(left: list[psutil.Process]) -> None:
    """Ends what did not end by itself: nothing may work beside the next run."""
    _, alive = psutil.wait_procs(left, timeout=10)
    for one in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()


def _made(home: Path, setting: Setting) -> None:
    """Model and rows of a run, in another process, so that nothing of it stays in memory here."""
    script = Path(__file__).with_name("estimates_made.py")
    command = [sys.executable, str(script), str(home), setting.model, setting.rows]
    done = subprocess.run(command, capture_output=True, text=True, timeout=MAKE_S, check=False)
    if done.returncode:
        raise RunError(f"model or rows could not be made: {done.stderr.strip()[-800:]}")


class _Run:
    """One run of the grid through a server. `found` fills as things become known."""

    def __init__(self, client: Any, home: Path, setting: Setting, found: Found) -> None:
        self.client, self.home, self.setting, self.found = client, home, setting, found
        self.alive: str | None = None
        """The run that is to be stopped, should anything go wrong."""

    def whole(self, seconds: float) -> None:
        """A pilot to size the run, then the run."""
        file = rows_in(self.home, self.setting.rows)
        dataset = str(self.client.upload(file)["id"])
        pilot = self._started(self._plan(dataset, {}))
        job = self._until(pilot, PILOT_S, probed=True)
        self._stop()
        self._forget(job)
        if job["probe"] is None:
            self.found["failure"] = job["failure"]
            raise RunError(f"the smoke test did not end well; the run is {job['state']}")
        plan = self._plan(dataset, sized(job, seconds))
        self.found["before"] = before(plan)
        machine, own = used(), self._own()
        began = time.monotonic()
        job = self._until(self._started(plan), RUN_S, probed=False)
        others = (used() - machine) - (self._own() - own)
        self.alive = None
        self.found["others"] = max(0.0, others / (time.monotonic() - began) / (os.cpu_count() or 1))
        self.found["after"] = after(job)
        self.found["actual"] = self._actual(job)
        if job["state"] != "completed":
            self.found["failure"] = {"code": "ended", "message": job["state"], **(job["failure"] or {})}
        self._forget(job)

    def end(self) -> None:
        """Stops what still runs."""
        if self.alive is not None:
            self._stop()
        self.client.close()

    def _plan(self, dataset: str, sizes: Found) -> Found:
        """A plan as a person would make it: by the wizard, then by the tile of settings."""
        setting, here = self.setting, {"gpu": "cpu", "provider": "local"}
        wanted = {"capability": setting.capability, "baseModel": setting.model, "method": setting.method, "datasetId": dataset}
        made = self.client.post("/plans", {**wanted, **here, "budgetMaxUsd": BUDGET})["plan"]
        plan = made
        for name, value in {**setting.by_hand(), **sizes}.items():
            change = {"modification": {"type": "custom_value", "value": {name: value}}}
            plan = self.client.put(f"/plans/{made['id']}/tiles/config", change)["plan"]
        if not plan["approvable"]:
            raise RunError(f"the plan cannot be approved: {plan['whyNotApprovable']}")
        return plan

    def _started(self, plan: Found) -> str:
        self.alive = str(self.client.approve(plan["id"], BUDGET)["jobId"])
        return self.alive

    def _until(self, job_id: str, limit_s: float, *, probed: bool) -> Found:
        """The run once it has ended or, if `probed`, once its smoke test is over."""
        end = time.monotonic() + limit_s
        while time.monotonic() < end:
            job = self.client.get(f"/jobs/{job_id}")
            if job["state"] in ENDED or (probed and job["probe"] is not None):
                return job
            time.sleep(LOOK_S)
        raise RunError(f"the run did not come so far within {limit_s:.0f} s; it was {job['state']}")

    def _stop(self) -> None:
        job_id, self.alive = self.alive, None
        job = self.client.get(f"/jobs/{job_id}")
        if job["state"] not in ENDED:
            self.client.post(f"/jobs/{job_id}/stop")
            self.client.wait_for(job_id, set(ENDED), limit_s=STOP_S)

    def _own(self) -> float:
        """Seconds of processor time of the server and all that it started."""
        spent = 0.0
        for one in _processes(self.home):
            try:
                times = one.cpu_times()
            except psutil.Error:
                continue
            spent += times.user + times.system + times.children_user + times.children_system
        return spent

    def _actual(self, job: Found) -> Found:
        """What the run took, by its own record."""
        result = job["result"] or {}
        tested = self._smoke_test_ended(job["id"])
        ended = _clock(job["finishedAt"] or job["updatedAt"])
        return {
            "time_s": ended - _clock(job["createdAt"]), "after_s": None if tested is None else ended - tested,
            "train_s": result.get("trainSeconds", 0.0), "memory_gb": result.get("peakMemoryGb") or None,
            "updates": (job["metrics"] or {}).get("step"), "evaluations": len(job["evals"]),
            "samples": len(job["samples"]), "checkpoints": len(job["checkpoints"]), "starts": job["generation"],
        }  # fmt: skip

    def _smoke_test_ended(self, job_id: str) -> float | None:
        after_id = 0
        while True:
            page = self.client.get(f"/jobs/{job_id}/events", after=after_id)
            for event in page["messages"]:
                after_id = event["id"]
                if event["body"]["type"] == "probe":
                    return _clock(event["at"])
            if after_id >= page["lastEventId"] or not page["messages"]:
                return None

    def _forget(self, job: Found) -> None:
        """Frees the disk; what the server's records say of the run stays."""
        for name in ("checkpoints", "result"):
            shutil.rmtree(Path(job["runDir"]) / name, ignore_errors=True)


def sized(pilot: Found, seconds: float) -> Found:
    """The settings with which a run makes so many seconds of updates, by the pilot's smoke test."""
    probe, stages = pilot["probe"], pilot["stageSpecs"]
    updates = max(LEAST_UPDATES, math.ceil(seconds / probe["secondsPerStep"] / len(stages)))
    epochs = stages[0]["settings"]["epochs"] * updates / max(1, probe["totalSteps"][0])
    return {"epochs": max(1, math.ceil(epochs * 1.2)), "max_steps": updates}


def before(plan: Found) -> Found:
    """The plan's own figures; time in seconds, memory in GB."""
    estimate = plan["estimate"]
    hours, memory = estimate["timeHours"], estimate["vramGb"]
    return {
        "time_s": {name: hours[name] * 3600 for name in ("low", "likely", "high")},
        "memory_gb": {name: memory[name] for name in ("low", "likely", "high")},
        "source": hours["source"], "fits": estimate["fits"], "updates": estimate["totalSteps"],
    }  # fmt: skip


def after(job: Found) -> Found | None:
    """What the smoke test made of them."""
    measured, probe = job["estimate"].get("measured"), job["probe"]
    if not measured or probe is None:
        return None
    return {
        "time_s": {name: measured["timeHours"][name] * 3600 for name in ("low", "likely", "high")},
        "memory_gb": {name: measured["memoryGb"][name] for name in ("low", "likely", "high")}, "earlier": measured["earlierRuns"],
        "probe": {name: value for name, value in probe.items() if name != "tried"},
    }  # fmt: skip


def _clock(text: str) -> float:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def _told(line: Found) -> str:
    """A run in one line of progress."""
    if line["failure"]:
        return f"failed: {line['failure']['code']}: {line['failure']['message'][:300]}"
    first, then, actual = line["before"], line["after"], line["actual"]
    parts = [f"{actual['train_s']:.0f} s of updates, others {line['others']:.0%}"]
    for name, figures, took in (("plan", first, actual["time_s"]), ("smoke test", then, actual["after_s"])):
        if figures:
            time_s, memory = figures["time_s"], figures["memory_gb"]
            parts.append(f"{name}: {time_s['low']:.0f} … {time_s['likely']:.0f} … {time_s['high']:.0f} s, took {took:.0f};"
                         f" {memory['likely']:.2f} GB, took {actual['memory_gb']:.2f}")  # fmt: skip
    return " | ".join(parts)


if __name__ == "__main__":
    sys.exit(main())
