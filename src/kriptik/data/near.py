"""Rows that are nearly the same: MinHash signatures (rensa), banded, and every candidate checked by its real similarity."""

from array import array
from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
from rensa import RMinHash  # type: ignore[attr-defined]  # its stubs name the compiled module only

from kriptik.data import text
from kriptik.data.split import sides_of
from kriptik.spec.data import Row

SHINGLE, MANY_WORDS = 5, 20
SIMILAR = 0.8
"""Jaccard similarity of shingles from which two rows count as nearly the same."""
BANDS, BAND = 12, 5
BINS = BANDS * BAND
MOST_COMPARED = 2_000_000
"""Rows up to which near-duplicates are looked for; a signature takes 240 bytes."""
LOOKED_AT = 4_000
"""Characters of a row that count for similarity."""
BATCH, LOOKED_UP, SEED = 64, 4_096, 1


class NearIndex:
    """Finds rows that are nearly the same. A signature is the smallest of 60 hashes over a row's shingles."""

    def __init__(self) -> None:
        self.signatures = array("I")
        self.rows = 0
        self.full = False
        self._waiting: list[list[str]] = []

    def add(self, row: Row) -> None:
        """Takes the next row in; past `MOST_COMPARED` no more are taken."""
        if self.rows >= MOST_COMPARED:
            self.full = True
            return
        self._waiting.append(list(shingles(row)))
        self.rows += 1
        if len(self._waiting) >= BATCH:
            self._sign()

    def pairs(self, load: Callable[[int], Row]) -> Iterator[tuple[int, int]]:
        """(later, earlier) rows whose shingles really are that similar; `load` gives a row again. Reads only candidates."""
        self._sign()
        table = np.frombuffer(self.signatures, dtype=np.uint32).reshape(-1, BINS)
        seen: set[tuple[int, int]] = set()
        for band in range(BANDS):
            keys = _key(table[:, band * BAND : (band + 1) * BAND])
            _values, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
            earlier = first[inverse]
            later = np.flatnonzero(earlier != np.arange(len(keys)))
            for start in range(0, len(later), LOOKED_UP):
                some = later[start : start + LOOKED_UP]
                alike = (table[some] == table[earlier[some]]).sum(axis=1) >= (SIMILAR - 0.2) * BINS
                for row, other in zip(some[alike].tolist(), earlier[some[alike]].tolist(), strict=True):
                    if (row, other) not in seen and similarity(load(row), load(other)) >= SIMILAR:
                        seen.add((row, other))
                        yield row, other

    def _sign(self) -> None:
        if self._waiting:
            for one in RMinHash.digest_matrix_from_token_sets(self._waiting, num_perm=BINS, seed=SEED).to_rows():
                self.signatures.extend(one)
            self._waiting = []


def shingles(row: Row) -> set[str]:
    """Pairs of neighbouring words of all that a row says, in normal form; of few words, character 5-grams."""
    asked, said = sides_of(row)
    flat = text.normal(" ".join([*asked, *said])[:LOOKED_AT])
    words = flat.split()
    if len(words) >= MANY_WORDS:
        return {f"{one} {other}" for one, other in pairwise(words)}
    return {flat[i : i + SHINGLE] for i in range(max(1, len(flat) - SHINGLE + 1))}


def similarity(one: Row, other: Row) -> float:
    """Jaccard similarity of two rows' shingles."""
    a, b = shingles(one), shingles(other)
    return len(a & b) / len(a | b)


def _key(band: np.ndarray) -> np.ndarray:
    """One number per row out of a band of its signature."""
    key = np.zeros(len(band), dtype=np.uint64)
    for column in range(band.shape[1]):
        key = (key ^ band[:, column].astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        key ^= key >> np.uint64(29)
    return key
