"""Checkpoints on disk: shards, then `manifest.json` with their SHA-256, then the create-only mark `_COMPLETE`.

Without the mark, or with a byte that differs from the manifest, a checkpoint does not exist. The server reads the same format
(`server/runs/artefacts.py`). What goes in is `snapshot.py`'s to say; this file knows names and bytes alone.
"""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from kriptik.spec.errors import WorkerError

COMPLETE = "_COMPLETE"
MANIFEST = "manifest.json"
KEEP_LAST = 2


@dataclass
class Shards:
    """What one rank has to keep: named groups of tensors (one file each) and one JSON document."""

    tensors: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    state: dict[str, Any] = field(default_factory=dict)


@dataclass
class Committed:
    """A checkpoint that is on disk and was read back: `bytes` over all files."""

    id: str
    bytes: int
    manifest_sha256: str


class Checkpoints:
    """The folder `checkpoints/` of a run. Every rank writes its shards; rank 0 sweeps, commits and removes."""

    def __init__(self, run_dir: str | Path) -> None:
        self.folder = Path(run_dir) / "checkpoints"

    def ids(self) -> list[str]:
        """Committed checkpoints, oldest mark first."""
        marks = self.folder.glob(f"*/{COMPLETE}")
        return [mark.parent.name for mark in sorted(marks, key=lambda one: (one.stat().st_mtime_ns, one.parent.name))]

    def sweep(self) -> list[str]:
        """Removes what a killed process left without a mark; returns the names."""
        left = [one for one in self.folder.glob("*") if one.is_dir() and not (one / COMPLETE).exists()]
        for one in left:
            shutil.rmtree(one)
        return [one.name for one in left]

    def name(self, stage: int, step: int, generation: int) -> str:
        """A free id for a checkpoint of this place: `s0-000120-g2`."""
        base = f"s{stage}-{step:06d}-g{generation}"
        names = [base, *(f"{base}-{number}" for number in range(2, 1000))]
        return next(name for name in names if not (self.folder / name).exists())

    def begin(self, name: str) -> None:
        """Makes the folder; without a mark it counts for nothing."""
        with _disk("begun"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)

    def write(self, name: str, rank: int, shards: Shards) -> None:
        """This rank's shards, on the disk itself when it returns."""
        folder = self.folder / name
        with _disk("written"):
            for group, tensors in shards.tensors.items():
                if tensors:
                    write_tensors(folder / f"{group}-r{rank}.safetensors", tensors)
            write_json(folder / f"state-r{rank}.json", shards.state)

    def commit(self, name: str, facts: dict[str, Any]) -> Committed:
        """Reads every shard back, writes the manifest with `facts`, then the mark. Until the mark, nothing is committed."""
        folder = self.folder / name
        with _disk("committed"):
            names = sorted(one.name for one in folder.iterdir())
            files = {one: {"sha256": sha256(folder / one), "bytes": (folder / one).stat().st_size} for one in names}
            write_json(folder / MANIFEST, {**facts, "files": files})
            sync_folder(folder)
            mark(folder)
            sync_folder(folder)
            sync_folder(self.folder)
        return Committed(name, sum(int(one["bytes"]) for one in files.values()), sha256(folder / MANIFEST))

    def abandon(self, name: str) -> None:
        """Removes a checkpoint that failed half-way."""
        shutil.rmtree(self.folder / name, ignore_errors=True)

    def facts(self, name: str) -> dict[str, Any]:
        """The manifest. Raises WorkerError if there is none to trust."""
        folder = self.folder / name
        if Path(name).name != name or not (folder / COMPLETE).is_file():
            raise _damaged(name, "it was never completed or is gone")
        try:
            return json.loads((folder / MANIFEST).read_text())
        except (OSError, ValueError) as error:
            raise _damaged(name, "its manifest cannot be read") from error

    def verify(self, name: str) -> dict[str, Any]:
        """The manifest, after every byte was compared with it."""
        facts = self.facts(name)
        for file, expected in facts["files"].items():
            path = self.folder / name / file
            try:
                same = path.stat().st_size == expected["bytes"] and sha256(path) == expected["sha256"]
            except OSError:
                same = False
            if not same:
                raise _damaged(name, f"{file} is not what was written")
        return facts

    def tensors(self, name: str, group: str, rank: int | None = None) -> dict[str, Tensor]:
        """The tensors of a group: this rank's, or those of all ranks."""
        found: dict[str, Tensor] = {}
        for path in self._files(name, group) if rank is None else (self.folder / name).glob(f"{group}-r{rank}.safetensors"):
            found.update(load_file(path))
        return found

    def joined(self, name: str, group: str) -> dict[str, Tensor]:
        """Tensors that every rank wrote its part of, flat: the parts one after another in the order of ranks."""
        parts: dict[str, list[Tensor]] = {}
        for path in self._files(name, group):
            for key, part in load_file(path).items():
                parts.setdefault(key, []).append(part)
        return {key: torch.cat(several) for key, several in parts.items()}

    def _files(self, name: str, group: str) -> list[Path]:
        found = (self.folder / name).glob(f"{group}-r*.safetensors")
        return sorted(found, key=lambda path: int(path.stem.removeprefix(f"{group}-r")))

    def state(self, name: str, rank: int) -> dict[str, Any]:
        """The JSON document of a rank."""
        return json.loads((self.folder / name / f"state-r{rank}.json").read_text())

    def retain(self, keep: Iterable[str | None] = ()) -> list[str]:
        """Removes all but the last two, the best by held-out loss of each stage, stage ends, and `keep`; returns the removed."""
        ids = self.ids()
        wanted = {*ids[-KEEP_LAST:], *keep}
        best: dict[int, tuple[float, str]] = {}
        for one in ids:
            facts = self.facts(one)
            if facts.get("reason") == "stage_end":
                wanted.add(one)
            if facts.get("evalLoss") is not None:
                rank = (float(facts["evalLoss"]), one)
                best[facts["stage"]] = min(best.get(facts["stage"], rank), rank)
        wanted |= {one for _, one in best.values()}
        removed = [one for one in ids if one not in wanted]
        for one in removed:
            (self.folder / one / COMPLETE).unlink()
            sync_folder(self.folder / one)
            shutil.rmtree(self.folder / one)
        return removed


def write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """One safetensors file, synced. Tensors are detached, on the CPU and free of shared storage."""
    save_file(separate(tensors), path)
    _sync(path)


def write_json(path: Path, value: dict[str, Any]) -> None:
    """One JSON file, synced. Numbers come back as they were; NaN and infinities are allowed."""
    with path.open("x") as handle:
        json.dump(value, handle)
        handle.flush()
        os.fsync(handle.fileno())


def mark(folder: Path) -> None:
    """The create-only mark: two writers cannot both commit."""
    handle = os.open(folder / COMPLETE, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_folder(folder: Path) -> None:
    """The folder's entries are on the disk itself."""
    _sync(folder)


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def separate(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """CPU tensors, contiguous, none of which shares storage with another."""
    seen: set[int] = set()
    plain: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        one = tensor.detach().to("cpu").contiguous()
        where = one.untyped_storage().data_ptr()
        if one.numel() and (where in seen or one.untyped_storage().nbytes() != one.numel() * one.element_size()):
            one = one.clone()
            where = one.untyped_storage().data_ptr()
        seen.add(where)
        plain[name] = one
    return plain


def tensor_hash(tensor: Tensor) -> str:
    """SHA-256 of a tensor's bytes."""
    flat = tensor.detach().to("cpu").contiguous().reshape(-1)
    return hashlib.sha256(flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b"").hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def _disk(what: str) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = (error.strerror if isinstance(error, OSError) else str(error)) or type(error).__name__
        raise WorkerError(
            "disk_full", f"A checkpoint could not be {what}: {reason}.", "Free disk space, then resume from the last checkpoint."
        ) from error


def _damaged(name: str, why: str) -> WorkerError:
    return WorkerError("bad_checkpoint", f"Checkpoint {name} cannot be used: {why}.", "Resume from an earlier checkpoint.")


