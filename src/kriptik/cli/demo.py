"""`make demo`: drives the real product through its API, from one sentence to a compared model, on this machine.

The server runs as its own process on a free loopback port with its own KRIPTIK_HOME under `build/`. Everything printed was
measured in this run. The budget is set so low that the run freezes in the middle; a larger one resumes it.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.rule import Rule

from kriptik.cli import show
from kriptik.cli.client import Client
from kriptik.cli.live import RunView, watch
from kriptik.cli.main import deploy
from kriptik.spec.errors import KriptikError

PROMPT = "Quick fine-tune SmolLM2 for our customer support, budget $1"
SAMPLE = "zaragoza-construction-faq"
PRICE_PER_HOUR = "6.00"
MIDDLE = 0.55
"""Where the budget is met: this share of what the smoke test says is still to come."""
LEAST_CAP = 0.30
"""Dollars; set-up and smoke test alone take about a minute."""
ALERT_PERCENT, FREEZE_PERCENT = 60, 90
KEEP_SERVER_MINUTES = 30
console = Console(highlight=False)


def main() -> None:
    """Runs the demo; exit code 0 only if the model was trained, frozen, resumed, finished and compared."""
    build = Path("build").resolve()
    build.mkdir(exist_ok=True)
    try:
        facts = run_demo(build)
    except KriptikError as error:
        console.print(f"[bold {show.FAULT}]{error.code}[/] {error.sentence} {error.next_step}")
        raise SystemExit(1) from error
    (build / "demo.json").write_text(json.dumps(facts, indent=2) + "\n")
    console.print(f"\nFigures: build/demo.json. This run can be looked at for {KEEP_SERVER_MINUTES} minutes at")
    console.print(f"[bold]{facts['uiUrl']}[/bold]", soft_wrap=True)


def run_demo(build: Path) -> dict[str, Any]:
    """The journey; returns the figures of `build/demo.json`."""
    url, link = start_server(build / "demo-home", build / "demo-server.log")
    client = Client(url)
    chapter("1  One sentence")
    console.print(f"“{PROMPT}”")
    dataset = client.post(f"/data/samples/{SAMPLE}")
    show_data(dataset)
    made = client.parse_intent(PROMPT, dataset["id"])
    chapter("2  The plan")
    console.print(show.plan_view(made["plan"]))
    estimate = made["plan"]["estimate"]["costUsd"]
    first_cap = max(LEAST_CAP, round(estimate["max"], 2))
    chapter("3  Approved with a small budget")
    console.print(
        f"Cap {show.money(first_cap)} (estimate {show.money(estimate['min'])}–{show.money(estimate['max'])}); "
        f"freeze at {FREEZE_PERCENT} %."
    )
    job_id = client.approve(made["plan"]["id"], first_cap, ALERT_PERCENT, FREEZE_PERCENT)["jobId"]
    view, frozen = train_through_freezes(client, job_id, first_cap)
    if view.state != "completed":
        raise KriptikError("demo_failed", f"The run ended as {view.state}.", "Look at build/demo-server.log.")
    return finish(client, job_id, view, frozen, link, build)


def train_through_freezes(client: Client, job_id: str, cap: float) -> tuple[RunView, list[dict[str, float]]]:
    """Follows the run; each time it freezes, doubles the cap and resumes. Lowers the cap if the run would finish under it."""
    view, frozen = RunView(), []
    plain = not console.is_terminal
    while True:
        stop = _ended_or_frozen if frozen else _ended_frozen_or_probed
        watch(
            console,
            client.stream(job_id, view.last_id),
            view,
            plain=plain,
            until=stop,
        )
        if view.state == "frozen":
            job = client.get(f"/jobs/{job_id}")
            frozen.append({"atUsd": job["currentSpend"], "capUsd": cap, "step": view.step})
            chapter(f"Frozen by the budget: {show.money(job['currentSpend'])} of {show.money(cap)} spent, checkpoint verified")
            cap = round(max(cap * 2, job["currentSpend"] + 0.2, 1.0), 2)
            console.print(f"Resuming with a cap of {show.money(cap)}.")
            client.post(f"/jobs/{job_id}/resume", {"newBudget": cap})
            view.state = "resuming"
        elif view.ended:
            return view, frozen
        else:
            cap = fit_cap(client, job_id, cap)
            view.notes.append("[dim]the cap now fits what the smoke test measured[/dim]")


def fit_cap(client: Client, job_id: str, cap: float) -> float:
    """After the smoke test: puts the cap where the measured estimate says the middle of the run is."""
    budget = client.get(f"/jobs/{job_id}/budget")
    middle = round(budget["currentSpend"] + (budget["estimatedTotalSpend"] - budget["currentSpend"]) * MIDDLE, 2)
    if abs(middle - cap) < 0.01:
        return cap
    try:
        client.put(f"/jobs/{job_id}/budget", {"maxBudget": middle})
    except KriptikError as error:
        console.print(f"The cap stays at {show.money(cap)}: {error.sentence}")
        return cap
    console.print(
        f"The smoke test puts the whole run at {show.money(budget['estimatedTotalSpend'])}; the cap is set to {show.money(middle)}"
        " so that the freeze can be seen."
    )
    return middle


def finish(client: Client, job_id: str, view: RunView, frozen: list[dict[str, float]], link: str, build: Path) -> dict[str, Any]:
    """Report and comparison; refuses to call it a success without a freeze, a resume and a measured loss."""
    report = client.get(f"/jobs/{job_id}/report", format="json")
    loss = report.get("heldOutLoss")
    if not loss or not frozen:
        raise KriptikError(
            "demo_incomplete", "The run finished without a freeze or without a held-out loss.", "See build/demo-server.log."
        )
    chapter("4  Measured")
    low, high = loss["interval"]
    console.print(
        f"Held-out loss {loss['before']:.3f} → {loss['after']:.3f}, down {loss['relativeDrop']:.1%} "
        f"({low:.1%} to {high:.1%}, {loss['confidence']:.0%} interval over {loss['rows']} unseen rows; "
        f"overlap {report['data']['overlapRows']})."
    )
    console.print(
        f"{report['tokensPerSecond']:.0f} tokens/s over {show.seconds(report['trainSeconds'])}; "
        f"spent {show.money(report['spendUsd'])}."
    )
    chapter("5  Base and tuned, side by side (unseen questions, answers as they are)")
    session = deploy(client, job_id)
    for pair in report["sideBySide"][:3]:
        answer = client.post(
            "/test/compare", {"sessionId": session["id"], "request": {"textPrompt": pair["prompt"], "maxTokens": 80}}
        )
        console.print(show.comparison_view(answer))
    client.delete(f"/test/sessions/{session['id']}")
    path = build / "demo-report.html"
    path.write_text(client.get(f"/jobs/{job_id}/report", format="html"))
    console.print("Report: build/demo-report.html")
    job = client.get(f"/jobs/{job_id}")
    return {
        "prompt": PROMPT,
        "jobId": job_id,
        "heldOutLoss": {"before": loss["before"], "after": loss["after"], "interval": loss["interval"]},
        "overlapRows": report["data"]["overlapRows"],
        "frozen": {"atUsd": frozen[0]["atUsd"], "capUsd": frozen[0]["capUsd"]},
        "resumed": view.state == "completed",
        "spendUsd": job["currentSpend"],
        "capUsd": job["maxBudget"],
        "trainSeconds": report["trainSeconds"],
        "tokensPerSecond": report["tokensPerSecond"],
        "uiUrl": link,
    }


def start_server(home: Path, log: Path) -> tuple[str, str]:
    """Starts a server of its own (it ends by itself when idle) and waits until it answers → (address, sign-in link)."""
    home.mkdir(parents=True, exist_ok=True)
    os.environ["KRIPTIK_HOME"] = str(home)
    end_earlier(home)
    environment = os.environ | {"KRIPTIK_LOCAL_PRICE_PER_HOUR": PRICE_PER_HOUR, "COLUMNS": "300", "NO_COLOR": "1"}
    command = [sys.executable, "-m", "kriptik.cli.main", "up", "--port", "0", "--idle-exit", str(KEEP_SERVER_MINUTES)]
    with log.open("w") as sink:
        server = subprocess.Popen(
            command, env=environment, stdout=sink, stderr=sink, stdin=subprocess.DEVNULL, start_new_session=True
        )
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if server.poll() is not None:
            raise KriptikError("server_ended", f"The server ended at start:\n{log.read_text()[-2000:]}")
        link = next((word for word in log.read_text().split() if word.startswith("http")), None)
        if link and (home / "server.json").is_file() and _answers(link):
            return json.loads((home / "server.json").read_text())["url"], link
        time.sleep(0.2)
    raise KriptikError("server_slow", "The server did not start in 60 s.", "See build/demo-server.log.")


def end_earlier(home: Path, limit_s: float = 15) -> None:
    """Ends the server that an earlier demo left running on this home, if it still answers."""
    note = home / "server.json"
    try:
        known = json.loads(note.read_text())
    except (OSError, ValueError):
        return
    if _answers(known["url"] + "/"):
        os.kill(known["pid"], signal.SIGTERM)
        end = time.monotonic() + limit_s
        while note.is_file() and time.monotonic() < end:
            time.sleep(0.1)
    note.unlink(missing_ok=True)


def show_data(dataset: dict[str, Any]) -> None:
    """Where the rows come from and what the checks found."""
    report = dataset.get("report", dataset)
    console.print(
        f"Data: {dataset['name']}, {report.get('rows', dataset.get('rows'))} rows, "
        f"{dataset.get('licence', '')}. {dataset.get('credit') or ''}"
    )
    for finding in report.get("findings", [])[:4]:
        console.print(f"  {finding['severity']}: {finding['sentence']}", style=show.DIM)


def chapter(title: str) -> None:
    """A heading."""
    console.print()
    console.print(Rule(f"[bold]{title}[/bold]", align="left", style=show.SIGNAL))


def _ended_or_frozen(view: RunView) -> bool:
    return view.ended or view.state == "frozen"


def _ended_frozen_or_probed(view: RunView) -> bool:
    return _ended_or_frozen(view) or _probed(view)


def _probed(view: RunView) -> bool:
    return any("smoke test" in note for note in view.notes) and not any("cap now fits" in note for note in view.notes)


def _answers(link: str) -> bool:
    import httpx

    try:
        return (
            httpx.get(link.split("?")[0].rsplit("/", 1)[0] + "/api/training/health", timeout=2, trust_env=False).status_code == 200
        )
    except httpx.HTTPError:
        return False


if __name__ == "__main__":
    main()
