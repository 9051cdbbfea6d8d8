"""Turns a plain image with Python into a worker: fetches the server's own source, installs what is missing, becomes the worker.

It is handed to the container as text (KRIPTIK_BOOTSTRAP) and uses the standard library alone. What the image holds already is not
fetched: with all of it there, no network but the server is needed. Whatever fails, the machine is given back.
"""

import io
import os
import re
import subprocess
import sys
import tarfile
import time
import urllib.error
import urllib.request
from importlib import metadata
from pathlib import Path
from typing import Any

TRIES, LEAST = 8, (3, 11)
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def main() -> int:
    """Becomes the worker's supervisor; returns only where that failed."""
    try:
        if sys.version_info < LEAST:
            raise RuntimeError(f"Python {LEAST[0]}.{LEAST[1]} is needed, this is {sys.version.split()[0]}")
        home = Path(os.environ.get("KRIPTIK_WORK_DIR", "/workspace")) / "kriptik-source"
        say("Fetching the worker from the server")
        unpack(fetch(os.environ["KRIPTIK_JOB_URL"] + "/source", os.environ["KRIPTIK_WORKER_TOKEN"]), home)
        wanted = missing((home / "requirements.txt").read_text().split())
        if wanted:
            say(f"Installing {len(wanted)} packages: {', '.join(wanted)}")
            subprocess.run([sys.executable, "-m", "pip", "install", "--no-cache-dir", *wanted], check=True)
        say("Starting the worker")
        path = os.pathsep.join(filter(None, [str(home), os.environ.get("PYTHONPATH", "")]))
        command = [sys.executable, "-m", "kriptik.worker.pod"]
        return subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, check=False).returncode
    except (OSError, RuntimeError, KeyError, ValueError, tarfile.TarError, subprocess.SubprocessError) as error:
        say(f"This image could not become a worker: {type(error).__name__}: {error}. Giving the machine back.")
        give_back()
        return 1


def fetch(url: str, token: str) -> bytes:
    """The source as the server has it. Raises OSError where it cannot be had."""
    for attempt in range(TRIES):
        try:
            with _open(urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})) as answer:
                return answer.read()
        except urllib.error.HTTPError as error:
            if error.code in (401, 404, 409) or attempt + 1 == TRIES:
                raise
        except OSError:
            if attempt + 1 == TRIES:
                raise
        time.sleep(min(30.0, 2.0**attempt))
    raise OSError("the server was not reached")


def unpack(data: bytes, home: Path) -> None:
    """Into a folder that is put on the path."""
    home.mkdir(parents=True, exist_ok=True)
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        archive.extractall(home, filter="data")


def missing(requirements: list[str]) -> list[str]:
    """Of `name==version` lines, those that this Python holds in no version: an image's own PyTorch is the right one for it."""
    held = {re.sub(r"[-_.]+", "-", one.metadata["Name"] or "").lower() for one in metadata.distributions()}
    return [line for line in requirements if re.sub(r"[-_.]+", "-", line.split("==")[0]).lower() not in held]


def give_back() -> None:
    """Asks the provider to end this machine, as the worker itself would."""
    url, token = os.environ.get("KRIPTIK_END_URL", ""), os.environ.get(os.environ.get("KRIPTIK_END_TOKEN_VARIABLE", ""), "")
    if not url or not token:
        return
    address = re.sub(r"\{(\w+)\}", lambda found: os.environ.get(found[1], ""), url)
    for attempt in range(TRIES):
        try:
            _open(urllib.request.Request(address, method="DELETE", headers={"Authorization": f"Bearer {token}"})).close()
            return
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return
            say(f"The provider answered {error.code} to giving the machine back.")
        except OSError as error:
            say(f"The provider could not be reached ({error}).")
        time.sleep(min(60.0, 2.0**attempt))


def say(text: str) -> None:
    """A line of the container's log, which the server reads."""
    sys.stdout.write(f"kriptik: {text}\n")
    sys.stdout.flush()


def _open(request: urllib.request.Request) -> Any:
    """Past any proxy where the address is this machine."""
    handlers = [urllib.request.ProxyHandler({})] if request.host.split(":")[0] in LOOPBACK else []
    return urllib.request.build_opener(*handlers).open(request, timeout=60)


if __name__ == "__main__":
    sys.exit(main())
