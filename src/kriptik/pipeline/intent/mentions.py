"""The data a person has or wants, and what the result must be."""

import re

from kriptik.pipeline.intent import figures, languages
from kriptik.pipeline.intent.amounts import TYPES, Amount
from kriptik.pipeline.intent.cues import before, negated
from kriptik.pipeline.intent.devices import device
from kriptik.pipeline.intent.learned import Pieces
from kriptik.pipeline.intent.names import Named
from kriptik.pipeline.intent.quantities import durations, numbers, params, sizes
from kriptik.pipeline.intent.text import Reading
from kriptik.spec.intent import DataMention, OutputMention

MEDIA = ("audio", "video", "image")
FORMS = {
    "audio": ("wav", "mp3", "flac", "midi", "ogg", "m4a", "aac", "opus", "aiff"),
    "video": ("mp4", "webm", "mov", "mkv", "avi"),
    "image": ("png", "jpg", "tif", "geotiff", "dicom", "svg", "heic", "webp", "raw", "gif", "psd"),
}
"""File formats that hold one kind of data."""


def data(reading: Reading, named: Named, pieces: Pieces | None = None) -> DataMention | None:
    """Type, amount with unit, source and format of the data. `pieces`: what the encoder saw of the text."""
    found: dict[str, object] = {}
    if amount := figures.amount(reading, named, pieces):
        found.update(amount.fields())
    source = _source(reading, named, amount)
    if source:
        found["source"] = source
    timed = amount is not None and amount.unit in ("seconds", "minutes", "hours", "days")
    kind = found.get("type") or (_loose_type(reading) if (source or amount) and not timed else None) or _given_type(reading)
    if form := _format(reading, named):
        found["format"] = form
        kind = next((t for t, forms in FORMS.items() if form in forms), kind)
    if kind == "text" and amount and _spoken(reading, amount):
        kind = "audio"
    if kind:
        found["type"] = kind
    return DataMention.model_validate(found) if found else None


_RECORDED = re.compile(r"\b(?:record(?:ed|s|ings?)?|read (?:out|aloud)|spoken|said aloud|dictated)\b")


def _spoken(reading: Reading, amount: Amount) -> bool:
    """ "She recorded 500 sentences": what is counted is text, what there is of it is sound."""
    start, end = reading.sentence_at(amount.start)
    lead, rest = reading.text[max(start, amount.start - 24) : amount.start], reading.text[amount.end : min(end, amount.end + 40)]
    return bool(_RECORDED.search(lead) or _RECORDED.search(re.split(r"[,;:(]", rest)[0]))


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


def sensed(reading: Reading) -> str | None:
    """The one kind of recording that the text speaks of anywhere, by name or by what is done with it; None where it is not one."""
    found = {t for t in MEDIA if reading.words.rx(f"data.type.{t}").search(reading.text)}
    found |= {t for t, pattern in _SENSES.items() if pattern.search(reading.text)}
    return found.pop() if len(found) == 1 else None


_SENSES = {
    "image": re.compile(r"\b(?:camera|microscope|photo\w*|x-?ray|look(?:s|ing)? at)\b"),
    "audio": re.compile(r"\b(?:hear|hears|listen\w*|sounds?|by ear|noise)\b"),
}
GIVEN_WORDS = 3
_ONWARD = re.compile(r"(?:to|in|into|so|that|and|or|an?|one|single|each|every)\b")
_GIVEN = re.compile(
    r"(?:(?:train|learn|tun|teach|taught|build|built|clone|entren|trein|trainier|lern)\w* (?:\w+ ){0,3}?(?:on|from|aus|mit|con"
    r"|com|a partir de|desde)|trained on"
    r"|scratch on|em cima de)"
    r"(?:\s+|\s*d'|(?<='))"
)


def _given_type(reading: Reading) -> str | None:
    """What the training is said to start from, though nobody says whose it is: "from old voicemails"."""
    if re.search(r"(?:pairwise|preference|thumbs|chosen|rejected).{0,24}(?:data|pairs|votes|feedback|ratings)", reading.text):
        return "preferences"
    for match in _GIVEN.finditer(reading.text):
        rest = re.split(r"[.;!?\n,]", reading.text[match.end() : match.end() + 60])[0]
        for words in range(len(rest.split())):
            part = rest.split(maxsplit=words)[-1] if words else rest
            if _ONWARD.match(part):
                break
            kind = next((t for t in TYPES if reading.words.rx(f"data.type.{t}").match(part)), None)
            if kind and (kind in MEDIA or "train" in match[0] or "scratch" in match[0]):
                return kind
            if words == GIVEN_WORDS:
                break
    return None


def _source(reading: Reading, named: Named, counted: Amount | None) -> str | None:
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
    ours = _own(reading, None if found else counted) or (found and _HALF_OURS.search(text))
    if ours or (found and counted and _ours_behind(reading, counted)):
        found.append("user_upload")
    kinds = list(dict.fromkeys(found))
    if len(kinds) > 1:
        return "hybrid"
    return kinds[0] if kinds else None


_AWAY = re.compile(r"\b(?:from|for|to|so|in|with|that|reading|who|which|and|on|about|would|wants?|needs?)\b")
_DATA_WORD = re.compile(
    r"\bdata\b|datasets?|daten|datos|dados|donnees|数据|データ|डेटा|examples|corpus|files?|stuff|csvs?|jsonl|wavs?|mp3s?|pdfs?|docx|xlsx|logs|archive|catalogue?|history|export|folder|collection"
)


_POSSESSIVE = re.compile(
    r"(?:my|our|his|her|their|mein\w*|unser\w*|mis?|nuestr\w+|meus?|minhas?|noss\w+|mes|mon|ma|nos|notre|mi[aeo]|miei|nostr\w+|onze|mijn)(?![a-z])"
)
_GIVEN_BEFORE = re.compile(
    r"(?:\b(?:on|from|of|with|using|use|data|have|all|take|learn|feed|upload|attached|by|into|and|plus|aus|mit|von|auf|de|con|desde|sobre|com|avec|sur|da|di"
    r"|met|van)\b|[:,.(]|^|\d|['\"])\W*$"
)
"""What is given stands behind such a word; "find songs in our library", "dub our videos" give nothing to learn from."""


_PLACE = re.compile(r"\w+ (?:own )?(?:servers?|machines?|hardware|cluster|gpus?|laptop|pc|network|budget|cards?|rack)(?![a-z']|'s)")
"""What is ours to train on is no data."""
_SPEAKER = re.compile(
    r"(?<![a-z])(?:i|we)(?:'ve|(?:'re|'m| are| am) an?(?= ))?(?![a-z'])"
    r"(?! (?:\w+ly )?(?:want|need|would|like|wish|seek|could|can|should|do not|hope|am|are looking|require|look|must|type)"
    r"(?![a-z]))"
)
"""Who counts data and speaks of what he does, not of what he wants, has it."""


_OURS_BEFORE = re.compile(r"\b(?:my|our)(?: own)? (?:about |roughly |some )?$")
_HALF_OURS = re.compile(r"\bhalf\b[^.;]{0,30}\b(?:mine|ours|us|me|my own|our own)\b")


def _ours_behind(reading: Reading, counted: Amount) -> bool:
    """ "40 songs of ours, plus …": what is counted is said to be the person's, whatever else there is."""
    clause = re.split(r"[.;!?\n,]|\b(?:plus|and|und|et|y|e|sowie|on top)\b", reading.text[counted.end :])[0]
    before = reading.text[max(0, counted.start - 24) : counted.start]
    behind = reading.words.rx("data.source.owned_after").search(clause)
    return bool(behind or _OURS_BEFORE.search(before) or _HALF_OURS.search(reading.text))


_USED = re.compile(
    r"(?:i|you|we|they|users?|people) (?:upload|send|snap|give|type|drop|show|paste)s? (?:in )?(?:an?|one|the"
    r"|some) \w+,? (?:and )?(?:it|then|the|you|out)\b"
)
"""How the finished model is used gives nothing to learn from."""
_STYLE_OF = re.compile(r"\b(?:(?:style|look|tone|manner) of|by) $")


def _own(reading: Reading, counted: Amount | None) -> bool:
    """Counted data beside words of owning; else a possessive or "I have" with a kind of data within a few words."""
    if counted and (_SPEAKER.search(reading.text) or _ours_behind(reading, counted)):
        return True
    for match in reading.words.rx("data.source.user_upload").finditer(reading.text):
        if re.match(r"(?:\w+ )?(?:no|none|nothing|keine?|pas|nada)\b", reading.text[match.start() :].partition(" ")[2]):
            continue
        possessive = _POSSESSIVE.match(match[0])
        if _PLACE.match(reading.text[match.start() :]):
            continue
        if counted:
            return True
        if _USED.match(reading.text[max(0, match.start() - 3) :].lstrip()) or _STYLE_OF.search(
            reading.text[max(0, match.start() - 12) : match.start()]
        ):
            continue
        if possessive and not _GIVEN_BEFORE.search(reading.text[: match.start()]):
            continue
        tail = re.split(r"[.;!?\n,(]", reading.text[match.start() : match.end() + 34])[0]
        if reading.words.rx("mask.misleading").search(tail):
            continue
        if re.match(r"\W*(?:\w+ ){0,2}(?:style|stil|estilo|画风|絵柄|voice|stimme|voz|voix)", reading.text[match.end() :]):
            continue
        tail = _AWAY.split(tail[len(match[0].split()[0]) :])[0]
        if _DATA_WORD.search(tail):
            return True
        if any(_is_head(tail, m.end()) for t in TYPES for m in reading.words.rx(f"data.type.{t}").finditer(tail)):
            return True
    return False


_OTHER_HEAD = re.compile(
    r" (?:co-?)?(?:hosts?|cohosts?|customers?|clients?|fans?|listeners?|readers?|app|shop|store|website|site|business|company"
    r"|team|channel|club|studio|agency|series|show)\b"
)


def _is_head(tail: str, end: int) -> bool:
    """Whether the kind of data is what is owned, not what describes it: "my podcast", not "my podcast cohost"."""
    return not _OTHER_HEAD.match(tail[end:])


_OUT = re.compile(
    r"(?<!ised )(?<!ized )(?<!converted )(?<!ripped )(?<!them )"
    r"(?:output|to|into|return|produce|emit|spit|valid|generate|export(?!ed))\w* (?:\w+ )?$|\b(?:in it|as|says?\b[^.;]*),? as $"
    r"|(?:->|→|=>) ?$"
)
"""What stands before a form is what comes out; "digitised to wav" is what there is."""


def _format(reading: Reading, named: Named) -> str | None:
    for key in (k for k in reading.words.lists if k.startswith("data.format.")):
        for match in reading.words.rx(key).finditer(reading.folded if key.endswith(("csv", "jsonl")) else reading.text):
            if (
                not _OUT.search(reading.text[max(0, match.start() - 24) : match.start()])
                and reading.text[match.start()] != "·"
                and not any(a <= match.start() and match.end() < b for a, b in named.spans if "." not in reading.text[a:b])
                and not re.match(r"\s*(?:に|へ|出力|output)", reading.text[match.end() :])
            ):
                return key.removeprefix("data.format.")
    return None


def output(reading: Reading, named: Named) -> OutputMention | None:
    """Export format, language, device, size, speed and licence of the result."""
    found: dict[str, object] = {}
    if export := _export(reading, named):
        found["export"] = export
    if language := languages.language(reading, named):
        found["language"] = language
    if target := device(reading):
        found["target_device"] = target
    found.update(_limits(reading, named))
    if _sold(reading):
        found["license"] = "commercial"
    return OutputMention.model_validate(found) if found else None


_ADVERT = re.compile(r"(?:generate|make|write|create|voice) (?:\w+ )?commercials?\b")
"""What is made, and no use of it."""
_FORETOLD = re.compile(
    r"\b(?:predict\w*|forecast\w*|estimat\w*|guess\w*|which|whether"
    r"|(?:ads?|adverts?|listings?|tweets?) for|how (?:many|much|fast|soon|long)|about|prognos\w*"
    r"|vorhersag\w*|previ\w*|predic\w*|прогноз\w*) (?:[^\W\d_]+ ){0,4}$"
)
"""Sales that the model is to tell of."""
REACH = 48


def _sold(reading: Reading) -> bool:
    """Whether somebody is to earn with the result, however it is put: sold, charged for, part of what is paid for."""
    if reading.finds("output.not_commercial") or _ADVERT.search(reading.text):
        return False
    return any(
        not negated(reading, m.start(), m.end()) and not _FORETOLD.search(reading.text[max(0, m.start() - REACH) : m.start()])
        for m in reading.words.rx("output.commercial").finditer(reading.text)
    )


def _export(reading: Reading, named: Named) -> str | None:
    """The first file format that is not ruled out and no part of the base model's name."""
    hits = [
        (m.start(), key.removeprefix("export."))
        for key in reading.words.lists
        if key.startswith("export.") and not (named.base and key.removeprefix("export.") in named.base.lower())
        for m in reading.words.rx(key).finditer(reading.text)
        if not negated(reading, m.start(), m.end())
    ]
    return min(hits)[1] if hits else None


_WHERE = re.compile(r"^ *(?:(?:on (?:the )?disk|in size|in all|big|large|download) )?")
_PARAMETERS = re.compile(r"^ ?(?:de |of )?(?:parameters?|params|parametres|parametros|parameter[n]?|参数|パラメータ)")


def _limits(reading: Reading, named: Named) -> dict[str, object]:
    text, words = reading.text, reading.words
    found: dict[str, object] = {}
    for p in params(text, reading.language):
        if any(a <= p.start < b for a, b in named.spans):
            continue
        tail = _PARAMETERS.sub("", text[p.end :]).lstrip(" ")
        if before(reading, p.start, "output.limit_before", 30) or words.rx("output.limit_after").match(tail):
            found["max_params_b"] = p.billions
    for s in sizes(text, reading.language):
        lead, tail = text[max(0, s.start - 50) : s.start], text[s.end : s.end + 28]
        memory = re.match(r" ?(?:of )?(?:v?ram|gpu|card|memory|data|dataset|of |vram|显存)", tail)
        limited = before(reading, s.start, "output.limit_before", 30) or words.rx("output.limit_after").match(_WHERE.sub("", tail))
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
