"""Checks of one text: each answers where the defect shows (start, end), or None. Pure, and quick on clean text."""

import re
import zlib
from collections.abc import Callable

from ftfy import badness

from kriptik.catalogue.defects import load_defects

Span = tuple[int, int]
_KNOWN = load_defects()
_CODE = re.compile(
    r"```|`[^`\n]+`|</?(?:html|body|script|head|style)\b|<!DOCTYPE|\b(?:def|class)\s+\w+\s*[(:]|\bfunction\s*\w*\s*\("
    r"|^\s*import\s+[\w{*]|#include\b|\breturn\s+[\w.()\[\]]+;|\b(?:const|let|var)\s+\w+\s*="
    r"|\b(?:print|printf|println|log|echo|len|range)\(|=>|\bSELECT\b.{1,200}\bFROM\b",
    re.IGNORECASE | re.MULTILINE,
)
_MARKUP_TALK = re.compile(r"\b(?:html|css|xml|jsx|react|javascript|regex|markdown|web ?page|tags)\b", re.IGNORECASE)
"""Texts that show code, or talk of markup, may hold marks that are defects elsewhere."""
INVISIBLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x80-\x9f\u200b\u2060\ufeff\u200e\u200f\u202a-\u202e\u2066-\u2069\ue000-\uf8ff]"
)
_ASCII_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_SUSPECT = re.compile("[\ufffdÃÂâ€åçéè‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸÐÑ¡-¿\x80-\x9f]{2}|\ufffd")
"""Two neighbours that come out of a wrong encoding, or the replacement mark; `badness` decides on the former."""
_TAG = re.compile(
    r"</?(?:p|br|div|span|b|i|u|a|em|strong|font|ul|ol|li|td|tr|th|table|tbody|img|h[1-6]|hr|center|blockquote|sup|sub)"
    r"(?:\s[^<>\n]{0,200})?/?>|&(?:nbsp|amp|lt|gt|quot|apos|mdash|ndash|rsquo|lsquo|ldquo|rdquo|hellip|euro|copy|auml|ouml|uuml|aring"
    r"|eacute|#\d{2,5}|#x[0-9a-f]{2,4});",
    re.IGNORECASE,
)
_ESCAPE = re.compile(r"\\n(?=\\n|[A-Z0-9\-*•\"' ]|$)|\\r\\n|\\u[0-9a-fA-F]{4}|\\\"|\\x[0-9a-f]{2}")
_FORMULA = re.compile(r"\\(?:frac|sqrt|text|times|begin|left|cdot|nabla|neq|nu)\b")
_SPACED = re.compile(r"[^\S\n]{12,}(?=\S)|(?:\n[^\S\n]*){6,}\n|\u00a0{4,}")
_SPACED_WORDS = re.compile(r"(?:(?<!\S)[^\W\d_] ){7,}|(?:(?<!\S)[^\s|=_*#.-] ){16,}")
_ONE_LETTERS = re.compile(r" \S \S \S \S ")
_CODE_SPAN = re.compile(r"```.*?(?:```|\Z)|`[^`\n]+`", re.DOTALL)
_LETTER_ESCAPE = re.compile(r"(?<!\\)\\u00[89a-f][0-9a-f]|(?<!\\)\\u(?:0[1-9a-f]|1[ef]|20)[0-9a-f]{2}", re.IGNORECASE)
_CONSONANTS = re.compile("[bcdfghjklmnpqrstvwxz]{5}|[^\\s]{90}")
_LONG_WORD = re.compile(r"[^\s]{90,}")
_WORD = re.compile(r"[a-z]{4,}")
_RARE_SHARE, _RARE_WORDS = 0.4, 5
_PACKED, _PACKED_FROM = 5.0, 600
_SAME_SHARE, _FEW_WORDS, _DISTINCT = 0.45, 14, 0.6
_LOOKED_AT = 4_000
LONG = 80
"""Characters from which a text is expected to be sentences."""
_ITEM = re.compile(r"(?:[-*•·–]|\d+[.)]|[a-z][.)]|#+|>)\s|\|")


def damage(text: str) -> Span | None:
    """Replacement marks, and UTF-8 that was once read as another encoding (judged by ftfy)."""
    if text.isascii() or not (suspect := _SUSPECT.search(text)):
        return None
    if "\ufffd" in text:
        at = text.index("\ufffd")
        return at, at + 1
    for line in text.splitlines():
        if badness.is_bad(line):
            found = badness.BADNESS_RE.search(line)
            start = text.index(line) + (found.start() if found else 0)
            return start, start + (found.end() - found.start() if found else len(line))
    return suspect.span() if badness.is_bad(text) else None


def control(text: str) -> Span | None:
    """Control characters, invisible marks, and characters of private use. Joiners stay: Persian, Hindi and emoji need them."""
    if text.isascii() and not _ASCII_CONTROL.search(text):
        return None
    return _span(INVISIBLE, text)


def html(text: str) -> Span | None:
    """Tags and entities left in running text, also beside code between marks; what is code, or talks of markup, is let pass."""
    if "<" not in text and "&" not in text:
        return None
    prose = _without_code(text)
    found = _TAG.search(prose)
    if found is None or _MARKUP_TALK.search(prose) or _CODE.search(prose):
        return None
    return found.span()


def markup(text: str) -> Span | None:
    """Control marks of a chat template."""
    return _span(_KNOWN.markup, text) if "<" in text or "[" in text or "###" in text else None


def escapes(text: str) -> Span | None:
    """Escapes that should have been characters, outside code. Where real line breaks are as many, written ones are meant."""
    if "\\" not in text:
        return None
    prose = _without_code(text)
    if found := _LETTER_ESCAPE.search(prose):
        return found.span()
    found = _ESCAPE.search(prose)
    if found is None or _CODE.search(prose) or _FORMULA.search(prose):
        return None
    return found.span() if not found.group().startswith(("\\n", "\\r")) or prose.count("\n") <= prose.count("\\n") else None


def spacing(text: str) -> Span | None:
    """S p a c e d words and long runs of blanks inside lines, outside code; blanks in tables are let pass."""
    if "      " not in text and "\n\n\n" not in text and "\u00a0\u00a0" not in text and not _ONE_LETTERS.search(text):
        return None
    prose = _without_code(text)
    if found := _SPACED_WORDS.search(prose):
        return found.span()
    found = _SPACED.search(prose)
    return found.span() if found and not _CODE.search(prose) and "|" not in text else None


def _without_code(text: str) -> str:
    """The text with code between marks blotted out, so that places stay the same."""
    return _CODE_SPAN.sub(lambda found: "x" * len(found.group()), text) if "`" in text else text


def open_code(text: str) -> Span | None:
    """A fence of code that is opened and never closed."""
    if text.count("```") % 2:
        at = text.rindex("```")
        return at, at + 3
    return None


def gibberish(text: str) -> Span | None:
    """Words that no language has, or one word without end."""
    piece = text[:_LOOKED_AT]
    lower = piece.lower()
    if not _CONSONANTS.search(lower) and sum(map(lower.count, "aeiouy")) > 0.3 * len(lower.replace(" ", "")):
        return None
    words = _WORD.findall(lower)
    if len(words) >= _RARE_WORDS and sum(1 for word in words if _KNOWN.rare.search(word)) > _RARE_SHARE * len(words):
        return 0, len(piece)
    found = _LONG_WORD.search(piece) if piece.isascii() else None
    if found and not re.search(r"://|www\.|[\\/=|_-]{3}|[.,;:(){}\[\]]{1}\w+[.,;:(){}\[\]]", found.group()):
        return found.span()
    return None


def repetitive(text: str) -> Span | None:
    """The same words again and again: most groups of three words are repetitions, or the text packs far too well."""
    if len(text) < 60:
        return None
    words = text[:_LOOKED_AT].lower().split()
    if len(words) < _FEW_WORDS or (len(set(words)) > _DISTINCT * len(words) and len(text) < _PACKED_FROM):
        return None
    groups = len(words) - 2
    if len(set(zip(words, words[1:], words[2:], strict=False))) < _SAME_SHARE * groups and not _table(text):
        return 0, len(text)
    if len(text) >= _PACKED_FROM and len(words) > 60 and not _table(text):
        tail = text[-2_000:].encode("utf-8", "replace")
        if len(tail) > _PACKED * len(zlib.compress(tail, 1)):
            return len(text) - min(len(text), 2_000), len(text)
    return None


def placeholder(text: str) -> Span | None:
    """Something that a person was to fill in. Code has braces of its own."""
    found = _KNOWN.placeholder.search(text) if any(mark in text for mark in _KNOWN.placeholder_marks) else None
    return found.span() if found and not _CODE.search(text) else None


def secret(text: str) -> Span | None:
    """Keys and tokens by the prefixes that services publish."""
    return _span(_KNOWN.secret, text) if any(mark in text for mark in _KNOWN.secret_marks) else None


def refusal(text: str) -> Span | None:
    """An answer that begins by refusing."""
    start = text[:200]
    lower = start.lower()
    return _span(_KNOWN.refusal, start) if any(mark in lower for mark in _KNOWN.refusal_marks) else None


def model_talk(text: str) -> Span | None:
    """A model that speaks of itself."""
    lower = text.lower()
    return _span(_KNOWN.model_talk, text) if any(mark in lower for mark in _KNOWN.model_talk_marks) else None


def speakers(text: str) -> Span | None:
    """Two lines or more that begin with a speaker's name, of two speakers."""
    if ":" not in text or "\n" not in text:
        return None
    found = list(_KNOWN.speakers.finditer(text))
    names = {one.group().strip().lower() for one in found}
    return (found[0].start(), found[-1].end()) if len(names) >= 2 else None


def cut_off(text: str) -> Span | None:
    """A text that stops with a comma or a word that ends no sentence, or whose last line of running text has no end. Lists, titles,
    code, verse and short texts are let pass."""
    end = text.rstrip()
    if len(end) < LONG or not (end[-1].isalpha() or end[-1] in ",-–—"):
        return None
    last = end.rsplit("\n", 1)[-1].strip()
    word = re.split(r"[^\w'’]+", last.rstrip(",-–— "))[-1].lower()
    open_end = word in _KNOWN.open_end or end[-1] in ",–—"
    if (open_end or _prose(last, end)) and not _CODE.search(last) and not text.count("```") % 2:
        return len(end) - len(last), len(end)
    return None


def ends(text: str) -> bool | None:
    """Whether a long text of one line or more ends as texts do; None for one that is short, a list, or code."""
    end = text.rstrip()
    last = end.rsplit("\n", 1)[-1].strip()
    if len(end) < LONG or len(last) < LONG // 2 or _ITEM.match(last) or "http" in last or "@" in last:
        return None
    if end[-1].isalnum() or end[-1] in ",-–—;":
        return None if _CODE.search(last) or text.count("```") % 2 else False
    return True


def _prose(last: str, whole: str) -> bool:
    """Whether the last line is running text: it has sentences in it, or the lines before it end like sentences."""
    if _ITEM.match(last) or len(last.split()) < 4 or "http" in last or "@" in last:
        return False
    if re.search(r"[.!?][\"'”)]?\s+[A-ZÅÄÖÉÜ]", last):
        return True
    lines = [line.rstrip() for line in whole.split("\n")[:-1] if line.strip()]
    return bool(lines) and all(line[-1] in '.!?:"”)' for line in lines) and len(last.split()) >= 6


def _table(text: str) -> bool:
    return text.count("|") > 8 or "```" in text or bool(_CODE.search(text))


def _span(pattern: re.Pattern[str], text: str) -> Span | None:
    found = pattern.search(text)
    return found.span() if found else None


Check = Callable[[str], Span | None]
ANYWHERE: tuple[tuple[str, Check], ...] = (
    ("damaged_text", damage),
    ("control_characters", control),
    ("html_remnants", html),
    ("chat_markup", markup),
    ("odd_spacing", spacing),
    ("secrets", secret),
    ("placeholders", placeholder),
)
"""Checks of all texts of a row together."""
EACH: tuple[tuple[str, Check], ...] = (("escaped_text", escapes), ("gibberish", gibberish))
"""Checks of every text of a row by itself."""
ANSWERS: tuple[tuple[str, Check], ...] = (
    ("refusals", refusal),
    ("model_talk", model_talk),
    ("speaker_labels", speakers),
    ("open_code", open_code),
    ("repetitive", repetitive),
)
"""Checks of what is learnt."""
