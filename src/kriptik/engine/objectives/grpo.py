"""GRPO: a group of sampled answers per prompt; each is pushed by how far its reward lies above the group's mean.

`loss` is "grpo" (Shao et al. 2024, "DeepSeekMath": mean over an answer's tokens, advantage divided by the group's deviation),
"dr_grpo" (Liu et al. 2025, "Understanding R1-Zero-Like Training": neither division; a constant length instead) or "dapo" (Yu et al.
2025, "DAPO": mean over all tokens). Other settings (`settings.objective`): `group_size` (8), `clip` (0.2), `clip_high` (as `clip`),
`beta` (weight of the KL to the model before; 0), `unbiased_kl` (false; the KL × the ratio, DeepSeek-V3.2), `iterations` over one
set of answers (1), `minibatches` it is cut into (1), `temperature` (1), `max_new_tokens` (64), `rollouts` ("transformers", or
"vllm", see `text/vllm.py`), `reward` and its options (see `text/rewards.py`), `doctor`, how many answers are sampled first
to see that there is something to learn (64; 0: none): it logs how many pass, and how many groups tell no answer from another.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from kriptik.engine.interfaces import Bundle, Encoded, Metrics, MicroBatch, Objective, RowScores, Session, Update, UpdatePlan
from kriptik.engine.rng import permutation, reseed
from kriptik.engine.text.rewards import Verified, answered, greedy_scores, rewards_of, rollouts_of
from kriptik.engine.text.rollouts import trust
from kriptik.spec.errors import WorkerError
from kriptik.spec.job import StageSettings

LOSSES = ("grpo", "dr_grpo", "dapo")
log = logging.getLogger(__name__)


class Grpo(Objective):
    """Rollouts and their rewards are fixed in `refill`; its updates wait in the queue and go into checkpoints."""

    needs: ClassVar[frozenset[str]] = frozenset({"tokens", "generation"})
    form: ClassVar[str] = "prompt"
    overfits: ClassVar[bool] = False

    def __init__(self, settings: StageSettings) -> None:
        super().__init__(settings)
        options: dict[str, Any] = dict(settings.objective)
        self.group = int(options.get("group_size", 8))
        self.kind = str(options.get("loss", "grpo"))
        self.clip = float(options.get("clip", 0.2))
        self.clip_high = float(options.get("clip_high", self.clip))
        self.beta = float(options.get("beta", 0.0))
        self.unbiased = bool(options.get("unbiased_kl", False))
        self.iterations, self.minibatches = int(options.get("iterations", 1)), int(options.get("minibatches", 1))
        self.temperature = float(options.get("temperature", 1.0))
        self.longest = int(options.get("max_new_tokens", 64))
        if self.kind not in LOSSES or self.group < 2 or self.temperature <= 0:
            raise WorkerError(
                "bad_grpo",
                f"GRPO cannot run with loss '{self.kind}' and groups of {self.group} at temperature {self.temperature:g}.",
                f"Losses: {', '.join(LOSSES)}; groups of 2 or more; a temperature above 0.",
            )
        self.doctor = int(options.get("doctor", 64))
        self.rewards, self.rollouts = rewards_of(options), rollouts_of(options)

    @property
    def updates_per_refill(self) -> int:
        """See Objective."""
        return self.iterations * self.minibatches

    @property
    def live_reference(self) -> bool:
        """See Objective."""
        return self.beta > 0 or self.rewards.live_reference

    def equip(self, bundle: Bundle) -> None:
        """See Objective."""
        self.rewards.equip(bundle)

    def leave(self) -> None:
        """See Objective."""
        self.rollouts.end()

    def start(self, session: Session) -> None:
        """See Objective. Raises WorkerError where the KL has nothing to be measured against."""
        if self.live_reference and not session.adaptation.has_reference(session.bundle):
            raise WorkerError(
                "no_reference",
                "With beta above 0 or as its own judge, GRPO needs the model as it was; this adaptation does not keep it.",
                "Set beta to 0, choose another judge, or choose LoRA.",
            )
        self._log_probs = session.modality.token_log_probs

    def begin(self, session: Session, obey: Callable[[], None]) -> None:
        """See Objective: answers some prompts, drawn by seed. Raises WorkerError where no reward differs inside any group.

        So it is where all pass, and where none does.
        """
        if session.step > 0 or self.doctor < 1 or not self.rewards.free:
            return
        order = permutation(len(session.rows), session.job.seed, "doctor", session.stage)
        reseed(session.job.seed, "doctor", session.stage)
        found: list[list[float]] = []
        for row in order[: max(1, self.doctor // self.group)]:
            obey()
            found.append([reward for _, reward, _ in self._answered([session.rows.encoded[row]], session)])
        rewards = [one for group in found for one in group]
        tied = sum(max(group) == min(group) for group in found)
        passed = f"{sum(one >= 1 for one in rewards) / len(rewards):.0%} pass, " if isinstance(self.rewards, Verified) else ""
        mean = sum(rewards) / len(rewards)
        told = f"{passed}mean reward {mean:.3g}; {tied} of {len(found)} groups tell no answer from another"
        if tied == len(found):
            raise WorkerError(
                "nothing_to_learn",
                f"All {len(rewards)} answers that were tried got rewards alike within their groups: {told}.",
                "Choose easier or harder prompts, another check, or a model that sometimes succeeds.",
            )
        log.info("Before training, of %d answers: %s.", len(rewards), told)

    def refill(self, plan: UpdatePlan, session: Session) -> list[Update]:
        """See Objective: answers, rewards, advantages, log-probabilities of the policy that answered (and of the reference)."""
        answers: list[tuple[Encoded, float, float]] = []
        for bins in session.mine(plan):
            prompts = [session.rows.encoded[row] for one in bins for row in one]
            answers += self._answered(prompts, session)
        parts: list[list[MicroBatch]] = []
        size = session.settings.micro_batch
        for number in range(self.minibatches):
            mine = [one for at, one in enumerate(answers) if at // self.group % self.minibatches == number]
            parts.append([self._micro(mine[start : start + size], session) for start in range(0, len(mine), size)])
        return [Update(list(micros), fresh=turn == 0) for turn in range(self.iterations) for micros in parts]

    def loss(self, output: Any, micro: MicroBatch) -> tuple[Tensor, Metrics]:
        """See Objective: the clipped surrogate of each token, minus beta × KL (Schulman's k3 estimate), summed as `loss` says."""
        now, mask = self._log_probs(output, micro)
        advantage = micro.extra["advantage"][:, None]
        ratio = (now - micro.extra.get("past", now.detach())).exp()
        clipped = ratio.clamp(1 - self.clip, 1 + self.clip_high)
        gain = torch.minimum(ratio * advantage, clipped * advantage) * micro.extra.get("trust", 1.0)
        metrics: Metrics = {"reward": micro.extra["reward"].mean() * micro.weight}
        if self.beta > 0:
            apart = micro.extra["reference"] - now
            kl = apart.exp() - apart - 1
            gain = gain - self.beta * (kl * ratio if self.unbiased else kl)
            metrics["kl"] = _mean(kl.detach(), mask) * micro.weight
        if "gap" in micro.extra:
            metrics["sampler_gap"] = _mean(micro.extra["gap"], mask) * micro.weight
        metrics["clipped"] = _mean((ratio * advantage > clipped * advantage).float(), mask) * micro.weight
        if self.kind == "grpo":
            return -((gain * mask).sum(1) / mask.sum(1).clamp_min(1)).sum(), metrics
        return -(gain * mask).sum() / (self.longest if self.kind == "dr_grpo" else 1), metrics

    def evaluate(self, encoded: Sequence[Encoded], session: Session) -> RowScores:
        """See Objective: one greedy answer per prompt; the 'loss' of a row is minus its reward."""
        return greedy_scores(self.rollouts, encoded, session, self.rewards, self.longest)

    def _answered(self, prompts: list[Encoded], session: Session) -> list[tuple[Encoded, float, float]]:
        """(answer, reward, advantage), the group of a prompt in a row."""
        made = answered(self.rollouts, prompts, session, count=self.group, longest=self.longest, temperature=self.temperature)
        worth = self.rewards.of(made, session)
        found: list[tuple[Encoded, float, float]] = []
        for start in range(0, len(made), self.group):
            group = made[start : start + self.group]
            rewards = torch.tensor(worth[start : start + self.group], dtype=torch.float64)
            above = rewards - rewards.mean()
            if self.kind != "dr_grpo":
                above = above / (rewards.std(correction=0) + 1e-4)
            found += list(zip(group, rewards.tolist(), above.tolist(), strict=True))
        return found

    def state(self) -> dict[str, Any]:
        """See Objective."""
        return {"rewards": self.rewards.state()}

    def load_state(self, state: dict[str, Any]) -> None:
        """See Objective."""
        self.rewards.load_state(state["rewards"])

    def _micro(self, answers: list[tuple[Encoded, float, float]], session: Session) -> MicroBatch:
        """One forward's worth of answers, with log-probabilities of the weights that gave them."""
        micro = session.modality.collate(session.bundle, [[one] for one, _, _ in answers], session.job.seed, session.epoch)
        micro.extra["temperature"] = self.temperature
        made = [one for one, _, _ in answers]
        elsewhere = any("log_probs" in one.fields for one in made)
        if self.updates_per_refill > 1 or self.beta > 0 or elsewhere:  # else these weights are those of the update, which has them
            self._as_sampled(micro, made, session)
        device = micro.extra["targets"].device
        micro.extra["advantage"] = torch.tensor([one for _, _, one in answers], device=device)
        micro.extra["reward"] = torch.tensor([one for _, one, _ in answers], device=device)
        if self.kind != "dapo":
            micro.weight = float(len(answers))
        return micro

    def _as_sampled(self, micro: MicroBatch, answers: list[Encoded], session: Session) -> None:
        """What policy and reference say of the answers, before the first update on them."""
        with session.quiet():
            past, _ = self._log_probs(session.runtime.forward(micro), micro)
            if self.updates_per_refill > 1:
                micro.extra["past"] = past
            if self.beta > 0:
                with session.adaptation.reference(session.bundle):
                    micro.extra["reference"] = self._log_probs(session.runtime.forward(micro), micro)[0]
        micro.extra |= trust(answers, past)


def _mean(values: Tensor, mask: Tensor) -> Tensor:
    return (values * mask).sum() / mask.sum().clamp_min(1)
