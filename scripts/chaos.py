"""Runs the chaos suite with a fresh seed and says what was held: `chaos.py [--night] [pytest options]`.

`KRIPTIK_CHAOS_SEED` repeats a seed. Prints the seed, scenarios per tier and family, checks per invariant, kill points by state, and
how long freezing took.
"""

import json
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WHICH = "chaos and not slow and not real_weights and not exactness"


def main() -> int:
    """The exit code of pytest."""
    night = "--night" in sys.argv
    options = [one for one in sys.argv[1:] if one != "--night"]
    seed = os.environ.get("KRIPTIK_CHAOS_SEED") or secrets.token_hex(4)
    env = {**os.environ, "KRIPTIK_CHAOS_SEED": seed, **({"KRIPTIK_CHAOS_NIGHT": "1"} if night else {})}
    print(f"chaos: seed {seed}; KRIPTIK_CHAOS_SEED={seed} make chaos{'-night' if night else ''} repeats it", flush=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        env["KRIPTIK_CHAOS_LOG"] = folder
        command = [sys.executable, "-m", "pytest", "-m", WHICH, "-n", "2", "--dist", "worksteal", *(options or ["tests"])]
        code = subprocess.run(command, cwd=ROOT, env=env, check=False).returncode
        lines = [json.loads(line) for file in Path(folder).glob("*.jsonl") for line in file.read_text().splitlines()]
    report(lines)
    print(f"chaos: seed {seed}, {len(lines)} scenarios, {time.monotonic() - began:.0f} s")
    return code


def report(lines: list[dict]) -> None:
    """Counts, from what the scenarios noted."""
    for tier in (1, 2, 3):
        of_it = [line for line in lines if line["tier"] == tier]
        families = Counter(line["family"] for line in of_it)
        print(f"tier {tier}: {len(of_it)} scenarios ({', '.join(f'{name} {count}' for name, count in families.most_common())})")
    for name, count in Counter(name for line in lines for name in line["checked"]).most_common():
        print(f"  {name}: held {count} times")
    for line in lines:
        for wrong in line["wrong"]:
            print(f"  BROKEN in tier {line['tier']}, {line['family']}, {line['name']}: {wrong}")
    kills = Counter((kind, state) for line in lines for kind, state in line["kills"])
    for kind in sorted({kind for kind, _state in kills}):
        states = sorted((state, count) for (k, state), count in kills.items() if k == kind)
        print(f"  killed {kind}: {', '.join(f'{state} {count}' for state, count in states)}")
    for tier in (1, 3):
        latency(tier, [tuple(freeze) for line in lines if line["tier"] == tier for freeze in line["freezes"]])


def latency(tier: int, freezes: list[tuple[float, float | None]]) -> None:
    """From the freeze mark to the end of billing."""
    judged = [(seconds, bound) for seconds, bound in freezes if bound is not None]
    others = [seconds for seconds, bound in freezes if bound is None]
    if judged:
        took, near = [seconds for seconds, _bound in judged], max(seconds - bound for seconds, bound in judged)
        print(f"  freeze mark to end of billing, tier {tier}: {len(took)} times, median {statistics.median(took):.2f} s, "
              f"most {max(took):.2f} s; against one step + checkpoint + tick at most {near:+.2f} s")  # fmt: skip
    if others:
        print(f"  the same with something broken on the way: {len(others)} times, median {statistics.median(others):.2f} s, "
              f"most {max(others):.2f} s")  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
