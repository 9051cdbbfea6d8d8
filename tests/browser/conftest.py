"""A real browser against real servers: `server` with `scene_worker.py`, which tells a run without training one, and `real`,
whose worker trains a tiny Llama in place of SmolLM2.

Without Chromium or a built page the tests are skipped, unless KRIPTIK_NEED_BROWSER is set, as CI does: then they fail.
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from decimal import Decimal
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(HERE.parent / "server"), str(HERE.parent / "engine")]

import harness  # noqa: E402

from kriptik.providers.local import LocalProvider  # noqa: E402
from kriptik.server import planning  # noqa: E402
from kriptik.spec.catalogue import MethodStatus  # noqa: E402
from kriptik.store import trials  # noqa: E402

PRICE = "6.0"
REAL_PRICE = "36"
"""Dollars per hour of the real worker: one cent a second, so that a budget is met within a test."""
BASE = "HuggingFaceTB/SmolLM2-135M-Instruct"
RULES = ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa", "best-practice"]
AXE = ROOT / "web" / "node_modules" / "axe-core" / "axe.min.js"
ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


def pytest_collection_modifyitems(items):
    for item in items:
        if HERE in Path(item.fspath).parents:
            item.add_marker(pytest.mark.browser)


def missing(what):
    """Skips, or fails where the browser tests are asked for."""
    if os.environ.get("KRIPTIK_NEED_BROWSER"):
        pytest.fail(what)
    pytest.skip(what)


@pytest.fixture(scope="session")
def built():
    """The page, built if its sources changed."""
    done = subprocess.run([sys.executable, str(ROOT / "scripts" / "build_web.py")], capture_output=True, text=True)
    if done.returncode:
        missing(f"the page cannot be built here: {done.stderr.strip()[-300:]}")


@pytest.fixture(scope="session")
def browser(built):
    try:
        from playwright import sync_api
    except ImportError:
        missing("Playwright is not installed: pip install playwright")
    program = next(filter(None, (shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        missing("no Chromium here: scripts/chromium.sh installs Debian's")
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=program, headless=True, args=ARGS)
        yield launched
        launched.close()


@pytest.fixture(scope="session")
def lora_trains():
    """Whether LoRA is proved on this checkout is the conformance suite's business; a journey needs one method that is."""
    real = planning.method_statuses
    proved = ["text_generation", "chat", "custom", "code_generation"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            planning,
            "method_statuses",
            lambda: [
                MethodStatus(id=s.id, stages=s.stages, status="trainable", capabilities=proved) if s.id == "lora" else s
                for s in real()
            ],
        )
        patch.setattr(harness, "FAKE_WORKER", HERE / "scene_worker.py")
        patch.setenv("HF_TOKEN", "hf_of_nobody")
        yield


@pytest.fixture(scope="session")
def server(tmp_path_factory, lora_trains):
    provider = harness.ProcessProvider(PRICE)
    made = harness.Server(tmp_path_factory.mktemp("page") / "home", provider, local_price_per_hour=PRICE, local_slots=6)
    yield made
    made.stop()
    provider.close()


@pytest.fixture(scope="session")
def real(tmp_path_factory, lora_trains):
    """A server whose worker trains for real; a tiny Llama lies where SmolLM2's converted weights would."""
    import tiny

    from kriptik.engine.base import FACTS, weights_sha256

    root = tmp_path_factory.mktemp("real")
    folder = root / "home" / "cache" / "models" / BASE.replace("/", "--")
    tiny.tiny_model(folder)
    (folder / FACTS).write_text(json.dumps({"id": BASE, "source": "test", "sha256": weights_sha256(folder)}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("HF_HUB_OFFLINE", "1")
        provider = LocalProvider(root / "local", Decimal(REAL_PRICE))
        made = harness.Server(
            root / "home", provider, threads=1, local_price_per_hour=REAL_PRICE, teardown_s=2, checkpoint_s=1, lease_s=10,
            test_allowance_usd="5",
        )  # fmt: skip
        yield made
        with made.core.db.read() as session:
            tried = list(trials.live(session))
        for one in tried:
            made.api("DELETE", f"/test/sessions/{one}")
        with contextlib.suppress(AssertionError):  # what is left is named below
            harness.until(lambda: not [r for r in provider.list_own("kt-") if r.status == "running"], 30)
        made.stop()
    alive = [r.name for r in provider.list_own("kt-") if r.status == "running"]
    for name in alive:
        provider.terminate(name)
    assert not alive, "something still bills"


@pytest.fixture
def step_s(monkeypatch):
    """Sets how long a step of the next workers takes, in seconds."""
    return lambda seconds: monkeypatch.setitem(os.environ, "SCENE_STEP_S", str(seconds))


class Wire:
    """A connection to the server that can be cut and mended: every byte goes through it."""

    def __init__(self, port):
        self._port, self._pairs, self._cut = port, [], False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self):
        self._cut = True
        for end in self._pairs:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self._pairs.clear()

    def mend(self):
        self._cut = False

    def close(self):
        self.cut()
        self._listener.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                near, _address = self._listener.accept()
                if self._cut:
                    near.close()
                    continue
                far = socket.create_connection(("127.0.0.1", self._port))
                self._pairs += [near, far]
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    @staticmethod
    def _pump(source, sink):
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


class Visitor:
    """A signed-in browser window, and everything that went wrong in it."""

    def __init__(self, browser, server, **options):
        self.server = server
        self.context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, "reduced_motion": "reduce", **options})
        self.context.add_init_script(
            "addEventListener('securitypolicyviolation', (e) => console.error('Security Policy', e.violatedDirective))"
        )
        self.outside, self.broken, self.closing = [], [], []
        self.page = self.tab()
        self.page.goto(server.app.state.sign_in_url())

    def tab(self):
        page = self.context.new_page()
        page.set_default_timeout(20_000)
        page.on("request", lambda request: self._note(request.url))
        page.on("pageerror", lambda error: self.broken.append(str(error)))
        page.on("console", lambda m: self.broken.append(m.text) if m.type == "error" and "Security Policy" in m.text else None)
        return page

    def open(self, path, page=None, port=None):
        (page or self.page).goto(f"http://127.0.0.1:{port or self.server.port}{path}")

    def wire(self):
        """A connection to the server that can be cut."""
        made = Wire(self.server.port)
        self.closing.append(made.close)
        return made

    def axe(self):
        """What axe finds wrong on the page as it is."""
        self.page.evaluate(f"() => {{ {AXE.read_text()} }}")
        found = self.page.evaluate("rules => axe.run(document, {runOnly: rules})", RULES)
        return [(v["id"], [node["html"][:200] for node in v["nodes"]][:3]) for v in found["violations"]]

    def close(self):
        self.context.close()
        for end in self.closing:
            end()
        assert self.outside == [], "the page asked something outside its server"
        assert self.broken == []

    def _note(self, url):
        if not url.startswith(("http://127.0.0.1:", "data:", "blob:")):
            self.outside.append(url)


@pytest.fixture
def visit(browser):
    """Opens signed-in windows; at the end nothing may have gone wrong in any of them."""
    made = []

    def open_window(server, **options):
        made.append(Visitor(browser, server, **options))
        return made[-1]

    yield open_window
    for visitor in made:
        visitor.close()


@pytest.fixture
def visitor(visit, server):
    return visit(server)
