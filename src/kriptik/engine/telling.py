"""What the loop says while it works: metrics, current sample, held-out losses, answers to prompts. Rank 0 alone is heard."""

import time
from collections.abc import Callable
from pathlib import Path

from kriptik.data.turns import spoken
from kriptik.engine.interfaces import Bins, Session, StepStats
from kriptik.engine.media import making
from kriptik.engine.rng import reseed
from kriptik.engine.snapshot import Place
from kriptik.spec.errors import WorkerError
from kriptik.spec.events import CurrentSample, EvalResult, Metrics, QualitySample, WorkerBody
from kriptik.spec.job import SamplePrompt

EVAL_CHUNK = 64
"""Held-out rows scored between two looks at what is wanted."""
SAMPLE_EVERY_S = 1.0
SAMPLES = "samples"
"""The folder of the run in which samples that are files lie."""


class Teller:
    """Events of one stage. `obey` is called between chunks of long work and may raise to end it."""

    def __init__(self, session: Session, place: Place, emit: Callable[[WorkerBody], None], obey: Callable[[], None]) -> None:
        self.session, self.place, self.emit, self.obey = session, place, emit, obey
        self.epochs = session.settings.epochs
        self.began = time.monotonic()
        self._sample_at = 0.0
        self._trained_s = 0.0

    def metrics(self, stats: StepStats, lr: float, norm: float, seconds: float) -> None:
        """One update's numbers; the session's step already counts it."""
        session, metrics = self.session, {**stats.metrics, **self.session.adaptation.measured()}
        self._trained_s += seconds
        self.emit(
            Metrics(
                stage=session.stage,
                step=session.step,
                total_steps=session.total,
                epoch=self.place.cursor.progress(),
                total_epochs=self.epochs,
                loss=stats.loss,
                learning_rate=lr,
                gradient_norm=norm,
                tokens=stats.tokens,
                tokens_per_second=stats.tokens / seconds if seconds > 0 else 0.0,
                samples_processed=self.place.counters.samples,
                total_samples=max(1, round(len(session.rows) * self.epochs)),
                elapsed_s=self._trained_s,
                reward_score=metrics.pop("reward", None),
                preference_accuracy=metrics.pop("preference_accuracy", None),
                kl_divergence=metrics.pop("kl", None),
                custom=metrics,
            )
        )

    def current(self, bins: Bins) -> None:
        """The first row of the group now in use, about once a second."""
        now = time.monotonic()
        if now - self._sample_at >= SAMPLE_EVERY_S and bins:
            self._sample_at, row = now, bins[0][0]
            data = self.session.job.data
            modality, raw = self.session.modality, self.session.rows.raw[row]
            small = modality.thumbnail(raw)
            file = self._put(small, f"row-{row}{modality.sample_suffix}") if small else None
            content = modality.preview(raw)
            self.emit(CurrentSample(index=row, content=content, source=data.source if data else "", file=file))

    def evaluate(self, *, rows_too: bool) -> EvalResult | None:
        """Scores all held-out rows on every rank, measures what is made for some, and says the result; None without such rows."""
        session, rows = self.session, self.session.eval_rows
        if rows is None:
            return None
        sums: list[float] = []
        weights: list[float] = []
        custom: dict[str, float] = {}
        size = len(rows) if session.objective.whole_evaluation else EVAL_CHUNK
        for start in range(0, len(rows), size):
            self.obey()
            reseed(session.job.seed, "eval", session.stage, start)
            chunk = rows.encoded[start : start + size]
            with session.shown(), session.quiet():
                scores = session.objective.evaluate(chunk, session)
            sums += scores.sums
            weights += scores.weights
            for name, value in scores.custom.items():
                custom[name] = custom.get(name, 0.0) + value * len(chunk) / len(rows)
        if making.count(session):
            self.obey()
            reseed(session.job.seed, "eval", session.stage, "made")
            with session.shown(), session.quiet():
                custom |= making.measured(session)
        result = EvalResult(
            stage=session.stage,
            step=session.step,
            loss=sum(sums) / (sum(weights) or 1.0),
            rows=len(rows),
            tokens=round(sum(weights)),
            row_losses=[one / (weight or 1.0) for one, weight in zip(sums, weights, strict=True)] if rows_too else None,
            row_tokens=[round(weight) for weight in weights] if rows_too else None,
            custom=custom,
        )
        self.emit(result)
        return result

    def samples(self, *, base: bool) -> None:
        """Answers the job's prompts with the model as it is."""
        session = self.session
        for number, prompt in enumerate(session.job.samples):
            self.obey()
            reseed(session.job.seed, "sample")
            output: str | bytes = ""
            with session.runtime.gather():
                if session.runtime.rank == 0:
                    with session.shown(), session.quiet():
                        output = session.modality.sample(session.bundle, prompt, session.settings)
            file = self._kept(output, number) if isinstance(output, bytes) else self._about(prompt, number)
            self.emit(
                QualitySample(
                    stage=session.stage,
                    step=session.step,
                    input="\n".join(spoken(turn) for turn in prompt.messages),
                    output="" if isinstance(output, bytes) else output,
                    expected=prompt.expected,
                    base=base,
                    file=file,
                )
            )

    def _kept(self, content: bytes, number: int) -> str:
        """A sample's file; samples of all steps stay."""
        session = self.session
        return self._put(content, f"s{session.stage}-{session.step:06d}-{number}{session.modality.sample_suffix}")

    def _about(self, prompt: SamplePrompt, number: int) -> str | None:
        """What a prompt asks about, where that is more than words: the same file at every step."""
        modality = self.session.modality
        content = modality.thumbnail({"images": prompt.images}) if prompt.images else None
        return self._put(content, f"asked-{number}{modality.sample_suffix}") if content else None

    def _put(self, content: bytes, name: str) -> str:
        """Puts bytes into the run's folder of samples; returns the path relative to the run's."""
        name = f"{SAMPLES}/{name}"
        path = Path(self.session.job.run_dir) / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(".part")
            part.write_bytes(content)
            part.replace(path)
        except OSError as error:
            what = f"A sample could not be kept: {error.strerror}."
            raise WorkerError("disk_full", what, "Free disk space, then resume from the last checkpoint.") from error
        return name
