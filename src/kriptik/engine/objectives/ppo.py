"""PPO: answers are sampled, scored, and made likelier where they did better than a value head had foreseen, held to a reference.

Every token's reward is −KL coefficient × (log p of the policy that answered − log p of the reference); the last one's also has the
answer's score. Advantages by generalised advantage estimation, clipped ratios, clipped values. Sources: Schulman et al. 2017,
"Proximal Policy Optimization Algorithms"; Schulman et al. 2016 (GAE); Ziegler et al. 2019, "Fine-Tuning Language Models from Human
Preferences" (KL reward, its controller); Ouyang et al. 2022, "InstructGPT".

Settings (`settings.objective`): `reward` and its options (`text/rewards.py`; "reward_model"), `kl_coef` (0.05), `kl_target` (none:
the coefficient stays; else it follows the KL per answer), `kl_horizon` (10000 answers), `ppo_epochs` over one set of answers (4),
`minibatches` it is cut into (1), `clip` (0.2), `value_clip` (0.2), `value_coef` (0.1), `gamma` (1), `gae_lambda` (0.95), `whiten`
advantages (true), `normalise` scores by mean and deviation of all so far (true), `temperature` (1), `max_new_tokens` (64; of
music 400, 8 seconds).
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from kriptik.engine.interfaces import Bundle, Encoded, Metrics, MicroBatch, Objective, RowScores, Session, Update, UpdatePlan
from kriptik.engine.scorer import PART
from kriptik.engine.text.heads import VALUE, TextOutput, add_value_head, take_value_head
from kriptik.engine.text.preference import number
from kriptik.engine.text.rewards import answered, greedy_scores, rewards_of, rollouts_of
from kriptik.engine.text.rollouts import trust
from kriptik.spec.errors import WorkerError
from kriptik.spec.job import StageSettings


class Ppo(Objective):
    """One answer per prompt; a set of answers gives `ppo_epochs` × `minibatches` updates, which wait in the queue."""

    needs: ClassVar[frozenset[str]] = frozenset({"tokens", "generation"})
    form: ClassVar[str] = "prompt"
    overfits: ClassVar[bool] = False

    def __init__(self, settings: StageSettings) -> None:
        super().__init__(settings)
        self.turns, self.minibatches = int(number(settings, "ppo_epochs", 4)), int(number(settings, "minibatches", 1))
        self.clip, self.value_clip = number(settings, "clip", 0.2), number(settings, "value_clip", 0.2)
        self.value_coef = number(settings, "value_coef", 0.1)
        self.gamma, self.decay = number(settings, "gamma", 1.0), number(settings, "gae_lambda", 0.95)
        self.kl_coef = number(settings, "kl_coef", 0.05)
        target = settings.objective.get("kl_target")
        self.target = None if target is None else number(settings, "kl_target", 0.0)
        self.horizon = number(settings, "kl_horizon", 10_000)
        self.whiten = bool(settings.objective.get("whiten", True))
        self.normalise = bool(settings.objective.get("normalise", True))
        self.seen = [0.0, 0.0, 0.0]
        """Scores so far: how many, their sum, the sum of their squares."""
        self.temperature = number(settings, "temperature", 1.0)
        self.longest = int(number(settings, "max_new_tokens", 0))
        if min(self.turns, self.minibatches) < 1 or self.longest < 0 or self.temperature <= 0 or self.target == 0:
            raise WorkerError("bad_ppo", "PPO's counts, temperature and KL target must be above 0.", "Change its settings.")
        options = {"reward": "reward_model", **settings.objective}
        self.rewards, self.rollouts = rewards_of(options), rollouts_of(options)

    @property
    def updates_per_refill(self) -> int:
        """See Objective."""
        return self.turns * self.minibatches

    @property
    def live_reference(self) -> bool:
        """See Objective."""
        return True

    def equip(self, bundle: Bundle) -> None:
        """See Objective: a value head that foresees nothing yet."""
        self.rewards.equip(bundle)
        add_value_head(bundle, VALUE, 0.0)

    def retire(self, bundle: Bundle) -> None:
        """See Objective."""
        take_value_head(bundle, VALUE)
        bundle.parts.pop(PART, None)

    def leave(self) -> None:
        """See Objective."""
        self.rollouts.end()

    def start(self, session: Session) -> None:
        """See Objective. Raises WorkerError where the KL has nothing to be measured against."""
        if not session.adaptation.has_reference(session.bundle):
            raise WorkerError(
                "no_reference",
                "PPO needs the model as it was; this adaptation does not keep it.",
                "Choose LoRA or full fine-tuning.",
            )
        self._log_probs = session.modality.token_log_probs
        self.longest = self.longest or session.modality.answer_tokens

    def refill(self, plan: UpdatePlan, session: Session) -> list[Update]:
        """See Objective: answers, scores, what policy, reference and value head say of every token, advantages, returns."""
        prompts = [session.rows.encoded[row] for bins in session.mine(plan) for one in bins for row in one]
        made = answered(self.rollouts, prompts, session, count=1, longest=self.longest, temperature=self.temperature)
        worth, size = self.rewards.of(made, session), session.settings.micro_batch
        told = self._normalised(worth, session)
        parts: list[list[MicroBatch]] = []
        for part in range(self.minibatches):
            mine = list(zip(made, worth, told, strict=True))[part :: self.minibatches]
            parts.append([self._micro(mine[start : start + size], session) for start in range(0, len(mine), size)])
        micros = [micro for part in parts for micro in part]
        if self.whiten:
            self._whiten(micros, session)
        self._control(micros, session)
        return [Update(list(part), fresh=turn == 0) for turn in range(self.turns) for part in parts]

    def loss(self, output: TextOutput, micro: MicroBatch) -> tuple[Tensor, Metrics]:
        """See Objective: −clipped surrogate + value coefficient × clipped squared error ÷ 2, summed over tokens."""
        now, mask = self._log_probs(output, micro)
        extra, values = micro.extra, _by_row(output.values, micro)
        ratio = (now - extra["past"]).exp()
        gain, held = ratio * extra["advantage"], ratio.clamp(1 - self.clip, 1 + self.clip) * extra["advantage"]
        near = extra["value"] + (values - extra["value"]).clamp(-self.value_clip, self.value_clip)
        errors = torch.maximum((values - extra["return"]).square(), (near - extra["return"]).square()) / 2
        surrogate, value = -(torch.minimum(gain, held) * extra.get("trust", 1.0) * mask).sum(), (errors * mask).sum()
        metrics: Metrics = {
            "reward": extra["score"].mean() * micro.weight,
            "kl": ((extra["past"] - extra["reference"]) * mask).sum() / len(mask) * micro.weight,
            "value_loss": value.detach(),
            "clipped": ((held < gain) * mask).sum(),
        }
        if "gap" in extra:
            metrics["sampler_gap"] = (extra["gap"] * mask).sum()
        return surrogate + self.value_coef * value, metrics

    def evaluate(self, encoded: Sequence[Encoded], session: Session) -> RowScores:
        """See Objective: one greedy answer per prompt; the 'loss' of a row is minus its score."""
        return greedy_scores(self.rollouts, encoded, session, self.rewards, self.longest)

    def state(self) -> dict[str, Any]:
        """See Objective."""
        return {"kl_coef": self.kl_coef, "seen": self.seen, "rewards": self.rewards.state()}

    def load_state(self, state: dict[str, Any]) -> None:
        """See Objective."""
        self.kl_coef, self.seen = state["kl_coef"], state["seen"]
        self.rewards.load_state(state["rewards"])

    def _normalised(self, worth: list[float], session: Session) -> list[float]:
        """Scores as the policy is told them."""
        if not self.normalise:
            return worth
        new = session.runtime.all_sum([float(len(worth)), sum(worth), sum(one * one for one in worth)])
        count, total, squares = self.seen = [old + one for old, one in zip(self.seen, new, strict=True)]
        mean = total / max(1.0, count)
        deviation = max(0.0, squares / max(1.0, count) - mean * mean) ** 0.5
        return [(one - mean) / (deviation + 1e-8) for one in worth]

    def _micro(self, answers: list[tuple[Encoded, float, float]], session: Session) -> MicroBatch:
        """One forward's worth of answers, with all that the weights which gave them say of their tokens."""
        micro = session.modality.collate(session.bundle, [[one] for one, _, _ in answers], session.job.seed, session.epoch)
        micro.extra["temperature"] = self.temperature
        with session.quiet():
            output = session.runtime.forward(micro)
            past, mask = self._log_probs(output, micro)
            values = _by_row(output.values, micro)
            with session.adaptation.reference(session.bundle):
                reference = self._log_probs(session.runtime.forward(micro), micro)[0]
        score, told_score = (torch.tensor(one, device=past.device) for one in list(zip(*answers, strict=True))[1:])
        rewards = token_rewards(past, reference, mask, told_score, self.kl_coef)
        advantage, returns = advantages(rewards, values, mask, self.gamma, self.decay)
        told = {"past": past, "reference": reference, "value": values, "score": score, "advantage": advantage, "return": returns}
        micro.extra |= told | trust([one for one, _, _ in answers], past)
        micro.weight = float(mask.sum())
        return micro

    def _whiten(self, micros: list[MicroBatch], session: Session) -> None:
        """Advantages to mean 0 and deviation 1 over the tokens of all data ranks."""
        pairs = [(micro.extra["advantage"].double(), _mask(micro)) for micro in micros]
        sums = [(float((one * mask).sum()), float((one.square() * mask).sum()), float(mask.sum())) for one, mask in pairs]
        total, squares, count = session.runtime.all_sum([sum(column) for column in zip(*sums, strict=True)] or [0.0] * 3)
        mean = total / max(1.0, count)
        deviation = max(0.0, squares / max(1.0, count) - mean * mean) ** 0.5
        for micro, (one, mask) in zip(micros, pairs, strict=True):
            micro.extra["advantage"] = ((one - mean) / (deviation + 1e-8) * mask).float()

    def _control(self, micros: list[MicroBatch], session: Session) -> None:
        """The coefficient of the next answers, from the KL per answer of these (Ziegler et al. 2019, section 2.2)."""
        if self.target is None:
            return
        sums = [float(((micro.extra["past"] - micro.extra["reference"]) * _mask(micro)).sum()) for micro in micros]
        total, count = session.runtime.all_sum([sum(sums), float(sum(len(micro.rows) for micro in micros))])
        off = min(0.2, max(-0.2, total / max(1.0, count) / self.target - 1))
        self.kl_coef *= 1 + off * count / self.horizon


def token_rewards(past: Tensor, reference: Tensor, mask: Tensor, score: Tensor, kl_coef: float) -> Tensor:
    """[answers, tokens]: −KL coefficient × log-ratio everywhere, plus the answer's score at its last token."""
    rewards = -kl_coef * (past - reference) * mask
    last = mask.sum(1, keepdim=True).long() - 1
    return rewards.scatter_add(1, last.clamp(min=0), score[:, None].to(rewards))


def advantages(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, decay: float) -> tuple[Tensor, Tensor]:
    """(advantages, returns), both [answers, tokens]; an answer ends with its last token, behind which nothing is to be had."""
    values, found = values * mask, torch.zeros_like(values)
    later = following = torch.zeros_like(values[:, 0])
    for at in reversed(range(values.shape[1])):
        surprise = rewards[:, at] + gamma * following - values[:, at]
        later = (surprise + gamma * decay * later) * mask[:, at]
        found[:, at], following = later, values[:, at]
    return found, (found + values) * mask


def _by_row(flat: Tensor, micro: MicroBatch) -> Tensor:
    """Values by token → [answers, tokens], filled up with zeros."""
    return nn.utils.rnn.pad_sequence(list(flat.split(micro.extra["counts"])), batch_first=True)


def _mask(micro: MicroBatch) -> Tensor:
    lengths = torch.tensor(micro.extra["counts"], device=micro.extra["past"].device)
    return torch.arange(micro.extra["past"].shape[1], device=lengths.device)[None] < lengths[:, None]
