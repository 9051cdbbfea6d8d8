"""The main journey: one sentence becomes a plan, a run, a report and a comparison, by mouse and by keyboard alone."""

import json
import re

import pytest

PROMPT = "Quick fine-tune SmolLM2 for our customer support, budget $1"


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    lines = []
    for i in range(120):
        question = f"How do I fix pipe number {i}, model {i * 7}?"
        answer = f"Turn valve {i * 13} left, wait {i} minutes, call line {i * 3}."
        turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        lines.append(json.dumps({"messages": turns}))
    path = tmp_path_factory.mktemp("rows") / "pipes.jsonl"
    path.write_text("\n".join(lines))
    return path


def test_by_mouse(visitor, server, rows, step_s):
    step_s(0.02)
    page = visitor.page
    page.get_by_role("heading", name="Train Flagship-Level AI Models").wait_for()
    page.get_by_text("Describe what you want to train in plain English").wait_for()
    page.get_by_role("button", name="Add your data").click()
    page.get_by_label("Data file").set_input_files(rows)
    page.get_by_role("region", name="Data: pipes.jsonl").get_by_text("120 usable rows").first.wait_for()
    page.get_by_label("What you want to train").fill(PROMPT)
    page.get_by_role("button", name="Make the plan").click()
    page.get_by_role("heading", name="Analyzing your training requirements with AI...").wait_for()
    page.get_by_role("heading", name=PROMPT).wait_for()
    assert page.locator("h2[id^=tile-]").count() == 6

    page.get_by_label("Change in plain English").fill("use 2 epochs and rank 8")
    page.get_by_role("button", name="Change the plan").click()
    changes = page.get_by_role("status", name="What changed")
    changes.get_by_role("heading", name="You asked for").wait_for()
    assert changes.locator("ins").first.inner_text() and changes.get_by_text("asked for").count() >= 2

    start = page.get_by_role("button", name="Approve & Start Training")
    assert start.is_disabled() and page.get_by_text("The charges are not authorized yet.").is_visible()
    page.get_by_role("checkbox", name=re.compile("I accept")).check()
    page.get_by_role("button", name="Authorize Charges").click()
    start.click()
    page.wait_for_url(re.compile(r"/jobs/\w+$"))
    job_id = page.url.rsplit("/", 1)[1]
    assert server.job(job_id)["stageSpecs"][0]["settings"]["lora"]["rank"] == 8

    page.get_by_role("region", name="Result").wait_for(timeout=60_000)
    page.get_by_role("heading", name=re.compile("Loss on unseen rows down")).wait_for()
    page.get_by_role("heading", name="Promised, and checked").wait_for()
    page.get_by_role("link", name="Test Model").click()
    page.get_by_role("heading", name="Test the model").wait_for()
    page.get_by_label("Ask both models").fill("How do I fix pipe number 3?")
    page.get_by_role("button", name="Ask both").click()
    answer = page.get_by_role("article", name="Comparison")
    answer.get_by_role("region", name="Tuned").get_by_text("tuned: How do I fix pipe number 3?").wait_for(timeout=40_000)
    answer.get_by_role("region", name="Base").get_by_text("base: How do I fix pipe number 3?").wait_for()
    answer.get_by_role("button", name="Tuned is better").click()
    answer.get_by_role("button", name="Tuned is better", pressed=True).wait_for()


def test_by_keyboard_alone(visitor, step_s, rows):
    """Every step with Tab, Enter, Space and letters; the file is chosen by the button that opens the system's own dialog."""
    step_s(0.02)
    page = visitor.page
    page.get_by_role("heading", name="Train Flagship-Level AI Models").wait_for()
    tab_to(page, "Add your data")
    page.keyboard.press("Enter")
    tab_to(page, "choose a file")
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files(rows)
    page.get_by_role("region", name="Data: pipes.jsonl").wait_for()
    tab_to(page, "What you want to train")
    page.keyboard.type(PROMPT)
    page.keyboard.press("Enter")
    page.get_by_role("heading", name=PROMPT).wait_for()
    tab_to(page, "I accept")
    page.keyboard.press("Space")
    tab_to(page, "Authorize Charges")
    page.keyboard.press("Enter")
    page.get_by_text("authorized").first.wait_for()
    tab_to(page, "Approve & Start Training")
    page.keyboard.press("Enter")
    page.get_by_role("region", name="Result").wait_for(timeout=60_000)
    tab_to(page, "Test Model")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Test the model").wait_for()
    tab_to(page, "Ask both models")
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("Which valve?")
    page.keyboard.press("Control+Enter")
    page.get_by_role("region", name="Tuned").get_by_text("tuned: Which valve?").wait_for(timeout=40_000)


def tab_to(page, name, most=120):
    """Presses Tab until what has the focus is called so; fails if it is never reached or never visible."""
    for _press in range(most):
        page.keyboard.press("Tab")
        found = page.evaluate(
            """() => {
              const node = document.activeElement;
              if (!node || node === document.body) return "";
              const label = node?.labels?.[0]?.innerText ?? "";
              return [node?.getAttribute("aria-label") ?? "", label, node?.innerText ?? ""].join(" ");
            }"""
        )
        if name in found:
            assert page.evaluate("document.activeElement.matches(':focus-visible')")
            return
    raise AssertionError(f"the focus never reached {name!r}")
