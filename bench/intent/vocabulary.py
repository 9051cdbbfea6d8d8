"""The pieces that the encoder reads: the teacher's vocabulary cut down."""

import re
import unicodedata

from teacher import Pieces, split

from kriptik.pipeline.intent.learned import LONGEST, MARK

KEPT = 16_000
"""Pieces by frequency, beside those that the training texts use and every single character."""
SINGLE = 4_000
"""Single characters kept, the commonest first, so that every word can be cut."""
SCRIPTS = ("LATIN", "CYRILLIC", "ARABIC", "DEVANAGARI", "HANGUL", "HIRAGANA", "KATAKANA", "CJK", "DIGIT", "GREEK", "THAI")
_SIGNS = re.compile(r"[\W_]+\Z")


def kept(pieces: Pieces, texts: list[str]) -> list[int]:
    """Ids of the pieces kept, in the order of the vocabulary."""
    known = {name: at for at, name in enumerate(pieces.pieces) if len(name) <= LONGEST and at > 3 and _readable(name)}
    used: set[int] = set()
    for text in texts:
        used.update(i for i in split(text, pieces, known, LONGEST) if i != pieces.unknown)
    frequent = sorted(known.values(), key=lambda at: -pieces.scores[at])
    single = [at for at in frequent if len(pieces.pieces[at].removeprefix(MARK)) == 1]
    return sorted({*frequent[:KEPT], *used, *single[:SINGLE]})


def _readable(name: str) -> bool:
    body = name.removeprefix(MARK)
    if not body:
        return name == MARK
    if body != body.lower() or _SIGNS.match(body):
        return body in ("?", "!", ",", ".", ":", "$", "€", "+", "%")
    return all(unicodedata.name(c, "").startswith(SCRIPTS) or not c.isalpha() for c in body) and not re.search(r"[1-9]", body)
