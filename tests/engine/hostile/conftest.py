"""The toys and lives of the engine's other tests are importable here."""

import sys
from importlib import import_module
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


@pytest.fixture(scope="session", autouse=True)
def imported_once():
    """What `use_deterministic_algorithms` imports: seconds for each forked life, unless the parent has it."""
    import_module("torch._inductor")
