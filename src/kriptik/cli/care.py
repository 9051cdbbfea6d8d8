"""Looking after a deployment, also while its server is down: doctor, sweep, stop-all, backup, restore."""

from pathlib import Path
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


def stop_all(
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what would be ended.")] = False,
    over: Annotated[bool, typer.Option("--over", help="Allow new machines again.")] = False,
    install: Annotated[str | None, typer.Option(help="Id of the installation, where its folder is lost.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False,
) -> None:
    """The kill switch: end everything of this installation at every provider. Needs no server and no database.

    Runs keep their checkpoints. No machine is asked for any more, by whatever server, until `kriptik stop-all --over`.
    """
    from kriptik.server import holds, killswitch
    from kriptik.server.settings import Settings

    settings = Settings.from_env(home=kriptik_home())
    if over:
        lifted = holds.lift(settings.home, holds.STOPPED)
        console.print("New machines are allowed again." if lifted else "Nothing was stopped.")
        return
    if not (yes or dry_run):
        typer.confirm("End everything of this installation, whatever it is doing?", abort=True)
    found = killswitch.stop_all(settings, install=install, look_only=dry_run)
    if as_json:
        console.print_json(data=[one.wire() for one in found])
    else:
        for one in found:
            what = "would be ended" if dry_run and not one.problem else "gone" if one.gone else f"NOT GONE: {one.problem}"
            console.print(f"{one.provider}  {one.name}  {one.id}  ${one.price_per_hour:.2f} an hour: {what}", highlight=False)
        left = [one for one in found if not one.gone]
        if not dry_run:
            console.print(f"{len(found) - len(left)} ended and confirmed gone, {len(left)} left. "
                          "No machine is asked for until `kriptik stop-all --over`.", highlight=False)  # fmt: skip
    if any(one.problem for one in found):
        raise SystemExit(1)


def backup(
    target: Annotated[Path, typer.Argument(help="The file to write.")],
    with_runs: Annotated[bool, typer.Option("--with-runs", help="Checkpoints, results and exports too.")] = False,
    no_secret: Annotated[bool, typer.Option("--no-secret", help="Leave out what signs links and workers' tokens.")] = False,
) -> None:
    """Write the server's state to one file, also while it runs. Keys from the environment are never in it."""
    from kriptik.server.backup import backup as write
    from kriptik.server.settings import Settings

    made = write(Settings.from_env(home=kriptik_home()), target, artefacts=with_runs, secret=not no_secret)
    size = sum(file.bytes for file in made.files.values())
    console.print(f"{target}: {len(made.files)} files, {size / 1e6:.1f} MB, installation {made.install}.", highlight=False)
    if made.secret:
        console.print("It holds the server's secret: keep it as private as KRIPTIK_HOME.", style="dim")


def restore(
    source: Annotated[Path, typer.Argument(help="A file that `kriptik backup` wrote.")],
    replace: Annotated[bool, typer.Option("--replace", help="Move a state that is there aside.")] = False,
) -> None:
    """Put a backup in place; the server must be stopped. What providers hold that it does not know is booked and ended."""
    from kriptik.server.backup import restore as put
    from kriptik.server.settings import Settings

    made = put(Settings.from_env(home=kriptik_home()), source, replace=replace)
    console.print(f"The state of {made.made_at:%Y-%m-%d %H:%M} UTC is back: installation {made.install}.", highlight=False)
    console.print("At its next start the server compares it with every provider before it asks for machines.", style="dim")
