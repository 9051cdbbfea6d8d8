"""A run followed live: dropped connections, a restarted server, freeze and resume, two tabs."""

import re

import pytest
from harness import until


def step_of(page):
    """The step the page shows."""
    text = page.get_by_text(re.compile(r"^step \d+ of \d+$")).first.inner_text()
    return int(re.search(r"step (\d+)", text)[1])


def curve_of(page):
    """Steps of the loss curve, as its table lists them."""
    page.get_by_role("button", name="Table of Loss").click()
    steps = [int(cell) for cell in page.get_by_role("region", name="Loss").get_by_role("rowheader").all_inner_texts()]
    page.get_by_role("button", name="Curve of Loss").click()
    return steps


def stop(server, job_id):
    server.api("POST", f"/jobs/{job_id}/stop")
    server.wait(job_id, "stopped", "completed")


def test_a_dropped_connection_is_told_and_caught_up(visitor, server, wire):
    job_id = server.train(400, "5", {"stepS": 0.1})
    page = visitor.page
    visitor.open(f"/jobs/{job_id}", port=wire.port)
    page.get_by_text("Live", exact=True).wait_for()
    until(lambda: step_of(page) >= 3)
    wire.cut()
    page.get_by_text(re.compile("^(Reconnecting|No connection)$")).wait_for()
    page.get_by_text("What you see is as last heard").wait_for()
    seen = step_of(page)
    until(lambda: server.job(job_id)["metrics"]["step"] > seen + 10)
    assert step_of(page) == seen, "a number moved without a connection"
    wire.mend()
    page.get_by_text("Live", exact=True).wait_for()
    until(lambda: step_of(page) > seen + 10)
    steps = curve_of(page)
    assert steps == sorted(set(steps)) and steps[0] <= 1
    stop(server, job_id)


def test_a_server_restart_in_mid_run_loses_nothing(visitor, server):
    job_id = server.train(400, "5", {"stepS": 0.1})
    page = visitor.page
    visitor.open(f"/jobs/{job_id}")
    page.get_by_text("Live", exact=True).wait_for()
    until(lambda: step_of(page) >= 3)
    server.stop()
    page.get_by_text("The server is not answering.").wait_for()
    server.start()
    page.get_by_text("Live", exact=True).wait_for()
    reached = server.job(job_id)["metrics"]["step"]
    until(lambda: step_of(page) > reached)
    steps = curve_of(page)
    assert steps == sorted(set(steps)) and steps[0] <= 1
    stop(server, job_id)


def test_freeze_by_budget_and_resume(visitor, server):
    job_id = server.train(150, "0.02", {"stepS": 0.1})
    page = visitor.page
    visitor.open(f"/jobs/{job_id}")
    overlay = page.get_by_role("dialog", name=re.compile(r"Training frozen at \d+% budget"))
    overlay.wait_for(timeout=40_000)
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    assert overlay.is_visible(), "Escape must not dismiss a freeze"
    frozen_at = server.job(job_id)["metrics"]["step"]
    assert overlay.get_by_text(f"step {frozen_at + 1} of 150").is_visible()
    slider = overlay.get_by_label("New limit")
    slider.evaluate("node => { node.focus(); }")
    page.keyboard.press("End")
    cap = float(slider.input_value())
    assert cap > 0.02
    overlay.get_by_role("button", name="Resume").click()
    overlay.wait_for(state="detached")
    assert server.job(job_id)["maxBudget"] == pytest.approx(cap)
    until(lambda: step_of(page) > frozen_at, 30)
    page.get_by_text("resumed here").first.wait_for()
    server.wait(job_id, "completed", limit_s=60)
    assert len(server.job(job_id)["resumes"]) == 1


def test_two_tabs_tell_the_same(visitor, server):
    job_id = server.train(600, "5", {"stepS": 0.1})
    one, two = visitor.page, visitor.tab()
    for page in (one, two):
        visitor.open(f"/jobs/{job_id}", page)
        page.get_by_text("Live", exact=True).wait_for()
    until(lambda: step_of(one) > 3 and step_of(two) > 3)
    assert abs(step_of(one) - step_of(two)) <= 15
    one.get_by_role("button", name="Pause").click()
    for page in (one, two):
        page.get_by_role("dialog", name=re.compile("Training frozen")).wait_for()
    two.get_by_role("dialog").get_by_role("button", name="Resume").click()
    for page in (one, two):
        page.get_by_role("dialog").wait_for(state="detached")
    stop(server, job_id)
    for page in (one, two):
        page.get_by_role("heading", name="This run was stopped.").wait_for()
    assert one.get_by_role("button", name=re.compile(r"Notifications, \d+ unread")).is_visible()


def test_failure_says_what_was_kept_and_a_retry_goes_on(visitor, server):
    job_id = server.train(40, "5", {"stepS": 0.02, "failAt": 22})
    page = visitor.page
    visitor.open(f"/jobs/{job_id}")
    alert = page.get_by_role("alert", name="The run failed")
    alert.get_by_role("heading", name="Out of memory.").wait_for(timeout=30_000)
    assert "Use a smaller batch." in alert.inner_text() and "20" in alert.inner_text()
    alert.get_by_role("button", name="Try again from step 20").click()
    alert.wait_for(state="detached")
    alert.wait_for(timeout=30_000)


def test_rollback_and_runs_list(visitor, server):
    job_id = server.train(300, "5", {"stepS": 0.05})
    server.api("PATCH", f"/jobs/{job_id}", json={"name": "Quokka", "notes": "the one with the hat"})
    page = visitor.page
    visitor.open(f"/jobs/{job_id}")
    page.get_by_role("button", name="Rollback to step 10").click(timeout=30_000)
    page.get_by_role("dialog", name="Go back to step 10?").get_by_role("button", name="Roll back").click()
    page.get_by_text("Going back to step 10").wait_for()
    page.get_by_text("resumed here").first.wait_for(timeout=30_000)
    stop(server, job_id)
    visitor.open("/jobs")
    page.get_by_label("Find a run").fill("hat")
    row = page.get_by_role("article").filter(has_text="Quokka")
    row.wait_for()
    assert page.get_by_role("article").count() == 1
    row.get_by_role("button", name="Delete Quokka").click()
    page.get_by_role("dialog", name="Delete Quokka?").get_by_role("button", name=re.compile("Delete")).click()
    row.wait_for(state="detached")
    server.api("GET", f"/jobs/{job_id}", 404)
