"""The tables in docs/ are what the catalogue says now."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SPEC = importlib.util.spec_from_file_location("catalogue_docs", ROOT / "scripts" / "catalogue_docs.py")
catalogue_docs = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(catalogue_docs)


@pytest.mark.parametrize("name", sorted(catalogue_docs.PAGES))
def test_page_is_current(name):
    written = (ROOT / "docs" / name).read_text(encoding="utf-8")
    assert written == catalogue_docs.PAGES[name](), f"docs/{name} is old: run .venv/bin/python scripts/catalogue_docs.py"
