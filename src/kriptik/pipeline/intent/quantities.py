"""Reads figures in running text: numbers, time, sizes, percentages; `sums` has money. Pure; used for requests and for plan edits.

Every reader takes folded text (`text.fold`) and a language, and returns findings in the order of the text with their positions:

- `numbers(text, language)` → `Number(value, start, end, low)`; "3-4" is one number, value 4, low 3
- `durations(text, language)` → `Duration(hours, amount, unit, start, end)`
- `sizes(text, language)` → `Size(gb, start, end)`; `params(text, language)` → `Params(billions, start, end)`; `percents(...)`
"""

import re
from dataclasses import dataclass
from functools import lru_cache

from kriptik.pipeline.intent.vocabulary import LETTER, RIGHT, vocabulary

SUFFIX = {
    "k": 1e3,
    "m": 1e6,
    "mio": 1e6,
    "mn": 1e6,
    "mil": 1e3,
    "bn": 1e9,
    "万": 1e4,
    "萬": 1e4,
    "千": 1e3,
    "百": 1e2,
    "億": 1e8,
    "亿": 1e8,
    "만": 1e4,
    "천": 1e3,
    "억": 1e8,
    "к": 1e3,
}
"""Written against or after digits."""
_DIGITS = r"\d{1,3}(?:[.,'\u2019 ]\d{3})+(?:[.,]\d{1,2})?(?!\d)|\d{1,3}(?:,\d{2})+,\d{3}(?!\d)|\d{1,15}(?:[.,]\d{1,6})?(?!\d)"
_DIGIT_NUMBER = re.compile(
    rf"(?<![\da-z])(?<!\d[.,])(?P<digits>{_DIGITS})(?:\s?(?P<scale>[万萬千百億亿만천억]+)|(?P<suffix>k|к|mio|mn|m|bn)(?![a-z0-9а-я]))?"
)
_A_GRAND = re.compile(r"(?<![a-z])a(?= grand(?![a-z]))(?<!half a)")
_CJK = {"〇": 0, "零": 0, "一": 1, "二": 2, "两": 2, "兩": 2, "三": 3, "四": 4, "五": 5, "六": 6, "七": 7, "八": 8, "九": 9}
_CJK_SCALE = {"十": 10, "百": 100, "千": 1000, "万": 10_000, "萬": 10_000, "億": 100_000_000, "亿": 100_000_000}
_CJK_NUMBER = re.compile(r"[〇零一二两兩三四五六七八九十百千万萬億亿]+")
_RANGE = re.compile(r"\s*(?:-|~|to|bis|a|ate|or|oder|o|ou|and|und|y|et|e|至|到|〜|से)\s*[^\w\s]{0,2}\s*")
_HALF_AFTER = re.compile(r"\s*(?:and a half|1/2|½|y media|et demie?|e meia|einhalb|半|с половиной|ونصف)")


@dataclass(frozen=True)
class Number:
    """A figure as written. Of a range, `value` is the upper end."""

    value: float
    start: int
    end: int
    low: float | None = None
    worded: bool = False


@dataclass(frozen=True)
class Duration:
    """A time in hours, as written `amount` × `unit` ("minute", "hour", "day", "week", "month", "second", "year")."""

    hours: float
    amount: float
    unit: str
    start: int
    end: int


@dataclass(frozen=True)
class Size:
    """Bytes, in GB."""

    gb: float
    start: int
    end: int


@dataclass(frozen=True)
class Params:
    """A model's size in billions of parameters."""

    billions: float
    start: int
    end: int


def to_value(digits: str, language: str = "en") -> float:
    """The number that a run of digits and separators means: "2.500" is 2500, "2,5" is 2.5, "1,00,000" is 100000."""
    text = re.sub(r"[\s'\u2019]", "", digits)
    marks = [c for c in text if c in ".,"]
    if len(set(marks)) == 2:
        decimal = marks[-1]
        return float(text.replace("," if decimal == "." else ".", "").replace(decimal, "."))
    if len(marks) > 1:
        return float(text.replace(marks[0], ""))
    if marks:
        whole, rest = text.split(marks[0])
        if len(rest) == 3 and whole != "0" and len(whole) <= 3:
            return float(whole + rest)
        return float(f"{whole}.{rest}")
    return float(text)


def numbers(text: str, language: str = "en") -> list[Number]:
    """All figures, written in digits or in words, ranges joined, never overlapping."""
    return list(_numbers(text, language))


@lru_cache(maxsize=32)
def _numbers(text: str, language: str) -> tuple[Number, ...]:
    """Kept for a while: every reader of a request asks for them."""
    found = _digit_numbers(text, language)
    found += [Number(1.0, m.start(), m.end(), worded=True) for m in _A_GRAND.finditer(text)]
    taken = [(n.start, n.end) for n in found]
    for word in _word_numbers(text, language) + _cjk_numbers(text):
        if all(word.end <= a or word.start >= b for a, b in taken):
            found.append(word)
            taken.append((word.start, word.end))
    return tuple(_joined(text, sorted(found, key=lambda n: n.start)))


def _digit_numbers(text: str, language: str) -> list[Number]:
    found = []
    scales = _scale_words(language)
    for match in _DIGIT_NUMBER.finditer(text):
        value, end = to_value(match["digits"], language), match.end()
        if match["suffix"]:
            value *= SUFFIX[match["suffix"]]
        for char in match["scale"] or "":
            value *= SUFFIX[char]
        half = _HALF_AFTER.match(text, end) if not match["suffix"] else None
        if half and half[0].strip() != "半":
            value, end = value + 0.5, half.end()
        scale = scales.match(text, end)
        if scale:
            value, end = value * _scale_value(scale[0].strip(" -"), language), scale.end()
        last = text[: match.start()].rstrip(" ")
        if found and found[-1].end == len(last) and last[-1:] in ("万", "萬", "億", "亿", "만", "억"):
            found[-1] = Number(found[-1].value + value, found[-1].start, end)
            continue
        found.append(Number(value, match.start(), end))
    return found


def _cjk_numbers(text: str) -> list[Number]:
    found = []
    for match in _CJK_NUMBER.finditer(text):
        total, section, digit = 0.0, 0.0, 0.0
        for char in match[0]:
            if char in _CJK:
                digit = _CJK[char]
            elif _CJK_SCALE[char] < 10_000:
                section, digit = section + max(digit, 1) * _CJK_SCALE[char], 0
            else:
                total, section, digit = total + max(section + digit, 1) * _CJK_SCALE[char], 0, 0
        found.append(Number(total + section + digit, match.start(), match.end(), worded=True))
    return found


@lru_cache(maxsize=16)
def _scale_words(language: str) -> re.Pattern[str]:
    table = vocabulary(language).numbers
    words = sorted((w for w, v in table.items() if v >= 100 and v in (100, 1e3, 1e5, 1e6, 1e7, 1e9)), key=len, reverse=True)
    return re.compile(rf"[\s-]*(?:{'|'.join(map(re.escape, words))})(?:s|en)?{RIGHT}")


def _scale_value(word: str, language: str) -> float:
    table = vocabulary(language).numbers
    return next(table[w] for w in (word, word.removesuffix("s"), word.removesuffix("en")) if w in table)


_JOINS_WORDS = ("de", "it", "nl")
"""Languages that write a figure in words as one word: "achthundert", "ottocento", "driehonderd"."""


@lru_cache(maxsize=16)
def _number_words(language: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """(a run of number words, one number word)."""
    words = sorted(vocabulary(language).numbers, key=len, reverse=True)
    one = "|".join(map(re.escape, words))
    glue = r"(?:[\s-]+(?:(?:and|y|et|e|of|a|i)\s+|و)?)"
    if language in _JOINS_WORDS:
        glue = r"(?:[\s-]*(?:und|and|en|of)?[\s-]*)"
    letters = rf"{LETTER}\u0400-\u04ff\u0621-\u064a\u0900-\u097f{'가-힣' if language == 'ko' else ''}"
    lead = rf"(?<![{letters}])[وب]?" if language == "ar" else rf"(?<![{letters}])"
    return re.compile(rf"{lead}(?:{one})(?:{glue}(?:{one}))*(?![{letters}])"), re.compile(one)


def _word_numbers(text: str, language: str) -> list[Number]:
    run, one = _number_words(language)
    table = vocabulary(language).numbers
    found = []
    for match in run.finditer(text):
        total = current = 0.0
        for word in one.findall(match[0]):
            value = table[word]
            if value in (100, 1e3, 1e5, 1e6, 1e7, 1e9):
                current = max(current, 1) * value if current != 0.5 else 0.5 * value
                if value > 100:
                    total, current = total + current, 0
            else:
                current += value
        half = _HALF_AFTER.match(text, match.end())
        end = half.end() if half else match.end()
        found.append(Number(total + current + (0.5 if half else 0), match.start(), end, worded=True))
    return found


def _joined(text: str, found: list[Number]) -> list[Number]:
    """ "3-4", "200 to 300", "$200-$300": one number whose value is the upper end."""
    out: list[Number] = []
    for number in found:
        last = out[-1] if out else None
        between = text[last.end : number.start] if last else ""
        if (
            last
            and last.low is None
            and _RANGE.fullmatch(between)
            and last.value < number.value
            and between.strip() not in ("a", "e", "y", "o", "and", "und", "et")
        ):
            shared = last.value < 100 and number.value >= 100 * last.value > 0
            low = last.value * 1000 if shared and number.value >= 1000 else last.value
            out[-1] = Number(number.value, last.start, number.end, low)
        else:
            out.append(number)
    return out


_AND_A_HALF = re.compile(r"\s*(?:and (?:a|one) half|y media|et demie?|e mezz[ao]|e meia|半|ونصف)")
HOURS = {"second": 1 / 3600, "minute": 1 / 60, "hour": 1.0, "day": 24.0, "week": 168.0}
HOURS |= {"fortnight": 336.0, "month": 720.0, "year": 8760.0}
_QUARTERS = re.compile(
    r"(?<![a-z])(?:three[ -]quarters? of an|3/4 (?:of an )?|(?:a )?quarter of an) ?hour(?![a-z])|dreiviertelstunde"
)


def durations(text: str, language: str = "en") -> list[Duration]:
    """All spans of time, "an hour", "half a day" and "3-4 h" (the upper end) included."""
    return list(_durations(text, language))


@lru_cache(maxsize=32)
def _durations(text: str, language: str) -> tuple[Duration, ...]:
    words = vocabulary(language)
    found = [d for n in numbers(text, language) if (d := _duration_after(text, n.value, n.start, n.end, language))]
    for match in words.rx("time.one").finditer(text):
        if d := _duration_after(text, 1.0, match.start(), match.end(), language):
            found.append(d)
    for match in words.rx("time.half").finditer(text):
        if d := _duration_after(text, 0.5, match.start(), match.end(), language):
            found.append(d)
    for match in words.rx("time.one_led").finditer(text):
        if d := _duration_after(text, 1.0, match.end(), match.end(), language):
            found.append(d)
    found += _whole(text, language)
    found.sort(key=lambda d: (d.start, -d.end))
    kept: list[Duration] = []
    for d in found:
        if not kept or d.start >= kept[-1].end:
            kept.append(d)
    return tuple(kept)


def _whole(text: str, language: str) -> list[Duration]:
    """Times that one word tells, unit and all: "이틀", "يومين"; and quarters of an hour."""
    words = vocabulary(language)
    found = []
    for key in (k for k in words.lists if k.startswith("time.whole.")):
        hours = float(key.removeprefix("time.whole."))
        unit = "day" if hours >= 12 else "hour"
        found += [Duration(hours, hours / HOURS[unit], unit, m.start(), m.end()) for m in words.rx(key).finditer(text)]
    for m in _QUARTERS.finditer(text):
        hours = 0.25 if m[0].startswith(("a q", "q")) else 0.75
        found.append(Duration(hours, hours, "hour", m.start(), m.end()))
    return found


def _duration_after(text: str, amount: float, start: int, end: int, language: str) -> Duration | None:
    for unit, hours in HOURS.items():
        match = _unit_pattern(language, unit).match(text, end)
        if match and not (match[0] == "d" and amount in (2, 3)):
            half = _AND_A_HALF.match(text, match.end())
            amount += 0.5 if half else 0.0
            return Duration(amount * hours, amount, unit, start, half.end() if half else match.end())
    return None


@lru_cache(maxsize=128)
def _unit_pattern(language: str, unit: str) -> re.Pattern[str]:
    entries = sorted(vocabulary(language).lists.get(f"time.{unit}", []), key=len, reverse=True)
    after = {e: RIGHT if len(e) == 1 else RIGHT.replace("0-9", "") for e in entries}  # "1 H100" is no hour
    inner = "|".join(e.replace(" ", r"\s*") if not re.search("[a-z]", e) else e + after[e] for e in entries)
    return re.compile(rf"[\s-]*(?:{inner})") if entries else re.compile(r"(?!)")


_SIZE = re.compile(
    r"[\s-]?(?P<unit>tb|terabytes?|gb|gigs?|gigabytes?|gib|giga|go|гб|гиг\w*|기가|ギガ|mb|megabytes?|mib|mo|мб|메가|kb)(?![a-z0-9])"
)
_SIZE_GB = {"t": 1000.0, "g": 1.0, "г": 1.0, "기": 1.0, "ギ": 1.0, "m": 0.001, "м": 0.001, "메": 0.001, "k": 0.000001}


def sizes(text: str, language: str = "en") -> list[Size]:
    """All byte sizes."""
    found = []
    for n in numbers(text, language):
        match = _SIZE.match(text, n.end)
        if match and not (match["unit"] in ("go", "mo") and language != "fr"):
            found.append(Size(round(n.value * _SIZE_GB[match["unit"][0]], 9), n.start, match.end()))
    return found


_PARAMS = re.compile(
    r"(?<![\d.,a-z])(\d+(?:[.,]\d+)?)\s?(?:-\s?)?(b|bn|billion|m|million|milliarden"
    r"|mrd|miliard\w*|milyar|миллиард\w*|млрд|مليار|millionen|mil millones|milliards?|bilhoes)(?![a-z0-9])(\s*-?\s*(?:params?"
    r"|parameters?|parametern?|parametros|parametres|参数|パラメータ))?"
    r"|(\d+(?:\.\d+)?)\s?(亿|億)(?:参数|パラメータ)?"
)


def params(text: str, language: str = "en") -> list[Params]:
    """Sizes of models: "7B", "500M params", "1.5 billion parameters", "70亿". A bare "m" or "million" needs the word parameters."""
    found = []
    for match in _PARAMS.finditer(text):
        if match[5]:
            found.append(Params(float(match[4]) / 10, match.start(), match.end()))
            continue
        unit = match[2]
        small = unit in ("m", "million", "millionen")
        if small and not match[3]:
            continue
        value = float(match[1].replace(",", "."))
        found.append(Params(value / 1000 if small else value, match.start(), match.end()))
    return found


def percents(text: str, language: str = "en") -> list[Number]:
    """All percentages, as the number before the sign."""
    return [
        n
        for n in numbers(text, language)
        if re.match(r"\s?(?:%|percent|per cent|prozent|por ciento|por cento|pour cent|प्रतिशत)", text[n.end :])
    ]
