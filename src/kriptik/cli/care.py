"""`kriptik doctor` and `kriptik sweep`: looking after a deployment, also while its server is down."""

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from kriptik.cli.client import kriptik_home

console = Console()


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False) -> None:
    """Check state, disk, storage, address, keys and orphans. Nothing is changed or rented. Exit code 1 where something is wrong."""
    from kriptik.server.doctor import examine
    from kriptik.server.settings import Settings

    checks = examine(Settings.from_env(home=kriptik_home()))
    if as_json:
        console.print_json(data=[check.wire() for check in checks])
    for check in [] if as_json else checks:
        console.print(f"{'ok   ' if check.ok else 'WRONG'} {check.name}: {check.sentence}", highlight=False)
        if check.next_step:
            console.print(f"      {check.next_step}", style="dim", highlight=False)
    if not all(check.ok for check in checks):
        raise SystemExit(1)


def sweep(
    end: Annotated[bool, typer.Option("--end", help="End what is listed.")] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Everything of this installation that bills.")
    ] = False,
    install: Annotated[str | None, typer.Option(help="Id of the installation, where its database is lost; implies --all.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False,
) -> None:
    """List machines of this installation that bill and that no run wants; end them with --end."""
    from kriptik.server.settings import Settings
    from kriptik.server.sweep import sweep as look

    found = look(Settings.from_env(home=kriptik_home()), end=end, everything=everything, install=install)
    if as_json:
        console.print_json(data=[one.wire() for one in found])
    elif not found:
        console.print("Nothing bills that no run wants.")
    else:
        table = Table("provider", "name", "id", "$ an hour", "wanted", "ended")
        for one in found:
            table.add_row(one.provider, one.name, one.id, f"{one.price_per_hour:.2f}", "yes" if one.wanted else "no",
                          "yes" if one.ended else one.problem or "no")  # fmt: skip
        console.print(table)
    if any(one.problem for one in found):
        raise SystemExit(1)
