"""What a text is, cue words and learned models together: a small linear combination, itself learned, instead of a set precedence.

For each capability the log probabilities of both models and the evidence of cue words are weighed by factors all share;
for "no" (no request) and "ask" (does not say for what) the signs of `request.signs` take the place of cue words. The factors are in
the head of `learned.bin`, fitted on texts that the models had not seen (`bench/intent/combine.py`).
"""

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


def best(found: dict[str, float]) -> str:
    """The likeliest capability, "no" or "ask". The ten count together against "no": several alike are still a request."""
    capability = max(CAPABILITIES, key=lambda c: found[c])
    if found["no"] > 0.5:
        return "no"
    return "ask" if found["ask"] > found[capability] and found["ask"] > found["no"] else capability
