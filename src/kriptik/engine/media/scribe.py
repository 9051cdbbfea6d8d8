"""`python -m kriptik.engine.media.scribe CACHE`: writes down what is said in recordings and tells voices apart, for a server that
loads no models.

First it says who hears: {"by": a model's name, "voices": another's; null where none is at hand}. Then every line given to it is
answered with one. A file's path: {"text": what is said; "" where no words can be relied on, "sure": how likely it held them, 0
to 1}. "voice", a tab and a path: {"voice": the direction of the voice, of length 1}. It ends with its input.
"""

import contextlib
import json
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

QUIETER = 10
"""Added to the process's niceness: the server goes first."""
VOICE = "voice\t"


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
        from kriptik.engine.media import speakers
        from kriptik.engine.media.judges import at_hand
        from kriptik.engine.media.recordings import opened
        from kriptik.engine.media.words import RATE, Recogniser
    except ImportError as error:  # a server may be installed without what trains
        _say(answers, {"by": None, "voices": None, "why": str(error)})
        return 0
    facts = listening_facts()
    recogniser, speaker = at_hand(facts.recognisers, cache), at_hand(facts.speakers, cache)
    _say(answers, {"by": recogniser and recogniser.entry.title, "voices": speaker and speaker.entry.title})
    if recogniser is None and speaker is None:
        return 0
    ears = encoder = None  # loaded when they are first asked
    for line in sys.stdin:
        question = line.rstrip("\n")
        if question.startswith(VOICE) and speaker is not None:
            encoder = encoder or speakers.load(speaker.base.folder)
            voice = encoder.voice(opened(Path(question.removeprefix(VOICE)), 0, speakers.RATE)[0])
            _say(answers, {"voice": voice.tolist()})
        elif recogniser is not None:
            ears = ears or Recogniser(recogniser.base.folder)
            words = ears.words(opened(Path(question), 0, RATE)[0])
            _say(answers, {"text": words.text if words.sound else "", "sure": round(math.exp(words.sure), 3)})
    return 0


def _say(answers: TextIO, answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
