"""A real server and its provider for the tests here."""

import pytest
from harness import ProcessProvider, Server


@pytest.fixture
def provider():
    made = ProcessProvider()
    yield made
    made.close()


@pytest.fixture
def server(tmp_path, provider):
    made = Server(tmp_path / "home", provider)
    yield made
    made.stop()
    assert not provider.alive(), "something still bills"
