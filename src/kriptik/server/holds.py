"""What holds back new machines: the kill switch, and a restored state that was not compared with the providers yet.

Each is a file in KRIPTIK_HOME, so that it can be set while neither a server nor a database is there.
"""

import json
from pathlib import Path

from kriptik.spec.base import utc_now

STOPPED, RESTORED = "stopped.json", "restored.json"
INSTALL = "install"
"""File with the installation's id: what the kill switch knows its machines by when the database is gone."""

SENTENCES = {
    STOPPED: "Everything was stopped by `kriptik stop-all`; no machine is asked for until `kriptik stop-all --over`.",
    RESTORED: "This state was restored; what its providers hold is looked at before any machine is asked for.",
}


def reason(home: Path) -> str | None:
    """Why nothing may be created now; None where it may."""
    return next((sentence for name, sentence in SENTENCES.items() if (home / name).exists()), None)


def hold(home: Path, name: str) -> None:
    """Sets one, durably enough: it is there before anything else is done."""
    home.mkdir(parents=True, exist_ok=True)
    (home / name).write_text(json.dumps({"at": utc_now().isoformat()}))


def lift(home: Path, name: str) -> bool:
    """Takes one away; False if there was none."""
    there = (home / name).exists()
    (home / name).unlink(missing_ok=True)
    return there


def note_install(home: Path, install: str) -> None:
    """Writes the id down beside the database."""
    path = home / INSTALL
    if not path.exists() or path.read_text().strip() != install:
        path.write_text(install + "\n")
