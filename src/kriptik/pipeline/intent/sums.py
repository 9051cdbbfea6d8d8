"""Reads sums of money in running text, on the numbers of `quantities`. Pure; used for requests and for plan edits.

`money(text, language)` → `Money(amount, currency, start, end, low, usd, per)`; currency is an ISO code or None where only a
multiplier says that it is money ("two grand"); `usd` is dollars by the catalogue's dated rates; `per` is "hour" … for a rate.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

from kriptik.catalogue.load import load_catalogue
from kriptik.pipeline.intent.quantities import SUFFIX, numbers
from kriptik.pipeline.intent.vocabulary import LEFT, RIGHT, plain


@dataclass(frozen=True)
class Money:
    """A sum. `per`: the unit of a rate ("hour", "month", "token" …), which is no budget."""

    amount: float
    currency: str | None
    start: int
    end: int
    low: float | None = None
    per: str | None = None

    @property
    def usd(self) -> float:
        """Dollars by the catalogue's dated rate; cents kept."""
        if self.currency in (None, "USD"):
            return self.amount
        return round(self.amount * float(load_catalogue().currencies[self.currency].usd_per_unit), 2)


_PER = re.compile(
    r"\s*(?:/|per|an?|pro|por|par|each|every|la|das|die|je|za|na|de l'|all'|l')\s*(?P<unit>(?:gpu[ -]?)?(?:hours?"
    r"|hrs?|h|stunde|hora|heure|uur|godzin\w*|godz|saat)|months?|mo|monat|mes|mois|token|1k|million tokens"
    r"|image|user|seat|year|yr|unit|piece|stuck)\b"
    r"|\s*(?:/|每)?(?:小时|小時)|(?:/|毎)?時間|\s*(?:all'|l'|a )ora\b|\s*в час|\s*(?:في|ب)\s?الساعة"
)
_PER_BEFORE = re.compile(
    r"(?:hourly rate|stundenpreis|per hour|/h(?:r|our)?)[^.\d]{0,12}$|每小时$|毎時$|1時間$|時給$"
    r"|시간당\s*$|saat(?:i|lik)\s*$|ghanta\s*$|प्रति घंटा\s*$"
)


def money(text: str, language: str = "en") -> list[Money]:
    """All sums with a currency beside them, or with a word that only money has ("grand")."""
    return list(_money(text, language))


@lru_cache(maxsize=32)
def _money(text: str, language: str) -> tuple[Money, ...]:
    before, after, codes = _currency_patterns(language)
    found: list[Money] = []
    for n in numbers(text, language):
        ahead = before.search(text, max(0, n.start - 24), n.start)
        behind = after.match(text, n.end)
        if ahead and ahead[0].strip() in _ONLY_BEHIND:
            ahead = None
        if behind and ((ahead and codes[_sign(behind)] in (None,)) or _PIECES.match(text, behind.start())):
            behind = None
        mark = (
            behind
            if behind and not (ahead and ahead[0].strip() in "$€£¥₹" and len(ahead[0].strip()) == 1 and _sign(behind) not in codes)
            else ahead
        )
        if behind and ahead and ahead[0].strip() == "$":
            mark = behind
        mark = mark or ahead
        grand = _GRAND.match(text, behind.end() if behind else n.end)
        if not mark and not grand:
            continue
        start, end = (
            min(n.start, ahead.start() if ahead else n.start),
            max(n.end, behind.end() if behind else 0, grand.end() if grand else 0),
        )
        suffix = re.match(r"\s?(k|mio|m)\b", text[n.end : n.end + 5]) if not behind else None
        factor = 1000.0 if grand else (SUFFIX[suffix[1]] if suffix else 1.0)
        per = _PER.match(text, end)
        before_per = _PER_BEFORE.search(text, max(0, start - 30), start)
        currency = codes[_sign(mark)] if mark else None
        found.append(
            Money(
                n.value * factor,
                currency,
                start,
                end,
                n.low,
                (per["unit"] or "hour").strip() if per else ("hour" if before_per else None),
            )
        )
    return tuple(found)


def _sign(match: re.Match[str]) -> str:
    """The currency as spelled, without what joins it to the figure: "10 mil de reais"."""
    return re.sub(r"^\s(?:de|d'|di|of)\s", "", match[0]).strip()


_ONLY_BEHIND = ("won", "불", "달러", "원", "円", "元", "块", "块钱")
"""No sum follows these: "we won 86 of 210", "用一块4090"."""
_PIECES = re.compile(r"块(?=[a-z0-9\u4e00-\u9fff])(?!块?[钱以左之内预人])")
""" "300块瓷砖" counts pieces."""
_GRAND = re.compile(r"\s*(?:of\s+|an?\s+)?(?:grand(?! max)|large ones|g's|mille)\b")


@lru_cache(maxsize=16)
def _currency_patterns(language: str) -> tuple[re.Pattern[str], re.Pattern[str], dict[str, str]]:
    """(before the number, after it, spelling → code). Dollars and euros are read in every language."""
    codes: dict[str, str] = {}
    for code, rate in load_catalogue().currencies.items():
        for spelling in (code.lower(), *rate.symbols, *rate.words):
            codes.setdefault(plain(spelling.lower()), code)
    codes.update({"$": "USD", "usd": "USD", "us$": "USD", **_ambiguous(language)})
    spellings = sorted(codes, key=len, reverse=True)
    worded = "|".join(_spelling(s) for s in spellings)
    return re.compile(rf"(?:{worded})\s?\Z"), re.compile(rf"(?:\s(?:de|d'|di|of))?\s?(?:{worded})"), codes


def _spelling(spelling: str) -> str:
    left = LEFT.replace("0-9", "") if spelling[0].isalpha() and spelling.isascii() else ""
    right = RIGHT.replace("0-9", "") if spelling[-1].isalpha() and spelling.isascii() else ""
    return f"{left}{re.escape(spelling)}{right}"


def _ambiguous(language: str) -> dict[str, str]:
    """Signs that several countries share go by the language."""
    return {"¥": "JPY" if language == "ja" else "CNY", "元": "CNY"}
