"""Which number of a request is an amount of data, of what kind, and whose: the rules one by one."""

import pytest

from kriptik.pipeline.intent import mentions, names
from kriptik.pipeline.intent.text import read_text


def data(prompt):
    reading = read_text(prompt)
    return mentions.data(reading, names.resolve(reading))


@pytest.mark.parametrize(
    ("prompt", "amount"),
    [
        ("800 selfies? no, 80. me as an astronaut", 80),
        ("my channel has 1.3M subscribers and 420 videos; titles for the next ones", 420),
        ("we photographed 4,000 leaves, 20 shots each day, of 12 plants", 4000),
        ("transcripts of 410 therapy sessions, a practice patient", 410),
        ("Fake reviews: 15,000 of which 4,000 are known to be fake", 15000),
        ("our radio archive, 3,000 hours, Sorbian", 3000),
        ("wir haben 640 Stunden Chorproben und wollen neue Stücke", 640),
        ("返信済みメールが2万2千通あります", 22000),
        ("我工作室手绘的300块瓷砖，继续设计图案", 300),
        ("우리 동전 사진 5만 2천 장", 52000),
        ("find the cracks in 2,000 photos", 2000),
    ],
)
def test_the_number_that_is_data(prompt, amount):
    assert data(prompt).amount == amount


@pytest.mark.parametrize(
    "prompt",
    [
        "names for 600 candles",
        "summaries in 3 sentences, rank 16, 4 epochs",
        "a poetry generator, budget 1000, actually 700",
        "e5-large for leftovers, RTX 4080",
        "forecast for 250 shops",
        "mistral 7b with 64k context, contracts in one go",
        "captions in 12 languages, at most 80 characters each",
        "a bot for refugees, 400 EUR, no that's too much, 250",
        "a limerick machine, done in 6 hours",
        "cinematic 4K footage of horses",
    ],
)
def test_other_numbers_are_none(prompt):
    found = data(prompt)
    assert found is None or found.amount is None


@pytest.mark.parametrize(
    ("prompt", "kind"),
    [
        ("350 recipe cards, scanned, typed out please", "image"),
        ("12k before/after sentences from our editors", "pairs"),
        ("our raters compare 8,000 answers side by side", "preferences"),
        ("voice notes in Wolof, 20k of those", "audio"),
        ("7 hours of drone shots over our vineyard", "video"),
        ("310k lines of C++ in our plugin", "code"),
    ],
)
def test_what_kind_it_is(prompt, kind):
    assert data(prompt).type == kind


@pytest.mark.parametrize(
    ("prompt", "source"),
    [
        ("I label pollen, 9k crops so far", "user_upload"),
        ("she gave us 40 tapes", "user_upload"),
        ("let a big model invent 10k dialogues, then our receptionist learns from them", "synthetic"),
        ("3,000 pairs in jsonl, trained on our own servers", None),
        ("we need alt text for 200k product photos", None),
        ("find suitable recordings on the web", "web_search"),
    ],
)
def test_whose_it_is(prompt, source):
    assert data(prompt).source == source
