"""A request made ready to read: folded, its language guessed, quoted text and injected instructions blanked out.

Folding keeps length, so that every position in the folded text is the same position in the text as typed.
"""

import re
import unicodedata
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import pairwise

from kriptik.pipeline.intent.spelling import mended
from kriptik.pipeline.intent.vocabulary import Vocabulary, own_lists, phrases, vocabulary

HEAD_CHARS, TAIL_CHARS = 1200, 600
"""A request is a few sentences; of a longer text the beginning and the end are read."""
TELLING_CHARS = 700
"""The language shows in the first sentences."""
BLANK = "·"
"""Stands for a character that must not be read."""

_TRANSLATE = str.maketrans(
    {
        "“": '"',
        "”": '"',
        "„": '"',
        "‟": '"',
        "‘": "'",
        "’": "'",
        "‚": "'",
        "`": "'",
        "–": "-",
        "—": "-",
        "−": "-",
        "×": "x",
        "\u00a0": " ",
        "\u202f": " ",
        "\u2009": " ",
        "\t": " ",
        "\r": " ",
        "ł": "l",
        "Ł": "l",
        "ı": "i",
        "İ": "i",
    }
)
_QUOTES = (
    re.compile(r"'''.*?(?:'''|\Z)", re.S),
    re.compile(r'"[^"\n]{1,2000}"', re.S),
    re.compile(r"«[^»]{1,2000}»"),
    re.compile(r"「[^」]{1,2000}」|『[^』]{1,2000}』"),
    re.compile(r"(?<![\w'])'[^'\n]{12,400}'(?!\w)"),
)
_SENTENCE = re.compile(r"[.!?;](?=\s|$)|[。！？；]|\n+")
_BLANKS = re.compile(r"[^\S\n]{5,}")
_DEVANAGARI = re.compile(r"[\u0900-\u097f]")
_KANA = re.compile(r"[\u3040-\u30ff]")
_HAN = re.compile(r"[\u4e00-\u9fff]")
_OTHER_SCRIPTS = {"ru": re.compile(r"[\u0400-\u04ff]"), "ko": re.compile(r"[\uac00-\ud7af]"), "ar": re.compile(r"[\u0600-\u06ff]")}
_WORD = re.compile(r"[^\W\d_]+")
LATIN_LANGUAGES = ("de", "es", "fr", "pt", "it", "nl", "pl", "tr")


def fold(text: str) -> str:
    """Lower case, full-width forms and Latin accents taken off, quotes and dashes made plain; as long as the text given."""
    return "".join(map(_fold_char, text.translate(_TRANSLATE)))


def _fold_char(char: str) -> str:
    if char < "\x80":
        return char.lower()
    flat = unicodedata.normalize("NFKC", char)
    if len(flat) == 1:
        base = unicodedata.normalize("NFD", flat)
        if "\u0041" <= base[0] <= "\u024f" and len(base) > 1:
            flat = base[0]
        char = flat
    low = char.lower()
    return low if len(low) == 1 else char


def guess_language(folded: str) -> str:
    """ISO 639-1 code: by script, else by counting small words; "en" where nothing speaks against it."""
    if _DEVANAGARI.search(folded):
        return "hi"
    if _KANA.search(folded):
        return "ja"
    if _HAN.search(folded):
        return "zh"
    for code, script in _OTHER_SCRIPTS.items():
        if script.search(folded):
            return code
    words = _WORD.findall(folded)
    scores: dict[str, float] = {
        code: sum(word in vocabulary(code).words("language.small_words") for word in words)
        for code in ("en", *LATIN_LANGUAGES, "hi")
    }
    if words and max(scores.values()) - scores["en"] <= 1:
        for code in scores:
            scores[code] += 0.7 * _task_words(folded, code)
    best = max(scores, key=lambda code: scores[code])
    return best if scores[best] > scores["en"] else "en"


def _task_words(folded: str, code: str) -> int:
    """How many words of asking and of things to make the text has in a language: a terse request has no small words."""
    return sum(len(pattern.findall(folded)) for pattern in _own_patterns(code))


@cache
def _own_patterns(code: str) -> list[re.Pattern[str]]:
    lists = own_lists(code)
    asking = [
        e
        for key in ("request.train", "request.build", "request.wish", "request.artefact", "request.question", "money.cue")
        for e in lists.get(key, [])
    ]
    making = [e for key, entries in lists.items() if key.startswith("capability.") and not key.endswith("hint") for e in entries]
    return [phrases(asking), phrases(making)]


@dataclass(frozen=True)
class Reading:
    """A request as every reader sees it. `typed` and `text` are of one length."""

    typed: str
    text: str
    """Folded, with quoted text and injected instructions blanked out."""
    folded: str
    """Folded, nothing blanked out."""
    language: str
    injected: bool

    @property
    def clean(self) -> str:
        """As typed, without what is blanked out of `text`."""
        return "".join(" " if c == BLANK else t for c, t in zip(self.text, self.typed, strict=True))

    @cached_property
    def words(self) -> Vocabulary:
        """English and the language of the text, merged."""
        return vocabulary(self.language)

    @cached_property
    def sentences(self) -> list[tuple[int, int]]:
        """(start, end) of each sentence of `text`."""
        cuts = [0, *(m.end() for m in _SENTENCE.finditer(self.text)), len(self.text)]
        return [(a, b) for a, b in pairwise(cuts) if self.text[a:b].strip(" \n·")]

    def sentence_at(self, at: int) -> tuple[int, int]:
        """The sentence that holds position `at`."""
        return next(((a, b) for a, b in self.sentences if a <= at < b), (0, len(self.text)))

    def finds(self, key: str) -> bool:
        """Whether the cue list `key` has a hit anywhere."""
        return self.words.rx(key).search(self.text) is not None


def read_text(prompt: str) -> Reading:
    """Fold, guess the language, blank out what is quoted or injected."""
    typed = _unwrap(_ends(prompt).replace("\x00", " "))
    language = guess_language(fold(typed[:TELLING_CHARS]))
    if language == "en":
        typed = mended(typed)
    folded = fold(typed)
    words = vocabulary(language)
    text = _without_quotes(folded, words)
    clean = _without_injections(text, words)
    return Reading(typed, clean, folded, language, clean != text)


def _ends(prompt: str) -> str:
    """Of a very long text the beginning and the end, which must not run into each other."""
    prompt = _BLANKS.sub("    ", prompt)
    if len(prompt) <= HEAD_CHARS + TAIL_CHARS:
        return prompt
    return f"{prompt[:HEAD_CHARS]}\n{prompt[-TAIL_CHARS:]}"


def _unwrap(typed: str) -> str:
    """A request that stands in quotes as a whole is a request."""
    bare = typed.strip()
    if len(bare) > 2 and bare[0] in "\"'“«「" and bare[-1] in "\"'”»」" and not any(q in bare[1:-1] for q in '"“”«»「」'):
        return bare[1:-1]
    return typed


def _without_quotes(text: str, words: Vocabulary) -> str:
    """Long quotes and quotes that give orders or figures are data; a short quoted name or style is not."""
    for pattern in _QUOTES:
        for match in pattern.finditer(text):
            inside = match[0].strip("\"'`«»「」『』")
            cjk = len(_HAN.findall(inside)) + len(_KANA.findall(inside))
            name_like = (
                len(inside.split()) <= 4
                and cjk <= 10
                and not re.search(r"\d", inside)
                and not words.rx("injection.orders").search(inside)
            )
            if not name_like:
                text = _blank(text, match.start(), match.end())
    return text


def _without_injections(text: str, words: Vocabulary) -> str:
    """From the words of an injected order to the end of its sentence nothing is read."""
    for match in words.rx("injection.orders").finditer(text):
        cut = _SENTENCE.search(text, match.end())
        text = _blank(text, match.start(), cut.end() if cut else len(text))
    return text


def _blank(text: str, start: int, end: int) -> str:
    return text[:start] + "".join("\n" if c == "\n" else BLANK for c in text[start:end]) + text[end:]
