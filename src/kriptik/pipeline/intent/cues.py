"""Whether a cue word speaks for the thing at a position: right before it, or near before or after as a negation."""

import re
from functools import cache

from kriptik.pipeline.intent.text import Reading
from kriptik.pipeline.intent.vocabulary import NEVER, phrase

REACH = 34
_NEAR = 48


def before(reading: Reading, at: int, key: str, reach: int = REACH) -> bool:
    """Whether a cue of the list ends right before position `at`, an article or a quote aside."""
    return bool(_end_pattern(tuple(reading.words.lists.get(key, []))).search(reading.text[max(0, at - reach) : at]))


@cache
def _end_pattern(entries: tuple[str, ...]) -> re.Pattern[str]:
    """The list, anchored at the end of the text searched."""
    if not entries:
        return NEVER
    cues = "|".join(phrase(e) for e in entries)
    return re.compile(rf"(?:{cues})[\s:,'\"(=~-]*(?:(?:the|an?|el|la|le|das|den|dem|of|o|os|my|our)(?![a-z]))?[\s'\"]*\Z")


def negated(reading: Reading, start: int, end: int) -> bool:
    """Whether the words right before or right after rule the thing out: "not LoRA", "LoRA is out"."""
    text, words = reading.text, reading.words
    lead = re.search(r"[^,.;:!?·\n—]*\Z", text[max(0, start - _NEAR) : start])
    gap = re.split(r" [-–—]+ ", lead[0])[-1] if lead else ""
    for match in words.rx("negation.before").finditer(gap):
        between = gap[match.end() :]
        if len(between.split()) <= 3 and not words.rx("negation.stop").search(between):
            return True
    tail = text[end:]
    after = words.rx("negation.after").match(tail.lstrip(" ,-"))
    return bool(after) and not (
        _BARE.fullmatch(after[0]) and re.match(r"\s*,", tail) and re.match(r"\s*\w", after.string[after.end() :])
    )


_BARE = re.compile(r"(?:no|nao|nicht|not|pas|nein|non)\s*")
"""Such a word behind a comma speaks of what follows it: "Wan 2.1, no LoRA"."""
