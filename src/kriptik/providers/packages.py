"""Packages that some models need beside a worker's own: which of them a worker on this machine could load.

Told by what their distributions say of themselves. Nothing is imported: a server holds no machine-learning library in its memory.
"""

import re
from importlib import metadata

NAMES = ("num2words", "torchvision")


def packages_here(names: tuple[str, ...] = NAMES) -> list[str]:
    """Those of the names that are installed, for workers are started by this very Python."""
    return [name for name in names if _loads(name)]


def _loads(name: str) -> bool:
    """Whether it is there, and beside the torch that it was built for: by version, and for a GPU or for CPUs alone, as that is."""
    try:
        version, wanted = metadata.version(name), metadata.requires(name) or []
        torch = next((found[1] for one in wanted if (found := re.match(r"torch\s*\(?==\s*([\d.]+)", one))), None)
        if torch is None:
            return True
        here = metadata.version("torch")
    except metadata.PackageNotFoundError:
        return False
    return here.partition("+")[0] == torch and here.endswith("+cpu") == version.endswith("+cpu")
