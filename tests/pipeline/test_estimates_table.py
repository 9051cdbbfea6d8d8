"""The bench of the estimates: its grid is what a seed draws, and its table counts a failure as a miss."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from kriptik.catalogue.load import load_catalogue

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))
import estimates_grid
from estimates_judged import summary

BENCH = Path(estimates_grid.__file__).parent
SETTING = estimates_grid.grid(estimates_grid.SEED)[0].document()


def line(index=0, off=1.0, failure=None, fits=True, starts=1, train_s=70.0):
    """A run that took `off` times what was likely."""
    band = {"low": 80.0, "likely": 100.0, "high": 105.0}
    wide = {"low": 50.0, "likely": 100.0, "high": 150.0}
    took = {"time_s": 100 * off, "after_s": 100 * off, "memory_gb": 100 * off, "train_s": train_s, "evaluations": 3,
            "samples": 9, "checkpoints": 2, "starts": starts}  # fmt: skip
    return {
        "seed": estimates_grid.SEED, "index": index, "setting": SETTING, "failure": failure,
        "before": {"time_s": wide, "memory_gb": wide, "fits": fits},
        "after": {"time_s": band, "memory_gb": {"low": None, "likely": 100.0, "high": None}}, "actual": took,
    }  # fmt: skip


def value(lines, name):
    """The cells of a row of the table: value, asked, held."""
    return next(row.split(" | ")[1:] for row in summary(lines).splitlines() if row.startswith(f"| {name} |"))


def test_a_grid_is_what_its_seed_draws():
    ours = estimates_grid.grid(estimates_grid.SEED)
    assert ours == estimates_grid.grid(estimates_grid.SEED) != estimates_grid.grid(estimates_grid.DEVELOPMENT)
    assert len(set(ours)) == len(ours) >= 40
    assert {one.method for one in ours} == {one[1] for one in estimates_grid.METHODS} <= load_catalogue().methods.keys()


def test_the_figures_asked_for():
    lines = [line(number, off) for number, off in enumerate((0.99, 1.02, 1.04, 1.2))]
    assert value(lines, "after the smoke test, time: median error")[0] == "2.9%"
    assert value(lines, "after the smoke test, time: inside its band")[0] == "75%"
    assert value(lines, "after the smoke test, time: median high ÷ low")[0] == "1.31"
    assert value(lines, "after the smoke test, memory: inside its band")[0] == "it has none"
    assert value(lines, "before the smoke test, memory: inside its band")[0] == "100%"
    assert value(lines, "runs of ≥ 60 s of updates, with evaluation, sample and checkpoint")[0] == "4 of 4"


@pytest.mark.parametrize(
    ("broken", "dead"),
    [
        ({"failure": {"code": "out_of_memory", "message": "Memory ran out in training."}}, "1"),
        ({"failure": {"code": "out_of_memory", "message": "Memory ran out in training."}, "fits": False}, "0"),
        ({"failure": {"code": "not_finite", "message": "No gradient."}}, "0"),
        ({"starts": 2}, "1"),
    ],
)
def test_a_run_that_broke(broken, dead):
    lines = [line(0), line(1, **broken)]
    assert value(lines, "plans called fitting that died of memory")[0] == dead
    if "failure" in broken:
        assert value(lines, "after the smoke test, time: inside its band")[0] == "50%"
        assert value(lines, "runs of ≥ 60 s of updates, with evaluation, sample and checkpoint")[0] == "1 of 2"
        assert value([lines[1]], "after the smoke test, time: median error")[0] == "inf%"


def test_the_table_is_printed_from_the_file(tmp_path):
    file = tmp_path / "results.jsonl"
    file.write_text("".join(json.dumps(line(number)) + "\n" for number in range(3)) + json.dumps({**line(9), "seed": 2}) + "\n")
    command = [sys.executable, str(BENCH / "estimates.py"), "--summary", "--results", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "| 3 of 3 |" in done.stdout
