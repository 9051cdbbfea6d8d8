"""The smoke test: `python -m kriptik.engine.probe job.json result.json`. Real steps on the very machine before the meter matters.

It times updates, an evaluation, a sample and a checkpoint, looks at the longest rows, tries other ways to do the same update
(`engine/cuts.py`), checks that the model learns at all (`engine/liveness.py`), and writes `run.lock`. It runs in processes of its
own, one per rank of the run: its memory, threads and random numbers leave no trace in the training.
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
from torch import Tensor

from kriptik.engine import lock, pieces, ranks, recompute
from kriptik.engine.checkpoint import Checkpoints
from kriptik.engine.cursor import rows_of
from kriptik.engine.cuts import Cut, Timed, compared
from kriptik.engine.interfaces import Metrics, MicroBatch, Session, UpdatePlan
from kriptik.engine.liveness import FEW, LOST, MOST, Fit, Seen, Taught, Weights, finite, first_rows, roughness, taught
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
CUTS, UPDATES, ROWS = 0.5, 0.7, 0.8
"""Parts of what is left of that time once the model is loaded, in which other cuts, further updates and further held-out rows must
end. The rest is for a prompt; a checkpoint comes before."""
TYPICAL = 4
LEARN_STEPS = 4
"""So many updates on the same rows a model is given to learn, whatever the time."""
EVAL_ROWS, EVAL_CHUNK = 16, 2
"""Held-out rows at most, and in the first chunk: it warms up, and each further one is twice as large."""
SAMPLE_PARTS = (1 / 64, 1 / 16, 1 / 4)
"""Parts of a sample that are made to know how long the whole takes: reading a long prompt is there in the shortest."""
MADE_PARTS = (1 / 4, 1 / 2)
"""Likewise of what an evaluation makes and measures: of a single frame of sound nothing can be measured."""
FOLDER = ".probe"
"""Beside the run's checkpoints, so that the very disk is measured; gone afterwards."""


def main(argv: list[str]) -> int:
    """Writes a `ProbeResult` to the second path; returns the exit code.

    What went wrong is written there instead, as `worker/rank.py` does, and is the last line of standard error.
    """
    job_file, out = map(Path, argv)
    job = TrainJob.model_validate_json(job_file.read_bytes())
    try:
        result = probe(job, psutil.Process().create_time())
    except KriptikError as error:
        sys.stderr.write(f"{error.sentence} {error.next_step}\n")
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
        load_s = time.perf_counter() - loading
        result, cut = _Bench(run, session, place, taught(session)).measure(began, load_s)
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

    def __init__(self, run: Run, session: Session, place: Place, told: Taught) -> None:
        self.run, self.session, self.place, self.taught = run, session, place, told
        self.plans = place.cursor.plan(0)
        self.lr = learning_rate(session.settings, min(session.total - 1, session.total // 4), session.total)
        self.steps = self.dropped = 0
        self.first: Timed | None = None
        self.until = math.inf
        self.weights = Weights(session)
        self.seen: dict[Cut, list[Seen]] = {}
        """Losses on the longest rows, by cut: each draws its own dropout."""
        self.few: dict[Cut, list[Seen]] = {}
        """Of fewer rows the first loss, of the model as it came, and how they were cut."""
        self.answers: list[MicroBatch] = []
        """Some that the model as it came gave, where it learns from its own."""
        self.untouched = math.inf
        """Their loss per token then."""

    def measure(self, began: float, load_s: float) -> tuple[ProbeResult, Cut]:
        """Everything a `ProbeResult` holds, and how updates are best cut. `began`: when the test's time began to count."""
        loaded = time.perf_counter()
        longest = max(self.plans, key=self._tokens)
        mean_tokens = statistics.fmean(map(self._tokens, self.plans))

        def again(cut: Cut) -> Timed:
            few = first_rows(longest)
            if few is not longest and not self.few and self.session.objective.overfits:
                self.few[cut] = [(self.steps, self._update(few, cut).loss)]
            before, done = self.steps, self._update(longest, cut)
            self.seen.setdefault(cut, []).append((before, done.loss))
            return done

        def until(first: Timed, share: float) -> float:
            return loaded + share * max(0.0, began + self._allowed(first, mean_tokens) - loaded)

        tried = compared(Cut.of(self.session.settings), self.session, again, lambda first: until(first, CUTS))
        fastest = min(range(len(tried)), key=lambda at: list(tried.values())[at].seconds)
        cut, first = list(tried)[self.session.runtime.share(fastest)], next(iter(tried.values()))
        recompute.settle(self.session.bundle.trainee, self.session.adaptation, cut.recompute)
        self.until = until(first, UPDATES)
        timed = [self._update(plan, cut) for plan in self.plans[:TYPICAL] if self._time_for(tried[cut].seconds)] or [tried[cut]]
        fit, moved = self._fit(longest, next(iter(tried)), first.seconds), self.weights.moved()
        speed = sum(one.tokens for one in timed) / sum(one.seconds for one in timed)
        rates = [one.seconds / max(1, one.tokens) for one in timed]
        spread = 1.65 * statistics.stdev(rates) / statistics.fmean(rates) / math.sqrt(len(rates)) if len(rates) > 1 else 0.25
        checkpoint_s, checkpoint_bytes = self._checkpoint()
        self.until = until(first, ROWS if self.session.job.samples else 1.0)
        eval_s = self._evaluation()
        self.until = until(first, 1.0)
        sample_s = self._samples()
        (peak,) = self.session.runtime.all_sum([peak_gb()])  # last: looking may hold more than learning
        result = ProbeResult(
            seconds_per_step=mean_tokens / speed,
            step_seconds_spread=spread,
            tokens_per_second=speed,
            peak_memory_gb=peak,
            copy_gb=self._copy_gb(),
            load_s=load_s + max(0.0, self.first.seconds - self.first.tokens / speed if self.first else 0.0),
            eval_s=eval_s,
            sample_s=sample_s,
            checkpoint_s=checkpoint_s,
            checkpoint_bytes=checkpoint_bytes,
            total_steps=self.run.totals,
            loss_first=finite(fit.seen[0][1]),
            loss_last=finite(fit.seen[-1][1]),
            learns=fit.learns and moved > 0,
            fitted="rows" if self.session.objective.overfits else "answers",
            fitted_rows=fit.rows,
            fitted_updates=fit.updates,
            moved_fraction=moved,
            supervised_fraction=self.taught.tokens,
            supervised_rows=self.taught.rows,
            eos_supervised=self.taught.ends,
            tried=[{**one.document(), "secondsPerUpdate": timing.seconds} for one, timing in tried.items()],
            chosen={**cut.document(), "updatesTimed": len(timed), "steps": self.steps},
        )
        return result, cut

    def _copy_gb(self) -> float:
        """What the whole model takes again where a result is written from a copy (`engine/copies.py`)."""
        made = self.session.adaptation.adapter and self.session.adaptation.merges
        weights = self.session.bundle.trainee.parameters() if made else ()
        return sum(one.numel() * one.element_size() for one in weights) / 1e9

    def _allowed(self, first: Timed, mean_tokens: float) -> float:
        """Seconds that the whole test may take, by the first update's speed."""
        return max(LEAST_S, SHARE * first.seconds / max(1, first.tokens) * mean_tokens * sum(self.run.totals)) - LEAVING_S

    def _time_for(self, seconds: float) -> bool:
        """Whether what takes so long would end in time."""
        return bool(self.session.runtime.share(time.perf_counter() + seconds <= self.until))

    def _fit(self, longest: UpdatePlan, asked: Cut, seconds: float) -> Fit:
        """Trains on the same few rows until their loss is clearly lower or time is up. `seconds`: what an update takes at most.

        Without time for fewer rows, those of the whole update are looked at. Where a model learns from its own answers, the loss is
        that of making them likelier: what their rewards ask for may be nothing today.
        """
        runtime, share = self.session.runtime, self.session.runtime.share
        rough = roughness(self.session.bundle.trainee)
        if self.session.objective.overfits:
            plan, cut, seen = longest, asked, self.seen[asked]
            if self.few and self._time_for(seconds):
                plan, (cut, seen) = first_rows(longest), next(iter(self.few.items()))
            fit = Fit(len(rows_of(plan)), seen, rough=rough)
            once: Callable[[], float] = lambda: self._update(plan, cut).loss  # noqa: E731
        else:
            (rows,) = runtime.all_sum([float(sum(len(one.rows) for one in self.answers))])
            fit = Fit(round(rows), [], self.untouched + LOST, rough)
            once = lambda: self._likelier(rows)  # noqa: E731
        while len(fit.seen) < MOST and not share(fit.clear):
            early = len(fit.seen) - self.dropped < LEARN_STEPS and not share(fit.learns)
            if not self._time_for(seconds) and not early:
                break
            fit.seen.append((self.steps, once()))
        return fit

    def _update(self, plan: UpdatePlan, cut: Cut) -> Timed:
        """One whole update on rows of `plan`, cut into micro-batches as `cut` says. Chance is the same each time."""
        session, place = self.session, self.place
        bins = [one for micro in plan for one in micro]
        micros = [bins[at : at + cut.micro_batch] for at in range(0, len(bins), cut.micro_batch)]
        micros = micros if session.modality.recuts else list(plan)
        reseed(session.job.seed, "probe")
        _wait()
        began = time.perf_counter()
        with torch.no_grad():
            update = (place.queue or session.objective.refill(micros, session))[0]
            place.queue = []
            update = session.objective.prepare(update, session)
        if not session.objective.overfits and self.steps == 0:
            self._keep(update.micros)
        (weight,) = session.runtime.all_sum([update.weight])
        stats = session.objective.run(update, session, max(weight, 1e-9))
        self._step()
        done = Timed(time.perf_counter() - began, stats.tokens, stats.loss)
        self.first = self.first or done
        return done

    def _keep(self, micros: list[MicroBatch]) -> None:
        """Some answers of the model as it came, and how likely it holds them."""
        self.answers = micros[: max(1, FEW // self.session.settings.micro_batch)]
        found = self.session.runtime.score(self.answers, self._unlikely)
        losses, tokens = sum(loss for loss, _, _ in found), sum(told["tokens"] for _, told, _ in found)
        losses, tokens = self.session.runtime.all_sum([losses, tokens])
        self.untouched = losses / max(1.0, tokens)

    def _likelier(self, answers: float) -> float:
        """One update by which the kept answers (so many on all ranks) become likelier; their loss per token before it."""
        session = self.session
        reseed(session.job.seed, "probe")
        penalty = lambda: session.adaptation.penalty(session.bundle)  # noqa: E731
        stats = session.runtime.forward_backward(self.answers, self._unlikely, answers, penalty)
        self._step()
        return stats.loss / stats.metrics["tokens"]

    def _unlikely(self, output: Any, micro: MicroBatch) -> tuple[Tensor, Metrics]:
        values, mask = self.session.modality.token_log_probs(output, micro)
        return -(values * mask).sum(), {"tokens": mask.sum()}

    def _step(self) -> None:
        """What ends an update. One whose gradients were too large for fp16 is dropped, and is nobody's fault."""
        session = self.session
        session.runtime.step(self.lr, session.settings.max_grad_norm)
        self.dropped += session.runtime.rescaled
        session.adaptation.after_step(self.steps, session.total, session)
        _wait()
        self.steps += 1

    def _tokens(self, plan: UpdatePlan) -> int:
        return sum(self.session.rows.encoded[row].length for row in rows_of(plan))

    def _evaluation(self) -> float:
        """Seconds for all held-out rows, from some of them, and for what is made for the first of them."""
        rows = self.session.eval_rows
        if rows is None:
            return 0.0
        lengths = lengths_of(rows.encoded)
        seen, rates = 0, list[tuple[float, int]]()
        while seen < min(EVAL_ROWS, len(lengths)):
            some = slice(seen, seen + EVAL_CHUNK * 2 ** len(rates))
            length = max(1, sum(lengths[some]))
            if rates and not self._time_for(rates[-1][0] / rates[-1][1] * length):
                break
            began = time.perf_counter()
            with self.session.quiet():
                self.session.objective.evaluate(rows.encoded[some], self.session)
            rates.append((time.perf_counter() - began, length))
            seen = some.stop
        warm = rates[1:] or rates
        seconds = sum(lengths) * sum(one for one, _ in warm) / max(1, sum(length for _, length in warm))
        return seconds + self._making()

    def _making(self) -> float:
        """Seconds for what an evaluation makes and measures beside scoring rows, from the first file."""
        files = making.count(self.session)
        return self._whole(self._made, MADE_PARTS) * files if files else 0.0

    def _samples(self) -> float:
        """Seconds for all prompts, from the first."""
        prompts = self.session.job.samples
        return self._whole(self._sampled) * len(prompts) if prompts else 0.0

    def _whole(self, timed: Callable[[StageSettings], float], parts: tuple[float, ...] = SAMPLE_PARTS) -> float:
        """Seconds under the stage's settings: `timed` whole if there is time, else by parts of it: what is there before anything is
        made (the least, if any), the usual one, and a longer one where there is time.

        The usual part is made again where there is time: what is loaded at the first is there at the next.
        """
        settings = self.session.settings
        *least, usual, longer = ((share, self.session.modality.brief(settings, share)) for share in parts)
        short = timed(usual[1])
        if usual[1] == settings:
            return min(short, timed(settings)) if self._time_for(short) else short
        known = [(share, timed(brief)) for share, brief in least if brief != usual[1]]
        if self._time_for(short):
            short = min(short, timed(usual[1]))
        known.append((usual[0], short))
        if self._time_for(_grown(known, 1.0)):
            return timed(settings)
        if self._time_for(_grown(known, longer[0])):
            known.append((longer[0], timed(longer[1])))
        return _grown(known, 1.0)

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


def _grown(known: list[tuple[float, float]], share: float) -> float:
    """Seconds of such a share of the whole, by the shortest and the longest share that were timed, or in proportion to the one."""
    (least, short), (most, long) = known[0], known[-1]
    steady = long / most * share
    return min(steady, long + max(0.0, long - short) / (most - least) * (share - most)) if most > least else steady


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
