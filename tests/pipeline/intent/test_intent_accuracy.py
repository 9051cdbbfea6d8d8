"""How well requests are read: per-field accuracy on the development, validation and blind requests, with floors."""

import sys
import time
from pathlib import Path

import pytest

from kriptik.pipeline.intent.parser import OfflineParser

sys.path.insert(0, str(Path(__file__).parent))
from intent_rows import rows, score

FLOORS = {
    "development.txt": {"no": 0.98, "refused": 0.97, "cap": 0.97, "tier": 0.93, "base": 0.95, "usd": 0.97, "m": 0.93, "dt": 0.84},
    "validation.txt": {"no": 0.98, "refused": 0.97, "cap": 0.94, "tier": 0.83, "base": 0.88, "usd": 0.90, "m": 0.88, "other": 0.85},
    "blind_a.txt": {"no": 0.91, "refused": 0.77, "cap": 0.75, "tier": 0.80, "base": 0.85, "usd": 0.97, "m": 0.95, "other": 0.87},
    "blind_b.txt": {"no": 0.90, "refused": 0.76, "cap": 0.72, "tier": 0.90, "base": 0.95, "usd": 0.95, "m": 0.80, "other": 0.79},
}


@pytest.mark.parametrize(
    "name", [pytest.param("development.txt", marks=pytest.mark.slow), "validation.txt", "blind_a.txt", "blind_b.txt"]
)
def test_fields_are_read(name, capsys):
    found, _ = score(OfflineParser(), name)
    with capsys.disabled():
        print(f"\n{name}: " + ", ".join(f"{k} {a}/{b}" for k, (a, b) in sorted(found.items())))
    low = {k: found[k] for k, floor in FLOORS[name].items() if found[k][0] < floor * found[k][1]}
    assert not low


def test_the_sets_share_no_request():
    seen: set[str] = set()
    for name in FLOORS:
        prompts = {prompt for prompt, _, _ in rows(name) if prompt}
        assert not prompts & seen
        seen |= prompts


def test_a_request_is_read_in_milliseconds():
    parser = OfflineParser()
    prompts = [p for p, _, _ in rows("validation.txt")]
    for prompt in prompts:
        parser.parse(prompt)
    began = time.process_time()
    for prompt in prompts:
        parser.parse(prompt)
    assert (time.process_time() - began) / len(prompts) < 0.05
