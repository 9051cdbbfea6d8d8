"""The command line. Every command is a thin view of the HTTP API; only `up`, `intent` and `modify` run product code here."""

import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from kriptik.cli import care, choices, datasets, show
from kriptik.cli import data as data_commands
from kriptik.cli.client import Client
from kriptik.cli.export import export
from kriptik.cli.live import RunView, watch
from kriptik.cli.pick import job_id
from kriptik.spec.errors import KriptikError

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help="One sentence in, a trained model out."
)
app.add_typer(data_commands.app, name="data")
data_commands.app.command()(datasets.mend)
data_commands.app.command()(datasets.words)
data_commands.app.command()(datasets.label)
app.command()(choices.options)
app.command()(choices.pick)
app.command()(care.doctor)
app.command()(care.sweep)
app.command("stop-all")(care.stop_all)
app.command()(care.backup)
app.command()(care.restore)
console = Console()
errors = Console(stderr=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
JobId = Annotated[str, typer.Argument(help="Run id, or 'last'.")]


@app.command()
def up(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.")] = 7860,
    idle_exit: Annotated[float | None, typer.Option(help="End after this many minutes without a request.", hidden=True)] = None,
) -> None:
    """Start the server and print the one-time sign-in link."""
    from kriptik.cli.serve import run_server

    run_server(host, port, idle_exit)


@app.command()
def plan(
    prompt: Annotated[str, typer.Argument(help="What you want to train, in plain words.")],
    data: Annotated[str | None, typer.Option(help="A data file, or the name of a built-in sample.")] = None,
    edit: Annotated[list[str] | None, typer.Option(help="A plain-English change; may be given several times.")] = None,
    details: Annotated[bool, typer.Option(help="Show the detailed steps.")] = False,
    judge: choices.Judge = None,
    principle: choices.Principles = None,
    rollouts: choices.Rollouts = None,
    as_json: Json = False,
) -> None:
    """Read a request and show the plan. Nothing is spent."""
    client = Client()
    made = _make_plan(client, prompt, data, edit or [])
    made["plan"] = choices.set_method(client, made["plan"], judge, principle, rollouts)
    console.print_json(data=made) if as_json else console.print(show.plan_view(made["plan"], details=details))


@app.command(name="import")
def import_job(
    job: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A JSON file with an OpenAI fine-tuning job.")],
    data: Annotated[str | None, typer.Option(help="A data file (OpenAI's JSONL is read as it is), or a built-in sample.")] = None,
    budget: Annotated[float | None, typer.Option(min=0.01, help="The most to spend, in dollars.")] = None,
    as_json: Json = False,
) -> None:
    """Plan what an OpenAI fine-tuning job asks for. Nothing is spent."""
    client = Client()
    try:
        asked = json.loads(job.read_text("utf-8"))
    except ValueError as error:
        raise KriptikError("bad_json", f"{job.name} is not JSON: {error}.", "Save the job as one JSON object.") from error
    body = {"job": asked, "datasetId": find_data(client, data) if data else None, "budgetMaxUsd": budget}
    made = client.post("/plans/import", {name: value for name, value in body.items() if value is not None})
    if as_json:
        console.print_json(data=made)
        return
    console.print(show.plan_view(made["plan"]))
    for note in made["notes"]:
        console.print(f"  {note}", style=show.DIM, highlight=False)


@app.command()
def train(
    prompt: Annotated[str, typer.Argument(help="What you want to train, in plain words.")],
    budget: Annotated[float, typer.Option(help="The most this run may spend, in dollars.")],
    data: Annotated[str | None, typer.Option(help="A data file, or the name of a built-in sample.")] = None,
    edit: Annotated[list[str] | None, typer.Option(help="A plain-English change; may be given several times.")] = None,
    judge: choices.Judge = None,
    principle: choices.Principles = None,
    rollouts: choices.Rollouts = None,
    notify_at: Annotated[float, typer.Option(help="Alert at this percent of the budget.")] = 80,
    freeze_at: Annotated[float, typer.Option(help="Freeze at this percent of the budget.")] = 95,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Approve without asking.")] = False,
    detach: Annotated[bool, typer.Option(help="Do not watch.")] = False,
    person: Annotated[
        str | None, typer.Option("--person", "--speaker", help="Whose voice is learnt, or whom the pictures show.")
    ] = None,
    statement: Annotated[str | None, typer.Option(help="What this person says that voice or pictures may be used for.")] = None,
    as_json: Json = False,
) -> None:
    """Plan, approve with a budget, train, watch."""
    client = Client()
    made = _make_plan(client, prompt, data, edit or [])
    made["plan"] = choices.set_method(client, made["plan"], judge, principle, rollouts)
    if not as_json:
        console.print(show.plan_view(made["plan"]))
    if not yes:
        typer.confirm(f"Authorize charges up to {show.money(budget)}, frozen at {freeze_at:.0f} %?", abort=True)
    consent = {"person": person or "", "statement": statement or ""} if person or statement else None
    approved = client.approve(made["plan"]["id"], budget, notify_at, freeze_at, consent)
    if as_json:
        console.print_json(data={"planId": made["plan"]["id"], "jobId": approved["jobId"]})
    else:
        console.print(f"Run {approved['jobId']} is on its way.")
    if not (detach or as_json):
        _watch(client, approved["jobId"])


@app.command("jobs")
def list_jobs(as_json: Json = False) -> None:
    """List the runs."""
    answer = Client().get("/jobs")
    jobs = answer["jobs"] if isinstance(answer, dict) else answer
    console.print_json(data=jobs) if as_json else console.print(show.jobs_view(jobs))


@app.command("watch")
def watch_job(job: JobId = "last") -> None:
    """Follow a run live: progress, loss, cost."""
    client = Client()
    _watch(client, job_id(client, job))


@app.command()
def freeze(job: JobId = "last", as_json: Json = False) -> None:
    """Save a verified checkpoint and stop what bills; resume whenever you like."""
    _act(job, "freeze", {}, as_json, lambda answer: "Freezing: the checkpoint is being saved and verified.")


@app.command()
def resume(
    job: JobId = "last",
    budget: Annotated[float | None, typer.Option(help="New total budget in dollars.")] = None,
    on: Annotated[str | None, typer.Option(help="Other hardware: provider/gpu, as `kriptik places` lists them.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Accept the price without asking.")] = False,
    as_json: Json = False,
) -> None:
    """Continue a frozen run exactly where it stopped, or on other hardware."""
    body: dict[str, Any] = {} if budget is None else {"newBudget": budget}
    if on is not None:
        body["place"] = _place(job, on, yes)
    _act(job, "resume", body, as_json, lambda answer: "Resumed.")


@app.command()
def places(job: JobId = "last", as_json: Json = False) -> None:
    """Where a frozen run may go on now, at live prices."""
    client = Client()
    found = client.get(f"/jobs/{job_id(client, job)}/places")["places"]
    if as_json:
        console.print_json(data=found)
        return
    for place in found:
        here = "  (where it was)" if place["present"] else ""
        text = f"{place['provider']}/{place['gpu']}  {place['gpuCount']} ×  {show.money(place['pricePerHour'])} an hour{here}"
        console.print(text, highlight=False)


@app.command()
def approve(job: JobId = "last", as_json: Json = False) -> None:
    """Let the stage begin that waits for your approval."""
    client = Client()
    waiting = client.get(f"/jobs/{job_id(client, job)}")
    index = next((stage["index"] for stage in waiting["stages"] if stage.get("status") == "awaiting_approval"), None)
    if index is None:
        raise KriptikError("not_waiting", "This run does not wait for an approval.", "`kriptik jobs` says where runs stand.")
    _act(waiting["id"], f"stages/{index}/approve", {}, as_json, lambda answer: f"Stage {index + 1} may begin.")


@app.command()
def stop(job: JobId = "last", as_json: Json = False) -> None:
    """End a run; its checkpoints stay."""
    _act(job, "stop", {}, as_json, lambda answer: "Stopping: a last checkpoint is being saved.")


@app.command()
def retry(job: JobId = "last", as_json: Json = False) -> None:
    """Start a failed run again from its last checkpoint."""
    _act(job, "retry", {}, as_json, lambda answer: "Queued again.")


@app.command()
def test(
    prompt: Annotated[str, typer.Argument(help="What to ask the model.")],
    job: Annotated[str, typer.Option(help="Run id, or 'last'.")] = "last",
    base: Annotated[bool, typer.Option(help="Ask the untrained model instead.")] = False,
    max_tokens: Annotated[int, typer.Option(help="Longest answer, in tokens.")] = 128,
    as_json: Json = False,
) -> None:
    """Ask the trained model something."""
    client = Client()
    session = deploy(client, job_id(client, job))
    body = {
        "sessionId": session["id"],
        "request": {"target": "base" if base else "tuned", "textPrompt": prompt, "maxTokens": max_tokens},
    }
    answer = client.post("/test/run", body)
    client.delete(f"/test/sessions/{session['id']}")
    console.print_json(data=answer) if as_json else console.print(answer["output"])


@app.command()
def compare(
    prompt: Annotated[str, typer.Argument(help="What to ask both models.")],
    job: Annotated[str, typer.Option(help="Run id, or 'last'.")] = "last",
    max_tokens: Annotated[int, typer.Option(help="Longest answer, in tokens.")] = 128,
    as_json: Json = False,
) -> None:
    """Ask the base and the trained model the same thing."""
    client = Client()
    session = deploy(client, job_id(client, job))
    answer = client.post("/test/compare", {"sessionId": session["id"], "request": {"textPrompt": prompt, "maxTokens": max_tokens}})
    client.delete(f"/test/sessions/{session['id']}")
    console.print_json(data=answer) if as_json else console.print(show.comparison_view(answer))


@app.command()
def report(
    job: JobId = "last",
    form: Annotated[str, typer.Option("--format", help="md, html or json.")] = "md",
    out: Annotated[Path | None, typer.Option(help="Write to this file.")] = None,
) -> None:
    """What a finished run measured."""
    client = Client()
    answer = client.get(f"/jobs/{job_id(client, job)}/report", format=form)
    text = answer if isinstance(answer, str) else json.dumps(answer, indent=2)
    if out:
        out.write_text(text)
        console.print(f"Written to {out}.")
    else:
        sys.stdout.write(text + "\n")


app.command()(export)


@app.command()
def methods(as_json: Json = False) -> None:
    """Every method: what it trains for, what not yet, and why not."""
    from kriptik.catalogue.proof import method_statuses, pair_statuses

    pairs = pair_statuses()
    rows = [one.wire() | {"pairs": [pair.wire() for pair in pairs if pair.method == one.id]} for one in method_statuses()]
    sys.stdout.write(json.dumps(rows, indent=2) + "\n") if as_json else console.print(show.methods_view(rows))


@app.command()
def models(
    capability: Annotated[str | None, typer.Option(help="Only models for this capability.")] = None, as_json: Json = False
) -> None:
    """The model catalogue with sizes and licences."""
    from kriptik.catalogue.load import load_catalogue

    rows = [m.wire() for m in load_catalogue().models.values() if capability is None or capability in m.capabilities]
    if as_json:
        sys.stdout.write(json.dumps(rows, indent=2) + "\n")
        return
    for row in rows:
        state = "trainable" if row.get("trainableFamily") else "planned"
        console.print(f"{row['id']}  [dim]{row['paramsB']}B · {row['licence']['name']} · {state}[/dim]", highlight=False)


@app.command()
def intent(
    prompt: Annotated[str | None, typer.Argument(help="A request to read.")] = None,
    batch: Annotated[Path | None, typer.Option(help="JSONL of {id, prompt}.")] = None,
    out: Annotated[Path | None, typer.Option(help="JSONL of {id, contract}.")] = None,
    llm: Annotated[bool, typer.Option("--llm", help="Ask the model that KRIPTIK_LLM configures; without it, offline.")] = False,
) -> None:
    """Read requests into fields."""
    from kriptik.pipeline.intent.batch import parse_batch

    parser = None
    if llm:
        from kriptik.server.reading import parser_of
        from kriptik.server.settings import Settings

        parser = parser_of(Settings.from_env())
    if batch is None:
        result = next(iter(parse_batch([{"id": "1", "prompt": prompt or ""}], parser)))
        console.print_json(data=result["contract"])
        return
    _run_batch(batch, out, lambda rows: parse_batch(rows, parser))


@app.command()
def modify(
    batch: Annotated[Path, typer.Option(help="JSONL of {id, start, modification}.")],
    out: Annotated[Path | None, typer.Option(help="JSONL of {id, contract}.")] = None,
) -> None:
    """Apply plain-English edits to plans, offline."""
    from kriptik.pipeline.modify_batch import modify_batch

    _run_batch(batch, out, modify_batch)


def main() -> None:
    """Entry point: errors for people become one sentence, the next step, and exit code 1."""
    try:
        app()
    except KriptikError as error:
        errors.print(f"[bold {show.FAULT}]{error.code}[/] {error.sentence}", highlight=False)
        if error.next_step:
            errors.print(error.next_step, style=show.DIM, highlight=False)
        raise SystemExit(1) from error


def deploy(client: Client, job_id: str, *, checkpoint_id: str | None = None, limit_s: float = 180) -> dict[str, Any]:
    """Starts a test session for a run and waits until it answers."""
    import time

    body = {"modelId": job_id, "expiryMinutes": 10, **({"checkpointId": checkpoint_id} if checkpoint_id else {})}
    session = client.post("/test/deploy", body)
    end = time.monotonic() + limit_s
    while session["state"] == "starting" and time.monotonic() < end:
        time.sleep(0.3)
        session = client.get(f"/test/sessions/{session['id']}")
    if session["state"] != "ready":
        raise KriptikError("test_not_ready", session.get("error") or "The model did not start in time.", "Look at the run's logs.")
    return session


def _make_plan(client: Client, prompt: str, data: str | None, edits: list[str]) -> dict[str, Any]:
    made = client.parse_intent(prompt, find_data(client, data) if data else None)
    for words in edits:
        changed = client.modify(made["plan"]["id"], words)
        console.print(show.changes_view(changed["changes"]))
        made["plan"] = changed["plan"]
    return made


def find_data(client: Client, name: str) -> str:
    """A dataset id for a file's path or for the name of a built-in sample."""
    path = Path(name).expanduser()
    dataset = client.upload(path) if path.is_file() else client.post(f"/data/samples/{name}")
    return dataset["id"]


def _place(job: str, name: str, yes: bool) -> dict[str, Any]:
    """The place of that name at its present price, once a person has seen that."""
    client = Client()
    found = client.get(f"/jobs/{job_id(client, job)}/places")["places"]
    place = next((one for one in found if f"{one['provider']}/{one['gpu']}" == name), None)
    if place is None:
        raise KriptikError("place_not_possible", f"{name} cannot be had for this run now.", "See `kriptik places`.")
    if not yes:
        typer.confirm(f"Go on at {name} for {show.money(place['pricePerHour'])} an hour? {place['note']}", abort=True)
    return {key: place[key] for key in ("provider", "gpu", "gpuCount", "pricePerHour")}


def _act(job: str, verb: str, body: dict[str, Any], as_json: bool, sentence: Callable[[Any], str]) -> None:
    client = Client()
    answer = client.post(f"/jobs/{job_id(client, job)}/{verb}", body)
    console.print_json(data=answer) if as_json else console.print(sentence(answer))


def _watch(client: Client, job_id: str) -> None:
    known = client.get(f"/jobs/{job_id}")["lastEventId"]  # what is replayed up to here may hold a freeze long past
    view = watch(
        console,
        client.stream(job_id),
        RunView(),
        until=lambda v: v.last_id >= known and (v.ended or v.state in {"frozen", "awaiting_approval"}),
        plain=not console.is_terminal,
    )
    if view.state == "frozen":
        console.print(f"Frozen. Resume with `kriptik resume {job_id} --budget …`.")
    if view.state == "awaiting_approval":
        console.print(f"The next stage waits for you: `kriptik approve {job_id}`.")
    if view.state == "failed":
        raise SystemExit(1)


def _run_batch(source: Path, out: Path | None, run: Callable[[Iterable[dict[str, Any]]], Iterable[dict[str, Any]]]) -> None:
    """Line by line from `source` to `out` (or standard output); a line that is not JSON is answered with an error."""
    if not source.is_file():
        raise KriptikError("file_missing", f"There is no file {source}.", "Give the path of a JSONL file.")
    rows = (_line(number, line) for number, line in enumerate(source.read_text(encoding="utf-8").splitlines(), 1) if line.strip())
    sink = out.open("w", encoding="utf-8") if out else sys.stdout
    try:
        for result in run(rows):
            sink.write(json.dumps(result, ensure_ascii=False) + "\n")
    finally:
        if out:
            sink.close()


def _line(number: int, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError:
        return {"id": f"line-{number}", "error": f"line {number} is not valid JSON"}
    return row if isinstance(row, dict) else {"id": f"line-{number}", "error": f"line {number} is not an object"}


if __name__ == "__main__":
    main()
