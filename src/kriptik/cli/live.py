"""Watching a run in the terminal: one pure reducer over the event stream, and a live panel that draws it."""

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from kriptik.cli.show import DIM, FAULT, HOLD, INFO, SIGNAL, STATE_COLOURS, money, seconds

BARS = "▁▂▃▄▅▆▇█"
ENDED = frozenset({"completed", "failed", "stopped"})


@dataclass
class RunView:
    """What is known of a run from the events seen so far."""

    state: str = "queued"
    reason: str = ""
    step: int = 0
    total_steps: int = 0
    loss: float | None = None
    losses: list[float] = field(default_factory=list)
    tokens_per_second: float = 0
    spend: float = 0
    cap: float = 0
    rate: float = 0
    remaining_s: float | None = None
    paced_from: tuple[int, float] | None = None
    """Step and training seconds at the first figures of this life: the pace is measured from there."""
    sample: str = ""
    notes: list[str] = field(default_factory=list)
    failure: dict[str, Any] | None = None
    last_id: int = 0

    @property
    def ended(self) -> bool:
        """Nothing more will come."""
        return self.state in ENDED


def reduce_event(view: RunView, event: dict[str, Any]) -> RunView:
    """Folds one event into the view. Unknown types are ignored."""
    view.last_id = max(view.last_id, int(event.get("id") or 0))
    body = event.get("body", event)
    handler = _HANDLERS.get(body.get("type") or event.get("type", ""))
    if handler:
        handler(view, body)
    return view


def watch(
    console: Console, events: Iterable[dict[str, Any]], view: RunView, *, until: Callable[[RunView], bool], plain: bool = False
) -> RunView:
    """Draws the run until `until(view)`; `plain` prints lines instead of a moving panel (pipes, logs)."""
    if plain:
        return _watch_plain(console, events, view, until)
    with Live(panel(view), console=console, refresh_per_second=4, transient=False) as live:
        for event in events:
            reduce_event(view, event)
            live.update(panel(view))
            if until(view):
                break
    return view


def panel(view: RunView) -> Group:
    """Progress, money, loss and the newest notes."""
    head = Table.grid(padding=(0, 3))
    head.add_row(
        Text(view.state.replace("_", " "), style=f"bold {STATE_COLOURS.get(view.state, '')}"),
        Text(f"step {view.step}/{view.total_steps or '?'}"),
        Text(f"loss {view.loss:.4f}" if view.loss is not None else "loss –"),
        Text(f"{view.tokens_per_second:.0f} tok/s", style=DIM),
        Text(f"left {seconds(view.remaining_s)}", style=DIM),
        Text(f"{money(view.spend)} of {money(view.cap)}", style=HOLD if view.cap and view.spend > 0.8 * view.cap else ""),
    )
    rows: list[Any] = [head, ProgressBar(total=max(view.total_steps, 1), completed=view.step, width=72, complete_style=SIGNAL)]
    if view.losses:
        rows.append(Text(sparkline(view.losses, 72), style=SIGNAL))
    if view.sample:
        rows.append(Text(f"training on: {view.sample[:110]}", style=DIM))
    rows += [Text.from_markup(note) for note in view.notes[-5:]]
    if view.failure:
        rows.append(Text(f"{view.failure.get('message')} {view.failure.get('nextStep') or ''}", style=FAULT))
    return Group(*rows)


def sparkline(values: list[float], width: int) -> str:
    """The values as block characters, averaged into at most `width` buckets."""
    buckets = min(width, len(values))
    edges = [round(i * len(values) / buckets) for i in range(buckets + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in itertools.pairwise(edges)]
    low, high = min(means), max(means)
    span = (high - low) or 1.0
    return "".join(BARS[round((mean - low) / span * (len(BARS) - 1))] for mean in means)


def _watch_plain(console: Console, events: Iterable[dict[str, Any]], view: RunView, until: Callable[[RunView], bool]) -> RunView:
    shown_state, shown_notes, shown_step = "", len(view.notes), -1
    for event in events:
        reduce_event(view, event)
        if view.state != shown_state:
            shown_state = view.state
            console.print(f"[bold]{view.state}[/bold] {escape(view.reason)}")
        for note in view.notes[shown_notes:]:
            console.print(note)
        shown_notes = len(view.notes)
        if view.total_steps and view.step - shown_step >= max(1, view.total_steps // 12):
            shown_step = view.step
            loss = f"{view.loss:.4f}" if view.loss is not None else "–"
            console.print(
                f"  step {view.step}/{view.total_steps}  loss {loss}  {view.tokens_per_second:.0f} tok/s"
                f"  {money(view.spend)} of {money(view.cap)}  left {seconds(view.remaining_s)}"
            )
        if until(view):
            break
    return view


def _on_metrics(view: RunView, body: dict[str, Any]) -> None:
    view.step, view.total_steps = body["step"], body["totalSteps"]
    view.loss = body["loss"]
    view.losses.append(body["loss"])
    view.tokens_per_second = body.get("tokensPerSecond", 0)
    elapsed = body.get("elapsedS", 0.0)
    if view.paced_from is None or elapsed < view.paced_from[1] or view.step < view.paced_from[0]:
        view.paced_from, view.remaining_s = (view.step, elapsed), None  # a new life: its own pace is not known yet
    made = view.step - view.paced_from[0]
    if made > 0:
        view.remaining_s = (view.total_steps - view.step) * (elapsed - view.paced_from[1]) / made


def _on_state(view: RunView, body: dict[str, Any]) -> None:
    view.state, view.reason = body["state"], body.get("reason", "")


def _on_budget(view: RunView, body: dict[str, Any]) -> None:
    view.spend, view.cap, view.rate = body["currentSpend"], body["maxBudget"], body.get("spendRate", 0)


def _on_setup(view: RunView, body: dict[str, Any]) -> None:
    if body["status"] in {"completed", "failed"}:
        mark = "done" if body["status"] == "completed" else "FAILED"
        view.notes.append(f"[{DIM}]set-up {body['stage']}: {mark}[/] {escape(body.get('message', ''))}")


def _on_checkpoint(view: RunView, body: dict[str, Any]) -> None:
    view.notes.append(f"[{INFO}]checkpoint[/] step {body['step']}, {body['bytes'] / 1e6:.0f} MB, verified ({body['reason']})")


def _on_eval(view: RunView, body: dict[str, Any]) -> None:
    view.notes.append(f"[{SIGNAL}]held-out loss[/] {body['loss']:.4f} at step {body['step']} over {body['rows']} rows")


def _on_probe(view: RunView, body: dict[str, Any]) -> None:
    result = body["result"]
    view.notes.append(
        f"[{SIGNAL}]smoke test[/] {result['secondsPerStep']:.2f} s a step, {result['tokensPerSecond']:.0f} tok/s, "
        f"{result['peakMemoryGb']:.1f} GB; {'it learns' if result['learns'] else 'IT DOES NOT LEARN'}"
    )
    if result.get("eosSupervised") is False:
        view.notes.append(f"[{HOLD}]the end of a turn is not learnt[/] answers may never end: look at the model's chat template")


def _on_worker(view: RunView, body: dict[str, Any]) -> None:
    if body["state"] == "restored":
        exact = "exact" if body.get("exact") else "INEXACT (another stack)"
        view.notes.append(f"[{INFO}]restored[/] from {escape(str(body.get('checkpointId')))}, {exact}")
    if body["state"] == "failed":
        view.failure = body


def _on_current_sample(view: RunView, body: dict[str, Any]) -> None:
    view.sample = " ".join(str(body.get("content", "")).split())


def _on_alarm(view: RunView, body: dict[str, Any]) -> None:
    rows = ", ".join(str(row) for row in body["rows"][:8])
    if body["kind"] == "not_finite":
        what = "no finite gradient, dropped"
    else:
        what = f"loss {body['loss']:.3g} where {body['usualLoss']:.3g} is usual, gradient {body['gradientNorm']:.3g}"
    view.notes.append(f"[{HOLD}]far out[/] step {body['step']}: {what}; rows {rows}, kept in {escape(str(body.get('file')))}")


def _on_log(view: RunView, body: dict[str, Any]) -> None:
    if body.get("severity") in {"warning", "error"}:
        view.notes.append(f"[{HOLD}]{body['severity']}[/] {escape(body['message'])}")
    elif body.get("severity") == "info":
        view.notes.append(f"[{DIM}]{escape(body['message'])}[/]")


_HANDLERS: dict[str, Callable[[RunView, dict[str, Any]], None]] = {
    "metrics": _on_metrics,
    "state": _on_state,
    "budget": _on_budget,
    "setup": _on_setup,
    "checkpoint": _on_checkpoint,
    "eval": _on_eval,
    "probe": _on_probe,
    "worker": _on_worker,
    "current_sample": _on_current_sample,
    "alarm": _on_alarm,
    "log": _on_log,
}
