"""Denoising: noise is added to a clean sample at a drawn time, and the model predicts what its kind of diffusion asks for.

The modality says how noise is added and what is predicted (`Modality.add_noise`). A row's time and noise follow from (seed, epoch,
row) alone, however rows are spread. Settings (`settings.objective`): `times`, "uniform" (as in Ho et al. 2020) or "logit_normal"
(the model's own); `min_snr`, the γ above which little noised steps weigh no more (5; 0: all alike; only where `add_noise` tells
`snr`; Hang et al. 2023, "Efficient Diffusion Training via Min-SNR Weighting Strategy").

Prior preservation (Ruiz et al. 2022, "DreamBooth"), where `prior_preservation` is true: `prior_images` (200) pictures of
`class_prompt` are made by the model as it is before it learns, and one of them is trained on beside each row, with the weight
`prior_weight` (1). They lie in the run's folder; those that are there already are used.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from kriptik.engine import noise
from kriptik.engine.interfaces import Encoded, Metrics, MicroBatch, Objective, RowScores, Session, Update, UpdatePlan
from kriptik.engine.rng import derive, row_generator
from kriptik.spec.errors import WorkerError
from kriptik.spec.job import StageSettings

HELD_OUT_DRAWS = 4
"""Times and noises per held-out row, the same at every evaluation."""
PRIOR = "prior"
PRIOR_ROW = 1 << 30
"""Row numbers of prior pictures begin here."""
PRIOR_HELD = 8
"""Prior pictures on which it is measured what is forgotten."""
TIMES = ("uniform", "logit_normal")


class Denoise(Objective):
    """Mean squared error per row against `extra['target']`, summed over rows."""

    needs: ClassVar[frozenset[str]] = frozenset({"noise"})
    form: ClassVar[str] = "image"
    makes: ClassVar[bool] = True

    def __init__(self, settings: StageSettings) -> None:
        super().__init__(settings)
        options: dict[str, Any] = dict(settings.objective)
        self.times = options.get("times")
        self.min_snr = float(options.get("min_snr", 5.0))
        self.prior_weight = float(options.get("prior_weight", 1.0)) if options.get("prior_preservation") else 0.0
        self.prior_images = int(options.get("prior_images", 200))
        self.class_prompt = str(options.get("class_prompt") or "").strip()
        self.prior: list[Encoded] = []
        if self.times not in (None, *TIMES):
            raise WorkerError("bad_times", f"Times cannot be drawn as '{self.times}'.", f"Choose {' or '.join(TIMES)}.")
        if self.prior_weight and not self.class_prompt:
            what = "Prior preservation needs to know what kind of thing the subject is."
            raise WorkerError("no_class_prompt", what, "Set class_prompt, such as 'a photo of a dog'.")

    def begin(self, session: Session, obey: Callable[[], None]) -> None:
        """See Objective: the prior's pictures are made, where they are missing, and encoded."""
        if not self.prior_weight:
            return
        root = Path(session.job.run_dir).resolve() / PRIOR
        paths = [root / f"{number:04d}{session.modality.sample_suffix}" for number in range(self.prior_images)]
        for number, path in enumerate(paths):
            obey()
            if session.runtime.rank == 0 and not path.is_file():
                self._make(path, number, session)
            session.runtime.barrier()
        for number, path in enumerate(paths):
            row = {"image": str(path), "caption": self.class_prompt}
            encoded = session.modality.encode(session.bundle, row, PRIOR_ROW + number, self.form, session.settings)
            self.prior.append(encoded)

    def refill(self, plan: UpdatePlan, session: Session) -> list[Update]:
        """See Objective: beside each micro-batch one of the prior's, which counts nothing in the total weight."""
        micros = []
        for bins in session.mine(plan):
            micros.append(session.collate(bins))
            if self.prior:
                rows = [row for one in bins for row in one]
                places = [derive(session.job.seed, PRIOR, session.epoch, row) % len(self.prior) for row in rows]
                micros += self._priors(sorted(places), session)
        return [Update(micros)]

    def prepare(self, update: Update, session: Session) -> Update:
        """See Objective."""
        micros = [self._noised(micro, session, session.epoch, "noise") for micro in update.micros]
        return Update(micros, update.state, update.fresh)

    def loss(self, output: Any, micro: MicroBatch) -> tuple[Tensor, Metrics]:
        """See Objective."""
        losses = (output.float() - micro.extra["target"].float()).square().flatten(1).mean(1)
        if "snr" in micro.extra and self.min_snr:
            losses = losses * noise.min_snr(micro.extra["snr"].float(), self.min_snr, micro.extra["predicts"])
        if "share" in micro.extra:
            return losses.sum() * micro.extra["share"], {"prior_loss": losses.sum().detach()}
        return losses.sum(), {}

    def evaluate(self, encoded: list[Encoded], session: Session) -> RowScores:  # type: ignore[override]
        """See Objective: the mean over a few draws per row that never change."""
        scores = RowScores([], [])
        for row in encoded:
            scores.sums.append(self._held_out(row, session))
            scores.weights.append(row.weight)
        if self.prior:
            held = self.prior[:PRIOR_HELD]
            scores.custom["prior_loss"] = sum(self._held_out(row, session) for row in held) / len(held)
        return scores

    def _held_out(self, row: Encoded, session: Session) -> float:
        clean = session.modality.collate(session.bundle, [[row]], session.job.seed, 0)
        micros = [self._noised(clean, session, draw, "held out") for draw in range(HELD_OUT_DRAWS)]
        return sum(loss for loss, _, _ in session.runtime.score(micros, self.loss)) / HELD_OUT_DRAWS

    def _priors(self, places: list[int], session: Session) -> list[MicroBatch]:
        """Micro-batches of the prior's pictures, one per size that they have."""
        found = []
        sizes = sorted({tuple(self.prior[place].fields.get("bucket", ())) for place in places})
        for size in sizes:
            rows = [self.prior[place] for place in places if tuple(self.prior[place].fields.get("bucket", ())) == size]
            micro = session.modality.collate(session.bundle, [[row] for row in rows], session.job.seed, session.epoch)
            micro.extra["share"], micro.weight = self.prior_weight, 0.0
            found.append(micro)
        return found

    def _make(self, path: Path, number: int, session: Session) -> None:
        """One picture of the class, by the model as it was before this stage."""
        path.parent.mkdir(parents=True, exist_ok=True)
        seed = derive(session.job.seed, PRIOR, number)

        def made() -> bytes:
            with session.quiet():
                return session.modality.imagine(session.bundle, self.class_prompt, seed, session.settings)

        if session.step == 0:
            content = made()
        elif session.adaptation.has_reference(session.bundle):
            with session.adaptation.reference(session.bundle):
                content = made()
        else:
            what = "Pictures of the class are missing, and the model as it was is gone."
            raise WorkerError("prior_missing", what, f"Put them back into the run's folder {PRIOR}, or start a new run.")
        part = path.with_suffix(".part")
        part.write_bytes(content)
        part.replace(path)

    def _noised(self, micro: MicroBatch, session: Session, epoch: int, purpose: str) -> MicroBatch:
        clean = micro.extra["clean"]
        how = self.times or session.modality.noise_times(session.bundle)
        generators = [row_generator(session.job.seed, epoch, row, purpose) for row in micro.rows]
        mixed, times = noise.drawn(clean.shape, generators, how)
        with torch.no_grad():
            noised = session.modality.add_noise(session.bundle, micro, mixed.to(clean), times.to(clean.device))
        if "share" in micro.extra:
            noised.extra["share"] = micro.extra["share"]
        return noised
