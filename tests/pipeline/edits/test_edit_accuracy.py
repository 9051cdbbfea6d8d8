"""How well plan edits in plain words are read: right tiles, right direction, nothing unrelated, with floors."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from edit_rows import rows, score

FLOORS = {"development.txt": 0.97, "validation.txt": 0.95}


@pytest.mark.parametrize("name", [pytest.param("development.txt", marks=pytest.mark.slow), "validation.txt"])
def test_edits_are_read(name, capsys):
    counts, misses = score(name)
    with capsys.disabled():
        print(f"\n{name}: {counts}")
    right, counted = counts["all"]
    assert right >= FLOORS[name] * counted, misses if name == "development.txt" else "seen as totals only"


def test_the_sets_share_no_edit():
    sets = [{(start, words) for start, words, *_ in rows(name)} for name in FLOORS]
    assert not sets[0] & sets[1]
