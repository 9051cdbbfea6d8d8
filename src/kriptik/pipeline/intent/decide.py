"""What a text is, cue words and learned models together: a small linear combination, itself learned, instead of a set precedence.

For each capability the log probabilities of both models and the evidence of cue words are weighed by factors all share;
for "no" (no request) and "ask" (does not say for what) the signs of `request.signs` take the place of cue words. The factors are in
the head of `learned.bin`, fitted on texts that the models had not seen (`bench/intent/combine.py`).
"""

import re
from math import exp

from kriptik.pipeline.intent.capability import CAPABILITIES, MOST, Evidence
from kriptik.pipeline.intent.learned import model

SHARED = ("grams", "net", "cue", "most", "alone")
"""Factors of a capability: both models, evidence (at most MOST), having most evidence, being the only one with evidence."""
OTHERS = ("no", "ask")
Mix = dict[str, dict[str, float]]


def shared(evidence: Evidence, capability: str) -> dict[str, float]:
    """What speaks for a capability, by factor."""
    mine = min(evidence.scores.get(capability, 0.0), MOST)
    rest = max((v for c, v in evidence.scores.items() if c != capability), default=0.0)
    return {
        "grams": evidence.judgement.grams[capability],
        "net": evidence.judgement.net[capability],
        "cue": mine,
        "most": float(mine > rest),
        "alone": float(mine > 0 and rest == 0),
    }


def chances(evidence: Evidence, signs: dict[str, float], mix: Mix | None = None) -> dict[str, float]:
    """Probability of each capability, of "no" and of "ask"."""
    mix = mix or model().mix
    sums = {c: sum(mix["shared"][k] * v for k, v in shared(evidence, c).items()) for c in CAPABILITIES}
    for name in OTHERS:
        own = mix[name]
        sums[name] = own["grams"] * evidence.judgement.grams[name] + own["net"] * evidence.judgement.net[name]
        sums[name] += sum(own[sign] * value for sign, value in signs.items())
    top = max(sums.values())
    powers = {name: exp(value - top) for name, value in sums.items()}
    total = sum(powers.values())
    return {name: power / total for name, power in powers.items()}


ODDS = 6.0
"""A capability that is less than so many times as likely as another leaves a doubt."""
GUESS = 0.4
"""Share that a capability must have to be planned for, where the text does not say what it is for."""
MOST_GUESSES = 3


TIED = 0.8
"""Share of the strongest evidence of cue words from which the evidence for another capability ties with it."""
STRONG = 2.5
"""Evidence of cue words that can tie."""
_OR = re.compile(r"(?<![a-z])(?:or|oder|ou|albo|lub)(?![a-z])|或|または|या|или|또는|أو")


def either(text: str, evidence: Evidence) -> set[str]:
    """Capabilities that a folded text names side by side with an "or", as strongly: "composes or classifies"."""
    most = max(evidence.scores.values(), default=0.0)
    if most < STRONG or not _OR.search(text):
        return set()
    tied = {c for c, v in evidence.scores.items() if v >= max(STRONG, TIED * most)}
    return tied if len(tied) > 1 else set()


def guesses(found: dict[str, float], verdict: str, specific: bool, named: set[str]) -> list[str]:
    """Capabilities between which a doubt is left, the likeliest first; none where there is no doubt, or nothing to guess by.

    Where the text does not say what it is for, a guess needs something `specific` in it (a base model, data, hardware, a sum).
    `named`: those that the text itself leaves open (`either`).
    """
    total = sum(found[c] for c in CAPABILITIES) or 1.0
    order: list[str] = sorted(CAPABILITIES, key=lambda c: (-found[c], c))
    share = [found[c] / total for c in order]
    if verdict == "ask":
        return order[:MOST_GUESSES] if specific and share[0] >= GUESS else []
    open_ones = named if verdict in named else set[str]()
    near = [c for c, one in zip(order, share, strict=True) if share[0] < ODDS * one or c in open_ones]
    return near[:MOST_GUESSES] if len(near) > 1 else []


def best(found: dict[str, float]) -> str:
    """The likeliest capability or "ask", of a text that asks for a model."""
    capability = max(CAPABILITIES, key=lambda c: found[c])
    return "ask" if found["ask"] > found[capability] else capability
