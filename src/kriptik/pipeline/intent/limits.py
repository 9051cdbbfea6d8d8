"""Money and time: which of the figures in a request is the budget, which the deadline. The last one wins in a self-correction."""

import re
from dataclasses import dataclass

from kriptik.pipeline.intent.amounts import corrected_sum, recorded
from kriptik.pipeline.intent.clock import hours_elsewhere
from kriptik.pipeline.intent.cues import before
from kriptik.pipeline.intent.details import on_run_side
from kriptik.pipeline.intent.quantities import Duration, Number, durations, numbers
from kriptik.pipeline.intent.sums import Money, money
from kriptik.pipeline.intent.text import Reading

REACH = 40
"""Characters in which a cue speaks for a figure."""


@dataclass(frozen=True)
class Budget:
    """Dollars at most; currency and amount as typed."""

    usd: float
    currency: str | None
    amount: float | None


def budget(reading: Reading) -> Budget | None:
    """The budget; None where the text sets none. 0 means nothing to spend."""
    text, words = reading.text, reading.words
    sums = sorted([*money(text, reading.language), *_coins(reading)], key=lambda m: m.start)
    found = [m for m in sums if m.per is None and not _other_money(reading, m)]
    cued = [m for m in found if _near(reading, m.start, m.end, "money.strong_cue")]
    chosen = _last(reading, found, cued)
    bare = _bare(reading)
    if bare and (chosen is None or bare.start > chosen.end or (chosen not in cued and not _corrects(reading, chosen.start))):
        chosen = bare
    nothing = list(words.rx("money.nothing").finditer(text))
    if nothing and (chosen is None or (nothing[-1].start() > chosen.end and _corrects(reading, nothing[-1].start()))):
        return Budget(0.0, None, None)
    if chosen is None:
        return None
    currency = chosen.currency or "USD"
    return Budget(chosen.usd, currency, None if currency == "USD" else chosen.amount)


def _coins(reading: Reading) -> list[Money]:
    """Notes by their names: "a tenner", "een tientje"."""
    found = []
    for key in (k for k in reading.words.lists if k.startswith("money.coin.")):
        currency, amount = key.removeprefix("money.coin.").split("_")
        found += [Money(float(amount), currency, m.start(), m.end()) for m in reading.words.rx(key).finditer(reading.text)]
    return found


def _last(reading: Reading, found: list[Money], cued: list[Money]) -> Money | None:
    if not found:
        return None
    if _corrects(reading, found[-1].start):
        return found[-1]
    return (cued or found)[-1]


def _corrects(reading: Reading, at: int) -> bool:
    return bool(reading.words.rx("correction.marks").search(reading.text[max(0, at - REACH) : at]))


def _near(reading: Reading, start: int, end: int, key: str) -> bool:
    """Whether a cue stands in the same clause before the figure, or right after it."""
    lead = re.split(r"(?<!\.)\.(?!\.)|[;!?·\n]", reading.text[max(0, start - REACH) : start])[-1]
    tail = re.split(r"[.;!?·\n,]", reading.text[end : end + 18])[0]
    return bool(reading.words.rx(key).search(lead) or reading.words.rx(key).search(tail))


def _other_money(reading: Reading, m: Money) -> bool:
    """Revenue, prices of goods, what was spent before: money, but no budget."""
    lead = re.split(r"[.;!?·\n,]", reading.text[max(0, m.start - 32) : m.start])[-1]
    tail = reading.text[m.end : m.end + 24]
    if reading.words.rx("money.not_budget").search(lead) and not re.search(r"budget", lead):
        return True
    return bool(reading.words.rx("money.not_budget_after").match(tail.lstrip(" -")))


_UNIT_AFTER = re.compile(r"\s*(?:%|[a-z\u4e00-\u9fff\u3040-\u30ff\u0900-\u097f]+)")
_PLAIN_AFTER = re.compile(
    r"\s*(?:max(?:imum)?|tops|total|all in|or less|and|for|but|on|pls|please|at most"
    r"|only|is|to|,|with|so|no|maximal|als|y|et|e|pour|para|fur|tak|me|mein|se|ka|hai|तक|में|से|का|है)(?![a-z\u0900-\u097f])"
)


def _bare(reading: Reading) -> Money | None:
    """ "budget 500": a figure without a currency right behind a budget word."""
    text = reading.text
    last = None
    sums = [m for m in money(text, reading.language) if m.per is None]
    for n in numbers(text, reading.language):
        unit = _UNIT_AFTER.match(text, n.end)
        if any(m.start <= n.start < m.end for m in sums) or (unit and not _PLAIN_AFTER.match(text, n.end)):
            continue
        lead = text[max(0, n.start - 44) : n.start]
        if any(not lead[m.end() :].strip(" :=~,-$") for m in reading.words.rx("money.bare_budget").finditer(lead)):
            last = Money(n.value, _unnamed(reading, n), n.start, n.end, n.low)
        elif _unnamed(reading, n) and _near(reading, n.start, n.end, "money.spent_word"):
            last = Money(n.value, "INR", n.start, n.end, n.low)
        elif (last or sums) and _corrects_here(reading, n.start, sums):
            last = Money(n.value, sums[-1].currency if sums else None, n.start, n.end, n.low)
    return last


def _unnamed(reading: Reading, n: Number) -> str | None:
    """The currency of a sum that names none: who counts money in lakhs counts rupees."""
    return "INR" if reading.words.rx("money.rupee_scale").search(reading.text, n.start, n.end) else None


def _corrects_here(reading: Reading, at: int, sums: list[Money]) -> bool:
    """ "actually 700": the figure follows the words of correction at once."""
    return before(reading, at, "correction.marks", 24) or corrected_sum(reading.text, at, sums)


_ALONE_BEFORE = re.compile(r"(?:^|[,.;:、，。—–(])\s*(?:- )?(?:and |max |maximal |maximum |under |at most |only |just |about )?$")
_ALONE_AFTER = re.compile(r"\s*(?:$|[,.;、，。!)]|- )")
"""A time that is a clause by itself: ", 3 hours, one T4"."""


LONGEST = 4400.0
"""Half a year: nobody sets a longer time to train in, and so many days were counted, not granted."""
_PROMISED = re.compile(
    r"\b(?:answer|repl(?:y|ies)|respon|react|call(?:s|ed)? back|get(?:s|ting)? back|antwort|repon|contest|rispond"
    r"|antwoord)\w*"
    r"(?: (?!model|it\b|this\b|result)\w+){0,4} (?:within|in|inside|under|innerhalb|binnen|en|dans|sous|em|entro) (?:the |von )?$"
)
"""What someone promises customers is no time to train in: "we answer within 24 hours"."""


_RENTED = re.compile(
    r"(?:(?<![a-z])[ahlbvt]\d{1,3}s?|gpus?|cards?|nodes?|(?<!\d)[2-5]0[5-9]0(?: ?ti)?|colab|runpod|vast|modal|lambda)"
    r"(?: \d{2,3} ?gb)?(?: on \w+)? (?:for|pendant|durante|fur|per|voor) (?:about |maybe |around |the |a good )?$"
)
"""A card that is taken for so long."""
_MONEY_AND = re.compile(
    r"(?:[$€£]\s?\d[\d.,]*k?|\d\s?(?:dollars|euros?|bucks|usd|eur|pounds|quid|€|zl))\s(?:and|plus|und|y|et|e|&)\s$"
)


def deadline(reading: Reading) -> float | None:
    """Hours until the training must be over; None where the text sets no time that a clock is not needed for."""
    text, words = reading.text, reading.words
    found: list[tuple[int, float, bool]] = []
    for d in durations(text, reading.language):
        if d.unit in ("second", "year") or d.hours > LONGEST or _other_time(reading, d):
            continue
        lead = text[max(0, d.start - REACH) : d.start]
        if _PROMISED.search(lead):
            continue
        led = before(reading, d.start, "time.deadline_before", REACH) or _RENTED.search(lead) or _MONEY_AND.search(lead)
        followed = words.rx("time.deadline_after").match(text[d.end :].lstrip(" ,-("))
        alone = d.unit in ("hour", "day", "week", "fortnight") and _ALONE_BEFORE.search(lead) and _ALONE_AFTER.match(text[d.end :])
        if led or followed or alone or (words.rx("time.deadline_word").search(lead[-24:])) or _corrects(reading, d.start):
            found.append((d.start, d.hours, bool(led or followed)))
    after_next = words.rx("time.day_after").search(text)
    for key, hours in (("day_after", 48.0), ("tomorrow", 24.0), ("overnight", 12.0), ("weekend", 48.0), ("next_week", 168.0)):
        match = words.rx(f"time.{key}").search(text)
        if match and not (key == "tomorrow" and after_next):
            found.append((match.start(), hours, True))
    if not found:
        elsewhere = hours_elsewhere(text)
        return round(elsewhere[2], 4) if elsewhere else None
    found.sort()
    strong = [f for f in found if f[2]]
    return round((strong or found)[-1][1] if not _corrects(reading, found[-1][0]) else found[-1][1], 4)


_WORKED_FOR = re.compile(r"(?:train|run)\w* for\s*(?:about |max |at most )?$")


def _other_time(reading: Reading, d: Duration) -> bool:
    """Length of recordings, of clips, history, uptime: time, but no deadline."""
    tail = reading.text[d.end :].lstrip(" -'")
    if any(m.end <= d.start <= m.end + 4 and m.per for m in money(reading.text, reading.language)):
        return True
    if reading.words.rx("time.not_deadline").match(tail) or reading.text[d.end : d.end + 2] == "/7" or recorded(reading, d):
        return True
    if not reading.text[: d.start].rstrip().endswith(",") and before(reading, d.start, "time.not_deadline_before", 24):
        lead = reading.text[max(0, d.start - REACH) : d.start]
        return not (_WORKED_FOR.search(lead) or _RENTED.search(lead) or re.search(r"next\s*$", lead))
    return on_run_side(reading, d.start) and bool(re.search(r"inference|latency", reading.text))
