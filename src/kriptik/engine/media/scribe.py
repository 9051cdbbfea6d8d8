"""`python -m kriptik.engine.media.scribe CACHE`: writes down what is said in recordings, for a server that loads no models.

First it says who hears: {"by": a model's name, or null where none is at hand}. Then for every line that it is given, a file's path,
it answers with one: {"text": what is said; "" where no words can be relied on, "sure": how likely it held them, 0 to 1}. It ends
with its input.
"""

import contextlib
import json
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

QUIETER = 10
"""Added to the process's niceness: the server goes first."""


def main(argv: Sequence[str]) -> int:
    """Answers until there is no more to hear."""
    (cache,) = argv
    os.nice(QUIETER)
    answers = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):  # libraries print, too
        return _hear(Path(cache), answers)


def _hear(cache: Path, answers: TextIO) -> int:
    try:
        from kriptik.catalogue.listening import listening_facts
        from kriptik.engine.media.judges import at_hand
        from kriptik.engine.media.recordings import opened
        from kriptik.engine.media.words import RATE, Recogniser
    except ImportError as error:  # a server may be installed without what trains
        _say(answers, {"by": None, "why": str(error)})
        return 0
    found = at_hand(listening_facts().recognisers, cache)
    if found is None:
        _say(answers, {"by": None})
        return 0
    ears = Recogniser(found.base.folder)
    _say(answers, {"by": found.entry.title})
    for line in sys.stdin:
        words = ears.words(opened(Path(line.rstrip("\n")), 0, RATE)[0])
        _say(answers, {"text": words.text if words.sound else "", "sure": round(math.exp(words.sure), 3)})
    return 0


def _say(answers: TextIO, answer: dict[str, str | float | None]) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
