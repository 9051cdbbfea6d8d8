"""What an answer is worth, by name: a rule (`text/verifiers.py`), a reward model, or a judge (`text/judges.py`).

Settings (`settings.objective`): `reward`: "verifier", "reward_model" or "judge". A reward model is the folder of a sequence
classification model with one label (`reward_model`), which scores whole conversations as its own tokenizer and template write
them, of music one that a run of reward_model left; none is named where an earlier stage of the run has made it. A judge gives 1 to
10 by the principles of a constitution (`principles`, else the catalogue's; Lee et al. 2023, "RLAIF").
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from kriptik.catalogue.constitution import constitution
from kriptik.data.turns import spoken
from kriptik.engine.base import weights_sha256
from kriptik.engine.interfaces import Bundle, Encoded, RowScores, Session
from kriptik.engine.scorer import PART
from kriptik.engine.text.forms import asked_of
from kriptik.engine.text.judges import Judge
from kriptik.engine.text.rollouts import Rollouts
from kriptik.engine.text.verifiers import verifier
from kriptik.engine.text.vllm import Vllm
from kriptik.spec.errors import WorkerError

TOGETHER = 16
MARK = """Mark an answer by these questions:
{rules}

The conversation:
{asked}

The answer:
{said}

Reply with one whole number from 1 (very bad) to 10 (very good) and nothing else."""


class Rewards:
    """Scores answers, the higher the better."""

    free: ClassVar[bool] = True
    """Whether nobody outside is asked, so that answers may be scored only to look at them."""

    @property
    def live_reference(self) -> bool:
        """Whether the model before the stage is asked. See Objective.live_reference."""
        return False

    def equip(self, bundle: Bundle) -> None:
        """Load what is asked for scores. See Objective.equip."""

    def of(self, answers: Sequence[Encoded], session: Session) -> list[float]:
        """One number per answer (a row of `Modality.generate`)."""
        raise NotImplementedError

    def state(self) -> dict[str, Any]:
        """For checkpoints."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Inverse of `state`. Raises WorkerError where the answers would now be others."""


class Verified(Rewards):
    """By a rule, from the row's own expected answer."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.check = verifier(options)

    def of(self, answers: Sequence[Encoded], session: Session) -> list[float]:
        """See Rewards."""
        decode = session.modality.decode
        return [self.check(decode(session.bundle, one), one.fields.get("row") or {}) for one in answers]


class Scored(Rewards):
    """By a reward model."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.folder = Path(str(options["reward_model"])) if options.get("reward_model") else None
        self.sha256 = ""

    def equip(self, bundle: Bundle) -> None:
        """See Rewards. Raises WorkerError where there is no reward model, or none that can be loaded."""
        if bundle.scorer is None:
            what = "Nothing scores what this kind of model makes."
            raise WorkerError("no_reward_model", what, "Choose another method.")
        if self.folder is not None:
            if not self.folder.is_dir():
                what = f"There is no folder {self.folder} with a reward model."
                raise WorkerError("no_reward_model", what, "Train one, and name its folder.")
            bundle.parts[PART] = bundle.scorer.load(self.folder, next(bundle.trainee.parameters()).device)
            self.sha256 = weights_sha256(self.folder)
        elif PART not in bundle.parts:
            raise WorkerError(
                "no_reward_model",
                "There is no reward model to score answers.",
                "Train one first (method reward_model), and name its folder.",
            )

    def of(self, answers: Sequence[Encoded], session: Session) -> list[float]:
        """See Rewards."""
        return session.bundle.scorer.of(answers, session)

    def state(self) -> dict[str, Any]:
        """See Rewards."""
        return {"sha256": self.sha256}

    def load_state(self, state: dict[str, Any]) -> None:
        """See Rewards."""
        if state["sha256"] != self.sha256:
            what = "The reward model is not the one this run began with."
            raise WorkerError("other_reward_model", what, "Put it back, then resume.")


class Judged(Rewards):
    """By a judge: 0 to 1."""

    free: ClassVar[bool] = False

    def __init__(self, options: dict[str, Any]) -> None:
        self.judge = Judge(options.get("judge"))
        self.rules = [one.comparison for one in constitution(options.get("principles"))]

    @property
    def live_reference(self) -> bool:
        """See Rewards."""
        return self.judge.endpoint is None

    def of(self, answers: Sequence[Encoded], session: Session) -> list[float]:
        """See Rewards. Raises WorkerError where the judge mostly gives no number."""
        marks = [self._mark(one, session) for one in answers]
        given = [one for one in marks if one is not None]
        if 2 * len(given) < len(marks):
            raise WorkerError(
                "judge_too_weak",
                f"The judge gave a number for {len(given)} of {len(marks)} answers.",
                "Choose a stronger model as the judge.",
            )
        return [0.0 if one is None else one for one in marks]

    def _mark(self, answer: Encoded, session: Session) -> float | None:
        asked = "\n".join(f"{turn['role']}: {spoken(turn)}" for turn in asked_of(answer.fields.get("row") or {}))
        said = session.modality.decode(session.bundle, answer)
        text = MARK.format(rules="\n".join(f"- {rule}" for rule in self.rules), asked=asked, said=said)
        found = re.search(r"\d+", self.judge.ask([{"role": "user", "content": text}], session))
        return None if found is None else (min(10, max(1, int(found.group()))) - 1) / 9


def answered(
    rollouts: Rollouts, prompts: Sequence[Encoded], session: Session, *, count: int, longest: int, temperature: float
) -> list[Encoded]:
    """`count` answers per prompt by the model as it is. See `Rollouts.of`."""
    if not prompts:
        return []
    with session.runtime.generation(), session.quiet():
        return rollouts.of(prompts, session, count=count, longest=longest, temperature=temperature)


def greedy_scores(rollouts: Rollouts, encoded: Sequence[Encoded], session: Session, rewards: Rewards, longest: int) -> RowScores:
    """Held-out prompts answered greedily; the 'loss' of a row is minus its reward."""
    worth: list[float] = []
    for start in range(0, len(encoded), TOGETHER):
        made = answered(rollouts, encoded[start : start + TOGETHER], session, count=1, longest=longest, temperature=0.0)
        worth += rewards.of(made, session)
    return RowScores([-one for one in worth], [1.0] * len(worth), {"reward": sum(worth) / max(1, len(worth))})


def rollouts_of(options: dict[str, Any]) -> Rollouts:
    """What the settings ask for. Raises WorkerError for something unknown."""
    name = str(options.get("rollouts", "transformers"))
    if name == "vllm":
        return Vllm(options)
    if name != "transformers":
        raise WorkerError("unknown_rollouts", f"Nothing called '{name}' samples answers.", "Known: transformers, vllm.")
    return Rollouts()


def rewards_of(options: dict[str, Any]) -> Rewards:
    """What the settings ask for. Raises WorkerError for an unknown reward."""
    name = str(options.get("reward", "verifier"))
    if name not in REWARDS:
        raise WorkerError("unknown_reward", f"There is no reward called '{name}'.", f"Known: {', '.join(sorted(REWARDS))}.")
    return REWARDS[name](options)


REWARDS: dict[str, Callable[[dict[str, Any]], Rewards]] = {"verifier": Verified, "reward_model": Scored, "judge": Judged}
