"""Per-field accuracy of the offline parser on the development and the validation requests.

    python scripts/intent_accuracy.py [development|validation] [--misses]

`--misses` lists what was read wrong, of the development sets only: the others are seen as totals, never one by one.
"""

import sys
from pathlib import Path

from kriptik.pipeline.intent.parser import OfflineParser

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "pipeline" / "intent"))
from intent_rows import score


def main(arguments: list[str]) -> None:
    """Prints one table for each set named."""
    names = [a for a in arguments if not a.startswith("-")] or ["development"]
    for name in names:
        found, misses = score(OfflineParser(), f"{name}.txt")
        print(name)
        for key, (right, counted) in sorted(found.items(), key=lambda item: item[1][0] / item[1][1]):
            print(f"  {key:10} {right:4}/{counted:<4} {100 * right / counted:5.1f} %")
        if "--misses" in arguments and name.startswith("development"):
            for prompt, key, wanted, got in sorted(misses, key=lambda m: m[1]):
                print(f"{key:6} want {wanted!s:20} got {got!s:20} | {prompt}")


if __name__ == "__main__":
    main(sys.argv[1:])
