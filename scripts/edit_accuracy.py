"""How many plan edits in plain words move the right tiles the right way, on the development and the validation edits.

    python scripts/edit_accuracy.py [development|validation] [--misses]

`--misses` lists what went wrong, on the development edits only: the validation edits are seen as totals.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "pipeline" / "edits"))
from edit_rows import score


def main(arguments: list[str]) -> None:
    """Prints one line for each set named."""
    for name in [a for a in arguments if not a.startswith("-")] or ["development"]:
        counts, misses = score(f"{name}.txt")
        print(name + ": " + ", ".join(f"{k} {a}/{b} ({100 * a / max(b, 1):.1f} %)" for k, (a, b) in counts.items()))
        if "--misses" in arguments and name == "development":
            for words, wrong in misses:
                print(f"  {words} | {'; '.join(wrong)}")


if __name__ == "__main__":
    main(sys.argv[1:])
