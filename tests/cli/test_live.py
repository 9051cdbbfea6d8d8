"""The terminal's reducer: same events, same view, however often they come."""

import io

from rich.console import Console

from kriptik.cli import show
from kriptik.cli.live import RunView, panel, reduce_event, sparkline


def event(number, **body):
    return {"id": number, "body": body}


EVENTS = [
    event(1, type="state", state="setting_up"),
    event(2, type="setup", stage="framework", status="completed", message="torch"),
    event(3, type="state", state="training"),
    event(4, type="metrics", step=1, totalSteps=4, loss=3.0, tokensPerSecond=100, elapsedS=1, samplesProcessed=2, totalSamples=8),
    event(5, type="budget", currentSpend=0.9, maxBudget=1.0, spendRate=6),
    event(6, type="worker", state="restored", checkpointId="s0-1", exact=True),
    event(7, type="worker", state="failed", message="Out of memory.", nextStep="Use a smaller batch."),
]


def test_the_view_holds_what_was_said():
    view = RunView()
    for one in EVENTS:
        reduce_event(view, one)
    assert (view.state, view.step, view.total_steps, view.loss) == ("training", 1, 4, 3.0)
    assert view.remaining_s is None, "one figure is no pace"
    assert view.last_id == 7
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(panel(view))
    text = console.export_text()
    assert "step 1/4" in text and "Out of memory. Use a smaller batch." in text and "exact" in text


def test_time_left_is_the_pace_of_this_life_alone():
    def figures(step, elapsed):
        return event(1, type="metrics", step=step, totalSteps=46, loss=3.0, tokensPerSecond=100, elapsedS=elapsed)

    view = RunView()
    reduce_event(view, figures(1, 30.0))  # thirty seconds of scoring the held-out rows came before it
    reduce_event(view, figures(6, 40.0))
    assert view.remaining_s == 80.0
    reduce_event(view, figures(12, 4.0))
    assert view.remaining_s is None, "resumed: another process, perhaps another machine"
    reduce_event(view, figures(14, 10.0))
    assert view.remaining_s == 96.0


def test_what_the_smoke_test_and_the_engine_tell_is_shown():
    measured = {"secondsPerStep": 1.2, "tokensPerSecond": 200, "peakMemoryGb": 1.4, "learns": True}
    view = RunView()
    reduce_event(view, event(1, type="probe", result={**measured, "eosSupervised": True}))
    assert len(view.notes) == 1 and "it learns" in view.notes[0]
    reduce_event(view, event(2, type="probe", result={**measured, "eosSupervised": False}))
    assert "the end of a turn is not learnt" in view.notes[-1]
    reduce_event(view, event(3, type="log", severity="info", message="Before training, of 64 answers: 8% pass"))
    reduce_event(view, event(4, type="log", severity="debug", message="not for people"))
    assert "of 64 answers: 8% pass" in view.notes[-1]


def test_unknown_events_change_nothing():
    view = reduce_event(RunView(), event(3, type="from_the_future", x=1))
    assert view.state == "queued" and view.last_id == 3


def test_sparkline_averages_into_its_width():
    assert len(sparkline([float(n) for n in range(1000)], 40)) == 40
    assert sparkline([1.0, 1.0], 10) == "▁▁"


def test_money_and_time_read_well():
    assert [show.money(x) for x in (None, 0, 0.0312, 3.1, 1250)] == ["–", "$0.00", "$0.0312", "$3.10", "$1,250"]
    assert [show.seconds(x) for x in (None, 48, 360, 4800, 276_480)] == ["–", "48 s", "6 min", "80 min", "3.2 d"]
