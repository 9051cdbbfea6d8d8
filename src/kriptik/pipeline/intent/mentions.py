"""The data a person has or wants, and what the result must be."""

import re

from kriptik.pipeline.intent.cues import before, negated
from kriptik.pipeline.intent.details import on_run_side
from kriptik.pipeline.intent.names import Named
from kriptik.pipeline.intent.quantities import Number, durations, money, numbers, params, sizes
from kriptik.pipeline.intent.text import Reading
from kriptik.spec.intent import DataMention, OutputMention

TYPES = ("preferences", "pairs", "audio", "video", "image", "code", "text")
MEDIA = ("audio", "video", "image")
MANY = 40
"""Figures of a text that are looked at as amounts of data."""
_WORDS_BETWEEN = re.compile(r"[\s\-]*(?:(?!and\b|at\b|in\b|for\b|on\b|per\b|over\b|max\b)[^\W\d_]+[\s\-/]+){0,3}?")
_OF = re.compile(r"\s*(?:of|von|mit|an|de|d'|的|の|worth of|ki|के|की|का)?\s*")


_LASTS = re.compile(r"\s*(?:of|von|de|d'|di|van|का|की|के|ki|ka|ke|的)\s+\S")
_WORKING = re.compile(r"\s*\S+\s+(?:\w+ )?(?:training|compute|gpu|time|work|budget|trabalho|travail|entrenamiento|rechenzeit)")
"""What lasts some time and was recorded; time to work in is no data."""


def data(reading: Reading, named: Named) -> DataMention | None:
    """Type, amount with unit, source and format of the data."""
    found: dict[str, object] = {}
    if amount := _amount(reading):
        found.update(amount)
    source = _source(reading, named, bool(amount))
    if source:
        found["source"] = source
    kind = found.get("type") or (_loose_type(reading) if source or amount else None) or _given_type(reading)
    if kind:
        found["type"] = kind
    if form := _format(reading):
        found["format"] = form
    return DataMention.model_validate(found) if found else None


def _amount(reading: Reading) -> dict[str, object] | None:
    """The first counted thing that is data: "12k tickets", "20 minutes of audio", "40 GB of code"."""
    text, words = reading.text, reading.words
    for d in durations(text, reading.language):
        rest = text[d.end :]
        of = _OF.match(rest)
        tail = rest[of.end() if of else 0 :]
        kind = next(
            (
                t
                for t in ("audio", "video")
                if (m := words.rx(f"data.type.{t}").search(tail[:40]))
                and len(tail[: m.start()].split()) <= 3
                and not re.search(r"[,.;]", tail[: m.start()])
            ),
            None,
        )
        spoken = d.unit in ("second", "minute", "hour", "day") and not re.match(r"\s*(?:or less|max|to train|deadline)", rest)
        if spoken and (kind or (_LASTS.match(rest) and not _WORKING.match(rest))):
            return {"amount": d.amount, "unit": d.unit + "s", "type": kind or "audio"}
    for size in sizes(text, reading.language):
        rest = text[size.end : size.end + 40]
        kind = next(
            (
                t
                for t in TYPES
                if (m := words.rx(f"data.type.{t}").search(rest)) and re.match(r"\s*(?:of|von|de|d'|的|の|worth)", rest)
            ),
            None,
        )
        if kind:
            unit = "gb" if size.gb >= 1 else "mb"
            return {"amount": size.gb if size.gb >= 1 else round(size.gb * 1000, 3), "unit": unit, "type": kind}
    taken = [(m.start, m.end) for m in money(text, reading.language)] + [
        (d.start, d.end) for d in durations(text, reading.language)
    ]
    best: dict[str, object] | None = None
    for n in numbers(text, reading.language)[:MANY]:
        if any(a <= n.start < b for a, b in taken) or n.value < 1:
            continue
        counted = _counted(reading, n)
        if counted and (best is None or (before(reading, n.start, "correction.marks", 30))):
            best = counted
    return best


def _counted(reading: Reading, n: Number) -> dict[str, object] | None:
    rest = reading.text[n.end : n.end + 48]
    if re.match(r"\s*of (?:them|those|these)(?![a-z])", rest):
        return {"amount": n.value}
    near = re.match(r"[^,.;:!?·\n(]*", rest)
    clause = near[0] if near else ""
    hits = [
        (m.start(), -m.end(), t, m)
        for t in TYPES
        for m in reading.words.rx(f"data.type.{t}").finditer(clause)
        if len(clause[: m.start()].split()) <= 3
    ]
    plain = re.match(r"\s*(files|items|entries|records|archivos|fichiers|arquivos|dateien)(?![a-z])", clause) if not hits else None
    if plain:
        return {"amount": n.value, "unit": plain[1]}
    if not hits or re.match(
        r"\s*-?\s*(?:b|gb|k?bit|fps|p|hz|khz|x|th|st|nd|rd|%|bars?|gpus?|epochs?|nodes?|bpm|languages?|px|steps)(?![a-z])", rest
    ):
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
    made_of = re.match(r"\s*(?:of|von|mit|de|d')\s*(?:\w+\s+){0,2}?(?=(.*))", clause[head[3].end() :])
    if made_of and not wider:
        kind = next((t for t in TYPES if reading.words.rx(f"data.type.{t}").match(made_of[1])), kind)
    return {"amount": n.value, "unit": head[3][0].strip(), "type": kind}


def _loose_type(reading: Reading) -> str | None:
    """The kind of data spoken of without a number: the first after a word of owning or finding."""
    lead = [
        m.end()
        for key in ("user_upload", "huggingface", "web_search", "synthetic")
        for m in reading.words.rx(f"data.source.{key}").finditer(reading.text)
    ]
    best: tuple[int, int, str] | None = None
    for kind in TYPES:
        for match in reading.words.rx(f"data.type.{kind}").finditer(reading.text):
            near = min((abs(match.start() - at) for at in lead if match.start() >= at - 40), default=99)
            if near < 40 and (best is None or (near, -len(match[0])) < best[:2]):
                best = (near, -len(match[0]), kind)
    return best[2] if best else None


_GIVEN = re.compile(
    r"(?:from|aus|a partir de|desde|(?:train|learn|tun)\w* (?:it )?(?:on|from)|trained on"
    r"|scratch on|em cima de)\s+(?:(?!to\b|in\b)[\w']+\s+){0,4}?"
)


def _given_type(reading: Reading) -> str | None:
    """What the training is said to start from, though nobody says whose it is: "from old voicemails"."""
    if re.search(r"(?:pairwise|preference|thumbs|chosen|rejected).{0,24}(?:data|pairs|votes|feedback|ratings)", reading.text):
        return "preferences"
    for match in _GIVEN.finditer(reading.text):
        for kind in TYPES:
            hit = reading.words.rx(f"data.type.{kind}").match(reading.text, match.end())
            if hit and (kind in MEDIA or "train" in match[0] or "scratch" in match[0]):
                return kind
    return None


def _source(reading: Reading, named: Named, counted: bool) -> str | None:
    text, words = reading.text, reading.words
    found: list[str] = []
    for key in ("huggingface", "web_search", "synthetic"):
        if any(not negated(reading, m.start(), m.end()) for m in words.rx(f"data.source.{key}").finditer(text)):
            found.append(key)
    if named.dataset:
        remote = "huggingface" in named.dataset or (
            "://" not in named.dataset and named.dataset.count("/") == 1 and not named.dataset.startswith((".", "/", "~"))
        )
        found.append("huggingface" if remote else "user_upload")
    if _own(reading, counted):
        found.append("user_upload")
    kinds = list(dict.fromkeys(found))
    if len(kinds) > 1:
        return "hybrid"
    return kinds[0] if kinds else None


_AWAY = re.compile(r"\b(?:from|for|to|so|in|with|that|reading|who|which|and|on|about|would|wants?|needs?)\b")
_DATA_WORD = re.compile(
    r"\bdata\b|datasets?|daten|datos|dados|donnees|数据|データ|डेटा|examples|corpus|files?|archive|catalogue?|history|export|folder|collection"
)


_POSSESSIVE = re.compile(
    r"(?:my|our|his|her|their|mein\w*|unser\w*|mis?|nuestr\w+|meus?|minhas?|noss\w+|mes|mon|ma|nos|notre|mi[aeo]|miei|nostr\w+|onze|mijn)(?![a-z])"
)
_GIVEN_BEFORE = re.compile(
    r"(?:\b(?:on|from|of|with|using|use|data|have|all|take|learn|feed|upload|attached|by|into|and|plus|aus|mit|von|auf|de|con|desde|sobre|com|avec|sur|da|di"
    r"|met|van)\b|[:,.(]|^|\d|['\"])\W*$"
)
"""What is given stands behind such a word; "find songs in our library", "dub our videos" give nothing to learn from."""


def _own(reading: Reading, counted: bool) -> bool:
    """A possessive or "I have" with a kind of data within a few words, or a path or file of one's own."""
    for match in reading.words.rx("data.source.user_upload").finditer(reading.text):
        possessive = _POSSESSIVE.match(match[0])
        if counted:
            return True
        if possessive and not _GIVEN_BEFORE.search(reading.text[: match.start()]):
            continue
        tail = re.split(r"[.;!?\n,(]", reading.text[match.start() : match.end() + 34])[0]
        if reading.words.rx("mask.misleading").search(tail):
            continue
        tail = _AWAY.split(tail[len(match[0].split()[0]) :])[0]
        if _DATA_WORD.search(tail):
            return True
        if any(reading.words.rx(f"data.type.{t}").search(tail) for t in TYPES):
            return True
    return False


def _format(reading: Reading) -> str | None:
    for key in (k for k in reading.words.lists if k.startswith("data.format.")):
        for match in reading.words.rx(key).finditer(reading.folded if key.endswith(("csv", "jsonl")) else reading.text):
            if (
                not re.search(
                    r"(?:output|to|into|return|produce|emit|spit|valid|generate|export)\w* (?:\w+ )?$",
                    reading.text[max(0, match.start() - 24) : match.start()],
                )
                and reading.text[match.start()] != "·"
                and not re.match(r"\s*(?:に|へ|出力|output)", reading.text[match.end() :])
            ):
                return key.removeprefix("data.format.")
    return None


def output(reading: Reading, named: Named) -> OutputMention | None:
    """Export format, language, device, size, speed and licence of the result."""
    found: dict[str, object] = {}
    for key in (k for k in reading.words.lists if k.startswith("export.")):
        hit = next((m for m in reading.words.rx(key).finditer(reading.text) if not negated(reading, m.start(), m.end())), None)
        inside = hit and named.base and key.removeprefix("export.") in named.base.lower()
        if hit and not inside and "export" not in found:
            found["export"] = key.removeprefix("export.")
    if language := _language(reading):
        found["language"] = language
    if device := _device(reading):
        found["target_device"] = device
    found.update(_limits(reading, named))
    advert = re.search(r"(?:generate|make|write|create|voice) (?:\w+ )?commercials?\b", reading.text)
    if reading.finds("output.commercial") and not reading.finds("output.not_commercial") and not advert:
        found["license"] = "commercial"
    return OutputMention.model_validate(found) if found else None


def _language(reading: Reading) -> str | None:
    """The language the model must master; the target of a translation, else the last named that is not ruled out."""
    hits = []
    for key in (k for k in reading.words.lists if k.startswith("lang.")):
        for match in reading.words.rx(key).finditer(reading.text):
            if not negated(reading, match.start(), match.end()) and not re.match(
                r" (?:shepherd|food|cuisine|restaurant|car|fries|bakery|toast|bulldog|company)", reading.text[match.end() :]
            ):
                hits.append((match.start(), match.end(), key.removeprefix("lang.")))
    if not hits:
        return None
    hits.sort()
    for start, _, code in hits:
        if re.search(
            r"(?:to|into|in|ins|auf|al|nach|vers|para o|en|成|译成|語に)\s*(?:the\s+)?$", reading.text[max(0, start - 8) : start]
        ):
            target = code
            if re.search(r"(?:to|into|ins|al|nach|vers)\s*$", reading.text[max(0, start - 8) : start]):
                return target
    return hits[-1][2] if re.search(r"translat|ubersetz|traduc|traduz|翻译|翻訳|अनुवाद", reading.text) else hits[0][2]


def _device(reading: Reading) -> str | None:
    for key in (k for k in reading.words.lists if k.startswith("device.")):
        for match in reading.words.rx(key).finditer(reading.text):
            if (
                on_run_side(reading, match.start())
                and not negated(reading, match.start(), match.end())
                and not re.search(
                    r"train\w*\s+(?:it\s+)?on\s+(?:\w+\s+)?$", reading.text[max(0, match.start() - 24) : match.start()]
                )
            ):
                return key.removeprefix("device.")
    gpu = re.search(r"(?:rtx ?)?[345]0[5-9]0(?: ?ti)?|\d+ ?gb (?:of )?(?:v?ram|gpu|card)", reading.text)
    return gpu[0] if gpu and on_run_side(reading, gpu.start()) else None


def _limits(reading: Reading, named: Named) -> dict[str, object]:
    text, words = reading.text, reading.words
    found: dict[str, object] = {}
    for p in params(text, reading.language):
        if any(a <= p.start < b for a, b in named.spans):
            continue
        if before(reading, p.start, "output.limit_before", 30) or words.rx("output.limit_after").match(text[p.end :].lstrip(" ")):
            found["max_params_b"] = p.billions
    for s in sizes(text, reading.language):
        lead, tail = text[max(0, s.start - 50) : s.start], text[s.end : s.end + 20]
        memory = re.match(r" ?(?:of )?(?:v?ram|gpu|card|memory|data|dataset|of |vram|显存)", tail)
        limited = before(reading, s.start, "output.limit_before", 30) or words.rx("output.limit_after").match(tail.lstrip(" "))
        if limited and not memory and words.rx("output.size_word").search(lead + tail):
            found["max_size_gb"] = s.gb
    latency = _latency(reading)
    if latency:
        found["max_latency_ms"] = latency
    return found


_MS = re.compile(r"\s?(?:ms|milli ?seconds?|millisekunden|milisegundos|millisecondes|毫秒|ミリ秒|मिलीसेकंड)(?![a-z])")


def _latency(reading: Reading) -> float | None:
    text, words = reading.text, reading.words
    for n in numbers(text, reading.language):
        if _MS.match(text, n.end):
            return n.value
    for d in durations(text, reading.language):
        around = text[max(0, d.start - 50) : d.end + 24]
        if (
            d.unit == "second"
            and words.rx("output.latency_word").search(around)
            and before(reading, d.start, "output.latency_before", 30)
        ):
            return round(d.amount * 1000, 3)
    if re.search(r"sub-? ?second (?:latency|respon|answer|repl|inference)", text):
        return 1000.0
    return None
