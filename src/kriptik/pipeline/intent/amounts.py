"""How much data a request speaks of, and of what kind: "12k tickets", "20 minutes of audio", "drone pictures, 900 of them"."""

import re
from dataclasses import dataclass

from kriptik.pipeline.intent.cues import before
from kriptik.pipeline.intent.names import Named
from kriptik.pipeline.intent.quantities import Duration, Number, durations, money, numbers, sizes
from kriptik.pipeline.intent.text import Reading

TYPES = ("preferences", "pairs", "audio", "video", "image", "code", "text")
HEARD = ("audio", "video")
MANY = 40
"""Figures of a text that are looked at as amounts of data."""
NEAR = 44
"""Characters before a figure in which a kind of data may stand."""
_LASTS = re.compile(r"\s*(?:of|von|de|d'|di|van|का|की|के|ki|ka|ke|的)\s*\S")
_WORKING = re.compile(r"\s*\S+\s+(?:\w+ )?(?:training|compute|gpu|time|work|budget|trabalho|travail|entrenamiento|rechenzeit)")
"""What lasts some time and was recorded; time to work in is no data."""
_OF = re.compile(r"\s*(?:of|von|mit|an|de|d'|的|の|worth of|ki|के|की|का)?\s*")
_LIMITED = re.compile(r"\s*(?:or less|max|tops|at most|to train|deadline|long|each|window|ahead)")
_UNITS = re.compile(
    r"\s*-?\s*(?:b|gb|k?bit|fps|p|hz|khz|x|th|st|nd|rd|%|bars?|gpus?|epochs?|nodes?|bpm|languages?|px|steps|ms|shot"
    r"|\w+ (?:a|per|each|every) (?:day|week|month|year|hour))(?![a-z])"
)
_LABELLED = re.compile(
    r"\s*(?:of (?:them|those|these)\b|(?:are )?(?:hand )?(?:labell?ed|annotated|transcribed|tagged|marked|examples|samples)\b)"
)
_HELD = re.compile(
    r"(?:\b(?:my|our|these|those|have|got|trained on|learn\w* from|mis|nos|mes|meus|meine|unsere)\s+"
    r"(?:about |around |roughly |over |some )?)$"
)
"""Words that make data of whatever is counted behind them."""
_DATED = re.compile(r"\b(?:from|since|in|of|circa|anno|year|aus|von|seit|de|desde|depuis)\s*$")
_THINGS = re.compile(
    r"\s*(files|items|entries|records|shots|pieces|works|sessions|prints|plates|specimens|cases|archivos|fichiers|arquivos|dateien)"
    r"(?![a-z])"
)
"""Counted things that are data of whatever kind."""
_HEAP = re.compile(r"\b(?:archive|collection|corpus|set|stack|pile|library) of (?:about |around |over |some )?$")
_NO_DATA = re.compile(
    r"\s*(?:\w+ )?(?:people|users|customers|clients|guests|employees|students|members|staff|children|kids|years?|months?"
    r"|weeks?|days?|hours?|minutes?|seconds?|locations|stores?|shops?|languages?|machines?|gpus?|cards?|servers?|nodes?|dollars|euros|bucks|pounds"
    r"|pages? each"
    r"|classes|kinds|types|categories|labels|steps|voices|cats?|dogs?|sites?|countries|departments|branches|rooms|products)(?![a-z])"
)


@dataclass(frozen=True)
class Amount:
    """What was counted and where. `kind`: one of TYPES, None where the text does not say."""

    value: float
    start: int
    end: int
    unit: str | None = None
    kind: str | None = None

    def fields(self) -> dict[str, object]:
        """As `DataMention` has it."""
        found: dict[str, object] = {"amount": self.value, "unit": self.unit, "type": self.kind}
        return {name: value for name, value in found.items() if value is not None}


def amount(reading: Reading, named: Named) -> Amount | None:
    """The first counted thing that is data; of two counts the later one where it corrects the first."""
    for d in durations(reading.text, reading.language):
        if recorded(reading, d):
            return Amount(d.amount, d.start, d.end, d.unit + "s", _heard(reading, d) or "audio")
    counted = _sized(reading) or _many(reading, named)
    if counted is None and named.base_capability == "voice_cloning":
        spoken = [d for d in durations(reading.text, reading.language) if d.unit == "minute"]
        counted = Amount(spoken[0].amount, spoken[0].start, spoken[0].end, "minutes", "audio") if spoken else None
    return counted


def recorded(reading: Reading, d: Duration) -> bool:
    """Whether a span of time is a length of recordings rather than a time to work in."""
    rest = reading.text[d.end :]
    if d.unit not in ("second", "minute", "hour", "day") or _LIMITED.match(rest):
        return False
    if _LASTS.match(rest):
        return not _WORKING.match(rest)
    return _heard(reading, d) is not None


_DEADLINE = re.compile(
    r"(?:\b(?:in|within|under|max|maximum|at most|by|deadline|finish\w*|done|ready|train\w* for|time)|<)[\s:]*(?:the |about )?$"
)


def _heard(reading: Reading, d: Duration) -> str | None:
    """The kind of recording named right behind the time, or before it in the same sentence."""
    rest = reading.text[d.end :]
    of = _OF.match(rest)
    tail = rest[of.end() if of else 0 :]
    for kind in HEARD:
        hit = reading.words.rx(f"data.type.{kind}").search(tail[:40])
        if hit and len(tail[: hit.start()].split()) <= 3 and not re.search(r"[,.;]", tail[: hit.start()]):
            return kind
    lead = re.split(r"[.;!?\n。]", reading.text[max(0, d.start - NEAR) : d.start])[-1]
    if _DEADLINE.search(lead) or d.unit not in ("minute", "hour") or reading.text[d.start] == "a":
        return None
    hits = [(m.start(), kind) for kind in HEARD for m in reading.words.rx(f"data.type.{kind}").finditer(lead)]
    alone = re.match(r"\s*(?:$|[,.;)、，。あがで])", rest)
    return max(hits)[1] if hits and alone and max(hits)[1] == "audio" else None


def _sized(reading: Reading) -> Amount | None:
    """ "40 GB of code"."""
    for size in sizes(reading.text, reading.language):
        rest = reading.text[size.end : size.end + 40]
        if not re.match(r"\s*(?:of|von|de|d'|的|の|worth)", rest):
            continue
        kind = next((t for t in TYPES if reading.words.rx(f"data.type.{t}").search(rest)), None)
        if kind and size.gb >= 1:
            return Amount(size.gb, size.start, size.end, "gb", kind)
        if kind:
            return Amount(round(size.gb * 1000, 3), size.start, size.end, "mb", kind)
    return None


def _many(reading: Reading, named: Named) -> Amount | None:
    """A number of things."""
    text = reading.text
    taken = [*named.spans, *((m.start, m.end) for m in money(text, reading.language))]
    taken += [(d.start, d.end) for d in durations(text, reading.language)]
    best: Amount | None = None
    weak: Amount | None = None
    for n in numbers(text, reading.language)[:MANY]:
        if any(a <= n.start < b for a, b in taken) or n.value < 1 or _is_year(reading, n) or (n.worded and n.value == 1):
            continue
        counted = _counted(reading, n)
        if counted and (best is None or before(reading, n.start, "correction.marks", 30)):
            best = counted
        weak = weak or _held(reading, n)
    return best or weak


def _is_year(reading: Reading, n: Number) -> bool:
    """ "From 1890", "since 2019": no count."""
    bare = 1800 <= n.value <= 2100 and reading.text[n.start : n.end].isdigit()
    return bare and bool(_DATED.search(reading.text[: n.start]))


def _held(reading: Reading, n: Number) -> Amount | None:
    """A count of things that are data only by what stands around: "these 70k leases", "midi files, about 120"."""
    rest, lead = reading.text[n.end : n.end + 40], reading.text[max(0, n.start - NEAR) : n.start]
    if n.value < 5 or _UNITS.match(rest) or _is_year(reading, n):
        return None
    if _HEAP.search(lead):
        return Amount(n.value, n.start, n.end)
    if _LABELLED.match(rest) or re.match(r"\s*(?:$|[.;,)])", rest):
        near = re.split(r"[.;!?\n]", lead)[-1]
        hits = [(m.end(), t) for t in TYPES for m in reading.words.rx(f"data.type.{t}").finditer(near)]
        close = [h for h in hits if re.fullmatch(r"\W*(?:(?:about|around|roughly|some|of|circa|ca|~)\W*)?", near[h[0] :])]
        if close or (hits and _LABELLED.match(rest)):
            return Amount(n.value, n.start, n.end, None, max(close or hits)[1])
        return Amount(n.value, n.start, n.end) if _LABELLED.match(rest) else None
    if _HELD.search(lead) and re.match(r"\s+[^\W\d]", rest) and not _NO_DATA.match(rest):
        return Amount(n.value, n.start, n.end)
    return None


def _counted(reading: Reading, n: Number) -> Amount | None:
    rest = reading.text[n.end : n.end + 48]
    near = re.match(r"[^,.;:!?·\n(]*", rest)
    clause = near[0] if near else ""
    hits = [
        (m.start(), -m.end(), t, m)
        for t in TYPES
        for m in reading.words.rx(f"data.type.{t}").finditer(clause)
        if len(clause[: m.start()].split()) <= 3
    ]
    plain = _THINGS.match(clause) if not hits else None
    if plain:
        return Amount(n.value, n.start, n.end + plain.end(), plain[1])
    if not hits or _UNITS.match(rest):
        return None
    _, _, kind, match = min(hits)
    head = max(
        (
            h
            for h in hits
            if h[0] <= match.end() + 14
            and not re.search(r"\b(?:of|from|about|with|for|and|in|on|by|at|to|per|into)\b", clause[match.end() : h[3].start()])
            and h[0] >= match.start()
        ),
        key=lambda h: (-h[1], -TYPES.index(h[2])),
    )
    wider = next((h for h in hits if h[2] in ("preferences", "pairs") and h[0] <= match.end() + 4), None)
    kind = wider[2] if wider else head[2]
    made_of = re.match(r"\s*(?:of|von|mit|de|d')\s*(.*)", clause[head[3].end() :])
    if made_of and not wider:
        rest = made_of[1].split(" ")
        parts = [" ".join(rest[at:]) for at in range(3)]
        kind = next((t for p in parts for t in TYPES if reading.words.rx(f"data.type.{t}").match(p)), kind)
    return Amount(n.value, n.start, n.end + head[3].end(), head[3][0].strip(), kind)
