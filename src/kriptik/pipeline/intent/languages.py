"""The language that the result must master: which of those named is the target, and which only describe something.

Names stand in `words/languages.toml`. Each one found is weighed: behind a word of answering or writing it is the target, in front
of a horn or a guest it says what kind of horn or whose guest. Two side by side, as strong as each other, name none.
"""

import re
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise

from kriptik.pipeline.intent.cues import negated
from kriptik.pipeline.intent.names import Named
from kriptik.pipeline.intent.text import Reading
from kriptik.pipeline.intent.vocabulary import LEFT, RIGHT, plain, tables

PLAIN, WEAK, IN, TARGET = 1.0, 0.5, 2.0, 3.0
"""Named at all; of whom or what it belongs to; "in X"; what is answered, written or translated into."""
REACH = 60
"""Characters before a name in which a word of answering speaks for it."""
_SCRIPTS = re.compile(r"[\u0900-\u0dff\u0e00-\u0e7f\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7af]")
"""Scripts whose words are not set apart by blanks, or have signs that are no letters."""
_WORD = re.compile(r"[^\W\d_]+")
_TRANSLATES = re.compile(
    r"translat|ubersetz|traduc|traduz|tradu[ij]|tlumacz|przek?lad|перев[оеё]д|переклад|cevir|tercume|翻[译訳译]|번역|अनुवाद|ترجم|vertaa?l"
    r"|oversatt|oversett|overs[aæ]t|kaanta|fordit|preklad|terjemah|parallel\w* (?:corpus|sentence|text)|nllb|madlad|m2m"
)
_JOINED = re.compile(
    r"\s*(?:and|&|/|,|\+|-|und|sowie|y|e|et|ed|i|en|och|og|ja|es|dan|va|ve|и|та|或|和|与|と|및|और|و|or|against|gegen|contre|contra|vs\.?|versus)\s*"
    r"(?:(?:in|en|auf|em|po|na|from)\s+)?"
)
_INSIDE = re.compile(
    r"(?:(?<![a-z])(?:in|auf|en|em|po|na|op|pa|dalam|bang|v)|(?<![а-я])(?:на|по|в|у))\s+(?:(?:het|the|plain|simple|simplified"
    r"|easy|correct|good|proper|clear|standard|everyday|modern|native|fluent|pure|bahasa|einfachem|gutem|correcto|buen|bon|lingua|langue|idioma|tieng)\s+)*$"
)
_TO = re.compile(
    r"(?:(?<![a-z])(?:to|into|nach|ins|vers|al|all'|allo|verso|naar|para|hacia|till|til|in|na)|->|→|=>|[译翻]成)\s*"
    r"(?:(?:the|le|la|el|das|o|lo|het|plain|simple|standard|modern|simplified)\s+|l'|bahasa\s+)*$"
)
_MINE = re.compile(r"\b(?:bad|poor|broken|my|little|your) $")
_THEIRS = re.compile(
    r"(?<![a-z])(?:guests?|customers?|clients?|tourists?|drivers?|visitors?|waiters?|staff|callers?|patients?|people|pupils?|they|we"
    r"|i|who) "
    r"(?:only |all |ever |mostly |just )*(?:speak|talk|write)s? $"
)
"""Who speaks it are people, and not the model."""
_BE = re.compile(
    r"\b(?:repl(?:y|ies)|answers?|outputs?|texts?|results?|lyrics|responses?|voice|everything)\b[^.;]{0,24}\b(?:must|should|shall|has|have|needs?|will|to)"
    r"(?: to)? (?:all |only |always )*be (?:all |only |in )*$"
)
_CODES = r"(?P<a>[a-z]{2})\s?(?P<mark>->|→|=>|>|-|–|2)\s?(?P<b>[a-z]{2})"
_PAIR = re.compile(rf"(?<![a-z0-9-]){_CODES}(?![a-z0-9-])")


@dataclass(frozen=True)
class Hit:
    """A language named: where, and how much speaks for its being the one of the result (0: it only describes something)."""

    start: int
    end: int
    code: str
    weight: float = PLAIN


@dataclass(frozen=True)
class Names:
    """The names as they are looked up: whole words, beginnings of words, and what is searched for as it stands."""

    whole: dict[str, str]
    stems: dict[str, str]
    phrases: re.Pattern[str]
    spelled: dict[str, str]
    lengths: tuple[int, ...]
    doubtful: frozenset[str]


@cache
def _names() -> Names:
    whole, stems, spelled = dict[str, str](), dict[str, str](), dict[str, str]()
    for code, names in tables("languages")["names"].items():
        for name in map(plain, names):
            if _SCRIPTS.search(name) or re.search(r"[\s']", name):
                spelled.setdefault(name, code)
            elif name.endswith("*"):
                stems.setdefault(name[:-1], code)
            else:
                whole.setdefault(name, code)
    parts = [p if _SCRIPTS.search(p) else f"{LEFT}{re.escape(p)}{RIGHT}" for p in sorted(spelled, key=len, reverse=True)]
    lengths = tuple(sorted({len(s) for s in stems}, reverse=True))
    doubtful = frozenset(tables("languages")["doubtful"]["words"])
    return Names(whole, stems, re.compile("|".join(parts)), spelled, lengths, doubtful)


@cache
def _list(table: str, name: str, shape: str) -> re.Pattern[str]:
    return re.compile(shape.format("|".join(plain(one) for one in tables("languages")[table][name])))


def language(reading: Reading, named: Named) -> str | None:
    """ISO 639 of the language in which the result must come out; None where none or several are named."""
    hit = _chosen(reading, named)
    return hit.code if hit else None


SILENT = {"image_generation": IN, "video_generation": IN, "code_generation": TARGET, "music_generation": IN}
"""What speaks no language by itself, and how plainly one must be asked of it."""


def suits(reading: Reading, named: Named, capability: str | None) -> bool:
    """Whether the language chosen is one that a result of this capability can have: pictures have none, and music without words."""
    if capability not in SILENT:
        return True
    hit = _chosen(reading, named)
    words = _list("language", "sung", rf"{LEFT}(?:{{}}){RIGHT}|[唱歌]|가사|노래|गीत|गान").search(reading.text)
    sung = capability == "music_generation" and words
    return hit is not None and (hit.weight >= SILENT[capability] or bool(sung))


def _chosen(reading: Reading, named: Named) -> Hit | None:
    text = reading.text
    translates = bool(_TRANSLATES.search(text))
    if pair := _by_codes(text, translates):
        return pair
    hits = _refined([_weighed(reading, one) for one in _found(reading, named)], text, translates)
    asked = [h for h in hits if h.weight > 0]
    if people := _their_own(reading, asked):
        return people
    if not asked:
        return None
    most = max(h.weight for h in asked)
    for a, b in pairwise(hits):
        if a.code != b.code and max(a.weight, b.weight) >= most > 0 and _JOINED.fullmatch(text[a.end : b.start]):
            return b if translates else None
    if translates and most <= PLAIN:
        return next(h for h in reversed(asked) if h.weight == most)
    return next(h for h in asked if h.weight == most)


def _by_codes(text: str, translates: bool) -> Hit | None:
    """ "fr->de"; with a hyphen ("en-de") only where something is translated."""
    known = tables("languages")["names"]
    for match in _PAIR.finditer(text):
        glued = match["mark"] in ("->", "→", "=>") and len(match[0]) == len(match["mark"]) + 4
        if match["a"] in known and match["b"] in known and match["a"] != match["b"] and (glued or translates):
            return Hit(match.start(), match.end(), match["b"], TARGET)
    return None


def _found(reading: Reading, named: Named) -> list[Hit]:
    """Every language named, in the order of the text, none inside another or inside the name of a model."""
    names, text = _names(), reading.text
    hits = [Hit(m.start(), m.end(), names.spelled[m[0]]) for m in names.phrases.finditer(text)]
    for match in _WORD.finditer(text):
        word = match[0]
        code = names.whole.get(word) or next((names.stems[word[:n]] for n in names.lengths if word[:n] in names.stems), None)
        if code and not any(h.start <= match.start() < h.end for h in hits):
            hits.append(Hit(match.start(), match.end(), code))
    hits = [h for h in hits if not any(a <= h.start < b for a, b in named.spans)]
    return sorted((h for h in hits if not _MINE.search(text[max(0, h.start - 8) : h.start])), key=lambda h: h.start)


def _weighed(reading: Reading, hit: Hit) -> Hit:
    """The hit with what the words around it say of it."""
    text, start = reading.text, reading.sentence_at(hit.start)[0]
    lead, rest = text[max(start, hit.start - REACH) : hit.start], text[hit.end : hit.end + 40]
    if negated(reading, hit.start, hit.end):
        return replace(hit, weight=0.0)
    inside = _INSIDE.search(lead) or text.startswith("berbahasa", hit.start)
    spoken = _list("role", "target", rf"{LEFT}(?:{{}}){RIGHT}")
    to = _TO.search(lead)
    behind = _list("role", "target_behind", r"[\s'-]*(?:{})").match(rest)
    han = _list("role", "target_before_zh", r"(?:{})$").search(lead)
    directly = (last := re.search(r"(\S+)\s$", lead)) and spoken.fullmatch(last[1])
    if directly and _THEIRS.search(lead):
        return hit
    if behind or han or directly or _BE.search(lead) or (to and _TRANSLATES.search(text)) or (inside and spoken.search(lead)):
        return replace(hit, weight=TARGET)
    manner = re.match(r"[\s-]+(?:styles?|looks?|manner|taste|fashion|tradition|dress|colou?rs?)\b", rest)
    if inside and not manner:
        return replace(hit, weight=IN)
    if manner or _is_other_word(reading, hit):
        return replace(hit, weight=0.0)
    thing = _list("after", "thing", rf"[\s-]+(?:{{}}){RIGHT}").match(rest)
    if thing or _list("before", "thing", rf"{LEFT}(?:{{}})\s$").search(lead):
        return replace(hit, weight=0.0)
    weak = _list("after", "weak", rf"[\s-]+(?:{{}}){RIGHT}").match(rest)
    source = _list("before", "source", rf"{LEFT}(?:{{}})\s(?:the |le |l'|la |het )?$").search(lead)
    return replace(hit, weight=WEAK if weak or source else PLAIN)


def _is_other_word(reading: Reading, hit: Hit) -> bool:
    """ "polish the table": a word that is a language too, and is not written like one."""
    if reading.text[hit.start : hit.end] not in _names().doubtful:
        return False
    opens = not reading.text[reading.sentence_at(hit.start)[0] : hit.start].strip(" \"'(")
    beside = re.match(r"\s(?:language|speech|poems?|poetry|texts?|lyrics)\b", reading.text[hit.end :])
    return not beside and (opens or not reading.typed[hit.start].isupper())


def _refined(hits: list[Hit], text: str, translates: bool) -> list[Hit]:
    """ "Norwegian Nynorsk", "Scots English": of two right beside each other the second says it more exactly."""
    kept: list[Hit] = []
    for hit in hits:
        if kept and not translates and re.fullmatch(r"\s?[ (]\s?", text[kept[-1].end : hit.start]):
            hit = replace(kept.pop(), code=hit.code, end=hit.end, weight=max(hit.weight, PLAIN))
        kept.append(hit)
    return kept


def _their_own(reading: Reading, hits: list[Hit]) -> Hit | None:
    """ "Brazilians … in their own tongue", "the language of Iceland": told by who speaks it."""
    own = _list("language", "own", rf"{LEFT}(?:{{}})").search(reading.text)
    if not own or any(h.weight >= IN for h in hits):
        return None
    for code, peoples in tables("languages")["peoples"].items():
        if people := re.search(rf"{LEFT}(?:{'|'.join(peoples)}){RIGHT}", reading.text):
            return Hit(people.start(), people.end(), code, TARGET)
    return hits[0] if len({h.code for h in hits}) == 1 else None
