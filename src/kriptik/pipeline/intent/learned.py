"""A small logistic model over hashed word and character n-grams: what a request is about, where no cue word says it.

Trained by `scripts/train_intent.py` from committed phrases and shipped as `learned.bin`: a JSON line (classes, bias, scale),
then zlib-packed int8 weights, row by bucket. Pure Python, so that a planner needs no numeric library; deterministic.
"""

import json
import math
import re
import zlib
from functools import cache
from itertools import pairwise
from pathlib import Path

FILE = Path(__file__).with_name("learned.bin")
BUCKETS = 1 << 15
_TOKEN = re.compile(
    r"[a-z0-9\u00df-\u024f\u0400-\u04ff\u0600-\u06ff\u0900-\u097f']+|[\u3040-\u30ff]+|[\u4e00-\u9fff]+|[\uac00-\ud7af]+|\?"
)
_DIGITS = re.compile(r"\d+")
_UNSPACED = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7af]")


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


@cache
def _model() -> tuple[list[str], list[float], bytes]:
    head, _, packed = FILE.read_bytes().partition(b"\n")
    facts = json.loads(head)
    return facts["classes"], facts["bias"] + [facts["scale"]], zlib.decompress(packed)


def judged(folded: str) -> dict[str, float]:
    """Probability of each class: the ten capabilities, "no" (no request) and "ask" (a request that does not say for what)."""
    classes, (*bias, scale), weights = _model()
    found = features(folded)
    width = len(classes)
    sums = [0] * width
    for bucket in found:
        row = weights[bucket * width : (bucket + 1) * width]
        for at, value in enumerate(row):
            if value:
                sums[at] += value - 256 if value > 127 else value
    norm = scale / math.sqrt(max(len(found), 1))
    logits = [b + s * norm for b, s in zip(bias, sums, strict=True)]
    top = max(logits)
    powers = [math.exp(x - top) for x in logits]
    return dict(zip(classes, (p / sum(powers) for p in powers), strict=True))
