"""Libraries that only some modalities need: loaded when they are asked for, named where they are missing."""

import importlib
import importlib.metadata
from types import ModuleType

from kriptik.spec.errors import WorkerError


def library(name: str) -> ModuleType:
    """The module. Raises WorkerError where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        what = f"This model needs the library {name.replace('_', '-')}: {error}"
        raise WorkerError("library_missing", what, "Install it where the worker runs: pip install 'kriptik[media]'.") from error


def versions(*packages: str) -> str:
    """As `run.lock` keeps them: a resume with others is not exact."""
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
