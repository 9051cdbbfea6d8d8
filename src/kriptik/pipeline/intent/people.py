"""Whether the pictures that a request asks for are to show a person: by cue words alone, of all languages together.

A word for a person ("my girlfriend") counts where words of showing stand beside it ("photos of …", "… as a knight"): whose drawings
or whose taste it is about says nothing of who is seen.
"""

import re
from functools import cache, lru_cache

from kriptik.pipeline.intent.cues import negated
from kriptik.pipeline.intent.text import fold, read_text
from kriptik.pipeline.intent.vocabulary import phrase, phrases, plain, tables

REACH = 64
SHOWN = (("people", ("of", "made")), ("me", ("of",)))
"""Lists of persons, and the lists one of whose entries may end right before them."""


@lru_cache(maxsize=256)
def person_in(prompt: str) -> str | None:
    """The words for the person whom the pictures are to show, as typed; None where they name nobody."""
    reading = read_text(prompt)
    found: list[tuple[int, int]] = [match.span() for match in _pattern("alone").finditer(reading.text)]
    for persons, befores in SHOWN:
        for match in _pattern(persons).finditer(reading.text):
            lead, behind = reading.text[max(0, match.start() - REACH) : match.start()], reading.text[match.end() :].lstrip()
            before = any(_ending(name).search(lead) for name in befores) and not _pattern("owned").match(behind)
            if before or _pattern("after").match(behind):
                found.append(match.span())
    meant = [span for span in found if not negated(reading, *span)]
    start, end = min(meant, default=(0, 0))
    return " ".join(reading.typed[start:end].split()) or None


def kind_in(prompt: str) -> str | None:
    """The word for a person in what a method is told of its subject, such as "a photo of a woman"."""
    match = _pattern("kind").search(fold(prompt))
    return match[0] if match else None


@cache
def _ending(name: str) -> re.Pattern[str]:
    cues = "|".join(phrase(entry) for entry in _entries(name))
    return re.compile(rf"(?:{cues})[\s:,'\"(]*\Z")


@cache
def _pattern(name: str) -> re.Pattern[str]:
    return phrases(_entries(name))


@cache
def _entries(name: str) -> list[str]:
    read = tables("people")
    return [plain(entry) for several in read[name].values() for entry in several]
