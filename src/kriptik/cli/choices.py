"""`kriptik options …` and `kriptik pick …`: the whole plans at different prices, why, and taking one of them; who judges."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from kriptik.cli import show
from kriptik.cli.client import Client
from kriptik.spec.errors import KriptikError

console = Console()
Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
PlanId = Annotated[str, typer.Argument(help="Plan id, or 'last'.")]
Judge = Annotated[
    str | None,
    typer.Option(help="Who judges answers: 'MODEL at URL, key in JUDGE_KEY, for $IN/$OUT', a Claude model, or 'own'."),
]
Principles = Annotated[
    list[str] | None,
    typer.Option("--principle", help="A rule to judge by, a name of the catalogue's, or a file of such lines; may be repeated."),
]
Rollouts = Annotated[str | None, typer.Option(help="What samples answers to learn from: transformers or vllm.")]
LONGEST_PATH = 200


def options(plan: PlanId = "last", as_json: Json = False) -> None:
    """Show a plan's options with the reason on every axis, and what would change the choice."""
    client = Client()
    found = _plan(client, plan)
    check = _checked(client, found)
    if as_json:
        console.print_json(data={"options": found["options"], "wouldChange": found["wouldChange"], "modelCheck": check})
        return
    console.print(*show.options_view(found["options"], why=True), sep="\n")
    for change in found["wouldChange"]:
        console.print(Text(f"~ {change}", style=show.DIM))
    console.print(Text(f"{check['id']}: {check['sentence']} {check['nextStep']} {check['licenceNote']}".strip(), style=show.INFO))


def _checked(client: Client, plan: dict[str, Any]) -> dict[str, Any]:
    """What the hub says of the base model. Where it cannot be asked, that is said: the options stand without it."""
    try:
        return client.get(f"/plans/{plan['id']}/model-check")
    except KriptikError as error:
        if error.code != "hub_not_answering":
            raise
        about = {"id": plan["choices"]["baseModel"], "status": "not_asked", "licenceNote": ""}
        return {**about, "sentence": error.sentence, "nextStep": error.next_step}


def pick(
    option: Annotated[str, typer.Argument(help="economy, recommended or best.")], plan: PlanId = "last", as_json: Json = False
) -> None:
    """Take one of a plan's options; it is an edit like any other."""
    client = Client()
    found = _plan(client, plan)
    edit = {"modification": {"type": "select_alternative", "value": option}}
    changed = client.put(f"/plans/{found['id']}/tiles/budget", edit)
    if as_json:
        console.print_json(data=changed)
        return
    console.print(show.changes_view(changed["changes"]))


def set_method(
    client: Client, plan: dict[str, Any], judge: str | None, principles: list[str] | None, rollouts: str | None
) -> dict[str, Any]:
    """The plan with what was said of judge, principles and rollouts; as it was where nothing was."""
    lines = [line for one in principles or [] for line in _lines(one)]
    told = {"judge": judge, "principles": lines or None, "rollouts": rollouts}
    value = {name: one for name, one in told.items() if one is not None}
    if not value:
        return plan
    return client.put(f"/plans/{plan['id']}/tiles/method", {"modification": {"type": "custom_value", "value": value}})["plan"]


def _lines(said: str) -> list[str]:
    """The lines of a file of that name, else the text itself."""
    file = len(said) <= LONGEST_PATH and Path(said).expanduser().is_file()
    return Path(said).expanduser().read_text("utf-8").splitlines() if file else [said]


def _plan(client: Client, plan: str) -> dict[str, Any]:
    if plan != "last":
        return client.get(f"/plans/{plan}")["plan"]
    found = client.get("/plans", limit=1)["plans"]
    if not found:
        raise KriptikError("no_plans", "There is no plan yet.", 'Make one with `kriptik plan "…"`.')
    return found[0]
