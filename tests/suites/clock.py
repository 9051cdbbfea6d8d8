"""Limits of CPU time that hold on slower machines and beside other work: by a fixed piece of work, measured at the same moment."""

import re
import time

USUAL_S = 0.014
"""An estimate for the Xeon on which the limits were set, from how much slower an idle AMD EPYC is (0.0205 s, measured).
Two threads of one core take nearly twice as long."""
_WORD = re.compile(r"(?:\d+(?:[.,]\d+)*|[a-z]+(?= \d))")


def within(limit_s):
    """The limit, longer by as much as this machine is slower now; never shorter."""
    return limit_s * max(1.0, min(_cpu(_work) for _ in range(3)) / USUAL_S)


def _cpu(work):
    began = time.process_time()
    work()
    return time.process_time() - began


def _work():
    text, counts = "the quick brown fox 12,500 files for $300 in 3 days " * 40, {}
    found = sum(len(match[0]) for _ in range(60) for match in _WORD.finditer(text))
    for number in range(60_000):
        counts[number % 997] = counts.get(number % 997, 0) + number * number
    return found
