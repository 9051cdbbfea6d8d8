"""The smoke test: `python -m kriptik.engine.probe job.json result.json`. Real steps on the very machine before the meter matters.

It times updates, an evaluation, a sample and a checkpoint, looks at the longest rows, tries ways to cut an update into
micro-batches, checks that the model learns at all, and writes `run.lock`. It runs in a process of its own: its memory, threads and
random numbers leave no trace in the training.
"""

import math
import resource
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from kriptik.engine import lock, pieces
from kriptik.engine.checkpoint import Checkpoints
from kriptik.engine.cursor import rows_of
from kriptik.engine.interfaces import Session, UpdatePlan
from kriptik.engine.rng import reseed
from kriptik.engine.schedule import learning_rate
from kriptik.engine.snapshot import Place, take
from kriptik.engine.stage import Run, load, open_stage, refuse_unfit
from kriptik.spec.errors import KriptikError
from kriptik.spec.job import ProbeResult, TrainJob

LEAST_S = 15.0
SHARE = 0.05
"""The timed part takes at most the larger of 15 s and 5 % of the estimated training."""
TYPICAL = 4
LEARN_STEPS = 4
EVAL_ROWS = 16
WORTH = 0.97
"""Another cut of the update is taken where it needs at most this share of the time."""


@dataclass
class Timed:
    """One update on the clock."""

    seconds: float
    tokens: int
    loss: float


def main(argv: list[str]) -> int:
    """Writes a `ProbeResult` to the second path; returns the exit code. What went wrong is the last line of standard error."""
    job_file, out = map(Path, argv)
    job = TrainJob.model_validate_json(job_file.read_bytes())
    try:
        result = probe(job)
    except KriptikError as error:
        sys.stderr.write(f"{error.sentence} {error.next_step}\n")
        return 1
    out.write_text(result.model_dump_json(by_alias=True))
    return 0


def probe(job: TrainJob) -> ProbeResult:
    """Measures the first stage of a job and fixes the run's settings in `run.lock`. Raises KriptikError."""
    threads = lock.settle(job, None)
    about = pieces.modality(job.modality)
    refuse_unfit(job, about)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="probe-") as folder:
        run = load(job.model_copy(update={"run_dir": folder}), about)
        session, place = open_stage(run, 0, None)
        loaded = time.perf_counter() - began
        bench = _Bench(run, session, place)
        result = bench.measure(loaded)
        info = run.bundle.info
    chosen = {"micro_batch": result.chosen["microBatch"], "accumulation": result.chosen["accumulation"]}
    stages = [job.stages[0].model_copy(update={"settings": job.stages[0].settings.model_copy(update=chosen)}), *job.stages[1:]]
    lock.write(job.run_dir, lock.describe(job.model_copy(update={"stages": stages}), info, threads, result.total_steps))
    return result


class _Bench:
    """The measurements of one stage, in order."""

    def __init__(self, run: Run, session: Session, place: Place) -> None:
        self.run, self.session, self.place = run, session, place
        self.plans = place.cursor.plan(0)
        self.lr = learning_rate(session.settings, min(session.total - 1, session.total // 4), session.total)
        self.steps = 0

    def measure(self, load_s: float) -> ProbeResult:
        """Everything a `ProbeResult` holds."""
        began = time.perf_counter()
        longest = max(self.plans, key=self._tokens)
        first = self._update(longest)
        per_token = first.seconds / max(1, first.tokens)
        mean_tokens = statistics.fmean(map(self._tokens, self.plans))
        limit = max(LEAST_S, SHARE * per_token * mean_tokens * sum(self.run.totals))
        tried = self._try_cuts(longest, began + limit / 2)
        micro, accumulation = min(tried, key=lambda cut: tried[cut])
        timed = [self._update(plan, micro) for plan in self.plans[:TYPICAL] if time.perf_counter() - began < limit]
        timed = timed or [first]
        losses = [self._update(longest, micro).loss]
        while len(losses) < LEARN_STEPS and time.perf_counter() - began < limit:
            losses.append(self._update(longest, micro).loss)
        speed = sum(one.tokens for one in timed) / sum(one.seconds for one in timed)
        rates = [one.seconds / max(1, one.tokens) for one in timed]
        spread = 1.65 * statistics.stdev(rates) / statistics.fmean(rates) / math.sqrt(len(rates)) if len(rates) > 1 else 0.25
        checkpoint_s, checkpoint_bytes = self._checkpoint()
        supervised, eos = self._supervised()
        return ProbeResult(
            seconds_per_step=mean_tokens / speed,
            step_seconds_spread=spread,
            tokens_per_second=speed,
            peak_memory_gb=_peak_gb(),
            load_s=load_s,
            eval_s=self._evaluation(),
            sample_s=self._samples(),
            checkpoint_s=checkpoint_s,
            checkpoint_bytes=checkpoint_bytes,
            total_steps=self.run.totals,
            loss_first=first.loss,
            loss_last=losses[-1],
            learns=math.isfinite(losses[-1]) and (losses[-1] < first.loss or not self.session.objective.overfits),
            supervised_fraction=supervised,
            eos_supervised=eos,
            tried=[{"microBatch": m, "accumulation": a, "secondsPerUpdate": s} for (m, a), s in tried.items()],
            chosen={"microBatch": micro, "accumulation": accumulation, "updatesTimed": len(timed), "steps": self.steps},
        )

    def _try_cuts(self, plan: UpdatePlan, until: float) -> dict[tuple[int, int], float]:
        """(micro-batch, accumulation) → seconds for the same update, the asked one first; others only where clearly faster."""
        settings = self.session.settings
        asked = (settings.micro_batch, settings.accumulation)
        found = {asked: self._update(plan, asked[0]).seconds}
        if not self.session.modality.recuts:
            return found
        half = (asked[0] // 2, asked[1] * 2)
        double = (asked[0] * 2, asked[1] // 2)
        for cut in (half, double):
            if min(cut) < 1 or cut[0] * cut[1] != asked[0] * asked[1] or time.perf_counter() > until:
                continue
            try:
                seconds = min(self._update(plan, cut[0]).seconds, self._update(plan, cut[0]).seconds)
            except torch.OutOfMemoryError:  # what does not fit is no candidate
                torch.cuda.empty_cache()
                continue
            if seconds < WORTH * found[asked]:
                found[cut] = seconds
        return found

    def _update(self, plan: UpdatePlan, micro_batch: int | None = None) -> Timed:
        """One whole update on rows of `plan`, cut into micro-batches of `micro_batch` sequences."""
        session, place = self.session, self.place
        bins = [one for micro in plan for one in micro]
        size = micro_batch or session.settings.micro_batch
        cut = [bins[at : at + size] for at in range(0, len(bins), size)] if session.modality.recuts else plan
        reseed(session.job.seed, "probe", self.steps)
        _wait()
        began = time.perf_counter()
        update = (place.queue or session.objective.refill(cut, session))[0]
        place.queue = []
        update = session.objective.prepare(update, session)
        stats = session.objective.run(update, session, max(update.weight, 1e-9))
        session.runtime.step(self.lr, session.settings.max_grad_norm)
        session.adaptation.after_step(self.steps, session.total, session)
        _wait()
        self.steps += 1
        return Timed(time.perf_counter() - began, stats.tokens, stats.loss)

    def _tokens(self, plan: UpdatePlan) -> int:
        return sum(self.session.rows.encoded[row].length for row in rows_of(plan))

    def _evaluation(self) -> float:
        """Seconds for all held-out rows, from some of them."""
        rows = self.session.eval_rows
        if rows is None:
            return 0.0
        some = rows.encoded[:EVAL_ROWS]
        began = time.perf_counter()
        with self.session.quiet():
            self.session.objective.evaluate(some, self.session)
        share = sum(row.length for row in some) / max(1, sum(row.length for row in rows.encoded))
        return (time.perf_counter() - began) / share

    def _samples(self) -> float:
        """Seconds for all prompts, from the first."""
        prompts = self.session.job.samples
        if not prompts:
            return 0.0
        began = time.perf_counter()
        with self.session.quiet():
            self.session.modality.sample(self.session.bundle, prompts[0], self.session.settings)
        return (time.perf_counter() - began) * len(prompts)

    def _checkpoint(self) -> tuple[float, int]:
        store = Checkpoints(self.run.job.run_dir)
        began = time.perf_counter()
        name = store.name(0, self.steps, self.run.job.generation)
        store.begin(name)
        store.write(name, 0, take(self.session, self.place, self.run.baseline))
        done = store.commit(name, {"stage": 0, "step": self.steps, "reason": "interval"})
        return time.perf_counter() - began, done.bytes

    def _supervised(self) -> tuple[float, bool]:
        """Share of tokens that are learnt, and whether the end of a turn is among them."""
        rows = self.session.rows.encoded
        end = getattr(self.session.bundle.tokenizer, "eos_token_id", None)
        every: list[dict[str, Any]] = [one for row in rows for one in row.fields.get("documents", [row.fields])]
        share = sum(sum(one.get("learnt", [])[1:]) for one in every) / max(1, sum(row.length for row in rows))
        marks = every[:64]
        learnt = any(
            token == end and on for one in marks for token, on in zip(one.get("ids", []), one.get("learnt", []), strict=True)
        )
        return share, learnt


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _peak_gb() -> float:
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
