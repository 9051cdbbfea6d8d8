"""How nouns look in a terminal. Takes wire dictionaries, returns rich renderables; prints nothing."""

from pathlib import Path
from typing import Any

from rich.console import Group
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

SIGNAL, HOLD, FAULT, INFO, DIM = "#5ee0c4", "#f2b866", "#ff8579", "#7cc0ff", "#8f9baa"
STATE_COLOURS = {
    "training": SIGNAL,
    "completed": SIGNAL,
    "frozen": INFO,
    "freezing": INFO,
    "failed": FAULT,
    "stopped": DIM,
    "awaiting_approval": HOLD,
    "setting_up": HOLD,
}


def money(amount: float | None) -> str:
    """Dollars with as many places as the size needs: $0.0312, $3.10, $1,250."""
    if amount is None:
        return "–"
    places = 4 if 0 < abs(amount) < 0.1 else 0 if abs(amount) >= 1000 else 2
    return f"${amount:,.{places}f}"


def hours(value: float | None) -> str:
    """A duration given in hours, in words."""
    return seconds(None if value is None else value * 3600)


def seconds(value: float | None) -> str:
    """A duration in the largest units that say something: 48 s, 6 min, 1 h 20 min, 3.2 d."""
    if value is None:
        return "–"
    if value < 90:
        return f"{value:.0f} s"
    if value < 5400:
        return f"{value / 60:.0f} min"
    if value < 172_800:
        return f"{int(value // 3600)} h {int(value % 3600 // 60)} min"
    return f"{value / 86_400:.1f} d"


def plan_view(plan: dict[str, Any], *, details: bool = False) -> Group:
    """The summary, the six tiles with their alternatives, warnings and open questions."""
    summary, estimate = plan["summary"], plan["estimate"]
    cost, time = summary["estimatedCost"], summary["estimatedTime"]
    head = Text.assemble(
        (f"{summary['targetCapability'].replace('_', ' ')} · {summary['qualityTier']}\n", "bold"),
        f"{plan['prose']}\n\n",
        ("cost ", DIM),
        f"{money(cost['min'])} – {money(cost['max'])}   ",
        ("time ", DIM),
        f"{hours(_as_hours(time['low'], time))} – {hours(_as_hours(time['high'], time))}   ",
        ("memory ", DIM),
        f"{estimate['vramGb']['low']:.1f} – {estimate['vramGb']['high']:.1f} GB   ",
        ("source ", DIM),
        time["source"],
    )
    parts: list[Any] = [Panel(head, title=f"Plan {plan['id']}", border_style=SIGNAL)]
    parts += [_tile(tile) for tile in plan["tiles"]]
    parts += options_view(plan.get("options", []))
    parts += [Text(f"~ {change}", style=DIM) for change in plan.get("wouldChange", [])]
    parts += [Text(f"! {warning}", style=HOLD) for warning in plan.get("warnings", [])]
    for question in plan.get("pendingDecisions", []):
        parts.append(Text(f"? {question['question']} (now: {question['default']})", style=INFO))
    if details:
        parts += [Text(f"{number}. {step}") for number, step in enumerate(plan["detailedSteps"], 1)]
    if not plan.get("approvable", True):
        parts.append(Text(f"This plan cannot be approved: {plan.get('whyNotApprovable')}", style=FAULT))
    return Group(*parts)


def options_view(options: list[dict[str, Any]], *, why: bool = False) -> list[Any]:
    """The whole plans at different prices: what each costs, what to expect and where it ends; with `why`, reasons by axis."""
    parts: list[Any] = []
    for option in options:
        cost, time = option["costUsd"], option["timeHours"]
        mark = " · in this plan" if option.get("inPlan") else ""
        body = Text.assemble(
            (f"{option['title']}\n", "bold"),
            f"{money(cost['min'])} – {money(cost['max'])}, {hours(time['low'])} – {hours(time['high'])}\n",
            f"{option['expectedQuality']}\n",
            (option["limits"], DIM),
        )
        if not option.get("available", True):
            body.append(f"\n{option.get('whyNot')}", style=HOLD)
        for reason in option.get("reasons", []) if why else []:
            fact = f" ({reason['source']}, {reason['asOf']})" if reason.get("source") else ""
            body.append(f"\n{reason['axis']}: ", style=INFO)
            body.append(f"{reason['sentence']}{fact}")
        parts.append(Panel(body, title=f"{option['key'].capitalize()}{mark}", title_align="left", border_style=DIM))
    return parts


def changes_view(changes: list[dict[str, Any]]) -> Table:
    """What an edit moved, and why."""
    table = Table("tile", "what", "before", "after", "why", box=None, header_style=DIM)
    for change in changes:
        mark = "bold" if change.get("asked") else ""
        table.add_row(
            change["tile"],
            change["param"],
            escape(str(change.get("before"))),
            escape(str(change.get("after"))),
            escape(change["reason"]),
            style=mark,
        )
    return table


def jobs_view(jobs: list[dict[str, Any]]) -> Table:
    """The run list."""
    table = Table("id", "name", "state", "done", "spent / cap", "model", "method", box=None, header_style=DIM)
    for job in jobs:
        table.add_row(
            job["id"],
            escape(job["name"]),
            Text(job["state"], style=STATE_COLOURS.get(job["state"], "")),
            f"{job['percentComplete']:.0f} %",
            f"{money(job['currentSpend'])} / {money(job['maxBudget'])}",
            job["baseModel"],
            job["method"],
        )
    return table


def methods_view(methods: list[dict[str, Any]]) -> Group:
    """Every method with what it trains for, and what it does not train for yet; the reasons of that stand below, by number."""
    table, reasons = Table("method", "trains for", "not yet", box=None, header_style=DIM), dict[str, int]()
    for method in methods:
        ready, planned = [], []
        for pair in method["pairs"]:
            name = pair.get("way") or pair["capability"].removesuffix("_generation")
            if pair["status"] == "trainable":
                ready.append(name)
            else:
                planned.append(f"{name} ({reasons.setdefault(pair['reason'], len(reasons) + 1)})")
        alias = f" = {method['aliasOf']}" if method.get("aliasOf") else ""
        table.add_row(method["id"] + alias, Text(", ".join(ready), style=SIGNAL), Text(", ".join(planned), style=HOLD))
    return Group(table, *(Text(f"({number}) {reason}", style=DIM) for reason, number in reasons.items()))


def comparison_view(comparison: dict[str, Any]) -> Table:
    """The same prompt through base and tuned, side by side."""
    table = Table("base", "tuned", title=escape(comparison["prompt"]), title_style="bold", expand=True, title_justify="left")
    base, tuned = comparison["base"], comparison["tuned"]
    table.add_row(escape(base["output"]), escape(tuned["output"]))
    table.add_row(*(Text(_answer_facts(side), style=DIM) for side in (base, tuned)))
    return table


def export_view(export: dict[str, Any], out: Path | None) -> Group:
    """What an export left behind: files, checks, commands, and where it is."""
    result = export["result"]
    table = Table("file", "size", "sha256", box=None, padding=(0, 2, 0, 0))
    for file in result["files"]:
        table.add_row(escape(file["path"].split("/", 2)[-1]), size(file["bytes"]), file["sha256"][:12])
    checks = [Text(f"✓ {check['sentence']}", style=SIGNAL) for check in result["parity"]]
    commands = [Text(f"$ {one['command']}") for one in result["commands"]]
    where = f"In {out}." if out else f"In the run's folder, {result['folder']}."
    told = [f"{where} {size(result['bytes'])}, predicted {size(result['predictedBytes'])}."]
    if result["hubUrl"]:
        told.append(f"Pushed: {result['hubUrl']}")
    return Group(table, *checks, *commands, *(Text(line) for line in told))


def size(count: int) -> str:
    """Bytes in the unit that suits them: 812 B, 1.2 kB, 539 MB."""
    value, units = float(count), iter(("B", "kB", "MB", "GB", "TB"))
    unit = next(units)
    while value >= 1000 and unit != "TB":
        value, unit = value / 1000, next(units)
    return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"


def _answer_facts(result: dict[str, Any]) -> str:
    weights = str(result.get("metadata", {}).get("weights", ""))[:12]
    return f"{result['latency']:.1f} s · {result.get('tokensUsed', '–')} tokens · weights {weights}"


def _tile(tile: dict[str, Any]) -> Panel:
    body = Text.assemble((f"{tile['recommendation']}\n", "bold"), tile["description"])
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for option in tile.get("alternatives", []):
        chosen = option["value"] == tile["value"]
        effects = []
        if option.get("priceEffectUsd") is not None:
            effects.append(f"{'+' if option['priceEffectUsd'] >= 0 else '−'}{money(abs(option['priceEffectUsd']))}")
        if option.get("timeEffectHours") is not None:
            effects.append(f"{'+' if option['timeEffectHours'] >= 0 else '−'}{hours(abs(option['timeEffectHours']))}")
        style = DIM if not option.get("available", True) else SIGNAL if chosen else ""
        note = option.get("whyNot") if not option.get("available", True) else ", ".join(option.get("pros", [])[:2])
        table.add_row("●" if chosen else "○", escape(option["title"]), " ".join(effects), escape(note or ""), style=style)
    mark = " · recommended" if tile.get("isRecommended") else ""
    return Panel(Group(body, table), title=f"{tile['title']}{mark}", title_align="left", border_style=DIM)


def _as_hours(value: float, interval: dict[str, Any]) -> float:
    return value / 3600 if interval.get("unit") in {"s", "seconds"} else value
