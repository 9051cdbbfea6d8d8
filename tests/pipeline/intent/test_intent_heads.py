"""The heads for the data a person speaks of: made for the models that are there, and never against a figure that the rules read."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kriptik.pipeline.intent import figures, heads
from kriptik.pipeline.intent.amounts import Amount
from kriptik.pipeline.intent.capability import CAPABILITIES
from kriptik.pipeline.intent.figures import Figure
from kriptik.pipeline.intent.heads import KINDS, SOURCES
from kriptik.pipeline.intent.learned import judged, origins, plain, spaced
from kriptik.pipeline.intent.parser import OfflineParser
from kriptik.pipeline.intent.text import fold
from kriptik.spec.intent import DataMention


def test_they_belong_to_the_models():
    assert heads.belongs(), "run scripts/train_heads.py after scripts/train_intent.py"
    arrays, seen = heads.heads(), judged("a few words", "A few words")
    rules = len(heads.features(None, None))
    for name, width, choices in (
        ("kind", len(seen.seen), len(KINDS)),
        ("source", len(seen.seen), len(SOURCES)),
        ("amount", seen.pieces.views.shape[1], 1),
    ):
        assert arrays[f"{name}.text"].shape == (width, choices)
        assert arrays[f"{name}.middle"].shape == arrays[f"{name}.spread"].shape == (width,)
    assert arrays["kind.rules"].shape[0] == arrays["source.rules"].shape[0] == rules
    figure = Figure(Amount(5, 0, 1), (0, 1), 1.0)
    assert arrays["amount.rules"].shape == (figures.features([figure]).shape[1], 1)


@pytest.mark.parametrize(
    "text",
    ["Clone my voice from 1,200 clips", "１２ Minuten  Ton\nbitte", "用我们的3,400条录音", "  ", "7", "हमारे 12 हज़ार नोटिस"],
)
def test_each_piece_knows_where_it_stands(text):
    pieces = judged(fold(text), text).pieces
    assert pieces is not None and len(pieces.spans) == len(pieces.views)
    assert all(0 <= start <= end <= len(text) for start, end in pieces.spans)
    assert [start for start, _ in pieces.spans] == sorted(start for start, _ in pieces.spans)
    for figure in re.finditer(r"\d[\d,]*", text):
        assert pieces.at(*figure.span()) is not None


def test_of_a_long_text_the_pieces_at_its_end_stand_at_its_end():
    text = "Write letters. " + "Very kindly indeed. " * 50 + "We have 4,500 of them."
    pieces = judged(fold(text), text).pieces
    assert pieces.at(text.index("4,500"), text.index("4,500") + 5) is not None
    assert pieces.at(560, 580) is None, "nothing of the middle is read"


@settings(deadline=None)
@given(st.text(max_size=60))
def test_a_text_is_cut_as_the_encoder_was_taught_or_not_placed(text):
    made, spans = origins(text)
    assert len(made) == len(spans)
    if made == spaced(plain(text)):
        assert all(0 <= start <= end <= len(text) for start, end in spans)


@pytest.mark.parametrize(
    ("said", "amount"),
    [
        ("We are 14 people with 3 shops and 2,300 tickets, chatbot please, answers under 200 words", 2300),
        ("Frame 4 in room 12: a model that draws like me, 85 sketches", 85),
        ("Bot for our 48 rooms, 2,100 guest reviews and the reply to each", 2100),
    ],
)
def test_of_several_figures_the_amount_is_taken(said, amount):
    assert OfflineParser().parse(said).data.amount == amount


KIND, SOURCE = st.sampled_from([None, *KINDS[1:]]), st.sampled_from([None, *SOURCES[1:]])
MENTION = st.builds(DataMention, type=KIND, source=SOURCE, amount=st.sampled_from([None, 5.0, 1200.0]), format=st.just(None))


@settings(deadline=None)
@given(st.one_of(st.none(), MENTION), st.sampled_from([None, *CAPABILITIES]), st.integers(0, 10_000))
def test_whatever_is_seen_a_figure_stays_and_nothing_else_is_made_up(data, capability, seed):
    seen = np.random.default_rng(seed).normal(size=heads.heads()["kind.middle"].shape).astype(np.float32)
    found = heads.weighed(data, capability, seen)
    if data is not None and data.amount is not None:
        assert found is not None and found.amount == data.amount and (found.type or data.type is None)
    elif found is not None:
        assert found.type or found.source
    assert found == heads.weighed(data, capability, seen)


@pytest.mark.parametrize(
    ("said", "kind", "source"),
    [
        ("learn from my grandmother's letters and write new ones", "text", "user_upload"),
        ("images in the style of my late father's paintings, we photographed all of them", "image", "user_upload"),
        ("text to speech in my aunt's voice, she left us a drawer full of cassettes", "audio", "user_upload"),
        ("text to video for beekeeping scenes, just scrape the cc ones from youtube", "video", "web_search"),
        ("Clone my voice from 5 minutes of audio", "audio", "user_upload"),
    ],
)
def test_data_that_is_only_spoken_of_is_read(said, kind, source):
    data = OfflineParser().parse(said).data
    assert data is not None and (data.type, data.source) == (kind, source)


@pytest.mark.parametrize("said", ["Train a model to generate Suno-quality music", "Quick fine-tune Llama for customer support"])
def test_where_nobody_speaks_of_data_there_is_none(said):
    assert OfflineParser().parse(said).data is None
