"""What frozen parts make of rows (latents, states of text encoders), kept on disk: made once, whatever dies in between."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from kriptik.spec.errors import WorkerError


class Cache:
    """Tensors by key under one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def key(self, *parts: str) -> str:
        """A name for what follows from these parts alone."""
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:40]

    def keep(self, key: str, make: Callable[[], dict[str, Tensor]]) -> str:
        """Makes it unless it is there; returns the key. Raises WorkerError `disk_full`."""
        path = self._path(key)
        if path.is_file():
            return key
        part = path.with_suffix(f".{os.getpid()}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            save_file({name: one.detach().cpu().contiguous() for name, one in make().items()}, part)
            part.replace(path)
        except (OSError, SafetensorError) as error:
            part.unlink(missing_ok=True)
            raise WorkerError("disk_full", f"The cache could not be written: {error}.", "Free disk space, then retry.") from error
        return key

    def read(self, key: str) -> dict[str, Tensor]:
        """Copies, so that it does not matter where in the file they lay."""
        return {name: one.clone() for name, one in load_file(self._path(key)).items()}

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.safetensors"
