"""Mends typing errors in the words that matter: one edit in short words, two in long ones; never a word that is known."""

import re
from functools import cache, lru_cache

from kriptik.pipeline.intent.vocabulary import literal_words, tables

_TOKEN = re.compile(r"(?<![\w/.@:\-])[A-Za-z]{5,16}(?![\w/@])")
_LONG = 8
_ENDINGS = ("s", "es", "ed", "d", "ing", "er", "ers", "ly", "'s")


def mended(typed: str) -> str:
    """The text with misspelt task words set right; case is kept where the word is capitalised."""
    return _TOKEN.sub(lambda m: _mend(m[0]), typed)


@lru_cache(maxsize=4096)
def _mend(token: str) -> str:
    word = token.lower()
    if _is_known(word):
        return token
    limit = 2 if len(word) >= _LONG else 1
    near = [(distance, w) for w in _candidates(word) if (distance := _distance(word, w, limit)) <= limit]
    if not near:
        return token
    best = min(near)[1]
    return best.capitalize() if token[0].isupper() else best


def _is_known(word: str) -> bool:
    known = literal_words()
    return word in known or word in _table()[1] or any(word.endswith(e) and word[: -len(e)] in known for e in _ENDINGS)


@cache
def _table() -> tuple[frozenset[str], frozenset[str]]:
    table = tables("spelling")
    return frozenset(table["words"]), frozenset([*table["never"], *table["words"]])


def _candidates(word: str) -> list[str]:
    """Words of nearly the same length that begin with the same letter, or swap the first two."""
    return [w for w in _table()[0] if abs(len(w) - len(word)) <= 2 and (w[0] == word[0] or w[:2] == word[1::-1])]


def _distance(a: str, b: str, limit: int) -> int:
    """Edits from a to b, a swap of neighbours counting one; stops caring beyond `limit`."""
    before_last: list[int] = []
    last = list(range(len(b) + 1))
    for i, char in enumerate(a, 1):
        row = [i]
        for j, other in enumerate(b, 1):
            cost = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (char != other))
            if i > 1 and j > 1 and char == b[j - 2] and a[i - 2] == other:
                cost = min(cost, before_last[j - 2] + 1)
            row.append(cost)
        if min(row) > limit:
            return limit + 1
        before_last, last = last, row
    return last[-1]
