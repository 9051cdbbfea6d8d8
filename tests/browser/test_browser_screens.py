"""Every screen at two widths: no axe violation, nothing wider than a phone; and what the page weighs."""

import contextlib
import gzip
import io
import json
import re
from pathlib import Path

import pytest

import kriptik

ROOT = Path(__file__).resolve().parent.parent.parent
STATIC = Path(kriptik.__file__).parent / "static"
AXE = ROOT / "web" / "node_modules" / "axe-core" / "axe.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa", "best-practice"]
FIRST_LOAD_KB = 200
LCP_MS = 1000


def approved(server):
    """A run of an approved plan, so that its report can be made."""
    dataset = server.api("POST", "/data/samples/zaragoza-construction-faq", 201)
    request = {"prompt": "Quick fine-tune SmolLM2 for our customer support, budget $1", "context": {"existingData": dataset["id"]}}
    plan = server.api("POST", "/parse-intent", json=request)["plan"]
    terms = {"budgetAuthorization": {"maxBudget": 1, "termsAccepted": True}}
    return server.api("POST", f"/plans/{plan['id']}/approve", json=terms)["jobId"]


@pytest.fixture(scope="module")
def places(server):
    """A run in every state, and plans."""
    runs = {
        "live": server.train(4000, "20", {"stepS": 0.3}),
        "set-up": server.train(100, "5", {"setupS": 120}),
        "frozen": server.train(400, "5", {"stepS": 0.05}),
        "failed": server.train(40, "5", {"failAt": 22}),
        "complete": approved(server),
        "stopped": server.train(100, "5", {"stepS": 0.1}),
    }
    server.wait(runs["complete"], "completed")
    with contextlib.suppress(AssertionError):
        server.wait(runs["failed"], "failed")
    for name, act in (("frozen", "pause"), ("stopped", "stop")):
        server.wait(runs[name], "training")
        server.api("POST", f"/jobs/{runs[name]}/{act}")
        server.wait(runs[name], "frozen", "stopped")
    plans = {
        name: server.api("POST", "/parse-intent", json={"prompt": words})["plan"]["id"]
        for name, words in (
            ("plan", "Quick fine-tune SmolLM2 for our customer support, budget $1"),
            ("flagship plan", "Train a model to generate Suno-quality music with expressive vocals"),
        )
    }
    token = server.job(runs["frozen"])["freezeState"]["resumeUrl"].split("/resume/")[1]
    yield {
        "landing": ("/", "Train Flagship-Level AI Models"),
        "runs": ("/jobs", "Runs"),
        "settings": ("/settings", "Settings"),
        "sign-in": ("/sign-in?problem=bad_link", "Sign in to this server"),
        "nowhere": ("/no/such/page", "There is no such page"),
        "resume link": (f"/resume/{token}", None),
        "dead link": (f"/resume/{runs['frozen']}?token=x", "This link does not open the run"),
        "test": (f"/jobs/{runs['complete']}/test", "Test the model"),
        **{name: (f"/plans/{plan_id}", None) for name, plan_id in plans.items()},
        **{name: (f"/jobs/{job_id}", None) for name, job_id in runs.items()},
    }
    server.api("POST", f"/jobs/{runs['live']}/stop")
    server.wait(runs["live"], "stopped")


SCREENS = [
    "landing", "runs", "settings", "sign-in", "nowhere", "resume link", "dead link", "test", "plan", "flagship plan",
    "live", "set-up", "frozen", "failed", "complete", "stopped",
]  # fmt: skip


@pytest.mark.parametrize("name", SCREENS)
def test_screen(visitor, places, name):
    page = visitor.page
    path, heading = places[name]
    visitor.open(path)
    (page.get_by_role("heading", name=heading) if heading else page.locator("h1, h2").first).first.wait_for()
    page.wait_for_load_state("networkidle") if name not in ("live", "set-up") else page.get_by_text("Live", exact=True).wait_for()
    page.wait_for_timeout(400)
    page.evaluate(AXE.read_text() + ";0")
    found = page.evaluate("rules => axe.run(document, {runOnly: rules})", RULES)
    assert [(v["id"], [node["html"][:200] for node in v["nodes"]][:3]) for v in found["violations"]] == []
    page.set_viewport_size({"width": 360, "height": 780})
    page.wait_for_timeout(300)
    wide = page.evaluate(
        """() => [...document.querySelectorAll("body *")].filter((node) => node.getBoundingClientRect().right > innerWidth + 1
             && !node.closest("[class*=overflow]")).map((node) => node.outerHTML.slice(0, 160))"""
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= 360, wide[:3]


def test_the_first_page_is_light_and_soon_there(visitor):
    first = re.findall(r'(?:src|href)="(/assets/[^"]+\.js)"', (STATIC / "index.html").read_text())
    loaded = set(first)
    visitor.page.on("response", lambda r: loaded.add("/assets/" + r.url.split("/assets/")[1]) if "/assets/" in r.url else None)
    visitor.open("/")
    visitor.page.get_by_role("heading", name="Recent runs").wait_for()
    visitor.page.wait_for_timeout(1500)
    painted = visitor.page.evaluate(
        """() => new Promise((done) => new PerformanceObserver((list) => done(list.getEntries().at(-1).startTime))
             .observe({type: "largest-contentful-paint", buffered: true}))"""
    )
    scripts = [name for name in loaded if name.endswith(".js")]
    weight = sum(len(gzip.compress((STATIC / name.lstrip("/")).read_bytes())) for name in scripts) / 1000
    assert weight <= FIRST_LOAD_KB, f"{weight:.0f} kB of JavaScript on the first page"
    assert painted < LCP_MS, f"largest paint after {painted:.0f} ms"


def test_nobody_signed_in_sees_only_the_sign_in(browser, server):
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"http://127.0.0.1:{server.port}/jobs")
    page.get_by_role("heading", name="Sign in to this server").wait_for()
    page.goto(f"http://127.0.0.1:{server.port}/signin?token=used-up")
    page.get_by_text("That sign-in link was used already or is too old.").wait_for()
    context.close()


def test_data_with_faults_is_told_before_anything_is_spent(visitor):
    page = visitor.page
    page.get_by_role("button", name="Add your data").click()
    bad = io.BytesIO(b"\x00\x01\x02 not a data file").getvalue()
    page.get_by_label("Data file").set_input_files({"name": "rows.jsonl", "mimeType": "application/json", "buffer": bad})
    page.get_by_role("alert").wait_for()
    rows = "\n".join(
        json.dumps({"messages": [{"role": "user", "content": f"q {i}"}, {"role": "assistant", "content": "a"}]}) for i in range(5)
    )
    page.get_by_label("Data file").set_input_files({"name": "few.jsonl", "mimeType": "application/json", "buffer": rows.encode()})
    page.get_by_role("region", name="Data: few.jsonl").wait_for()


def test_a_request_that_is_none_keeps_the_words(visitor):
    page = visitor.page
    field = page.get_by_label("What you want to train")
    field.fill("what's the weather?")
    page.keyboard.press("Enter")
    page.get_by_role("alert").get_by_text("This does not ask for a model to be trained.").wait_for()
    assert field.input_value() == "what's the weather?"
