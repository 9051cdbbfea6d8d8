"""Texts that are plainly no request to train, whatever else they sound like: errands to be done now, courses for people, hosting.

The learned decision weighs words; these are settled by what kind of sentence it is. "Draw a fox in a raincoat" asks for one
picture, "a model that draws foxes" for a model; so nothing here speaks where a model, training or data to learn from is.
"""

import re
from functools import cache

from kriptik.pipeline.intent.names import Named
from kriptik.pipeline.intent.text import Reading
from kriptik.pipeline.intent.vocabulary import phrases, plain, tables
from kriptik.spec.intent import TrainingIntent

SAID = 1.5
"""Evidence of cue words for something a model can do; a course for people has less."""
FEW = 20.0
"""An amount of data that is no more than what is handed over with an errand."""


def is_errand(reading: Reading, named: Named, intent: TrainingIntent, known: float) -> bool:
    """Whether the text as a whole asks for something else than a model. `known`: evidence of cue words for a capability."""
    if named.base or named.benchmark or intent.methods or intent.hardware:
        return False
    text = reading.text
    if _finished(text):
        return True
    if _list("other_sense").search(text) and known < SAID and text.rstrip().endswith(("?", "？", "!")):
        return True
    if _list("model").search(text):
        return False
    if _list("taught").search(text) and known < SAID:
        return True
    learns = intent.data is not None and (intent.data.amount or 0.0) > FEW
    return not learns and _asked_at_once(reading, intent)


BOUGHT = ("professional_music", "production", "flagship", "research", "professional", "cheap")
"""Words of quality and price: with them even one song is what a model is to be trained for."""


def _asked_at_once(reading: Reading, intent: TrainingIntent) -> bool:
    text = reading.text
    start = _polite().match(text)
    body = text[start.end() if start else 0 :]
    if _list("given").match(body) or _list("anywhere").search(text):
        return True
    bought = intent.budget_max_usd is not None or any(reading.words.rx(f"tier.{name}").search(text) for name in BOUGHT)
    return not bought and bool(_list("one").match(body))


def _finished(text: str) -> bool:
    """A model that is there already, and is to be converted or run and not taught: nothing is left to train."""
    done = _list("finished").search(text)
    served = _list("serving").search(text)
    if not done or not served:
        return False
    rest = text[: done.start()] + text[done.end() :]
    return not _TAUGHT.search(rest)


_TAUGHT = re.compile(
    r"fine ?-?tun|(?<!no )(?<!without )\btrain(?!ed\b)|trainier|entrain|entren|\btrein|addestr|обуч|训练|学習|학습"
)


@cache
def _polite() -> re.Pattern[str]:
    words = "|".join(plain(one) for one in tables("errands")["start"]["polite"])
    return re.compile(rf"^\W*(?:(?:{words})(?![a-zа-я])[\s,!:.-]*)*", re.I)


@cache
def _list(name: str) -> re.Pattern[str]:
    return phrases([plain(one) for one in tables("errands")["errand"][name]])
