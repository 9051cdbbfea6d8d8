"""A real tiny run followed live: a dropped connection, a restarted server, frozen by its budget and resumed in two tabs."""

import json
import re

import pytest
from harness import until

OVERLAY = re.compile(r"Training frozen at \d+% budget")
STEPS = 60_000
"""More than the tests can see; the run is stopped at the end."""


@pytest.fixture(scope="module")
def job_id(real):
    rows = "\n".join(
        json.dumps({"messages": [{"role": "user", "content": f"Repeat {i}"}, {"role": "assistant", "content": f"{i} and {i * 3}"}]})
        for i in range(240)
    )
    data = real.api("POST", "/data", 201, files={"file": ("live.jsonl", rows.encode())})
    request = {"prompt": "Quick fine-tune SmolLM2 for our customer support, budget $8", "context": {"existingData": data["id"]}}
    plan = real.api("POST", "/parse-intent", json=request)["plan"]
    edit = {"modification": {"type": "custom_value", "value": {"maxSteps": STEPS}}}
    real.api("PUT", f"/plans/{plan['id']}/tiles/config", json=edit)
    terms = {"budgetAuthorization": {"maxBudget": 8, "termsAccepted": True}}
    made = real.api("POST", f"/plans/{plan['id']}/approve", json=terms)["jobId"]
    yield made
    if real.job(made)["state"] not in ("stopped", "completed", "failed"):
        real.api("POST", f"/jobs/{made}/stop")
        real.wait(made, "stopped", limit_s=60)


def step_of(page):
    """The step the page shows; waits for the end of a set-up."""
    text = page.get_by_text(re.compile(r"^step \d+ of \d+$")).first.inner_text(timeout=120_000)
    return int(re.search(r"step (\d+)", text)[1])


def curve_of(page):
    """Steps of the loss curve, as its table lists them."""
    page.get_by_role("button", name="Table of Loss").click()
    rows = page.get_by_role("region", name="Loss").locator("tbody tr").all_inner_texts()
    page.get_by_role("button", name="Curve of Loss").click()
    cells = [row.split() for row in rows]
    return [int(step) for step, loss, *_held in cells if loss != "–"]


def assert_whole_curve(page, server, job_id):
    """Nothing missing, nothing twice: what the page shows is what the server has, up to the points that came meanwhile."""
    before = server.api("GET", f"/jobs/{job_id}/metrics")
    shown = curve_of(page)
    after = server.api("GET", f"/jobs/{job_id}/metrics")
    assert before["total"] == len(before["points"]), "the curve was thinned: this compares nothing"
    assert shown == sorted(set(shown))
    assert {point["step"] for point in before["points"][:-1]} <= set(shown) <= {point["step"] for point in after["points"]}


def points_of(server, job_id):
    """How many points the server has."""
    return server.api("GET", f"/jobs/{job_id}/metrics")["total"]


def follow(visitor, job_id, port=None, page=None):
    page = page or visitor.page
    visitor.open(f"/jobs/{job_id}", page, port)
    page.get_by_text("Live", exact=True).wait_for()
    page.get_by_role("region", name="Loss").wait_for(timeout=120_000)
    return page


def test_a_dropped_connection_is_told_and_caught_up(visit, real, job_id):
    visitor = visit(real)
    wire = visitor.wire()
    page = follow(visitor, job_id, wire.port)
    until(lambda: points_of(real, job_id) >= 4, 60)
    wire.cut()
    page.get_by_text(re.compile("^(Reconnecting|No connection)$")).wait_for()
    page.get_by_text("What you see is as last heard").wait_for()
    seen, points = step_of(page), points_of(real, job_id)
    until(lambda: points_of(real, job_id) >= points + 3, 60)
    assert step_of(page) == seen, "a number moved without a connection"
    wire.mend()
    page.get_by_text("Live", exact=True).wait_for()
    until(lambda: step_of(page) > seen, 30)
    assert_whole_curve(page, real, job_id)


def test_a_server_restart_in_mid_run_loses_nothing(visit, real, job_id):
    visitor = visit(real)
    page = follow(visitor, job_id)
    generation = real.job(job_id)["generation"]
    real.stop()
    page.get_by_text("The server is not answering.").wait_for()
    real.start()
    page.get_by_text("Live", exact=True).wait_for(timeout=40_000)
    reached = real.job(job_id)["metrics"]["step"]
    until(lambda: step_of(page) > reached, 30)
    assert real.job(job_id)["generation"] == generation, "the worker did not outlive the restart"
    assert_whole_curve(page, real, job_id)


def test_frozen_by_budget_in_two_tabs_and_resumed(visit, real, job_id):
    visitor = visit(real)
    one, two = visitor.page, visitor.tab()
    for page in (one, two):
        follow(visitor, job_id, page=page)
    budget = real.job(job_id)["budget"]
    one.get_by_role("button", name="Change the budget").click()
    one.get_by_label("Limit").fill(f"{float(budget['currentSpend']) + float(budget['reserve']) + 0.08:.2f}")
    one.get_by_label("Freeze").fill("100")
    one.get_by_role("button", name="Save").click()
    overlays = [page.get_by_role("dialog", name=OVERLAY) for page in (one, two)]
    for overlay in overlays:
        overlay.wait_for(timeout=60_000)
    one.keyboard.press("Escape")
    one.keyboard.press("Escape")
    assert overlays[0].is_visible(), "Escape must not dismiss a freeze"
    frozen = real.job(job_id)
    assert frozen["budget"]["spendRate"] == 0 and frozen["currentSpend"] <= frozen["maxBudget"]
    at = frozen["metrics"]["step"]
    assert overlays[1].get_by_text(f"step {at + 1} of {STEPS}").is_visible()
    slider = overlays[1].get_by_label("New limit")
    slider.focus()
    two.keyboard.press("End")
    cap = float(slider.input_value())
    overlays[1].get_by_role("button", name="Resume").click()
    for overlay in overlays:
        overlay.wait_for(state="detached")
    assert real.job(job_id)["maxBudget"] == pytest.approx(cap)
    for page in (one, two):
        until(lambda page=page: step_of(page) > at, 90)
        page.get_by_text("resumed here").first.wait_for()
    assert abs(step_of(one) - step_of(two)) <= 400
    for page in (one, two):
        assert_whole_curve(page, real, job_id)
    job = real.job(job_id)
    assert len(job["resumes"]) == 1 and job["inexactResumes"] == 0
    assert one.get_by_role("button", name=re.compile(r"Notifications, \d+ unread")).is_visible()
    two.get_by_role("button", name="Stop").click()
    two.get_by_role("dialog").get_by_role("button", name="Stop the run").click()
    for page in (one, two):
        page.get_by_role("heading", name="This run was stopped.").wait_for(timeout=40_000)
