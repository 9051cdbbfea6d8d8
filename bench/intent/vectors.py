"""Vectors of the pieces that the net reads: the teacher's vocabulary cut down, each piece as the teacher sees it."""

import re
import unicodedata

import numpy as np
import torch
from teacher import Pieces, load, split

from kriptik.pipeline.intent.learned import LONGEST, MARK

KEPT = 22_000
"""Pieces by frequency, beside those that the training texts use and every single character."""
SINGLE = 4_000
"""Single characters kept, the commonest first, so that every word can be cut."""
SCRIPTS = ("LATIN", "CYRILLIC", "ARABIC", "DEVANAGARI", "HANGUL", "HIRAGANA", "KATAKANA", "CJK", "DIGIT")
_SIGNS = re.compile(r"[\W_]+\Z")


def vocabulary(pieces: Pieces, texts: list[str]) -> list[int]:
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


def teacher_vectors(ids: list[int], model: torch.nn.Module, pieces: Pieces) -> np.ndarray:
    """What the teacher makes of each piece alone, [pieces, 384], each of length one."""
    rows = torch.tensor([[pieces.first, i, pieces.last] for i in ids])
    with torch.inference_mode():
        parts = [model(input_ids=rows[at : at + 512]).last_hidden_state.mean(dim=1) for at in range(0, len(rows), 512)]
    return torch.nn.functional.normalize(torch.cat(parts), dim=1).numpy()


def scaled(vectors: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Centred, of average length one; frequent pieces are made short, as they say little."""
    centred = vectors - vectors.mean(axis=0)
    rarity = 1e-4 / (1e-4 + np.exp(scores))
    return (centred / np.sqrt((centred**2).sum(axis=1).mean()) * rarity[:, None]).astype(np.float32)


def directions(vectors: np.ndarray, width: int) -> np.ndarray:
    """The main directions of the vectors, [dimensions, width], where learning begins."""
    _, values, rows = np.linalg.svd(vectors[:: max(1, len(vectors) // 8_000)], full_matrices=False)
    return (rows[:width].T * np.sqrt(values[0] / values[:width])).astype(np.float32)


def build(texts: list[str]) -> tuple[list[str], np.ndarray, np.ndarray]:
    """(pieces, their log probabilities, what the teacher makes of each)."""
    model, pieces = load()
    ids = vocabulary(pieces, texts)
    return [pieces.pieces[i] for i in ids], pieces.scores[ids], teacher_vectors(ids, model, pieces)
