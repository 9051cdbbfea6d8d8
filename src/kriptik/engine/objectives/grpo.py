"""GRPO: a group of sampled answers per prompt; each is pushed by how far its reward lies above the group's mean.

`loss` is "grpo" (Shao et al. 2024, "DeepSeekMath": mean over an answer's tokens, advantage divided by the group's deviation),
"dr_grpo" (Liu et al. 2025, "Understanding R1-Zero-Like Training": neither division; a constant length instead) or "dapo" (Yu et al.
2025, "DAPO": mean over all tokens). Other settings (`settings.objective`): `group_size` (8), `clip` (0.2), `clip_high` (as `clip`),
`beta` (weight of the KL to the model before; 0), `iterations` over one set of answers (1), `minibatches` it is cut into (1),
`temperature` (1), `max_new_tokens` (64), `verifier` and its options (see `text/verifiers.py`).
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from kriptik.engine.interfaces import Encoded, Metrics, MicroBatch, Objective, RowScores, Session, Update, UpdatePlan
from kriptik.engine.text.verifiers import verifier
from kriptik.spec.errors import WorkerError
from kriptik.spec.job import StageSettings

LOSSES = ("grpo", "dr_grpo", "dapo")
TOGETHER = 16
"""Held-out prompts answered at once."""


class Grpo(Objective):
    """Rollouts and their rewards are fixed in `refill`; its updates wait in the queue and go into checkpoints."""

    needs: ClassVar[frozenset[str]] = frozenset({"tokens", "generation"})
    form: ClassVar[str] = "prompt"

    def __init__(self, settings: StageSettings) -> None:
        super().__init__(settings)
        options: dict[str, Any] = dict(settings.objective)
        self.group = int(options.get("group_size", 8))
        self.kind = str(options.get("loss", "grpo"))
        self.clip = float(options.get("clip", 0.2))
        self.clip_high = float(options.get("clip_high", self.clip))
        self.beta = float(options.get("beta", 0.0))
        self.iterations, self.minibatches = int(options.get("iterations", 1)), int(options.get("minibatches", 1))
        self.temperature = float(options.get("temperature", 1.0))
        self.longest = int(options.get("max_new_tokens", 64))
        if self.kind not in LOSSES or options.get("reward", "verifier") != "verifier" or self.group < 2 or self.temperature <= 0:
            raise WorkerError(
                "bad_grpo",
                f"GRPO cannot run with loss '{self.kind}', reward '{options.get('reward', 'verifier')}', groups of {self.group} "
                f"at temperature {self.temperature:g}.",
                f"Losses: {', '.join(LOSSES)}; reward: verifier; groups of 2 or more; a temperature above 0.",
            )
        self.check = verifier(options)

    @property
    def updates_per_refill(self) -> int:
        """See Objective."""
        return self.iterations * self.minibatches

    def start(self, session: Session) -> None:
        """See Objective. Raises WorkerError where the KL has nothing to be measured against."""
        if self.beta > 0 and "reference" not in session.adaptation.provides:
            raise WorkerError(
                "no_reference", "With beta above 0, GRPO needs the model as it was; this adaptation does not keep it.",
                "Set beta to 0, or choose LoRA.",
            )
        self._log_probs = session.modality.token_log_probs

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
        gain = torch.minimum(ratio * advantage, clipped * advantage)
        metrics: Metrics = {"reward": micro.extra["reward"].mean() * micro.weight}
        if self.beta > 0:
            apart = micro.extra["reference"] - now
            kl = apart.exp() - apart - 1
            gain = gain - self.beta * kl
            metrics["kl"] = _mean(kl.detach(), mask) * micro.weight
        metrics["clipped"] = _mean((ratio * advantage > clipped * advantage).float(), mask) * micro.weight
        if self.kind == "grpo":
            return -((gain * mask).sum(1) / mask.sum(1).clamp_min(1)).sum(), metrics
        return -(gain * mask).sum() / (self.longest if self.kind == "dr_grpo" else 1), metrics

    def evaluate(self, encoded: Sequence[Encoded], session: Session) -> RowScores:
        """See Objective: one greedy answer per prompt; the 'loss' of a row is minus its reward."""
        rewards: list[float] = []
        settings = {"count": 1, "max_new_tokens": self.longest, "temperature": 0.0}
        for start in range(0, len(encoded), TOGETHER):
            with session.runtime.generation():
                made = session.modality.generate(session.bundle, encoded[start : start + TOGETHER], settings)
            rewards += [self._reward(one, session) for one in made]
        return RowScores([-one for one in rewards], [1.0] * len(rewards), {"reward": sum(rewards) / max(1, len(rewards))})

    def _answered(self, prompts: list[Encoded], session: Session) -> list[tuple[Encoded, float, float]]:
        """(answer, reward, advantage), the group of a prompt in a row."""
        settings = {"count": self.group, "max_new_tokens": self.longest, "temperature": self.temperature}
        with session.runtime.generation(), session.quiet():
            made = session.modality.generate(session.bundle, prompts, settings)
        found: list[tuple[Encoded, float, float]] = []
        for start in range(0, len(made), self.group):
            group = made[start : start + self.group]
            rewards = torch.tensor([self._reward(one, session) for one in group], dtype=torch.float64)
            above = rewards - rewards.mean()
            if self.kind != "dr_grpo":
                above = above / (rewards.std(correction=0) + 1e-4)
            found += list(zip(group, rewards.tolist(), above.tolist(), strict=True))
        return found

    def _reward(self, made: Encoded, session: Session) -> float:
        return self.check(session.modality.decode(session.bundle, made), made.fields.get("row") or {})

    def _micro(self, answers: list[tuple[Encoded, float, float]], session: Session) -> MicroBatch:
        """One forward's worth of answers, with log-probabilities of the weights that gave them."""
        micro = session.modality.collate(session.bundle, [[one] for one, _, _ in answers], session.job.seed, session.epoch)
        micro.extra["temperature"] = self.temperature
        with session.quiet():
            past, mask = self._log_probs(session.runtime.forward(micro), micro)
            if self.updates_per_refill > 1:
                micro.extra["past"] = past
            if self.beta > 0:
                with session.adaptation.reference(session.bundle):
                    micro.extra["reference"] = self._log_probs(session.runtime.forward(micro), micro)[0]
        micro.extra["advantage"] = torch.tensor([one for _, _, one in answers], device=past.device)
        micro.extra["reward"] = torch.tensor([one for _, one, _ in answers], device=past.device)
        micro.weight = float(mask.sum()) if self.kind == "dapo" else float(len(answers))
        return micro


def _mean(values: Tensor, mask: Tensor) -> Tensor:
    return (values * mask).sum() / mask.sum().clamp_min(1)
