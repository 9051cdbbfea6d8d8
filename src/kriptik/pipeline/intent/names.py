"""Names in a request: the model to start from, the product held up as the bar, paths and hub ids."""

import re
import tomllib
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path

from kriptik.pipeline.intent.cues import before, negated
from kriptik.pipeline.intent.text import Reading
from kriptik.pipeline.intent.vocabulary import GAP, LEFT, RIGHT

_NAMES = Path(__file__).parent / "words" / "names.toml"
_URL = re.compile(
    r"(?:(?:s3|gs|gcs|az|hf|r2|file)://|https?://)[^\s,;\"')»」，。]+|(?<![\w:/.])(?:\.{0,2}"
    r"|~)/[\w.\-]+(?:/[\w.\-]+)+/?|(?<![\w/])[\w\-./]+\.(?:safetensors|ckpt|gguf|pth?"
    r"|bin)\b"
)
_HUB = re.compile(r"(?<![\w/:.@-])[A-Za-z][\w\-]{1,38}/[A-Za-z][\w.\-]{2,}\w(?![\w/])")
_DATA_PATH = re.compile(r"\.(?:jsonl?|csv|tsv|parquet|txt|zip|wav|mp3|mp4|pdf|xlsx?|tar(?:\.gz)?|md|arrow|flac|png|jpe?g)\b", re.I)
_NOT_HUB = re.compile(
    r"^(?:sir|dear|thumbs?[\w-]*|up|good|better|chosen|like|likes|start|stop|and|or|he|she|his|input|output|question|answer|prompt|chosen|image|text|audio"
    r"|video|q|yes|no|pros|w|either|before|on|train|client|server|http|ci|tcp|lora"
    r"|qlora|sft|dpo|lyrics|month|km|gb|usd|speech|\w{1,2})/",
    re.I,
)


_NO_PART = (
    r"(?:beating|crushing|rivall?ing|sounding|looking|level|quality|like|style|grade|class|based?|killer|tuned|sized?|ish|powered|type|compatible|trained|finetuned|fine|esque"
    r"|ready|only|free|generated|made|written|driven|family|models?|niveau|qualitat|stil|kwaliteit)(?![a-z])"
)
_GROWN = re.compile(rf"(?:v?\d[a-z0-9]*)?(?:[\-_.](?!{_NO_PART})[a-z0-9]+)*")
"""What is joined to a name without a space is part of it: wav2vec2-large-xlsr-53."""
_LEAD = re.compile(r"(?<![\w/.-])(?:(?!(?:non|pre|post|fine|tuned|ex|anti|sub|re|un|our|my|the|a|an)-)[a-z0-9]+-){1,3}\Z")
_IN_WORDS = r"(?:(?:one|two|three|four|five|six|seven|eight|nine|ten|thirteen|fourteen|thirty|forty|seventy)[\s-])+b(?![a-z])"
_NO_MODEL = re.compile(r"opus[\s-]?100(?!\d)")
"""Data that is named as a model is."""
_OPENS, _ENDS = re.compile(r"[,.;:]\s*$"), re.compile(r"\s*(?:$|[,.;])")
"""A clause by itself."""
_SURE = re.compile(r"[\s\-_.](?:dev|schnell|instruct|klein|kontext)(?![a-z])")
"""What makes a name even of an everyday word."""
_WEIGHTS = re.compile(r"\d ?b(?![a-z])")
"""Who knows how many weights a model has can have them."""
_SIZED = re.compile(
    r"(?<![\w/.-])(?P<joined>[A-Za-z][A-Za-z]+(?:[-.][A-Za-z0-9]+)*?-\d+(?:\.\d+)?[bB](?:-[A-Za-z0-9.]*\w)*)(?![\w-])"
    r"|(?:(?:\A|[,;:(])\s*|\b(?:on|with|using|base|from|auf|mit|na|met|con|sur|avec|su|sobre|com|op|av)\s+)"
    r"(?P<apart>(?!(?i:a|an|the|about|around|roughly|only|just|max|maximum|under|below|over|up|to|at|least|most|than|tiny|small|llm|ca|circa"
    r"|model|modelle?|modello|modelo|params?|parameters|dense|size|ein|eine|een|un|une|uma?|some|any|max\.)\b)[A-Za-z][A-Za-z]{2,}(?:-[A-Za-z]+)?"
    r"\s\d+(?:\.\d+)?\s?[bB])(?=\s*(?:[,.;:)]|\Z))"
)
"""A name that nobody here knows, with a size in billions: Bielik-7B; "saiga 8b" where it stands alone."""


@dataclass(frozen=True)
class Name:
    """A model or product in the text. `typed` keeps the person's spelling."""

    typed: str
    start: int
    end: int
    capability: str
    closed: bool
    family: str
    versioned: bool


@dataclass(frozen=True)
class Named:
    """What the names of a request come to."""

    base: str | None = None
    base_capability: str | None = None
    benchmark: str | None = None
    benchmark_capability: str | None = None
    dataset: str | None = None
    spans: tuple[tuple[int, int], ...] = ()


@cache
def _families() -> tuple[re.Pattern[str], re.Pattern[str], list[tuple[re.Pattern[str], str, bool]]]:
    """(any family, what may follow it, every family with its capability and whether it is closed), longest spellings first."""
    table = tomllib.loads(_NAMES.read_text(encoding="utf-8"))
    spelled = [
        (family.replace(" ", GAP), capability, kind == "closed")
        for kind in ("open", "closed")
        for capability, families in table[kind].items()
        for family in families
    ]
    spelled.sort(key=lambda s: -len(s[0]))
    suffix = "|".join(table["suffix"]["words"])
    parts = rf"{_IN_WORDS}|\d+b\d|vit[\s-]?[a-z]{{1,2}}[\s/-]?\d\d"
    tail = rf"(?:[\s\-_:.]?(?:{parts}|v?\d+(?:\.\d+)*(?:[bmok](?![a-z]))?(?:x\d+b)?|a\d+b|e\d+b|(?:{suffix})){RIGHT})*"
    any_family = rf"{LEFT}(?:{'|'.join(s for s, _, _ in spelled)})(?:{RIGHT}|(?=v?\d))"
    return re.compile(any_family), re.compile(tail), [(re.compile(s), c, closed) for s, c, closed in spelled]


@lru_cache(maxsize=1024)
def _known(family: str) -> tuple[str, bool]:
    """(capability, closed) of a family as spelled in a text."""
    return next((capability, closed) for pattern, capability, closed in _families()[2] if pattern.fullmatch(family))


@cache
def _everyday() -> frozenset[str]:
    return frozenset(tomllib.loads(_NAMES.read_text(encoding="utf-8"))["special"]["everyday"])


def names(reading: Reading) -> list[Name]:
    """All model and product names, none inside another."""
    family_pattern, tail_pattern, _ = _families()
    found: list[Name] = []
    for match in family_pattern.finditer(reading.text):
        family = match[0].strip()
        start, end = _whole(reading, match, tail_pattern)
        capability, closed = _known(family)
        closed = closed and not _WEIGHTS.search(reading.text[start:end])
        versioned = bool(re.search(r"\d", reading.text[start:end]) or _SURE.search(reading.text[match.end() : end]))
        name = Name(reading.typed[start:end].strip(), start, end, capability, closed, family, versioned)
        if (found and name.start < found[-1].end) or _NO_MODEL.match(reading.text, start):
            continue
        if found and reading.text[found[-1].end : start] == " " and (found[-1].capability, found[-1].closed) == (capability, False):
            found[-1] = replace(found[-1], typed=reading.typed[found[-1].start : end].strip(), end=end)  # "coqui xtts"
        elif versioned or family not in _everyday() or _stands_as_name(reading, name):
            found.append(name)
    return found


def _whole(reading: Reading, family: re.Match[str], tail: re.Pattern[str]) -> tuple[int, int]:
    """Where the whole name begins and ends: version and size behind the family, and whatever is joined to it."""
    text, behind = reading.text, tail.match(reading.text, family.end())
    grown = _GROWN.match(text, behind.end() if behind else family.end())
    lead = _LEAD.search(text[: family.start()])
    return (lead.start() if lead else family.start()), (grown.end() if grown else family.end())


def _stands_as_name(reading: Reading, name: Name) -> bool:
    """An everyday word is a product only where it is written or placed like one."""
    typed = name.typed
    if _MADE_OF.match(reading.text, name.end):
        return False
    first = _begins_sentence(reading, name.start)
    capital = typed[:1].isupper() and not first
    shouted = first and typed[:3].isupper() and len(typed) > 2 and not reading.typed[name.end :].isupper()
    longer = typed[:1].isupper() and len(typed) > len(name.family) + 1
    alone = not name.closed and not first and _OPENS.search(reading.text[: name.start]) and _ENDS.match(reading.text[name.end :])
    after = re.match(
        rf"[\s-]*(?:as (?:the |a )?base|model|ai|quality|level|api|class|style|killer|lora|like|grade|checkpoint|{'tts'}){RIGHT}",
        reading.text[name.end :],
    )
    return (
        capital
        or shouted
        or longer
        or bool(alone or after)
        or (before(reading, name.start, "tier.bar_before") and name.closed)
        or (before(reading, name.start, "tier.base_before") and not name.closed and len(name.family) > 2)
    )


_MADE_OF = re.compile(r"-(?:powered|driven|heated|charged|lit|shaped|coloured|colored|flavoured|panel\w*)(?![a-z])")
""" "Solar-powered boxes" have nothing of the model."""


def _begins_sentence(reading: Reading, at: int) -> bool:
    return not reading.text[reading.sentence_at(at)[0] : at].strip()


def resolve(reading: Reading) -> Named:
    """Tell base model from benchmark: the words around a name decide, then whether it can be fine-tuned at all."""
    found = names(reading)
    spans = [(n.start, n.end) for n in found]
    path, dataset, path_spans = _paths(reading)
    base: Name | None = None
    bar: Name | None = None
    for n in found:
        if any(a <= n.start < b for a, b in path_spans):
            continue
        role = _role(reading, n)
        if role == "bar":
            bar = bar if bar and bar.closed and not n.closed else n
        elif role == "base":
            base = _better_base(reading, base, n)
    if path:
        hub = next((n for n in found if any(a <= n.start < b for a, b in path_spans)), None)
        return Named(
            path,
            hub.capability if hub else (base.capability if base else None),
            _key(bar),
            bar.capability if bar else None,
            dataset,
            tuple(spans + path_spans),
        )
    if base:
        base = _told_apart(reading, base)
    unknown = None if base else _unknown(reading, spans)
    return Named(
        base.typed if base else unknown,
        base.capability if base else None,
        _key(bar),
        bar.capability if bar else None,
        dataset,
        tuple(spans + path_spans),
    )


_SAID_OF_IT = re.compile(r"[\s,(]+|['\u2019]s\b")
_FILLER = frozenset(
    {"the", "with", "in", "of", "a", "version", "v", "size", "sized", "one", "model", "variant", "its", "at", "edition"}
)
_SIZE_WORDS = frozenset({"mini", "small", "base", "large", "tiny", "medium", "nano", "micro", "xl", "instruct", "chat", "turbo"})


def _told_apart(reading: Reading, base: Name) -> Name:
    """ "Phi, the 3.5 mini one": a bare family name with version, size and kind behind it, in words of their own."""
    if re.search(r"\d", base.typed.lower().replace(base.family, "", 1)):
        return base
    rest = re.split(r"[.;!?:](?:\s|$)", reading.text[base.end : base.end + 64])[0]
    version, size, kind, filled = "", "", "", False
    words = [w for w in _SAID_OF_IT.split(rest) if w] or [""]
    for word, behind in zip(words, [*words[1:], ""], strict=True):
        if re.fullmatch(r"\d+(?:\.\d+)?", word) and re.fullmatch(r"b|bn|billion|milliarden|milliards", behind):
            size = f"{word}B"
        elif re.fullmatch(r"\d+(?:\.\d+)?b", word):
            size = word.upper()
        elif re.fullmatch(r"v?\d+(?:\.\d+)?", word) and filled:
            version = word
        elif word in _SIZE_WORDS and (filled or version or size):
            kind = f"{kind} {word}".strip()
        elif word in _FILLER:
            filled = True
        elif not re.fullmatch(r"b|bn|billion|milliarden|milliards", word):
            break
    told = " ".join(part for part in (base.typed, version, size, kind) if part)
    return replace(base, typed=told) if filled and told != base.typed else base


def _unknown(reading: Reading, spans: list[tuple[int, int]]) -> str | None:
    """A model to start from that is told by its size alone."""
    for match in _SIZED.finditer(reading.typed):
        start, end = match.span("joined" if match["joined"] else "apart")
        if not any(a < end and start < b for a, b in spans) and not negated(reading, start, end):
            return reading.typed[start:end]
    return None


def _key(bar: Name | None) -> str | None:
    return re.sub(r"[\s_]+", "-", bar.typed.lower()) if bar else None


def _better_base(reading: Reading, base: Name | None, new: Name) -> Name:
    """The last one wins in a correction; otherwise the first, unless the new one says more of the same name."""
    if base is None:
        return new
    between = reading.text[base.end : new.start]
    corrected = reading.words.rx("correction.marks").search(between)
    same = new.family == base.family or base.typed.lower() in new.typed.lower()
    more = same and len(new.typed) > len(base.typed)
    return new if corrected or more else base


def _role(reading: Reading, n: Name) -> str | None:
    after = reading.text[n.end : n.end + 40]
    if before(reading, n.start, "tier.not_named_before") or reading.words.rx("tier.not_named_after").match(after.lstrip(" '-s")):
        return None
    if negated(reading, n.start, n.end):
        return None
    bar_after = re.match(r"(?:'s)?[\s\-]*", after)
    rest = after[bar_after.end() :] if bar_after else after
    if reading.words.rx("tier.bar_after").match(rest):
        return "bar"
    if before(reading, n.start, "tier.bar_before"):
        return "bar"
    if n.closed:
        return "bar"
    return "base"


def _paths(reading: Reading) -> tuple[str | None, str | None, list[tuple[int, int]]]:
    """(base, dataset, spans) of addresses, files and hub ids: data by extension or by the word data before it."""
    base = dataset = None
    spans = []
    for match in [*_URL.finditer(reading.typed), *_HUB.finditer(reading.typed)]:
        start, end, value = match.start(), match.end(), match[0].rstrip(".,;:)")
        pairs = re.match(r"\s+(?:pairs?|paare|pares|paires|coppie)\b", reading.text[end:])
        if reading.text[start] == "·" or any(a <= start < b for a, b in spans) or _NOT_HUB.match(value) or pairs:
            continue
        spans.append((start, end))
        before = reading.text[max(0, start - 40) : start]
        data_word = re.search(
            r"(?:data ?sets?|data|corpus|rows|files?|recordings|samples|examples|clips|photos"
            r"|images|documents)[^.]{0,14}$|(?:train|trained|tuned|tune) (?:it )?on $|/datasets/",
            before,
        )
        if (
            _DATA_PATH.search(value)
            or "/datasets/" in value
            or (data_word and not re.search(r"(?:checkpoint|weights|model|base|start\w* from)[^.]{0,10}$", before))
        ):
            dataset = dataset or value
        elif base is None:
            base = re.sub(r"^https?://huggingface\.co/", "", value)
        elif dataset is None and "/" in value:
            dataset = value
    return base, dataset, spans
