"""How well requests are read: per-field accuracy on the development and the validation requests, with floors."""

import sys
import time
from pathlib import Path

import pytest

from kriptik.pipeline.intent.parser import OfflineParser

sys.path.insert(0, str(Path(__file__).parent))
from intent_rows import rows, score

FLOORS = {
    "development.txt": {"no": 0.98, "refused": 0.97, "cap": 0.97, "tier": 0.93, "base": 0.95, "usd": 0.97, "m": 0.95},
    "validation.txt": {"no": 0.97, "refused": 0.92, "cap": 0.92, "tier": 0.78, "base": 0.88, "usd": 0.90, "m": 0.88, "other": 0.83},
    "blind.txt": {"no": 0.94, "refused": 0.86, "cap": 0.83, "tier": 0.75, "base": 0.88, "usd": 0.90, "m": 0.90, "other": 0.83},
}


@pytest.mark.parametrize("name", [pytest.param("development.txt", marks=pytest.mark.slow), "validation.txt", "blind.txt"])
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
