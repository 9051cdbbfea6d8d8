"""Rows that a model and a judge make out of prompts by written principles: revised answers, and preferences between answers.

Source: Bai et al. 2022, "Constitutional AI: Harmlessness from AI Feedback". Settings (`settings.objective`): `rows`, "revisions"
(answer → critique → revision, `rounds` times by a drawn principle; 1) or "judged_pairs" (two sampled answers, the judge says which
is better, asked in both orders; where it does not stand by its choice the row holds one answer twice and teaches nothing); `judge`
(`text/judges.py`), `principles`, `temperature` (1), `max_new_tokens` (256). What is drawn for a row follows from seed, stage, row.
"""

import random
import re
from collections.abc import Callable, Sequence
from typing import Any

from kriptik.catalogue.constitution import Principle, constitution
from kriptik.engine.interfaces import Session
from kriptik.engine.rng import derive, reseed
from kriptik.engine.text.forms import asked_of, encode_form
from kriptik.engine.text.judges import Judge
from kriptik.spec.errors import WorkerError

Row = dict[str, Any]
LOOK_AT = 16
"""From so many rows on, a judge that is too weak is refused."""
WEAK = 0.5
"""The largest share of rows that the judge may leave as they were, or be undecided on."""
CHOICE = """{rule}

The conversation:
{asked}

Answer A:
{one}

Answer B:
{other}

Reply with the letter A or B and nothing else."""


class Maker:
    """Makes rows one after another and watches the judge."""

    def __init__(self, session: Session) -> None:
        options: dict[str, Any] = dict(session.settings.objective)
        name = str(options.get("rows"))
        if name not in RECIPES:
            raise WorkerError("unknown_rows", f"Rows cannot be made as '{name}'.", f"Known: {', '.join(sorted(RECIPES))}.")
        self.session, self.make = session, RECIPES[name]
        self.judge, self.principles = Judge(options.get("judge")), constitution(options.get("principles"))
        self.rounds = int(options.get("rounds", 1))
        self.temperature = float(options.get("temperature", 1.0))
        self.longest = int(options.get("max_new_tokens", 256))
        self.made = self.weak = 0

    def row(self, raw: Row, index: int) -> Row:
        """The row made out of the prompt of `raw`. Raises WorkerError where the judge turns out too weak."""
        made, weak = self.make(self, raw, index)
        self.made += 1
        self.weak += weak
        if self.made >= LOOK_AT and self.weak > WEAK * self.made:
            raise WorkerError(
                "judge_too_weak",
                f"The judge changed nothing, or could not decide, in {self.weak} of {self.made} rows.",
                "Choose a stronger model as the judge.",
            )
        return made

    def draw(self, index: int) -> random.Random:
        """Random numbers of a row's own."""
        return random.Random(derive(self.session.job.seed, "constitution", self.session.stage, index))

    def answers(self, raw: Row, index: int, count: int) -> list[str]:
        """Answers of the model at the start of this stage."""
        session = self.session
        prompt = encode_form(session.bundle.tokenizer, raw, index, "prompt", session.settings.max_seq_len)
        settings = {"count": count, "max_new_tokens": self.longest, "temperature": self.temperature}
        reseed(session.job.seed, "constitution", session.stage, index)
        with session.runtime.generation(), session.quiet():
            made = session.modality.generate(session.bundle, [prompt], settings)
        return [session.modality.decode(session.bundle, one) for one in made]

    def ask(self, messages: Sequence[Row]) -> str:
        """The judge's answer."""
        return self.judge.ask(messages, self.session)


def revisions(maker: Maker, raw: Row, index: int) -> tuple[Row, bool]:
    """Supervised rows: the prompt with the last revision. Weak: the revision is what was there before, or empty."""
    prompt, draw = asked_of(raw), maker.draw(index)
    (answer,) = maker.answers(raw, index, 1)
    first = answer
    for rule in _drawn(draw, maker.principles, maker.rounds):
        said = [*prompt, {"role": "assistant", "content": answer}, {"role": "user", "content": rule.critique}]
        critique = maker.ask(said)
        asked = [*said, {"role": "assistant", "content": critique}, {"role": "user", "content": rule.revision}]
        answer = maker.ask(asked).strip() or answer
    weak = " ".join(answer.split()) == " ".join(first.split())
    return {"messages": [*prompt, {"role": "assistant", "content": answer or " "}]}, weak


def judged_pairs(maker: Maker, raw: Row, index: int) -> tuple[Row, bool]:
    """Preference rows. Weak: the judge chose by the order in which it saw the answers, or not at all."""
    prompt, draw = asked_of(raw), maker.draw(index)
    one, other = (answer or " " for answer in maker.answers(raw, index, 2))
    (rule,) = _drawn(draw, maker.principles, 1)
    asked = "\n".join(f"{turn['role']}: {turn.get('content') or ''}" for turn in prompt)
    first = _choice(maker, CHOICE.format(rule=rule.comparison, asked=asked, one=one, other=other))
    second = _choice(maker, CHOICE.format(rule=rule.comparison, asked=asked, one=other, other=one))
    decided = first + second in ("AB", "BA")
    better, worse = (one, other) if first == "A" else (other, one)
    said = (better, worse) if decided else (one, one)
    chosen, rejected = ([{"role": "assistant", "content": text}] for text in said)
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}, not decided and one != other


def _choice(maker: Maker, text: str) -> str:
    found = re.search(r"\b([AB])\b", maker.ask([{"role": "user", "content": text}]))
    return found.group(1) if found else "-"


def _drawn(draw: random.Random, principles: list[Principle], count: int) -> list[Principle]:
    return [draw.choice(principles) for _ in range(count)]


RECIPES: dict[str, Callable[[Maker, Row, int], tuple[Row, bool]]] = {"revisions": revisions, "judged_pairs": judged_pairs}
