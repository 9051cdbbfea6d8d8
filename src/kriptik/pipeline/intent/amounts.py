"""How much data a request speaks of, and of what kind: "12k tickets", "20 minutes of audio", "drone pictures, 900 of them"."""

import re
from dataclasses import dataclass

from kriptik.pipeline.intent.asides import WORKING, asides
from kriptik.pipeline.intent.cues import before
from kriptik.pipeline.intent.details import cards, of_them
from kriptik.pipeline.intent.names import Named
from kriptik.pipeline.intent.quantities import Duration, Number, durations, numbers, params, sizes
from kriptik.pipeline.intent.sums import Money, money
from kriptik.pipeline.intent.text import Reading

TYPES = ("preferences", "pairs", "audio", "video", "image", "code", "text")
HEARD = ("audio", "video")
MANY = 40
"""Figures of a text that are looked at as amounts of data."""
NEAR = 44
"""Characters before a figure in which a kind of data may stand."""
BEHIND = 64
"""Characters behind it in which it may be told how the data was made."""
_LASTS = re.compile(r"\s*(?:of|von|de|d'|di|van|का|की|के|ki|ka|ke|的)\s*\S")
_OF = re.compile(r"\s*(?:of|von|mit|an|de|d'|的|の|worth of|ki|के|की|का)?\s*")
_LIMITED = re.compile(r"\s*(?:or less|max|tops|at most|to train|deadline|long|each|window|ahead)")
_UNITS = re.compile(
    r"\s*-?\s*(?:b|gb|k?bit|fps|p|hz|khz|x|th|st|nd|rd|%|bars?|gpus?|epochs?|nodes?|bpm|languages?|px|steps|ms|shot|words?"
    r"|characters?|context|ctx|megapixels?|speakers?|channels?|\w+ (?:a|per|each|every) (?:day|week|month|year|hour))(?![a-z])"
)
_LABELLED = re.compile(
    r"\s*(?:,? ?(?:so far|in (?:all|total)|altogether|insgesamt|en total|au total)\b|of (?:them|those|these|which)\b"
    r"|(?:are )?(?:hand )?(?:labell?ed|annotated|transcribed|tagged|marked|examples|samples)\b)"
)
_ABOUT = re.compile(r"(?:about|around|roughly|over|some|maybe|only|already)\s+$")
_DATED = re.compile(r"\b(?:from|since|in|of|circa|anno|year|aus|von|seit|de|desde|depuis|(?:18|19|20)\d\d (?:to|bis|a))\s*$")
_THINGS = re.compile(
    r"\s*(files|items|entries|records|shots|pieces|works|sessions|prints|plates|specimens|cases|archivos|fichiers|arquivos|dateien)"
    r"(?![a-z])"
)
"""Counted things that are data of whatever kind."""
_HEAP = re.compile(r"\b(?:archive|collection|corpus|set|stack|pile|library) of (?:about |around |over |some )?$")


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
        if recorded(reading, d) and not re.search(r"\beach\s*$", reading.text[: d.start]):
            return Amount(d.amount, d.start, d.end, d.unit + "s", heard_kind(reading, d))
    counted = _tokens(reading) or _sized(reading) or _many(reading, named)
    if counted is None and named.base_capability == "voice_cloning":
        spoken = [d for d in durations(reading.text, reading.language) if d.unit == "minute"]
        counted = Amount(spoken[0].amount, spoken[0].start, spoken[0].end, "minutes", "audio") if spoken else None
    return counted


def recorded(reading: Reading, d: Duration) -> bool:
    """Whether a span of time is a length of recordings rather than a time to work in."""
    rest = reading.text[d.end :]
    if d.unit not in ("second", "minute", "hour", "day", "month", "year") or _LIMITED.match(rest):
        return False
    if d.unit == "second" and ("-" in reading.text[d.start : d.end] or _LENGTH.match(rest)):
        return False
    if d.unit in ("month", "year"):
        kept = re.match(r"\s+(?:worth )?(?:of|von|de|d')\s+((?:[\w-]+ ){0,2}[\w-]+)", rest)
        return bool(kept) and any(reading.words.rx(f"data.type.{t}").search(kept[1]) for t in TYPES)
    if d.unit in ("minute", "hour") and _OURS.match(rest):
        return True
    lead = reading.text[max(0, d.start - NEAR) : d.start]
    kept = _KEPT.search(lead) or (reading.language in ("de", "nl") and re.match(r"\s+[a-z]{6,}", rest))
    if d.unit in ("minute", "hour") and not _DEADLINE.search(lead) and (d.hours >= LONG or (kept and _NAMED.match(rest))):
        return True
    if _LASTS.match(rest):
        return not WORKING.match(rest)
    return heard_kind(reading, d) is not None


_LENGTH = re.compile(
    r"\s*(?:long )?(?:\w+ )?(?:clips?|loops?|shots|videos?|spots?|animations?|stings?|gifs?|cuts?|snippets?|bumpers?|jingles?"
    r"|teasers?)\b"
)
"""What is made, or each of what there is, is so long: "4 second clips"."""
_OURS = re.compile(
    r"[\s,(]*(?:(?:is|are|of it|of them) )?(?:ours|mine|our own|my own|our archive|recorded|taped|filmed|(?:in|from) (?:our"
    r"|my) \w+|by (?:us|me)"
    r"|(?:which |that )?(?:i|we)(?:'ve| have)? (?:recorded|taped|filmed|played|sang|spoke|read|made|kept|shot|collected"
    r"|digiti[sz]ed|own)"
    r"|(?:as |in |of )?(?:wav|mp3|ogg|flac|m4a|mp4|mov|mkv)s?"
    r"|of (?:myself|me|him|her|us|ours|mine)|for (?:us|me)|transcribed|with (?:\w+ )?(?:transcripts?|captions?|subtitles|lyrics))\b"
)
LONG = 500.0
"""Nobody sets a time to train in this many hours."""
_KEPT = re.compile(
    r"\b(?:recorded|taped|filmed|keep|own|gave us|gave me|left us|haben|habe|tenemos|tengo|nous avons|j'ai|temos|tenho|abbiamo"
    r"|hebben|mamy)"
    r"(?: \w+){0,2}\s*$|(?:لدينا|لدي|我们有|有|у нас|у меня)\s*$"
)
_NAMED = re.compile(
    r"(?!\s+(?:time|\w*zeit|\w*tijd|maxima\w*|hochstens|fertig|spater|danach|tiempo|temps|tempo|czasu|to|for|zu|para|pour|bis"
    r"|until|and|und|on|auf|left|max|training|gpu)\b)\s*(?:of )?[^\W\d_]|\s*[.;]?$"
)
"""What is held for some time and named behind it, or ends there, was recorded; time to work in is no data."""
_DEADLINE = re.compile(
    r"(?:\b(?:plazo(?: de)?|prazo(?: de)?|delai(?: de)?|frist(?: von)?|termin|entro|w ciagu|in|within|under|binnen"
    r"|innerhalb|bis|unter|hochstens|maximal|max|maximum|at most|by|deadline"
    r"|finish\w*|done|ready|train\w* for|time)|<)[\s:]*(?:the |about )?$"
)


def heard_kind(reading: Reading, d: Duration) -> str | None:
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
    alone = re.match(r"\s*(?:$|[,.;)、，。あがで이가을를]|(?:in (?:all|total)|altogether)\b)", rest)
    return max(hits)[1] if hits and alone and max(hits)[1] == "audio" else None


_TOKENS = re.compile(
    r"(?<![\w.,$€£])(\d+(?:[.,]\d+)?)\s?(b|bn|billion|t|trillion)\s+(tokens?|words)(?![a-z])(?:\s+of\s+([^,.;]{0,24}))?"
)
_SCALE = {"b": 1e9, "bn": 1e9, "billion": 1e9, "t": 1e12, "trillion": 1e12}


def _tokens(reading: Reading) -> Amount | None:
    """ "15B tokens of R code": of tokens a B counts billions, whatever it says of models."""
    found = _TOKENS.search(reading.text)
    if not found:
        return None
    of = found[4] or ""
    kind = "code" if reading.words.rx("data.type.code").search(of) or re.search(r"\bcode\b", of) else "text"
    value = float(found[1].replace(",", ".")) * _SCALE[found[2]]
    return Amount(value, found.start(), found.end(3), found[3] if found[3].endswith("s") else f"{found[3]}s", kind)


_HEAPED = re.compile(
    r"(?:material|footage|data|archive|contracts|recordings|videos?|photos|texts?|files|dumps?|scrape|crawl)\b[^.;]{0,40}[,:(-]\s*"
    r"(?:about |some |roughly )?$"
)
_HEAP_ENDS = re.compile(r"\s*(?:should do|after|in (?:all|total)|or so|is plenty|is enough|altogether|[,.;)]|$)")
"""Data, then its size in a clause of its own."""


def _sized(reading: Reading) -> Amount | None:
    """ "40 GB of code"; of what kind it is not always said."""
    for size in sizes(reading.text, reading.language):
        rest = reading.text[size.end : size.end + 40]
        of = re.match(r"\s*(?:of|von|de|d'|的|の|worth)(?! (?:v?ram|memory|gpu))", rest)
        if not of and not (_HEAPED.search(reading.text[: size.start]) and _HEAP_ENDS.match(rest)):
            continue
        kind = next((t for t in TYPES if reading.words.rx(f"data.type.{t}").search(rest)), None)
        if size.gb >= 1:
            return Amount(size.gb, size.start, size.end, "gb", kind)
        if kind:
            return Amount(round(size.gb * 1000, 3), size.start, size.end, "mb", kind)
    return None


def _many(reading: Reading, named: Named) -> Amount | None:
    """The likeliest number of things that are data; of equal ones the first, unless a later one corrects it."""
    taken = meant_otherwise(reading, named)
    best: Amount | None = None
    most = ENOUGH
    for n in numbers(reading.text, reading.language)[:MANY]:
        if any(a <= n.start < b for a, b in taken) or n.value < 1 or is_year(reading, n) or (n.worded and n.value == 1):
            continue
        counted = counted_by_name(reading, n) or held_before(reading, n)
        strength = strength_of(reading, n, counted)
        corrects = best is not None and strength >= ENOUGH and takes_back(reading, n.start)
        if strength > most or corrects or (best is None and strength == most):
            kind = best.kind if best and corrects and not counted else made_kind(reading, n.start)
            best, most = counted or Amount(n.value, n.start, n.end, None, kind), max(most, strength)
    return best


def meant_otherwise(reading: Reading, named: Named) -> list[tuple[int, int]]:
    """Where figures mean something else: names, sums of money, times, sizes of models, cards."""
    text, language = reading.text, reading.language
    sums = money(text, language)
    spans = [*named.spans, *((m.start, m.end) for m in sums), *((d.start, d.end) for d in durations(text, language))]
    named_cards = cards(reading)
    spans += asides(text, numbers(text, language)[:MANY])
    spans += [(p.start, p.end) for p in params(text, language)] + [m.span() for m in named_cards]
    spans += [
        (m.start() - len(count[0]), m.start())
        for m in named_cards
        if (count := _OF_CARDS.search(text[max(0, m.start() - 8) : m.start()]))
    ]
    spans += [them.span() for m in named_cards if (them := of_them(text, m.end()))]
    told = False
    for n in numbers(text, language)[:MANY]:
        led = reading.words.rx("money.bare_budget").finditer(text[max(0, n.start - NEAR) : n.start])
        bare = not re.match(r"\s*[^\W\d_]", text[n.end :]) and (told or any(m.end < n.start for m in sums))
        again = bare and (before(reading, n.start, "correction.marks", 30) or corrected_sum(text, n.start, sums))
        if again or any(not text[max(0, n.start - NEAR) + m.end() : n.start].strip(" :=~,-") for m in led):
            spans.append((n.start, n.end))
            told = True
    return spans


def corrected_sum(text: str, at: int, sums: list[Money]) -> bool:
    """Whether the figure at `at` takes back a sum right before it: "300 reais at most, no, 250"."""
    return bool(_NO.search(text[max(0, at - REACH) : at])) and any(0 <= at - m.end <= CORRECTS_WITHIN for m in sums)


def takes_back(reading: Reading, at: int) -> bool:
    return before(reading, at, "correction.marks", 30) or bool(_NO.search(reading.text[max(0, at - REACH) : at]))


_NO = re.compile(r"(?:[?,.;]\s*(?:no|nein|nee|non|nao|not)[,:]?\s*)$")
_OF_CARDS = re.compile(r"\d{1,4} ?(?:x|×|\*)? ?$")
REACH = 30
"""Characters before a figure in which a "no" takes back what was said."""
CORRECTS_WITHIN = 40
"""Characters behind a sum in which a figure takes it back."""
ENOUGH = 2.0
"""Strength from which a number counts as an amount of data."""
KNOWN, LARGE, LARGER, OPENS, OWNED, TOLD, FED, MADE = 3.0, 1.0, 0.7, 0.7, 1.5, 1.5, 1.0, 1.0
OWNED_WITHIN = 36
"""Characters behind a number in which "of ours" speaks of it."""
EACH, BOUND, MEANT_FOR, NOT_DATA = 2.0, 3.0, 1.5, 4.0
_OPENS = re.compile(r"(?:^|[,.;:(!?\n、，。；])\W*(?:about |around |roughly |some |over |ca |etwa |rund )?$")
_BOUND = re.compile(
    r"\b(?:(?:staff|team|crew|family|band|panel|group|committee|choir) of"
    r"|into|under|within|at (?:most|least)|max\w*|up to|per|each|every|the same|next|first|last|than|rank|alpha|beta|epochs?"
    r"|batch|steps?|job|run|version|level|grade|chapter|top|page|number|room|floor|stage|zero|below|above"
    r"|bis|unter)\s*[#=:]?\s*$"
)
"""Before such a word's figure stands what the result must be, or the name of a thing, but no amount of data."""
_INSIDE = re.compile(r"\b(?:in|to|en|dans|em|para)\s*$")
"""So does this, unless things are counted that are data by their name."""
_FED = re.compile(r"\b(?:from|with|on|using|have|has|got|these|those|mit|aus|von|auf|con|avec|com|de)\s+(?:\w+ )?$")
_EACH = re.compile(r"\s*[^\s,;.]+(?: [^\s,;.]+)? (?:each|per|every|a (?:day|week|month|year)|pro|je|por|par)\b")


def made_kind(reading: Reading, at: int) -> str | None:
    """The kind of what is counted, by what was done with it in the same sentence."""
    start, end = reading.sentence_at(at)
    near = reading.text[max(start, at - NEAR) : min(end, at + BEHIND)]
    return next((kind for kind in ("image", "video", "audio") if reading.words.rx(f"data.made.{kind}").search(near)), None)


def _stored(reading: Reading, clause: str) -> bool:
    """Whether what is counted is said to lie in files of some format: "34 old labels as png"."""
    return any(reading.words.rx(key).search(clause[:40]) for key in reading.words.lists if key.startswith("data.format."))


def _held_by(reading: Reading, at: int) -> bool:
    """Whether a word of having or making stands right before."""
    lead = reading.text[max(0, at - NEAR) : at]
    return before(reading, at - len(lead) + len(_ABOUT.sub("", lead)), "data.held", NEAR)


def _no_data(reading: Reading, rest: str) -> bool:
    """Whether people, places, machines or the like are counted, with at most one word before them."""
    rest = rest.lstrip(" -")
    return any(reading.words.rx("data.no_data").match(part) for part in (rest, rest.partition(" ")[2]))


def strength_of(reading: Reading, n: Number, known: Amount | None) -> float:
    """How much speaks for a number being an amount of data: what it counts, how large it is, whose it is, what stands before."""
    rest, lead = reading.text[n.end : n.end + 48], reading.text[max(0, n.start - NEAR) : n.start]
    clause = re.split(r"[,.;:!?\n]", rest)[0]
    if (
        _UNITS.match(rest)
        or _COMES_OUT.match(rest)
        or _is_resolution(reading, n)
        or (not known and not re.match(r"\s*-?\s*(?:$|[^\W\d_]|[,.;:()、，。])", rest))
    ):
        return 0.0
    found = (KNOWN if known else 0.5 + LARGE * (n.value >= 50) + LARGER * (n.value >= 1000)) - 1.5 * (n.value < 5)
    found += MADE * bool(not known and made_kind(reading, n.start))
    found += OPENS * bool(_OPENS.search(lead))
    found += OWNED * bool(_held_by(reading, n.start) or reading.words.rx("data.source.owned_after").search(clause[:OWNED_WITHIN]))
    found += TOLD * bool(_LABELLED.match(rest) or _HEAP.search(lead) or (not known and _stored(reading, clause)))
    found += FED * bool(_FED.search(lead))
    found -= EACH * bool(_EACH.match(rest)) + BOUND * bool(_BOUND.search(lead) or (not known and _INSIDE.search(lead)))
    found -= (MEANT_FOR if not known else 0.0) * bool(re.search(r"\b(?:for|fur|para|pour)\s*$", lead))
    return found - NOT_DATA * bool(_no_data(reading, rest) and not made_kind(reading, n.start))


_COMES_OUT = re.compile(r"\s*(?:\w+ ){1,3}(?:comes?|pops?) out\b")
"""What the result is, not what it is made from."""


def _is_resolution(reading: Reading, n: Number) -> bool:
    """ "4K footage" is a size of pictures; "4k photos" are four thousand."""
    sharp = reading.text[n.start : n.end] in ("2k", "4k", "5k", "8k")
    return sharp and bool(
        re.match(r"[ -]*(?:\w+ )?(?:footage|video|film|resolution|uhd|quality|tv|cinema)(?![a-z])", reading.text[n.end :])
    )


JUDGED = ("dpo", "orpo", "simpo", "kto", "reward_model")
"""Methods that learn from what was preferred: texts that were judged are their data."""
_PLAIN = re.compile(
    r"sentences?|entries|questions?|answers?|responses?|replies|rows|lines|examples?|samples?|items?|texts?|satze|frases|phrases"
)
"""Texts of which a word elsewhere in the sentence says that they come in pairs, or as preferences."""


def _told(reading: Reading, at: int, unit: str) -> str | None:
    """What the sentence says of counted texts beside their name: that they are scans, pairs or preferences."""
    if made_kind(reading, at) == "image":
        return "image"
    start, end = reading.sentence_at(at)
    sentence = reading.text[start:end]
    judged = any(reading.words.rx(f"method.{name}").search(reading.text) for name in JUDGED)
    if judged and reading.words.rx("data.type.preferences").search(sentence):
        return "preferences"
    if not _PLAIN.fullmatch(unit.strip()):
        return None
    return next((t for t in ("preferences", "pairs") if reading.words.rx(f"data.type.{t}").search(sentence)), None)


def is_year(reading: Reading, n: Number) -> bool:
    """ "From 1890", "since 2019": no count."""
    bare = 1800 <= n.value <= 2100 and reading.text[n.start : n.end].isdigit()
    return bare and bool(_DATED.search(reading.text[: n.start]))


def held_before(reading: Reading, n: Number) -> Amount | None:
    """A count behind the name of what is counted: "midi files, about 120", "x-rays, 6k labelled", "transcripts of 410 talks"."""
    rest, lead = reading.text[n.end : n.end + 40], reading.text[max(0, n.start - NEAR) : n.start]
    if n.value >= 5 and (of := re.search(r"\S+(?: \S+)? (?:of|von|de|van|di) $", lead)) and re.match(r"\s+[^\W\d_]{3}", rest):
        kind = next((t for t in TYPES if reading.words.rx(f"data.type.{t}").search(of[0])), None)
        if kind and not _no_data(reading, rest):
            return Amount(n.value, n.start, n.end, None, kind)
    if n.value < 5 or not (_LABELLED.match(rest) or re.match(r"\s*(?:$|[.;,)])", rest)):
        return None
    near = re.split(r"[.;!?\n]", lead)[-1]
    hits = [(m.end(), len(m[0]), t) for t in TYPES for m in reading.words.rx(f"data.type.{t}").finditer(near)]
    close = [h for h in hits if re.fullmatch(r"\W*(?:(?:about|around|roughly|some|of|circa|ca|~)\W*)?", near[h[0] :])]
    if close or (hits and _LABELLED.match(rest)):
        kind = max(close or hits)[2]
        return Amount(n.value, n.start, n.end, None, made_kind(reading, n.start) or kind if kind == "text" else kind)
    return None


def counted_by_name(reading: Reading, n: Number) -> Amount | None:
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
    if made_of and not wider and kind not in ("image", "video", "audio"):
        rest = made_of[1].split(" ")
        parts = [" ".join(rest[at:]) for at in range(3)]
        kind = next((t for p in parts for t in TYPES if reading.words.rx(f"data.type.{t}").match(p)), kind)
    if kind == "text":
        kind = _told(reading, n.start, head[3][0]) or kind
    return Amount(n.value, n.start, n.end + head[3].end(), head[3][0].strip(), kind)
