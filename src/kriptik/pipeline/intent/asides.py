"""Figures that count nothing to learn from: how old someone is, what a thing is sold at, a time to be done in."""

import re

from kriptik.pipeline.intent.cues import before
from kriptik.pipeline.intent.quantities import Duration, Number
from kriptik.pipeline.intent.text import Reading

_AGED = re.compile(r"\b(?:he|she|i|who|gran\w*|mum|dad)(?:'s| is|'m| am|'ll be| turns)(?: now| nearly| almost| over)? $")
_AGE_ENDS = re.compile(r"\s*(?:$|[,.;)]|years? old|this year|and)")
_PRICED = re.compile(
    r"\s*(?:apiece|a ?pop|a piece|per piece|each in (?:the )?shops|das stuck|le morceau|l'unite|la unidad|al pezzo)(?![a-z])"
)
_HELD = re.compile(
    r"(?<![^\W\d_])(?:have|has|got|is|are|for|from|of|habe|hab|haben|tengo|tenemos|j'ai|avons|tenho|temos|ho|abbiamo|heb|hebben|mam|mamy|есть"
    r"|with|takes?|max|max\.)"
    r"(?: (?:only|just|about|around|nur|solo|maar|tylko|roughly|some))*\s*$"
)
"""Such a word stands before what there is as often as before a time to be done in."""
REACH = 40
WORKING = re.compile(
    r"\s*d'(?:attente|entrainement|execution|ici)|\s*(?:de|di|of) (?:espera|plazo|prazo|tempo|attesa|delai|patience|time)\b"
    r"|\s*\S+\s+(?:\w+ )?(?:training|compute|gpu|time|work|budget|trabalho|travail|entrenamiento|rechenzeit)"
)
"""What lasts some time and was recorded; time to work in is no data."""


def asides(text: str, figures: list[Number]) -> list[tuple[int, int]]:
    """Where ages and prices of goods stand."""
    return [
        (n.start, n.end)
        for n in figures
        if _PRICED.match(text, n.end)
        or (_AGED.search(text[max(0, n.start - 32) : n.start]) and _AGE_ENDS.match(text, n.end) and n.value < 120)
    ]


def is_time_limit(reading: Reading, d: Duration) -> bool:
    """Whether the words around make a span of time one to be done in: "within 36 hours", "48 hours on the clock"."""
    lead = reading.text[max(0, d.start - REACH) : d.start]
    adjective = "-" in reading.text[d.start : d.end] and re.match(r"\s[a-z]", reading.text[d.end :])
    tail = reading.text[d.end :].lstrip(" -'")
    if reading.words.rx("time.not_deadline").match(tail) and not adjective:
        return False
    if reading.words.rx("time.deadline_after").match(reading.text[d.end :].lstrip(" ,-(")) or adjective:
        return True
    return not _HELD.search(lead) and before(reading, d.start, "time.deadline_before", REACH)
