"""What every speed bench shares: an idle machine, sides that take turns in processes of their own, tokens per second, memory."""

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import psutil

BASE = "HuggingFaceTB/SmolLM2-135M-Instruct"
ROWS = "zaragoza-construction-faq"
ALPACA = Path(__file__).resolve().parent.parent / "build" / "peers" / "alpaca_en_demo.json"
"""Laid there by `bench/peers.sh`, out of LLaMA-Factory's source package."""
BUSY = 0.1
"""Share of the processor that others may use, before or during a run."""
LEFT_OUT = 2
"""First updates, while caches and allocator warm up."""
Mark = tuple[float, float, int]
"""End of an update: wall clock, processor time of this process, tokens."""
Side = Callable[[Path, argparse.Namespace], dict[str, Any]]


def take_turns(
    file: str, what: str, sides: dict[str, Side], prepare: Callable[[Path, str], None], steps: int,
    usual: list[str] | None = None,
) -> int:
    """The command line of a bench: every side `rounds` times in turn, medians and ratios to the first. Returns the exit code.

    A round's number is the seed of all its sides: which rows come when moves a loss by more than tools differ. `usual` are the
    sides that run unless others are asked for; all, if None. `prepare` is given a folder and the kind of rows that is asked for.
    """
    import tempfile

    parser = argparse.ArgumentParser(description=what)
    parser.add_argument("--steps", type=int, default=steps, help="updates per run, the first two untimed")
    parser.add_argument("--rounds", type=int, default=2, help="runs per side")
    parser.add_argument("--held-out", type=int, default=100, help="rows of the held-out figure; 0 leaves it out")
    parser.add_argument("--rows", choices=sorted(KINDS), default="faq", help="real questions, instructions, or both mixed")
    parser.add_argument("--sides", default=",".join(usual or sides), help="which of " + ", ".join(sides))
    parser.add_argument("--force", action="store_true", help="run although the machine is busy; the figures are then worthless")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--seed", type=int, default=0, help="of the first round")
    parser.add_argument("--side", choices=sorted(sides), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.side:
        print(json.dumps(sides[asked.side](asked.folder, asked)))
        return 0
    busy = used_in(3.0)
    if busy > BUSY and not asked.force:
        print(f"The machine is busy ({busy:.0%} of {os.cpu_count()} cores); end other work, then run again.")
        return 2
    names = asked.sides.split(",")
    with tempfile.TemporaryDirectory(prefix="kriptik-bench-") as folder:
        prepare(Path(folder), asked.rows)
        seeds = range(asked.seed, asked.seed + asked.rounds)
        runs = [(side, _run(file, side, Path(folder), asked, seed)) for seed in seeds for side in names]
    _report(runs, names, asked)
    return 0


def used() -> float:
    """Seconds of processor time that the whole machine has spent on work, all cores together."""
    times = psutil.cpu_times()
    return sum(getattr(times, name, 0.0) for name in ("user", "nice", "system", "irq", "softirq", "steal"))


def used_in(seconds: float) -> float:
    """Share of the machine in use over the next seconds."""
    before = used()
    time.sleep(seconds)
    return (used() - before) / seconds / (os.cpu_count() or 1)


def _run(file: str, side: str, folder: Path, asked: argparse.Namespace, seed: int) -> dict[str, Any]:
    """One side in its own process, with the threads of all cores."""
    command = [sys.executable, file, "--side", side, "--folder", str(folder)]
    command += ["--steps", str(asked.steps), "--held-out", str(asked.held_out), "--seed", str(seed)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    began, machine, mine = time.monotonic(), used(), _children()
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.stderr.write(done.stderr[-4000:])
        raise SystemExit(f"{side} failed")
    found = json.loads(done.stdout.strip().splitlines()[-1])
    others = (used() - machine) - (_children() - mine)
    found["others"] = max(0.0, others / (time.monotonic() - began) / (os.cpu_count() or 1))
    figures = "   ".join(f"{name} {value:.4g}" for name, value in found.items() if name not in ("rate", "tokens"))
    print(f"{side:14} {found['rate']:7.1f} real tokens/s   {found['tokens']} tokens   {figures}", flush=True)
    return found


def _children() -> float:
    """Seconds of processor time of this process's ended children and theirs."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def _report(runs: list[tuple[str, dict[str, Any]]], names: list[str], asked: argparse.Namespace) -> None:
    median = {side: statistics.median(one["rate"] for name, one in runs if name == side) for side in names}
    for side in names:
        losses = [one["loss"] for name, one in runs if name == side and "loss" in one]
        if losses:
            told = ", ".join(f"{loss:.3f}" for loss in losses)
            print(f"{side}: held-out loss {statistics.fmean(losses):.3f} on average ({told})")
    first = names[0]
    for other in names[1:]:
        print(f"{first} {median[first]:.1f} against {other} {median[other]:.1f}: {median[first] / median[other]:.2f} x")
    others = max(found["others"] for _, found in runs)
    print(f"Others used up to {others:.0%} of the processor during a run." + (" Not a measurement." if others > BUSY else ""))
    if asked.json:
        asked.json.write_text(json.dumps({"rows": asked.rows, "median": median, "others": others, "runs": runs}, indent=1))


def rate(marks: list[Mark]) -> dict[str, Any]:
    """Tokens per second, and per second of processor time, between the ends of updates; the first ones left out."""
    timed = marks[LEFT_OUT - 1 :] if len(marks) > LEFT_OUT else marks
    tokens = sum(count for *_, count in timed[1:])
    seconds, cpu = (timed[-1][clock] - timed[0][clock] for clock in (0, 1))
    return {"rate": tokens / seconds, "cpu_rate": tokens / cpu, "tokens": sum(count for *_, count in marks), "seconds": seconds}


def peak_gb() -> float:
    """Most memory this process had resident, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def faq() -> list[dict[str, str]]:
    """Real short questions and answers {q, a}; a question asked twice is kept once."""
    asked: dict[str, dict[str, str]] = {}
    for line in resources.files(ROWS.replace("-", "_")).joinpath("data/faq-en.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        asked.setdefault(" ".join(row["q"].lower().split()), row)
    return list(asked.values())


def alpaca() -> list[dict[str, str]]:
    """Instructions of all sorts and their answers, of a word to a page, {q, a}; one given twice is kept once."""
    if not ALPACA.is_file():
        raise SystemExit("These rows are not here yet: run bench/peers.sh.")
    asked: dict[str, dict[str, str]] = {}
    for row in json.loads(ALPACA.read_text(encoding="utf-8")):
        question = "\n\n".join(part for part in (row["instruction"], row["input"]) if part)
        asked.setdefault(" ".join(question.lower().split()), {"q": question, "a": row["output"]})
    return list(asked.values())


def mixed() -> list[dict[str, str]]:
    """Both in one order, the same every time."""
    rows = faq() + alpaca()
    random.Random(0).shuffle(rows)
    return rows


KINDS: dict[str, Callable[[], list[dict[str, str]]]] = {"faq": faq, "alpaca": alpaca, "both": mixed}
"""Rows {q, a} by the name that a bench is given."""


def divided(folder: Path, rows: list[dict[str, Any]]) -> None:
    """Every fifth row held out: train.jsonl and eval.jsonl."""
    for name, part in (("train", [row for at, row in enumerate(rows) if at % 5]), ("eval", rows[::5])):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part), encoding="utf-8")


def lines_of(file: Path) -> list[dict[str, Any]]:
    """The rows of a JSONL file."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def job_of(folder: Path, method: str, aim: str, capability: str = "chat", adaptation: str = "lora", **settings: Any) -> Any:
    """One stage on train.jsonl as the planner would hand it to a worker: `aim` is its objective, `settings` those of the stage."""
    from kriptik.spec.catalogue import Point
    from kriptik.spec.job import DataRef, ModelRef, Stage, StageSettings, TrainJob

    stage = Stage(
        index=0, name="train", method=method, settings=StageSettings(**{"checkpoint_every_s": 1e6, **settings}),
        point=Point(adaptation=adaptation, objective=aim, strategy="single"),
    )
    cache = os.environ.get("KRIPTIK_HOME") or str(Path.home() / ".kriptik")
    data = DataRef(train_path=str(folder / "train.jsonl"), train_rows=1, sha256="bench")
    return TrainJob(
        job_id="bench", generation=1, run_dir=str(folder / "run"), cache_dir=str(Path(cache) / "cache"), capability=capability,
        base_model=ModelRef(id=BASE), stages=[stage], data=data, probe=False,
    )


def trained(asked: Any) -> tuple[dict[str, Any], dict[str, float]]:
    """Trains a job by the product's own loop; (figures, first and last loss)."""
    from kriptik.engine.train import train
    from kriptik.spec.events import Desired, Metrics

    marks: list[Mark] = []
    losses: list[float] = []

    def emit(body: Any) -> None:
        if isinstance(body, Metrics):
            marks.append((time.perf_counter(), time.process_time(), body.tokens))
            losses.append(body.loss)

    wanted = Desired(version=1)
    train(asked, emit, lambda: wanted)
    return rate(marks), {"first": losses[0], "last": losses[-1]}
