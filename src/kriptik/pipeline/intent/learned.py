"""What a request is about where no cue word says it: two models learned from written requests, shipped as `learned.bin`.

`grams` is a linear model over hashed words, pairs of words and pieces of words. `net` is nine of the twelve layers of a
multilingual sentence encoder, tuned to requests (`encoder`). Both give a probability of each class: the ten capabilities, "no" (no
request) and "ask" (a request that does not say for what). Made by `scripts/train_intent.py`; numpy only.

The file: a JSON line (classes, factors of the decision, and name, type, shape and scale of each array), then one zlib stream of the
arrays in that order.
"""

import json
import re
import unicodedata
import zlib
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np

from kriptik.pipeline.intent.encoder import Encoder, shortened

FILE = Path(__file__).with_name("learned.bin")
BUCKETS = 1 << 15
HEAD, TAIL = 500, 200
"""Characters of a long text that the learned models read: its beginning and its end."""
LONGEST = 12
"""Characters of the longest piece."""
MARK = "▁"
"""Begins a word in the vocabulary of pieces."""
_TOKEN = re.compile(
    r"[a-z0-9\u00df-\u024f\u0400-\u04ff\u0600-\u06ff\u0900-\u097f']+|[\u3040-\u30ff]+|[\u4e00-\u9fff]+|[\uac00-\ud7af]+|\?"
)
_DIGITS = re.compile(r"\d+")
_UNSPACED = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7af]")
UNKNOWN = -20.0
"""Log probability of a character that no piece holds."""


@dataclass(frozen=True)
class Pieces:
    """What the encoder sees of each piece of a text [pieces, width], and which characters of the text as typed it stands for."""

    spans: list[tuple[int, int]]
    views: np.ndarray

    def at(self, start: int, end: int) -> np.ndarray | None:
        """The mean over what stands there; None where nothing of it was read."""
        inside = [place for place, (begin, stop) in enumerate(self.spans) if begin < end and stop > start]
        return self.views[inside].mean(axis=0) if inside else None


@dataclass(frozen=True)
class Judgement:
    """Log probabilities by class of the two models, and the encoder's view of the text [1920] and of its pieces."""

    grams: dict[str, float]
    net: dict[str, float]
    seen: np.ndarray | None = None
    pieces: Pieces | None = None


def ends(text: str) -> str:
    """The part of a long text that is read."""
    return text if len(text) <= HEAD + TAIL else f"{text[:HEAD]} {text[-TAIL:]}"


def features(folded: str) -> list[int]:
    """Buckets of a folded text, each once: words, pairs of words, pieces of long words, characters of unspaced scripts."""
    tokens = _TOKEN.findall(_DIGITS.sub("0", folded))
    names = {f"w{t}" for t in tokens}
    names.update(f"p{a} {b}" for a, b in pairwise(tokens))
    names.update(f"s{a} {b}" for a, b in zip(tokens, tokens[2:], strict=False))
    for token in tokens:
        if _UNSPACED.match(token):
            names.update(f"c{token[i : i + n]}" for n in (1, 2, 3) for i in range(len(token) - n + 1))
        elif len(token) > 3:
            padded = f"^{token}$"
            names.update(f"c{padded[i : i + n]}" for n in (4, 5) for i in range(len(padded) - n + 1))
    joined = "".join(t for t in tokens if _UNSPACED.match(t))
    names.update(f"c{joined[i : i + n]}" for n in (2, 3) for i in range(len(joined) - n + 1))
    return sorted({zlib.crc32(name.encode()) % BUCKETS for name in names})


def plain(typed: str) -> str:
    """The text as the pieces are cut from it: lower case, compatibility forms resolved, figures as 0."""
    return _DIGITS.sub("0", unicodedata.normalize("NFKC", typed.replace("·", " ")).lower())


def spaced(text: str) -> str:
    """A plain text with a mark before each word."""
    return MARK + MARK.join(text.split())


def cut(text: str, scores: dict[str, tuple[int, float]]) -> list[tuple[int, int, int]]:
    """The likeliest cut of a spaced text into pieces (Viterbi over a unigram vocabulary): (id, start, end), without the unknown."""
    count = len(text)
    best = [0.0] + [-1e30] * count
    came: list[tuple[int, int]] = [(-1, -1)] * (count + 1)
    for start in range(count):
        base = best[start]
        if base + UNKNOWN > best[start + 1]:
            best[start + 1], came[start + 1] = base + UNKNOWN, (start, -1)
        for end in range(start + 1, min(count, start + LONGEST) + 1):
            found = scores.get(text[start:end])
            if found is not None and base + found[1] > best[end]:
                best[end], came[end] = base + found[1], (start, found[0])
    at, out = count, []
    while at > 0:
        start, piece = came[at]
        if piece >= 0:
            out.append((piece, start, at))
        at = start
    return out[::-1]


def origins(typed: str) -> tuple[str, list[tuple[int, int]]]:
    """`spaced(plain(typed))`, made character by character, and which characters of `typed` each of its own stands for."""
    out, spans = [MARK], [(0, 0)]
    for place, char in enumerate(typed.replace("·", " ")):
        for low in unicodedata.normalize("NFKC", char).lower():
            if low.isspace():
                if out[-1] != MARK:
                    out.append(MARK)
                    spans.append((place, place + 1))
            elif low.isdecimal() and out[-1] == "0":
                spans[-1] = (spans[-1][0], place + 1)
            else:
                out.append("0" if low.isdecimal() else low)
                spans.append((place, place + 1))
    if len(out) > 1 and out[-1] == MARK:
        out.pop()
        spans.pop()
    return "".join(out), spans


@dataclass(frozen=True)
class Model:
    """What the file holds."""

    classes: list[str]
    scores: dict[str, tuple[int, float]]
    """Place and log probability of each piece."""
    grams: np.ndarray
    grams_bias: np.ndarray
    encoder: Encoder
    mix: dict[str, dict[str, float]]
    """Factors of the decision (`decide`)."""


@cache
def model() -> Model:
    """The shipped models, read once."""
    head, _, packed = FILE.read_bytes().partition(b"\n")
    facts = json.loads(head)
    data, at = zlib.decompress(packed), 0
    arrays: dict[str, np.ndarray] = {}
    for name, kind, shape, scale in facts["arrays"]:
        size = int(np.prod(shape)) * np.dtype(kind).itemsize
        array, at = np.frombuffer(data[at : at + size], kind).reshape(shape), at + size
        arrays[name] = array.astype(np.float32) * scale if kind == "|i1" else array
    names = arrays.pop("pieces").tobytes().decode("utf-8").split("\n")
    likely, grams, bias = (arrays.pop(name) for name in ("likely", "grams", "grams_bias"))
    known = {name: (place, float(score)) for place, (name, score) in enumerate(zip(names, likely, strict=True))}
    return Model(facts["classes"], known, grams, bias, Encoder(arrays), facts["mix"])


def judged(folded: str, typed: str) -> Judgement:
    """What both models say of a text, folded and as typed."""
    known = model()
    found = features(ends(folded))
    grams = known.grams[found].sum(axis=0) / np.sqrt(max(len(found), 1)) + known.grams_bias
    text = spaced(plain(ends(typed)))
    pieces = cut(text, known.scores)
    net, seen, views = known.encoder.judged([piece for piece, _start, _end in pieces])
    said = [dict(zip(known.classes, map(float, _log_softmax(one)), strict=True)) for one in (grams, net)]
    return Judgement(grams=said[0], net=said[1], seen=seen, pieces=_placed(typed, text, pieces, views))


def _placed(typed: str, text: str, pieces: list[tuple[int, int, int]], views: np.ndarray) -> Pieces | None:
    """Where the pieces of `text` stand in what was typed; None where it has letters that only come together by their neighbours."""
    made, spans = origins(ends(typed))
    if made != text:
        return None
    skipped = max(0, len(typed) - HEAD - TAIL - 1)  # between the two ends stands one blank
    whole = [(spans[start][0], spans[end - 1][1]) for _piece, start, end in shortened(pieces)]
    return Pieces([(a + skipped * (a > HEAD), b + skipped * (b > HEAD)) for a, b in whole], views)


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max()
    return shifted - np.log(np.exp(shifted).sum())
