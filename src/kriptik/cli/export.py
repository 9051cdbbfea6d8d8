"""`kriptik export`: take the model of a run away in the forms others read."""

import time
from pathlib import Path, PurePosixPath
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.console import Console

from kriptik.cli import show
from kriptik.cli.client import Client
from kriptik.cli.pick import job_id
from kriptik.spec.errors import KriptikError

POLL_S = 0.5
console = Console()


def export(
    job: Annotated[str, typer.Argument(help="Run id, or 'last'.")] = "last",
    forms: Annotated[
        list[str] | None, typer.Option("--as", help="merged, adapter, gguf or ollama; may be given several times.")
    ] = None,
    gguf_type: Annotated[str, typer.Option("--type", help="How GGUF keeps weights: f32, bf16, f16 or q8_0.")] = "f16",
    checkpoint: Annotated[str | None, typer.Option(help="A checkpoint id; default: the finished model or the newest.")] = None,
    hub: Annotated[str | None, typer.Option(help="Also push to this hub repository, owner/name (HF_TOKEN on the server).")] = None,
    public: Annotated[bool, typer.Option("--public", help="Make the hub repository public.")] = False,
    out: Annotated[Path | None, typer.Option(help="Download the files into this folder.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False,
) -> None:
    """Write the model out, read it back, compare it with what was trained."""
    client = Client()
    body: dict[str, Any] = {"formats": forms or ["merged"], "ggufType": gguf_type}
    if checkpoint:
        body["checkpointId"] = checkpoint
    if hub:
        body["hub"] = {"repoId": hub, "private": not public}
    run = job_id(client, job)
    started = client.post(f"/jobs/{run}/exports", body)
    try:
        ended = _follow(client, run, started, quiet=as_json)
    except KeyboardInterrupt:
        client.delete(f"/jobs/{run}/exports/{started['id']}")
        raise
    if ended["result"] and out:
        _download(client, run, ended["result"], out)
    if as_json:
        console.print_json(data=ended)
    elif ended["result"]:
        console.print(show.export_view(ended, out or None), highlight=False)
    if ended["state"] != "done":
        raise KriptikError(
            ended["code"] or "export_ended", ended["error"] or "The export was cancelled.", ended["nextStep"] or "Start it again."
        )


def _follow(client: Client, run: str, export: dict[str, Any], *, quiet: bool) -> dict[str, Any]:
    said = ""
    while export["state"] in ("waiting", "working"):
        if not quiet and export["message"] != said:
            said = export["message"]
            console.print(f"[dim]{export['progress']:>4.0%}[/dim] {said}", highlight=False)
        time.sleep(POLL_S)
        export = client.get(f"/jobs/{run}/exports/{export['id']}")
    return export


def _download(client: Client, run: str, result: dict[str, Any], out: Path) -> None:
    """Every file into `out`, each compared with its hash."""
    for file in result["files"]:
        inside = PurePosixPath(file["path"]).relative_to(result["folder"])
        found = client.download(f"/jobs/{run}/files/{quote(file['path'])}", out / inside)
        if found != file["sha256"]:
            (out / inside).unlink(missing_ok=True)
            raise KriptikError("download_damaged", f"{inside} arrived damaged; it was not kept.", "Try again.")
