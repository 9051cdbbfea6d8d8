"""`kriptik options …` and `kriptik pick …`: the whole plans at different prices, why, and taking one of them."""

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


def options(plan: PlanId = "last", as_json: Json = False) -> None:
    """Show a plan's options with the reason on every axis, and what would change the choice."""
    client = Client()
    found = _plan(client, plan)
    check = client.get(f"/plans/{found['id']}/model-check")
    if as_json:
        console.print_json(data={"options": found["options"], "wouldChange": found["wouldChange"], "modelCheck": check})
        return
    console.print(*show.options_view(found["options"], why=True), sep="\n")
    for change in found["wouldChange"]:
        console.print(Text(f"~ {change}", style=show.DIM))
    console.print(Text(f"{check['id']}: {check['sentence']} {check['nextStep']} {check['licenceNote']}".strip(), style=show.INFO))


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


def _plan(client: Client, plan: str) -> dict[str, Any]:
    if plan != "last":
        return client.get(f"/plans/{plan}")["plan"]
    found = client.get("/plans", limit=1)["plans"]
    if not found:
        raise KriptikError("no_plans", "There is no plan yet.", 'Make one with `kriptik plan "…"`.')
    return found[0]
