"""The heads for the data a person speaks of: made for the models that are there, and never against a figure that the rules read."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kriptik.pipeline.intent import heads
from kriptik.pipeline.intent.capability import CAPABILITIES
from kriptik.pipeline.intent.heads import KINDS, SOURCES
from kriptik.pipeline.intent.parser import OfflineParser
from kriptik.spec.intent import DataMention


def test_they_belong_to_the_models():
    assert heads.belongs(), "run scripts/train_heads.py after scripts/train_intent.py"
    width = len(heads.features(None, None))
    for name, choices in (("kind", KINDS), ("source", SOURCES)):
        assert heads.heads()[f"{name}.rules"].shape == (width, len(choices))
        assert heads.heads()[f"{name}.text"].shape == (*heads.heads()["middle"].shape, len(choices))


KIND, SOURCE = st.sampled_from([None, *KINDS[1:]]), st.sampled_from([None, *SOURCES[1:]])
MENTION = st.builds(DataMention, type=KIND, source=SOURCE, amount=st.sampled_from([None, 5.0, 1200.0]), format=st.just(None))


@settings(deadline=None)
@given(st.one_of(st.none(), MENTION), st.sampled_from([None, *CAPABILITIES]), st.integers(0, 10_000))
def test_whatever_is_seen_a_figure_stays_and_nothing_else_is_made_up(data, capability, seed):
    seen = np.random.default_rng(seed).normal(size=heads.heads()["middle"].shape).astype(np.float32)
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
