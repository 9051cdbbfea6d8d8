"""How well requests are read: per-field accuracy on the development, validation and blind requests, with floors."""

import sys
import time
from pathlib import Path

import pytest
from clock import within

from kriptik.pipeline.intent.parser import OfflineParser

sys.path.insert(0, str(Path(__file__).parent))
from intent_rows import rows, score

FLOORS = {
    "development.txt": {"no": 0.98, "refused": 0.97, "cap": 0.97, "tier": 0.93, "base": 0.95, "usd": 0.97, "dt": 0.90, "da": 0.95},
    "development_fields.txt": {"no": 0.98, "cap": 0.91, "dt": 0.90, "da": 0.93, "ds": 0.95, "tier": 0.92, "base": 0.97, "m": 0.93},
    "development_data.txt": {"no": 0.98, "cap": 0.88, "dt": 0.85, "da": 0.80, "ds": 0.85, "tier": 0.82, "base": 0.85, "m": 0.92},
    "validation.txt": {"no": 0.98, "refused": 0.97, "cap": 0.94, "tier": 0.83, "base": 0.88, "usd": 0.90, "m": 0.88, "other": 0.87},
    "blind_a.txt": {"no": 0.95, "refused": 0.88, "cap": 0.84, "tier": 0.85, "base": 0.85, "usd": 0.97, "da": 0.80, "other": 0.90},
    "blind_b.txt": {"no": 0.92, "refused": 0.85, "cap": 0.79, "tier": 0.90, "base": 0.95, "usd": 0.95, "da": 0.77, "other": 0.88},
    "blind_c.txt": {"no": 0.90, "refused": 0.81, "cap": 0.72, "da": 0.70, "other": 0.70},
    "blind_m.txt": {
        "no": 0.97, "refused": 0.90, "cap": 0.92, "tier": 0.90, "base": 0.84, "usd": 0.92, "m": 0.92, "dt": 0.85,
        "da": 0.93, "ds": 0.89, "prov": 0.86, "n": 0.90, "h": 0.88, "other": 0.86,
    },
    "blind_r.txt": {"no": 0.97, "refused": 0.95, "cap": 0.93, "tier": 0.83, "dt": 0.80, "da": 0.87, "ds": 0.80, "m": 0.95},
    "blind_s.txt": {
        "no": 0.98, "refused": 0.90, "cap": 0.95, "tier": 0.92, "base": 0.92, "usd": 0.94, "m": 0.97, "dt": 0.92, "da": 0.97,
        "ds": 0.95, "gpu": 0.91, "n": 0.94, "prov": 0.95, "dev": 0.96, "h": 0.90, "lang": 0.96, "lic": 0.90, "other": 0.92,
    },
    "blind_t.txt": {
        "no": 0.96, "refused": 0.84, "cap": 0.90, "tier": 0.90, "base": 0.95, "usd": 0.97, "m": 0.92, "da": 0.87, "gpu": 0.95,
        "n": 0.92, "prov": 0.86, "dev": 0.90, "h": 0.86, "lang": 0.94, "lic": 0.95, "other": 0.88,
    },
    "blind_u.txt": {"no": 0.86, "refused": 0.76},
    "development_near.txt": {"no": 0.90, "refused": 0.80},
    "development_terms.txt": {"no": 0.98, "refused": 0.97, "h": 0.95, "lang": 0.97, "lic": 0.97, "usd": 0.97, "base": 0.95},
    "development_everyone.txt": {"no": 0.97, "cap": 0.85, "dt": 0.80, "da": 0.85, "ds": 0.80, "tier": 0.75, "usd": 0.85, "n": 0.8},
    "blind_d.txt": {"no": 0.92, "refused": 0.87, "cap": 0.67, "da": 0.60, "other": 0.68},
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("development.txt", marks=pytest.mark.slow),
        pytest.param("development_data.txt", marks=pytest.mark.slow),
        pytest.param("development_everyone.txt", marks=pytest.mark.slow),
        pytest.param("development_fields.txt", marks=pytest.mark.slow),
        "validation.txt",
        "blind_a.txt",
        "blind_b.txt",
        "blind_c.txt",
        "blind_d.txt",
        "blind_m.txt",
        "blind_r.txt",
        "blind_s.txt",
        "blind_t.txt",
        "blind_u.txt",
        pytest.param("development_near.txt", marks=pytest.mark.slow),
        pytest.param("development_terms.txt", marks=pytest.mark.slow),
    ],
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
    prompts = [p for p, _, _ in rows("validation.txt")][::3]
    for prompt in prompts:
        parser.parse(prompt)
    began = time.process_time()
    for prompt in prompts:
        parser.parse(prompt)
    assert (time.process_time() - began) / len(prompts) < within(0.05)
