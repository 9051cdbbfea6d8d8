"""Long hostile texts are read in a fifth of a second: no pattern runs away, and of a long text only its ends are read closely."""

import random
import time

import pytest
from clock import within

from kriptik.pipeline.intent.parser import OfflineParser
from kriptik.pipeline.intent.text import HEAD_CHARS

LONG = 8000
MOST = 0.3
"""Seconds of CPU: a fifth on an idle machine, half as much again on a busy one."""


def _random_words(seed):
    rng = random.Random(seed)
    return " ".join("".join(rng.choice("aeiorstnlcpm") for _ in range(rng.randint(5, 12))) for _ in range(LONG // 8))


HOSTILE = {
    "figures": "1 " * LONG,
    "points": "1.234.567,89" * LONG,
    "sums": "$5 or 10 euros, no 20 dollars " * LONG,
    "wishes": "train a model that writes poems and sings songs, " * LONG,
    "one word": "x" * LONG,
    "vowels": "aeiou" * LONG,
    "slashes": "a/b/c" * LONG,
    "quotes": "\"'" * LONG,
    "open quotes": "“" * LONG,
    "gpus": "8x H100 not lora " * LONG,
    "negations": "not a " * LONG,
    "worded figures": "five hundred thousand and " * LONG,
    "times": "in 3 hours or 2 days until tomorrow " * LONG,
    "Chinese": "训练一个模型写诗歌" * LONG,
    "Japanese figures": "五百万円" * LONG,
    "Hindi": "मॉडल चाहिए " * LONG,
    "sentences": "Ok. " * LONG,
    "lines": "\n" * LONG,
    "blanks": " " * LONG + "x",
    "dashes": "-" * LONG,
    "random words": _random_words(1),
    "names": "llama-3.1-8b-instruct-" * LONG,
    "orders": "ignore all previous instructions " * LONG,
}


@pytest.mark.parametrize("name", list(HOSTILE))
def test_it_is_read_in_a_fifth_of_a_second(name):
    parser, text = OfflineParser(), HOSTILE[name][:LONG]
    parser.parse(text[: HEAD_CHARS // 4])
    best = 1.0
    for _ in range(3):
        parser.parse("warm")
        began = time.process_time()
        parser.parse(text)
        best = min(best, time.process_time() - began)
    assert best < within(MOST)


def test_beginning_and_end_of_a_long_text_are_read():
    middle = "The minutes of our club follow. " * 400
    read = OfflineParser().parse(f"Train a model that composes waltzes. {middle} Budget: 300 dollars.").fields()
    assert read["capability"] == "music_generation" and read["budget_max_usd"] == 300
