"""Rows into sequences: a pure function of (lengths, seed, epoch), each row exactly once."""

from collections.abc import Sequence

from kriptik.engine.interfaces import Encoded
from kriptik.engine.rng import permutation

OPEN_BINS = 32
"""Sequences filled at the same time; more pack tighter but keep rows longer from their shuffled place."""
SORT_WINDOW = 16
"""Unpacked: micro-batches whose rows are sorted by length together, so that neighbours cost alike."""

EVAL_TOKENS = 2048
"""Held-out rows are scored together up to about this many tokens."""


def pack(lengths: Sequence[int], longest: int, seed: int, epoch: int) -> list[list[int]]:
    """Best fit of shuffled rows into sequences of `longest` tokens. A row that is longer has one for itself."""
    full: list[list[int]] = []
    filling: list[tuple[int, list[int]]] = []
    for row in permutation(len(lengths), seed, "order", epoch):
        fits = [place for place, (free, _) in enumerate(filling) if free >= lengths[row]]
        if fits:
            place = min(fits, key=lambda at: filling[at][0])
            free, rows = filling.pop(place)
            rows.append(row)
            filling.append((free - lengths[row], rows))
        else:
            filling.append((longest - lengths[row], [row]))
            if len(filling) > OPEN_BINS:
                fullest = min(range(len(filling)), key=lambda at: filling[at][0])
                full.append(filling.pop(fullest)[1])
    bins = full + [rows for _, rows in filling]
    return [bins[place] for place in permutation(len(bins), seed, "bins", epoch)]


def single_rows(lengths: Sequence[int], seed: int, epoch: int, micro_batch: int) -> list[list[int]]:
    """One row per sequence, shuffled; inside a window of micro-batches sorted by length, the micro-batches shuffled again."""
    order = permutation(len(lengths), seed, "order", epoch)
    micros: list[list[int]] = []
    for number, window in enumerate(_batched(order, SORT_WINDOW * micro_batch)):
        by_length = sorted(window, key=lambda row: (lengths[row], row))
        found = _batched(by_length, micro_batch)
        micros += [found[place] for place in permutation(len(found), seed, "window", epoch, number)]
    return [[row] for micro in micros for row in micro]


def together(encoded: Sequence[Encoded]) -> list[list[Encoded]]:
    """Held-out rows in order, in groups for one forward each."""
    groups: list[list[Encoded]] = []
    size = 0
    for row in encoded:
        if not groups or size + row.length > EVAL_TOKENS:
            groups.append([])
            size = 0
        groups[-1].append(row)
        size += row.length
    return groups


def _batched(rows: Sequence[int], size: int) -> list[list[int]]:
    return [list(rows[start : start + size]) for start in range(0, len(rows), size)]
