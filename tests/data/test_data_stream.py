"""Memory is bounded by the number of rows, not by how long they are: measured in a process of its own."""

import json
import random
import subprocess
import sys

import pytest

MEASURE = """
import resource, sys
from pathlib import Path
from kriptik.data.prepare import prepare
source, out = Path(sys.argv[1]), Path(sys.argv[2])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
made = prepare(source, out, name="rows.jsonl")
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print((after - before) * 1024, made.report.usable, made.report.train_rows, made.report.eval_rows)
"""


def big(path, rows, words_each):
    chance = random.Random(1)
    words = ["".join(chance.choices("abcdefghijklmnoprstuvy", k=chance.randint(3, 9))) for _ in range(3000)]
    with path.open("w", encoding="utf-8") as out:
        for n in range(rows):
            said = ". ".join(" ".join(chance.choices(words, k=12)).capitalize() for _ in range(words_each // 12))
            out.write(json.dumps({"prompt": f"What of matter {n * 7919}?", "completion": f"{said}."}) + "\n")
    return path.stat().st_size


def measured(tmp_path, rows, words_each):
    size = big(tmp_path / "rows.jsonl", rows, words_each)
    command = [sys.executable, "-c", MEASURE, str(tmp_path / "rows.jsonl"), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200, check=True)
    grown, usable, train, held = map(int, done.stdout.split())
    assert usable == train + held == rows
    return size, grown


@pytest.mark.slow
def test_longer_rows_take_no_more_memory(tmp_path):
    (tmp_path / "short").mkdir()
    (tmp_path / "long").mkdir()
    small, before = measured(tmp_path / "short", 300, 60)
    large, after = measured(tmp_path / "long", 300, 3600)
    assert large > 40 * small and after - before < 0.75 * (large - small)


@pytest.mark.slow
@pytest.mark.timeout(1300)
def test_a_file_of_a_hundred_megabytes_is_prepared_in_less_than_its_size(tmp_path):
    size, grown = measured(tmp_path, 12_000, 1_400)
    assert size > 90e6 and grown < 80e6, f"{grown / 1e6:.0f} MB for a file of {size / 1e6:.0f} MB"
