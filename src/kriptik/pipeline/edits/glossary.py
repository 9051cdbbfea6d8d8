"""Plan edits in other languages, word by word in English: the reading itself knows English alone. The words: glossary.toml."""

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from kriptik.pipeline.intent.text import fold
from kriptik.pipeline.intent.vocabulary import vocabulary

FILE = Path(__file__).with_name("glossary.toml")
TELLING = 3
"""Letters of a Latin form that speaks for a language; shorter ones are in many."""
_LATIN = re.compile(r"[a-z]")
_WORD = re.compile(r"[a-z]+(?:'[a-z]+)?")


@dataclass(frozen=True)
class _Language:
    pattern: re.Pattern[str]
    """Every form as one group, the longest first."""
    english: tuple[str, ...]


def in_english(text: str) -> str:
    """The text with the words of the language it is in put in English; as it is where it is English. Text is lower case."""
    folded = fold(text)
    best = max(_languages(), key=lambda language: _speaks_for(language, folded))
    score = _speaks_for(best, folded)
    if score == 0 or score < _speaks_for_english(folded):
        return text
    return re.sub(r"\s+", " ", best.pattern.sub(lambda m: f" {best.english[(m.lastindex or 1) - 1]} ", folded))


def _speaks_for(language: _Language, folded: str) -> int:
    """Letters of the text that only this language's forms explain."""
    found = [m[0] for m in language.pattern.finditer(folded)]
    return sum(len(f) for f in found if not _LATIN.search(f) or (len(f) >= TELLING and f not in _words("ambiguous")))


def _speaks_for_english(folded: str) -> int:
    own = _words("own")
    small = vocabulary("en").words("language.small_words")
    return sum(len(w) for w in _WORD.findall(folded) if w in own or w in small)


@cache
def _table() -> dict[str, dict[str, list[str]]]:
    return tomllib.loads(FILE.read_text(encoding="utf-8"))


@cache
def _words(name: str) -> frozenset[str]:
    return frozenset(_table()["english"][name])


@cache
def _languages() -> tuple[_Language, ...]:
    return tuple(_compiled(entries) for language, entries in _table().items() if language != "english")


def _compiled(entries: dict[str, list[str]]) -> _Language:
    forms = [(form, english) for english, listed in entries.items() for form in listed]
    forms.sort(key=lambda f: -len(re.sub(r"\\w\*|[()?*|\[\]]", "", f[0])))
    parts, english = [], []
    for form, meaning in forms:
        latin = bool(_LATIN.search(re.sub(r"\\[ws]|\(\?=.*?\)", "", form)))
        body = re.sub(r"\((?!\?)", "(?:", form).replace(" ", r"\s+" if latin else r"\s*")
        right = "" if form.endswith("'") else r"(?!\w)"
        parts.append(rf"((?<!\w){body}{right})" if latin or _spaced(form) else f"({body})")
        english.append(meaning)
    return _Language(re.compile("|".join(parts)), tuple(english))


def _spaced(form: str) -> bool:
    """Scripts that put blanks between words (Devanagari's vowel signs are no word characters, so it is left alone)."""
    return bool(re.search("[\u0400-\u04ff]", form))
