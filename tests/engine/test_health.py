"""What is far out is said with its rows; what is usual is not. Training is the same with and without."""

import json
import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import toy
from hypothesis import given
from hypothesis import strategies as st

from kriptik.engine.health import LEAST, MOST, Health
from kriptik.engine.interfaces import Update
from kriptik.engine.train import train


@pytest.fixture(autouse=True)
def toys(monkeypatch):
    toy.install(monkeypatch)


def run_with(tmp_path, **poison):
    """Trains on 120 rows, one of them wrong as `poison` says; the alarms, and the rows."""
    job = toy.job_in(tmp_path, count=120, micro_batch=1, accumulation=1, epochs=2, learning_rate=1e-3, samples=False)
    rows = [json.loads(line) for line in (tmp_path / "train.jsonl").read_text().splitlines()]
    rows[40] |= poison
    toy.write_rows(tmp_path / "train.jsonl", rows)
    said = []
    train(job, said.append, toy.running, toy.Toy)
    return [body for body in said if body.type == "alarm"], rows, said


def test_a_row_that_is_far_out_is_shown_and_kept(tmp_path):
    alarms, rows, _ = run_with(tmp_path, y=60.0)
    assert alarms and all(alarm.rows == [40] and alarm.kind == "spike" for alarm in alarms)
    assert alarms[-1].loss > 50 * alarms[-1].usual_loss and "60" in alarms[-1].shown[0]
    assert json.loads((Path(tmp_path) / alarms[-1].file).read_text())["data"] == [{"row": 40, **rows[40]}]


def test_calm_rows_raise_nothing(tmp_path):
    assert run_with(tmp_path)[0] == []


def watch(tmp_path=None):
    said = []
    session = SimpleNamespace(
        stage=0,
        step=0,
        rows=SimpleNamespace(raw=[{"x": 1}]),
        runtime=SimpleNamespace(rank=0),
        job=SimpleNamespace(run_dir=str(tmp_path)),
        modality=SimpleNamespace(preview=str),
    )
    return Health(session, said.append), said


@given(st.lists(st.floats(0.8, 1.2), min_size=LEAST, max_size=200), st.floats(-3, 3))
def test_a_loss_that_wanders_by_a_fifth_never_alarms_whatever_its_size(wander, power):
    health, said = watch()
    for one in wander:
        health.judge(one * 10**power, one, Update([]))
    assert said == []


def test_falling_and_flat_curves_are_calm_and_a_leap_is_not(tmp_path):
    health, said = watch(tmp_path)
    for step in range(300):
        health.judge(10 * math.exp(-step / 40) + 1e-3, 5.0, Update([]))
    assert said == []
    health.judge(3.0, 5.0, Update([]))
    health.judge(1e-3, 200.0, Update([]))
    assert [one.kind for one in said] == ["spike", "spike"]


def test_alarms_end_and_a_full_disk_costs_only_the_file(tmp_path):
    (tmp_path / "health").write_text("in the way")
    health, said = watch(tmp_path)
    for _ in range(MOST + 5):
        health.judge(math.nan, math.nan, Update([]))
    alarms = [one for one in said if one.type == "alarm"]
    assert len(alarms) == MOST and alarms[0].file is None and alarms[0].loss is None
    assert said[0].type == "log" and "could not be kept" in said[0].message


@pytest.mark.parametrize("loss", [math.inf, math.nan])
def test_what_is_not_finite_never_enters_the_window(tmp_path, loss):
    health, said = watch(tmp_path)
    for _ in range(LEAST):
        health.judge(1.0, 1.0, Update([]))
        health.judge(loss, 1.0, Update([]))
    health.judge(1.05, 1.0, Update([]))
    assert {one.kind for one in said} == {"not_finite"}
