"""Bands of finished runs: as often right as they say."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kriptik.pipeline.band import ENOUGH, OUTSIDE, Band, band_of

ASSUMED = Band(0.5, 1.0, 2.0)


@given(st.lists(st.floats(0.1, 10), max_size=300))
def test_a_band_lies_within_what_was_seen(ratios):
    found = band_of(ratios, ASSUMED)
    if len(ratios) < ENOUGH:
        assert found is ASSUMED
    else:
        assert min(ratios) <= found.low <= found.middle <= found.high <= max(ratios) and found.runs == len(ratios)


@pytest.mark.parametrize("runs", [ENOUGH, 40, 200])
def test_the_next_run_ends_inside_as_often_as_is_said(runs):
    dice, inside, draws = random.Random(runs), 0, 4000
    for _ in range(draws):
        *known, following = (dice.lognormvariate(0.1, 0.3) for _ in range(runs + 1))
        found = band_of(known, ASSUMED)
        inside += found.low <= following <= found.high
    assert 1 - OUTSIDE - 0.02 <= inside / draws <= 1 - OUTSIDE + 0.04
