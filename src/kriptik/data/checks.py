"""What is looked at in every row: personal data, damaged text, length, language. Pure functions of one row's texts."""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

from kriptik.data.text import estimate_tokens
from kriptik.spec.data import Row

LONG_TOKENS = 4096
EMAIL = re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,4}")
PHONE = re.compile(r"(?<![\w.])\+?\d[\d ()/-]{7,17}\d(?!\w)")
CARD = re.compile(r"\b(?:\d[ -]?){13,19}\b")
IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){3,7}\b")
DAMAGED = re.compile(r"\ufffd|Ã[\x80-\xbf]|â€|Â[\xa0-\xbf]|[\x00-\x08\x0b\x0c\x0e-\x1f]")
COMMON = {
    code: frozenset(words.split())
    for code, words in tomllib.loads(Path(__file__).with_name("common_words.toml").read_text(encoding="utf-8")).items()
}
SCRIPTS = (
    ("ja", re.compile(r"[\u3040-\u30ff]")),
    ("zh", re.compile(r"[\u4e00-\u9fff]")),
    ("ko", re.compile(r"[\uac00-\ud7af]")),
    ("hi", re.compile(r"[\u0900-\u097f]")),
    ("ar", re.compile(r"[\u0600-\u06ff]")),
    ("ru", re.compile(r"[\u0400-\u04ff]")),
)
WORD = re.compile(r"[^\W\d_]+")


@dataclass(frozen=True)
class Looked:
    """What a row's texts show."""

    tokens: int
    language: str
    personal: str | None
    damaged: bool


def texts_of(row: Row) -> tuple[str, str]:
    """(what is asked, what is answered) of a canonical row; for raw text both are the text."""
    if "text" in row:
        return row["text"], row["text"]
    if "messages" in row:
        turns = row["messages"]
        return _said(turns, {"user", "tool"}), _said(turns, {"assistant"})
    asked = _said(row["prompt"], {"user"})
    answers = row["chosen"] + row["rejected"] if "chosen" in row else row["completion"]
    return asked, _said(answers, {"assistant", "user"})


def look(row: Row) -> Looked:
    """Everything about one row that findings are made of."""
    asked, said = texts_of(row)
    whole = asked if asked == said else f"{asked}\n{said}"
    return Looked(estimate_tokens(whole) + 12, language_of(whole), personal_in(whole), DAMAGED.search(whole) is not None)


def personal_in(text: str) -> str | None:
    """The kind of personal data that is in the text, if any."""
    if EMAIL.search(text):
        return "an e-mail address"
    if any(_luhn(found.group()) for found in CARD.finditer(text)):
        return "a card number"
    if IBAN.search(text):
        return "a bank account number"
    if PHONE.search(text):
        return "a phone number"
    return None


def masked(text: str) -> str:
    """The text with personal data replaced by what kind it was."""
    text = EMAIL.sub("[e-mail]", text)
    text = CARD.sub(lambda found: "[card number]" if _luhn(found.group()) else found.group(), text)
    return PHONE.sub("[phone number]", IBAN.sub("[bank account]", text))


def language_of(text: str) -> str:
    """A guess from scripts and common words, ISO 639-1; "other" where unsure."""
    sample = text[:2000]
    for code, script in SCRIPTS:
        if len(script.findall(sample)) > len(sample) / 8:
            return code
    words = [word.lower() for word in WORD.findall(sample)]
    score = {code: sum(word in common for word in words) for code, common in COMMON.items()}
    best = max(score, key=lambda code: score[code])
    second = max(value for code, value in score.items() if code != best)
    return best if score[best] >= max(1, len(words) / 20) and score[best] > second else "other"


def _said(turns: list[dict[str, str]], roles: set[str]) -> str:
    return "\n".join(turn.get("content") or "" for turn in turns if turn["role"] in roles)


def _luhn(text: str) -> bool:
    digits = [int(c) for c in text if c.isdigit()]
    if not 13 <= len(digits) <= 19 or len(set(digits)) == 1:
        return False
    doubled = [d if at % 2 == 0 else (d * 2 - 9 if d > 4 else d * 2) for at, d in enumerate(reversed(digits))]
    return sum(doubled) % 10 == 0
