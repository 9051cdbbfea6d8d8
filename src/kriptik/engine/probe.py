"""The smoke test: `python -m kriptik.engine.probe job.json result.json`. Real steps on the very machine before the meter matters.

It times updates, an evaluation, a sample and a checkpoint, looks at the longest rows, tries other ways to do the same update
(`engine/cuts.py`), checks that the model learns at all, and writes `run.lock`. It runs in processes of its own, one per rank of the
run: its memory, threads and random numbers leave no trace in the training.
"""

import json
import math
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import torch

from kriptik.engine import lock, pieces, ranks, recompute
from kriptik.engine.checkpoint import Checkpoints
from kriptik.engine.cursor import rows_of
from kriptik.engine.cuts import Cut, Timed, compared
from kriptik.engine.interfaces import Session, UpdatePlan
from kriptik.engine.media import making
from kriptik.engine.peak import peak_gb
from kriptik.engine.rng import reseed
from kriptik.engine.rows import lengths_of
from kriptik.engine.schedule import learning_rate
from kriptik.engine.snapshot import Place, take
from kriptik.engine.stage import Run, load, open_stage, refuse_unfit
from kriptik.spec.errors import KriptikError
from kriptik.spec.job import ProbeResult, StageSettings, TrainJob

LEAST_S = 15.0
SHARE = 0.05
"""The whole test, from the start of its process, takes the larger of 15 s and 5 % of the estimated training, unless loading, two
updates on the longest rows, and a little of the rest take longer: without those it would not be a test."""
LEAVING_S = 1.0
"""Of that, for the end: what was written is removed, the result is told, Python ends."""
CUTS, UPDATES = 0.5, 0.75
"""Parts of what is left of that time once the model is loaded, in which other cuts, and further updates, must end. The rest is for
held-out rows, a prompt and a checkpoint."""
TYPICAL = 4
LEARN_STEPS = 4
EVAL_ROWS, EVAL_CHUNK = 16, 2
BRIEF, LONGER = 1 / 16, 1 / 4
"""Parts of a sample that are made first, to know how long the whole takes."""
MADE_PARTS = (1 / 4, 1 / 2)
"""Likewise of what an evaluation makes and measures: of a single frame of sound nothing can be measured."""
FOLDER = ".probe"
"""Beside the run's checkpoints, so that the very disk is measured; gone afterwards."""


def main(argv: list[str]) -> int:
    """Writes a `ProbeResult` to the second path; returns the exit code. What went wrong is the last line of standard error.

    A rank other than 0 writes there only what went wrong, as `worker/rank.py` does.
    """
    job_file, out = map(Path, argv)
    job = TrainJob.model_validate_json(job_file.read_bytes())
    try:
        result = probe(job, psutil.Process().create_time())
    except KriptikError as error:
        sys.stderr.write(f"{error.sentence} {error.next_step}\n")
        if ranks.rank() > 0:
            out.write_text(json.dumps({"code": error.code, "sentence": error.sentence, "nextStep": error.next_step}))
        return 1
    if ranks.rank() == 0:
        out.write_text(result.model_dump_json(by_alias=True))
    return 0


def probe(job: TrainJob, since: float | None = None) -> ProbeResult:
    """Measures the first stage of a job and fixes the run's settings in `run.lock`. Raises KriptikError. Called on every rank.

    `since`: when its time began to count (Unix seconds); now, if None.
    """
    began = time.perf_counter() - (0.0 if since is None else time.time() - since)
    ranks.join()
    threads = lock.settle(job, None)
    about = pieces.modality(job.modality)
    refuse_unfit(job, about)
    folder = Path(job.run_dir) / FOLDER
    if ranks.rank() == 0:
        shutil.rmtree(folder, ignore_errors=True)
    try:
        loading = time.perf_counter()
        run = load(job.model_copy(update={"run_dir": str(folder)}), about)
        session, place = open_stage(run, 0, None)
        result, cut = _Bench(run, session, place).measure(began, time.perf_counter() - loading)
        info = run.bundle.info
    finally:
        if ranks.rank() == 0:
            shutil.rmtree(folder, ignore_errors=True)
    chosen = {name: getattr(cut, name) for name in lock.CHOSEN}
    stages = [job.stages[0].model_copy(update={"settings": job.stages[0].settings.model_copy(update=chosen)}), *job.stages[1:]]
    if ranks.rank() == 0:
        lock.write(job.run_dir, lock.describe(job.model_copy(update={"stages": stages}), info, threads, result.total_steps))
    return result


class _Bench:
    """The measurements of one stage, in order. Several ranks do the same; what depends on the clock is rank 0's to say."""

    def __init__(self, run: Run, session: Session, place: Place) -> None:
        self.run, self.session, self.place = run, session, place
        self.plans = place.cursor.plan(0)
        self.lr = learning_rate(session.settings, min(session.total - 1, session.total // 4), session.total)
        self.steps = 0
        self.until = math.inf
        self.losses: list[float] = []
        """Of the updates on the longest rows, in order."""

    def measure(self, began: float, load_s: float) -> tuple[ProbeResult, Cut]:
        """Everything a `ProbeResult` holds, and how updates are best cut. `began`: when the test's time began to count."""
        loaded = time.perf_counter()
        longest = max(self.plans, key=self._tokens)
        mean_tokens = statistics.fmean(map(self._tokens, self.plans))

        def again(cut: Cut) -> Timed:
            done = self._update(longest, cut)
            self.losses.append(done.loss)
            return done

        def until(first: Timed, share: float) -> float:
            return loaded + share * max(0.0, began + self._allowed(first, mean_tokens) - loaded)

        tried = compared(Cut.of(self.session.settings), self.session, again, lambda first: until(first, CUTS))
        fastest = min(range(len(tried)), key=lambda at: list(tried.values())[at].seconds)
        cut, first = list(tried)[self.session.runtime.share(fastest)], next(iter(tried.values()))
        recompute.settle(self.session.bundle.trainee, self.session.adaptation, cut.recompute)
        self.until = until(first, UPDATES)
        timed = [self._update(plan, cut) for plan in self.plans[:TYPICAL] if self._time_for(tried[cut].seconds)] or [tried[cut]]
        while len(self.losses) < LEARN_STEPS and (self._time_for(tried[cut].seconds) or not self._learns()):
            again(cut)
        speed = sum(one.tokens for one in timed) / sum(one.seconds for one in timed)
        rates = [one.seconds / max(1, one.tokens) for one in timed]
        spread = 1.65 * statistics.stdev(rates) / statistics.fmean(rates) / math.sqrt(len(rates)) if len(rates) > 1 else 0.25
        checkpoint_s, checkpoint_bytes = self._checkpoint()
        self.until = until(first, 1.0)
        supervised, eos = self._supervised()
        eval_s, sample_s = self._evaluation(), self._samples()
        (peak,) = self.session.runtime.all_sum([peak_gb()])  # last: looking may hold more than learning
        result = ProbeResult(
            seconds_per_step=mean_tokens / speed,
            step_seconds_spread=spread,
            tokens_per_second=speed,
            peak_memory_gb=peak,
            load_s=load_s,
            eval_s=eval_s,
            sample_s=sample_s,
            checkpoint_s=checkpoint_s,
            checkpoint_bytes=checkpoint_bytes,
            total_steps=self.run.totals,
            loss_first=self.losses[0],
            loss_last=self.losses[-1],
            learns=self._learns(),
            supervised_fraction=supervised,
            eos_supervised=eos,
            tried=[{**one.document(), "secondsPerUpdate": timing.seconds} for one, timing in tried.items()],
            chosen={**cut.document(), "updatesTimed": len(timed), "steps": self.steps},
        )
        return result, cut

    def _allowed(self, first: Timed, mean_tokens: float) -> float:
        """Seconds that the whole test may take, by the first update's speed."""
        return max(LEAST_S, SHARE * first.seconds / max(1, first.tokens) * mean_tokens * sum(self.run.totals)) - LEAVING_S

    def _time_for(self, seconds: float) -> bool:
        """Whether what takes so long would end in time."""
        return bool(self.session.runtime.share(time.perf_counter() + seconds <= self.until))

    def _learns(self) -> bool:
        """Whether the loss of the longest rows fell, where an objective's loss is one that falls."""
        fell = math.isfinite(self.losses[-1]) and (self.losses[-1] < self.losses[0] or not self.session.objective.overfits)
        return bool(self.session.runtime.share(fell))

    def _update(self, plan: UpdatePlan, cut: Cut) -> Timed:
        """One whole update on rows of `plan`, cut into micro-batches as `cut` says."""
        session, place = self.session, self.place
        bins = [one for micro in plan for one in micro]
        micros = [bins[at : at + cut.micro_batch] for at in range(0, len(bins), cut.micro_batch)]
        micros = micros if session.modality.recuts else list(plan)
        reseed(session.job.seed, "probe", self.steps)
        _wait()
        began = time.perf_counter()
        with torch.no_grad():
            update = (place.queue or session.objective.refill(micros, session))[0]
            place.queue = []
            update = session.objective.prepare(update, session)
        (weight,) = session.runtime.all_sum([update.weight])
        stats = session.objective.run(update, session, max(weight, 1e-9))
        session.runtime.step(self.lr, session.settings.max_grad_norm)
        session.adaptation.after_step(self.steps, session.total, session)
        _wait()
        self.steps += 1
        return Timed(time.perf_counter() - began, stats.tokens, stats.loss)

    def _tokens(self, plan: UpdatePlan) -> int:
        return sum(self.session.rows.encoded[row].length for row in rows_of(plan))

    def _evaluation(self) -> float:
        """Seconds for all held-out rows, from some of them, and for what is made for the first of them."""
        rows = self.session.eval_rows
        if rows is None:
            return 0.0
        lengths = lengths_of(rows.encoded)
        seconds, seen, last = 0.0, 0, 0.0
        while seen < min(EVAL_ROWS, len(lengths)) and (seen == 0 or self._time_for(2 * last)):
            some = rows.encoded[seen : seen + EVAL_CHUNK]
            began = time.perf_counter()
            with self.session.quiet():
                self.session.objective.evaluate(some, self.session)
            last = time.perf_counter() - began
            seconds, seen = seconds + last, seen + len(some)
        return seconds * sum(lengths) / max(1, sum(lengths[:seen])) + self._making()

    def _making(self) -> float:
        """Seconds for what an evaluation makes and measures beside scoring rows, from the first file."""
        files = making.count(self.session)
        return self._whole(self._made, MADE_PARTS) * files if files else 0.0

    def _samples(self) -> float:
        """Seconds for all prompts, from the first."""
        prompts = self.session.job.samples
        return self._whole(self._sampled) * len(prompts) if prompts else 0.0

    def _whole(self, timed: Callable[[StageSettings], float], parts: tuple[float, float] = (BRIEF, LONGER)) -> float:
        """Seconds under the stage's settings: `timed` whole if there is time, else by a short and perhaps a longer part of it.

        The short part is made again where there is time: what is loaded at the first is there at the next.
        """
        settings = self.session.settings
        brief, longer = (self.session.modality.brief(settings, share) for share in parts)
        short = timed(brief)
        if self._time_for(short):
            short = min(short, timed(brief))
        if brief == settings:
            return short
        whole = short / parts[0]
        if self._time_for(whole):
            return timed(settings)
        if self._time_for(whole * parts[1]):
            return short + max(0.0, timed(longer) - short) / (parts[1] - parts[0]) * (1 - parts[0])
        return whole

    def _made(self, settings: StageSettings) -> float:
        """Seconds for one file that is made for the first held-out row, and measured."""
        began = time.perf_counter()
        with self.session.quiet():
            making.measured(self.session, settings, most=1)
        self.session.runtime.barrier()
        return time.perf_counter() - began

    def _sampled(self, settings: StageSettings) -> float:
        """Seconds for the first prompt under these settings."""
        began = time.perf_counter()
        with self.session.runtime.gather():
            if self.session.runtime.rank == 0:
                with self.session.quiet():
                    self.session.modality.sample(self.session.bundle, self.session.job.samples[0], settings)
        self.session.runtime.barrier()
        return time.perf_counter() - began

    def _checkpoint(self) -> tuple[float, int]:
        store, runtime = Checkpoints(self.run.job.run_dir), self.session.runtime
        began = time.perf_counter()
        name = str(runtime.share(store.name(0, self.steps, self.run.job.generation)))
        store.begin(name)
        store.write(name, runtime.rank, take(self.session, self.place, self.run.baseline))
        runtime.barrier()
        if runtime.rank > 0:
            return 0.0, 0
        done = store.commit(name, {"stage": 0, "step": self.steps, "world": runtime.world, "reason": "interval"})
        return time.perf_counter() - began, done.bytes

    def _supervised(self) -> tuple[float, bool]:
        """Share of tokens that are learnt, and whether the end of a turn is among them."""
        rows = self.session.rows.encoded
        end = getattr(self.session.bundle.tokenizer, "eos_token_id", None)
        every: list[dict[str, Any]] = [one for row in rows for one in row.fields.get("documents", [row.fields])]
        share = sum(sum(one.get("learnt", [])[1:]) for one in every) / max(1, sum(row.length for row in rows))
        marks = [zip(one["ids"], one["learnt"], strict=True) for one in every[:64] if "learnt" in one]
        learnt = any(token == end and on for one in marks for token, on in one)
        return share, learnt


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
