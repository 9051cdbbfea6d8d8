"""The parser's cue words: one TOML file per language in `words/`, read once, compiled to patterns on first use.

An entry is a fragment of a regular expression over folded text. A space in it stands for any run of blanks and hyphens, or none
("fine tune" is also "fine-tune" and "finetune"); word boundaries are added where it begins or ends with a Latin letter or digit.
"""

import re
import tomllib
import unicodedata
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "words"
SHARED = ("details", "languages", "clock", "errands")
"""Files of words of all languages; none of them is a typing error."""
LETTER = "0-9a-z\u00df\u00e0-\u024f"
LEFT, RIGHT = f"(?<![{LETTER}])", f"(?![{LETTER}])"
GAP = r"[\s\-_/]*"
_AFTER_WORD = re.compile(r"(?<=\\w[+*]) (?!\?)")
"""A gap behind any word must be there: were it optional, a run of words could be cut up in as many ways as it has letters."""
NEVER = re.compile(r"(?!)")


@cache
def tables(name: str) -> dict[str, Any]:
    """The tables of a file of `words/` that belongs to one reader, read once."""
    return tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8"))


class Vocabulary:
    """The cue lists of English and one other language. Keys are dotted: "request.train"."""

    def __init__(self, lists: dict[str, list[str]], numbers: dict[str, float]) -> None:
        self.lists = lists
        self.numbers = numbers
        self._patterns: dict[str, re.Pattern[str]] = {}
        self._sets: dict[str, frozenset[str]] = {}

    def rx(self, key: str) -> re.Pattern[str]:
        """One pattern for the whole list; it never matches where the list is empty."""
        found = self._patterns.get(key)
        if found is None:
            found = self._patterns[key] = phrases(self.lists.get(key, []))
        return found

    def words(self, key: str) -> frozenset[str]:
        """The list as plain words."""
        found = self._sets.get(key)
        if found is None:
            found = self._sets[key] = frozenset(self.lists.get(key, []))
        return found


@cache
def vocabulary(language: str = "en") -> Vocabulary:
    """English and, where there is a file for it, `language`. The language's `drop` lists take English entries out."""
    english, lists = own_lists("en"), {}
    own = dict(own_lists(language)) if language != "en" else {}
    dropped = set(own.pop("drop", []))
    for key in dict.fromkeys([*english, *own]):
        alone = key.startswith("language.")
        lists[key] = [e for e in ([] if alone and own else english.get(key, [])) if e not in dropped] + own.get(key, [])
    return Vocabulary(lists, {**_numbers("en"), **_numbers(language)})


@lru_cache(maxsize=4096)
def phrase(entry: str) -> str:
    """The pattern of one entry."""
    body = _AFTER_WORD.sub(lambda _: GAP[:-1] + "+", entry).replace(" ", GAP)
    left = LEFT if re.match(f"[{LETTER}(\\[\\\\]", entry) and _latin(entry) else ""
    right = RIGHT if re.search(f"[{LETTER})\\]?+*}}]$", entry) and _latin(entry) else ""
    return f"{left}(?:{body}){right}"


def phrases(entries: list[str]) -> re.Pattern[str]:
    """One pattern for several entries, the longest tried first."""
    return re.compile("|".join(phrase(e) for e in sorted(entries, key=len, reverse=True))) if entries else NEVER


def plain(text: str) -> str:
    """Latin accents off, lower case: how entries may be typed in the files."""
    out = []
    for char in text.replace("ł", "l").replace("ı", "i"):
        base = unicodedata.normalize("NFD", char)
        out.append(base[0] if "\u0041" <= base[0] <= "\u024f" and len(base) > 1 else char)
    return "".join(out)


def _latin(entry: str) -> bool:
    return bool(re.search("[a-z]", entry))


@cache
def _file(language: str) -> dict[str, Any]:
    """The language's cue files, merged: `en.toml`, `capability_en.toml`, …"""
    merged: dict[str, Any] = {}
    for path in sorted(FOLDER.glob("*.toml")):
        if path.stem in (language, f"capability_{language}") or (language == "en" and path.stem == "details"):
            merged.update(tomllib.loads(path.read_text(encoding="utf-8")))
    return merged


def own_lists(language: str) -> dict[str, list[str]]:
    """The cue lists of one language's own files."""
    found: dict[str, list[str]] = {}

    def walk(table: dict[str, Any], prefix: str) -> None:
        for name, value in table.items():
            key = f"{prefix}{name}"
            if isinstance(value, dict):
                walk(value, key + ".")
            else:
                found[key] = [plain(v) for v in value]

    walk({k: v for k, v in _file(language).items() if k != "numbers"}, "")
    return found


def _numbers(language: str) -> dict[str, float]:
    return {plain(word): float(value) for word, value in _file(language).get("numbers", {}).items()}


@cache
def literal_words() -> frozenset[str]:
    """Every Latin word that the English files and the names file mention: never a typing error."""
    text = " ".join(p.read_text(encoding="utf-8") for p in FOLDER.glob("*en.toml")) + (FOLDER / "names.toml").read_text(
        encoding="utf-8"
    )
    return frozenset(re.findall(r"[a-z]{3,}", plain(text.lower()))) | frozenset(
        re.findall(r"[a-z]{3,}", "".join(plain((FOLDER / f"{name}.toml").read_text(encoding="utf-8")) for name in SHARED))
    )
