"""Whether a row holds a task of a known benchmark: runs of words, hashed, against the hashes in `catalogue/benchmarks`.

The files hold hashes, no texts; `scripts/benchmark_hashes.py` makes them out of packages whose licence allows it.
"""

import base64
import json
import re
import zlib
from array import array
from functools import cache
from importlib import resources

WORDS = 8
"""Words of a run."""
ANCHOR = 6
"""Only runs that begin with a word of at least so many letters count: a quarter of all, which is enough to find any task."""
HITS = 3
"""Runs that must be the same: fewer are common phrases, such as numbers counted up."""
_WORD = re.compile(r"[^\W_]+")


def runs(text: str) -> set[int]:
    """Hashes (32 bits) of the runs of words that begin with a long word."""
    words = _WORD.findall(text.lower())
    return {
        zlib.crc32(" ".join(words[at : at + WORDS]).encode("utf-8", "replace"))
        for at in range(len(words) - WORDS + 1)
        if len(words[at]) >= ANCHOR
    }


@cache
def benchmarks() -> tuple[dict[int, int], tuple[str, ...]]:
    """Hash → number of the benchmark it is of, and their names."""
    found: dict[int, int] = {}
    names: list[str] = []
    folder = resources.files("kriptik.catalogue").joinpath("benchmarks")
    for file in sorted(folder.iterdir(), key=lambda one: one.name):
        if file.name.endswith(".json"):
            known = json.loads(file.read_text("utf-8"))
            hashes = array("I", base64.b64decode(known["hashes"]))
            found.update(dict.fromkeys(hashes, len(names)))
            names.append(known["name"])
    return found, tuple(names)


def benchmark_of(text: str) -> str | None:
    """The benchmark of which the text holds a task; None where it holds none."""
    known, names = benchmarks()
    hits = [known[one] for one in runs(text) if one in known]
    if len(hits) < HITS:
        return None
    return names[max(set(hits), key=hits.count)]
