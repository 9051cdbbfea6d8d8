"""Curves: packed or not the same points, whatever was killed between; small answers that keep every spike; quick over long ones."""

import itertools
import json
import time
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, insert, select

from kriptik.server import downsample
from kriptik.store import curves
from kriptik.store.db import Database
from kriptik.store.tables import CurveChunk, EventRow, Stream

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def db(tmp_path):
    made = Database.at(tmp_path / "k.db")
    made.migrate()
    with made.write() as session:
        session.add_all([Stream(id="run", kind="job", last_event_id=0), Stream(id="other", kind="job", last_event_id=0)])
    yield made
    made.close()


def add(db, points, stream="run", first=1):
    """Points as (generation, stage, step, loss); every third event beside them is a log."""
    rows, event = [], first
    for generation, stage, step, loss in points:
        body = {"type": "metrics", "stage": stage, "step": step, "loss": loss, "gradientNorm": 1.0 + step % 7}
        rows.append((event, generation, "metrics", stage, step, body))
        event += 1
        if step % 3 == 0:
            rows.append((event, generation, "log", None, None, {"type": "log", "message": "between"}))
            event += 1
    with db.write() as session:
        session.execute(insert(EventRow), [
            {"stream_id": stream, "id": i, "generation": g, "seq": i, "at": NOW, "type": t, "stage": s, "step": n, "body": b}
            for i, g, t, s, n, b in rows
        ])  # fmt: skip
    return event


def seen(db, *more):
    with db.read() as session:
        return curves.points(session, "run", *more).tolist()


def test_packed_or_not_the_points_are_the_same(db, monkeypatch):
    monkeypatch.setattr(curves, "BLOCK", 100)
    after = add(db, [(1, 0, n, 5 - n / 100) for n in range(1, 451)])
    add(db, [(2, 0, n, 1.0) for n in range(430, 480)] + [(2, 1, n, 0.5) for n in range(1, 20)], first=after)
    add(db, [(1, 0, n, 9.0) for n in range(1, 300)], stream="other")
    plain, zoomed = seen(db), seen(db, 420, 440)
    assert curves.pack(db, "run", most=2) == 2 and curves.pack(db, "run") == 3 and curves.pack(db, "run") == 0
    assert seen(db) == plain and seen(db, 420, 440) == zoomed
    places = [(stage, step) for _id, _g, stage, step, _l, _n in plain]
    assert places == [(0, n) for n in range(1, 480)] + [(1, n) for n in range(1, 20)], "each step once, in order of training"
    assert {p[1] for p in plain if p[2] == 0 and p[3] >= 430} == {2}, "the later generation's"
    with db.write() as session:
        session.execute(delete(CurveChunk))
    assert seen(db) == plain, "the rows hold everything"


def test_a_pack_that_is_repeated_packs_nothing_twice(db, monkeypatch):
    """As two servers would, or one that was killed after its commit."""
    monkeypatch.setattr(curves, "BLOCK", 50)
    add(db, [(1, 0, n, 1.0) for n in range(1, 201)])
    rows = curves._rows

    def rivalled(session, stream, after, *rest):
        found = rows(session, stream, after, *rest)
        if not rival and len(found) == 50 and rest[-1] == 50:
            rival.append(True)
            curves.pack(db, "run", most=1)
        return found

    rival = []
    monkeypatch.setattr(curves, "_rows", rivalled)
    curves.pack(db, "run")
    with db.read() as session:
        spans = session.execute(select(CurveChunk.first_id, CurveChunk.last_id).order_by(CurveChunk.first_id)).all()
    assert len(spans) == 4 and all(a[1] < b[0] for a, b in itertools.pairwise(spans))


def made(losses):
    points = np.zeros(len(losses), curves.POINT)
    points["id"] = points["step"] = np.arange(len(losses))
    points["loss"], points["gradient"] = losses, 1
    return points


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=3000), st.integers(6, 2000))
def test_few_points_with_first_last_lowest_and_highest(losses, limit):
    points = made(losses)
    small = downsample.thin(points, limit)
    assert len(small) <= limit and (np.diff(small["id"].astype(int)) > 0).all()
    assert (small["loss"].min(), small["loss"].max()) == (points["loss"].min(), points["loss"].max())
    assert (small["id"][0], small["id"][-1]) == (0, len(points) - 1)


def test_whole_points_come_in_their_order_with_who_made_them(db):
    add(db, [(3, 0, n, 1.5) for n in range(1, 8)])
    with db.read() as session:
        found = [json.loads(text) for text in curves.whole(session, "run", [5, 1, 999])]
    assert [point["step"] for point in found] == [4, 1] and found[0]["generation"] == 3
    assert found[0]["at"] == NOW.isoformat() and found[0]["loss"] == 1.5 and found[0]["type"] == "metrics"


@pytest.mark.slow
def test_a_long_curve_is_read_quickly(db):
    """A tenth of what the bench asks for, in less than the time that the whole may take."""
    count = 100_000
    add(db, ((1, 0, n, 2.0 + (n * 7919 % 1000) / 1000) for n in range(1, count + 1)))
    while curves.pack(db, "run"):
        pass
    times = []
    for _ in range(3):
        began = time.perf_counter()
        with db.read() as session:
            points = curves.points(session, "run")
            shown = curves.whole(session, "run", downsample.thin(points)["id"].tolist())
        times.append(time.perf_counter() - began)
    assert len(points) == count and 1000 < len(shown) <= 2000
    assert min(times) < 0.3, times
