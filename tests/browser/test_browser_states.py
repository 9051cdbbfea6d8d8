"""Every screen in every state, at 1280 and at 360 pixels: no axe violation, nothing wider than the window.

With KRIPTIK_SCREENS=<folder> each is also kept as a picture.
"""

import os
from pathlib import Path

import harness
import pytest
import states
import voices
from harness import until

from kriptik.server import pages
from kriptik.spec.catalogue import Point
from kriptik.spec.job import Stage

SCREENS = os.environ.get("KRIPTIK_SCREENS")
DEMO = "Quick fine-tune SmolLM2 for our customer support, budget $1"
FLAGSHIP = "Train a model to generate Suno-quality music with expressive vocals"
PAST_LIMIT = "Fine-tune Llama 3.3 70B as our support chat bot, budget $1"
UNSURE = "Train a model that composes or classifies my songs"
SUBJECT = "DreamBooth of our dog from 12 photos, budget $10"
PERSON = "DreamBooth of my sister from 12 photos, budget $10"
JUDGED = "Train SmolLM2 135M by RLAIF for our chat, budget $2"
WIDTHS = (1280, 360)
EVERY = int(os.environ.get("KRIPTIK_EVERY_STATE", "1"))
"""Every so many-th state; `make web-test` and `make screens` take all."""
TOO_WIDE = """() => [...document.querySelectorAll("body *")].filter((node) => node.getBoundingClientRect().right > innerWidth + 1
  && !node.closest("[class*=overflow], .truncate, .visually-hidden, details:not([open])"))
  .map((node) => node.outerHTML.slice(0, 99))"""


@pytest.fixture(scope="module")
def world(server, tmp_path_factory):
    if SCREENS:
        Path(SCREENS).mkdir(parents=True, exist_ok=True)
    empty, narrow = (
        harness.Server(tmp_path_factory.mktemp(name) / "home", server.provider, local_price_per_hour="6", local_slots=1)
        for name in ("empty", "narrow")
    )
    made = states.World(server=server, empty=empty, narrow=narrow, unbuilt=unbuilt(tmp_path_factory.mktemp("unbuilt")))
    make_runs(server, made)
    made.data = voices.made(server)
    first = narrow.train(100, "5", {"setupS": 900})
    narrow.wait(first, "setting_up")
    narrow.train(100, "5")
    made.queued = narrow.train(100, "5")
    yield made
    for job_id in (made.runs["live"], made.runs["set-up"]):
        server.api("POST", f"/jobs/{job_id}/stop")
    for other in (empty, narrow):
        other.stop()


def make_runs(server, made):
    data = server.api("POST", "/data/samples/zaragoza-construction-faq", 201)
    made.plans = {"plan": ask(server, DEMO), "flagship": ask(server, FLAGSHIP), "with data": ask(server, DEMO, data)}
    made.plans["approved"] = ask(server, DEMO, data)
    made.plans["past limit"] = ask(server, PAST_LIMIT)
    made.plans["unsure"] = ask(server, UNSURE)
    made.plans["subject"] = ask(server, SUBJECT)
    made.plans["person"] = ask(server, PERSON)
    made.plans["judged"] = ask(server, JUDGED)
    made.runs = {
        "complete": approve(server, made.plans["approved"]),
        "frozen by budget": run(server, "Returns, all of 2026", 150, "0.02", stepS=0.1),
        "frozen": run(server, "Warranty answers", 400, "5", stepS=0.05),
        "no room": run(server, "Product names", 100, "5", failAt=22, failCode="disk_full"),
        "failed": run(server, "Long tickets, no cut", 40, "5", failAt=22),
        "stopped": run(server, "First try with rank 64", 100, "5", stepS=0.05),
        "resumed": run(server, "Night shift", 400, "5", stepS=0.03),
        "exporting": run(server, "Exporting", 12, "5", exportS=900),
        "not exported": run(server, "Not exported", 12, "5", exportFails="gguf_differs"),
        "experts": run(server, "Streets at night, eight experts", 40, "5", experts=8),
        "approval": run(server, "Polite, then preferred", 30, "5", more=[second_stage()], approvalAt=30),
    }
    for name, act in (("frozen", "pause"), ("stopped", "stop"), ("resumed", "pause")):
        until(lambda job=made.runs[name]: (server.job(job)["metrics"] or {}).get("step", 0) >= 34)
        server.api("POST", f"/jobs/{made.runs[name]}/{act}")
    server.wait(made.runs["stopped"], "stopped")
    server.wait(made.runs["resumed"], "frozen")
    server.api("POST", f"/jobs/{made.runs['resumed']}/resume")
    server.wait(made.runs["failed"], "failed")
    for name in ("exporting", "not exported", "experts"):
        server.wait(made.runs[name], "completed", limit_s=40)
    for name in ("frozen", "frozen by budget", "no room"):
        server.wait(made.runs[name], "frozen", limit_s=40)
    server.wait(made.runs["approval"], "awaiting_approval", limit_s=40)
    server.wait(made.runs["complete"], "completed", limit_s=40)
    until(lambda: (server.job(made.runs["resumed"])["metrics"] or {}).get("step", 0) >= 90, 40)
    server.api("POST", f"/jobs/{made.runs['resumed']}/stop")
    notes = "rank 16, the new answers of October; better tone than the last one"
    server.api("PATCH", f"/jobs/{made.runs['complete']}", json={"notes": notes})
    made.resume_link = "/resume/" + server.job(made.runs["frozen"])["freezeState"]["resumeUrl"].split("/resume/")[1]
    made.runs["live"] = run(server, "Support answers, October", 1400, "8", stepS=0.01, slowFrom=600)
    made.runs["set-up"] = run(server, "Support answers, shorter", 100, "5", setupS=900)
    until(lambda: (server.job(made.runs["live"])["metrics"] or {}).get("step", 0) >= 600, 90)


def run(server, name, steps, cap, more=(), **knobs):
    request = "Fine-tune SmolLM2 on our support answers, in our tone"
    return harness.add_run(
        server.core, steps, cap, knobs, more=more, name=name, prompt=request, base="HuggingFaceTB/SmolLM2-135M-Instruct"
    )


def second_stage():
    point = Point(adaptation="lora", objective="dpo", strategy="single")
    return Stage(index=1, name="Quality alignment", method="dpo", point=point, requires_approval=True)


def ask(server, prompt, data=None):
    context = {"existingData": data["id"]} if data else {}
    return server.api("POST", "/parse-intent", json={"prompt": prompt, "context": context})["plan"]["id"]


def approve(server, plan_id):
    terms = {"budgetAuthorization": {"maxBudget": 1, "termsAccepted": True}}
    return server.api("POST", f"/plans/{plan_id}/approve", json=terms)["jobId"]


def unbuilt(folder):
    """A page that was never built, for the server in this process."""

    def begin():
        kept, pages.STATIC = pages.STATIC, folder
        return lambda: setattr(pages, "STATIC", kept)

    return begin


def keep(page, name, width, height):
    """A picture of the whole page, as a window that high would show it."""
    whole = page.evaluate("(document.querySelector('dialog[open]') ?? document.documentElement).scrollHeight")
    page.set_viewport_size({"width": width, "height": max(height, whole)})
    page.wait_for_timeout(400)
    page.screenshot(path=str(Path(SCREENS) / f"{name}-{width}.png"))
    page.set_viewport_size({"width": width, "height": height})


@pytest.mark.parametrize("name", list(states.STATES)[::EVERY])
def test_state(visit, world, name):
    reach = states.STATES[name]
    home = world.empty if reach in states.ON_EMPTY else world.narrow if reach in states.ON_NARROW else world.server
    visitor = visit(home)
    page = visitor.page
    reach(visitor, world)
    for width in WIDTHS:
        height = 900 if width > 600 else 780
        page.set_viewport_size({"width": width, "height": height})
        page.wait_for_timeout(200)
        if SCREENS:
            keep(page, name, width, height)
        assert visitor.axe() == []
        wide = page.evaluate(TOO_WIDE)
        assert page.evaluate("document.documentElement.scrollWidth") <= width and wide == []
