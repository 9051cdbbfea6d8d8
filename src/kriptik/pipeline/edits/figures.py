"""Figures in an edit: numbers, money, time, sizes, resolutions, as written in running English."""

import re
from functools import lru_cache

from kriptik.catalogue.load import load_catalogue
from kriptik.pipeline.edits.words import NUMBER_WORDS

NUMBER = r"(?:\d+(?:[.,]\d+)*(?:\s?e\s?-?\d+)?|\.\d+)"
_WORDS = "|".join(sorted(NUMBER_WORDS, key=len, reverse=True))
QUANTITY = re.compile(rf"(?P<digits>-?{NUMBER})\s?(?P<scale>k|m|mio|million|thousand|grand)?(?![a-z0-9])|\b(?P<word>{_WORDS})\b")
_SCALES = {"k": 1e3, "thousand": 1e3, "grand": 1e3, "m": 1e6, "mio": 1e6, "million": 1e6}
PARAMS = re.compile(rf"({NUMBER})\s?-?(b|bn|billion)\b(?!\s*tokens)|({NUMBER})\s?-?(?:m|million)\s*(?:param\w*|model)")
DURATION = re.compile(
    rf"(?P<n>{NUMBER}|\b(?:{_WORDS}|half\s+an?))\s*-?(?P<unit>h\b|hrs?\b|hours?|minutes?|mins?\b|days?|weeks?|stunden?|tage?|horas?|heures?)"
)
_HOURS = {"h": 1.0, "m": 1 / 60, "d": 24.0, "w": 168.0, "s": 1.0, "t": 24.0}
MEMORY = re.compile(rf"({NUMBER})\s?-?(?:gb|gib|gigs?|g)\b(?:\s+(?:of\s+)?(?:v?ram|memory|card|gpu))?")
PIXELS = re.compile(
    r"\b(\d{3,4})\s*(?:x|×|by)\s*(\d{3,4})\b|\b(\d{3,4})\s*(?:px|pixels?)\b|\b(\d{3,4})p\b|\b([48])k\b(?!\s*(?:context|tokens|seq|examples|rows|samples|images))"
)
_TOKENS = re.compile(r"\b(?:context|seq\w*|length|window|tokens)\b[^,;.]*$")
_LINES = {"4": 2160, "8": 4320}


def value_of(text: str) -> float | None:
    """The number that a piece of text means: "1e-4", "2,000", "3.5", "two", "5k"; None where it is none."""
    found = QUANTITY.fullmatch(text.strip())
    return quantity(found) if found else None


def quantity(found: re.Match[str]) -> float:
    """The number behind a match of QUANTITY."""
    if found["word"]:
        return float(NUMBER_WORDS[found["word"]])
    return number(found["digits"]) * _SCALES.get(found["scale"] or "", 1.0)


def number(digits: str) -> float:
    """ "2,000" and "2.000" are two thousand, "2,5" and "2.5" two and a half."""
    text = re.sub(r"\s", "", digits)
    if "e" not in text:
        if re.fullmatch(r"[1-9]\d{0,2}(?:[.,]\d{3})+", text) and not re.fullmatch(r"\d{1,3}\.\d{3}", text):
            return float(re.sub(r"[.,]", "", text))
        if text.count(",") == 1 and not re.search(r",\d{3}$", text):
            text = text.replace(",", ".")
    text = text.replace(",", "")
    if text.count(".") > 1:
        text = text.replace(".", "")
    return float(text)


@lru_cache(maxsize=1)
def _money_pattern() -> tuple[re.Pattern[str], dict[str, str]]:
    before: dict[str, str] = {}
    after: dict[str, str] = {}
    for rate in load_catalogue().currencies.values():
        for symbol in rate.symbols:
            before.setdefault(symbol.casefold(), rate.code)
            after.setdefault(symbol.casefold(), rate.code)
        for word in [*rate.words, rate.code]:
            after.setdefault(word.casefold(), rate.code)
            if re.search(r"\w", word):
                before.setdefault(word.casefold(), rate.code)
    front = "|".join(re.escape(s) for s in sorted(before, key=len, reverse=True))
    back = "|".join(re.escape(s) + (r"(?!\w)" if s.isascii() else "") for s in sorted(after, key=len, reverse=True))
    scaled = rf"(?:{NUMBER}|\b(?:{_WORDS}))(?:\s?(?:k|thousand|grand|million))?"
    pattern = rf"(?<!\w)(?P<front>{front})\s?(?P<a>{scaled})(?![a-z\d])|(?P<b>{scaled})\s?(?P<back>{back})"
    return re.compile(pattern), {**after, **before}


def money(text: str) -> list[tuple[float, int, int, bool]]:
    """(dollars, start, end, hourly) for every sum in the text; other currencies by the catalogue's dated rates."""
    pattern, codes = _money_pattern()
    found = []
    for match in pattern.finditer(text):
        digits = match["a"] or match["b"]
        amount = value_of(digits)
        if amount is None:
            continue
        code = codes[(match["front"] or match["back"]).casefold()]
        rate = float(load_catalogue().currencies[code].usd_per_unit)
        hourly = bool(re.match(r"\s*(?:/|per|an?)\s*(?:gpu[- ]?)?(?:h\b|hr|hour)", text[match.end() :]))
        found.append((round(amount * rate, 2), match.start(), match.end(), hourly))
    return found


def hours(text: str) -> float | None:
    """The last span of time in the text, in hours."""
    last = None
    for match in DURATION.finditer(text):
        words = match["n"]
        amount = 0.5 if words.startswith("half") else value_of(words)
        if amount is not None:
            last = amount * _HOURS[match["unit"][0]]
    return last


def resolution(text: str) -> int | None:
    """Pixels of the shorter side as people name it: 1024x1024, 768 px, 720p, 4k."""
    last = None
    for match in PIXELS.finditer(text):
        if match[5] and _TOKENS.search(text[: match.start()]):
            continue
        if match[1]:
            last = min(int(match[1]), int(match[2]))
        else:
            last = int(match[3] or match[4] or _LINES[match[5]])
    return last
