"""`kriptik data mend …`, `kriptik data words …` and `kriptik data label …`: data sets on the server, as its page shows them."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from kriptik.cli.client import Client
from kriptik.cli.data import report_view
from kriptik.cli.show import DIM, money
from kriptik.spec.data import DataReport

console = Console()
TRANSCRIBE_S = 3600.0
"""How long a model may take over recordings: about a second a sentence."""
Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
DatasetId = Annotated[str, typer.Argument(help="A data set's id, or 'last'.")]


def mend(
    dataset: DatasetId = "last",
    fix: Annotated[list[str] | None, typer.Option(help="A fix to add, as a finding offers it; several times.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Add every fix that is offered.")] = False,
    undo: Annotated[list[str] | None, typer.Option(help="A fix to take back; several times.")] = None,
    recipe: Annotated[Path | None, typer.Option(help="Write the steps to this file, for `kriptik data fix --recipe`.")] = None,
    as_json: Json = False,
) -> None:
    """Choose what is done about a data set's findings. The file stays as it is; its rows are prepared so from now on."""
    client = Client()
    found = _dataset(client, dataset)
    report = found["report"]
    offered = [one["fix"] for one in report["findings"] if one.get("fix")] if every else []
    wanted = [one for one in dict.fromkeys([*report["fixes"], *(fix or []), *offered]) if one not in (undo or [])]
    if wanted != report["fixes"]:
        found = client.put(f"/data/{found['id']}/fixes", {"fixes": wanted})
    steps = client.get(f"/data/{found['id']}/recipe")
    if recipe is not None:
        recipe.write_text(json.dumps(steps["steps"], indent=2))
    if as_json:
        console.print_json(data={"dataset": found, "recipe": steps})
        return
    console.print(report_view(DataReport.model_validate(found["report"])))
    console.print(Text(f"fixes {', '.join(wanted) or 'none'}  recipe {steps['sha256'][:16]}", style=DIM))


def words(
    dataset: DatasetId = "last",
    write: Annotated[bool, typer.Option("--write", help="Let a model write down the words that are missing.")] = False,
    correct: Annotated[Path | None, typer.Option(exists=True, help="A file as --json prints it, with other texts.")] = None,
    as_json: Json = False,
) -> None:
    """Show what a model heard in recordings that came without words, and correct it before it is learnt."""
    client = Client(timeout_s=TRANSCRIBE_S)
    found = _dataset(client, dataset)
    place = f"/data/{found['id']}/transcripts"
    if write:
        console.print(report_view(DataReport.model_validate(client.post(place)["report"])))
    if correct is not None:
        texts = {clip: one["text"] for clip, one in json.loads(correct.read_text("utf-8")).items()}
        console.print(report_view(DataReport.model_validate(client.put(place, {"texts": texts})["report"])))
    told = client.get(place)["transcripts"]
    if as_json:
        console.print_json(data=told)
        return
    for clip, one in sorted(told.items(), key=lambda pair: (pair[1]["name"], pair[1]["start"])):
        line = Text(f"{one['name']} {one['start']:.1f} s, {one['seconds']:.1f} s long  ", style=DIM)
        console.print(line.append(one["text"] or "(left out)", style="default"))
        sure = "" if one.get("sure") is None else f", {one['sure']:.0%} sure"
        console.print(Text(f"  {clip}  {one['by']}{sure}{', checked' if one['checked'] else ''}", style=DIM))
    if told:
        console.print(Text(f"They can be listened to and corrected on the page /data/{found['id']}.", style=DIM))


def label(
    dataset: DatasetId = "last",
    pairs: Annotated[int, typer.Option(min=1, max=2000, help="How many pairs to compare.")] = 50,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Let a model write the second answers without asking.")] = False,
    as_json: Json = False,
) -> None:
    """Lay out pairs of answers to compare, and say on which page."""
    client = Client()
    wanted = {"sourceData": _dataset(client, dataset)["id"], "generationMethod": "human_annotation", "pairsNeeded": pairs}
    made = client.post("/data/preference-pairs", wanted)
    if made.get("forecast"):
        told = made["forecast"]
        model = told["model"] or "a language model (none is set up)"
        if not yes:
            typer.confirm(f"{model} writes the second answers: {told['calls']} calls, {money(told['expectedUsd'])}?", abort=True)
        made = client.post("/data/preference-pairs", {**wanted, "confirmed": True})
    if as_json:
        console.print_json(data=made)
    else:
        console.print(f"{made['total']} pairs wait on the page /label/{made['id']}.", highlight=False)


def _dataset(client: Client, name: str) -> dict[str, Any]:
    if name != "last":
        return client.get(f"/data/{name}")
    found = client.get("/data")["datasets"]
    if not found:
        raise typer.BadParameter("there is no data set yet: upload one")
    return found[0]
