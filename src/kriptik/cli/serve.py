"""`kriptik up`: one server process on this KRIPTIK_HOME, and where it can be reached."""

import json
import os
import socket
import threading
import time
from pathlib import Path

from rich.console import Console

from kriptik.cli.client import kriptik_home
from kriptik.spec.errors import KriptikError

console = Console()


def run_server(host: str, port: int, idle_exit_minutes: float | None = None) -> None:
    """Serves until interrupted. Refuses a non-loopback address, since the API would be open to the network without TLS."""
    import uvicorn

    from kriptik.server.app import create_app
    from kriptik.server.settings import Settings

    if host not in {"127.0.0.1", "localhost", "::1"} and os.environ.get("KRIPTIK_BEHIND_TLS_PROXY") != "1":
        raise KriptikError(
            "open_listen_refused",
            f"Listening on {host} would expose the server without encryption.",
            "Put a TLS proxy in front and set KRIPTIK_BEHIND_TLS_PROXY=1.",
        )
    home = kriptik_home()
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    listener = _listen(host, port)
    url = f"http://{host}:{listener.getsockname()[1]}"
    app = create_app(Settings.from_env(home=home, url=url))
    config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=3)
    server = uvicorn.Server(config)
    note = home / "server.json"
    note.write_text(json.dumps({"url": url, "pid": os.getpid()}))
    console.print(f"KripTik is at [bold]{app.state.sign_in_url()}[/bold]", soft_wrap=True)
    console.print("The link signs you in once; state is kept in your KRIPTIK_HOME. Stop with Ctrl+C.", style="dim")
    if idle_exit_minutes:
        _end_when_idle(server, app, idle_exit_minutes * 60)
    try:
        server.run(sockets=[listener])
    finally:
        _forget(note)


def _listen(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        raise KriptikError("port_taken", f"Port {port} on {host} is in use.", "Choose another with --port, or --port 0.") from error
    return listener


def _end_when_idle(server: "uvicorn.Server", app: "FastAPI", limit_s: float) -> None:  # noqa: F821
    def look() -> None:
        while not server.should_exit:
            time.sleep(5)
            if time.monotonic() - app.state.last_request > limit_s:
                server.should_exit = True

    threading.Thread(target=look, daemon=True, name="idle-exit").start()


def _forget(note: Path) -> None:
    try:
        if json.loads(note.read_text())["pid"] == os.getpid():
            note.unlink()
    except (OSError, ValueError, KeyError):
        return
