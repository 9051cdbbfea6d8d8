"""Checkpoints on disk as the server sees them: which are committed, and whether every byte is what the manifest says.

A checkpoint is a folder under `checkpoints/` with shards, `manifest.json` ({"files": {name: {"sha256", "bytes"}}}) and the
create-only mark `_COMPLETE`, written last.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

COMPLETE = "_COMPLETE"
MANIFEST = "manifest.json"
CHUNK = 1 << 20


def committed(run_dir: Path) -> list[str]:
    """Ids of committed checkpoints, oldest first by the time of their mark."""
    marks = (run_dir / "checkpoints").glob(f"*/{COMPLETE}")
    return [mark.parent.name for mark in sorted(marks, key=lambda m: (m.stat().st_mtime_ns, m.parent.name))]


def sound(run_dir: Path, checkpoint_id: str) -> bool:
    """Whether the checkpoint is committed and every file has the size and SHA-256 of its manifest."""
    folder = run_dir / "checkpoints" / checkpoint_id
    if folder.parent != run_dir / "checkpoints" or not (folder / COMPLETE).is_file():
        return False
    try:
        files: dict[str, dict[str, Any]] = json.loads((folder / MANIFEST).read_text())["files"]
        return all(_matches(folder / name, facts) for name, facts in files.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def facts(run_dir: Path, checkpoint_id: str) -> dict[str, Any]:
    """The manifest of a checkpoint."""
    return json.loads((run_dir / "checkpoints" / checkpoint_id / MANIFEST).read_text())


def disk_bytes(folder: Path) -> int:
    """Bytes under a folder; what vanishes while counting counts nothing."""
    total = 0
    for path in folder.rglob("*"):
        try:
            if path.is_file() and not path.is_symlink():
                total += path.stat().st_size
        except OSError:
            continue
    return total


def _matches(path: Path, facts: dict[str, Any]) -> bool:
    if path.stat().st_size != facts["bytes"]:
        return False
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while chunk := handle.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest() == facts["sha256"]
