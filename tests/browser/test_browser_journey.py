"""The main journey with a real tiny run, by mouse and by keyboard: a sentence becomes a plan, a run, a report, a comparison."""

import json
import re

import pytest

PROMPT = "Quick fine-tune SmolLM2 for our customer support, budget $5"
EDIT = "use 12 epochs and rank 8"
QUESTION = "How do I fix pipe number 3?"


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


def test_by_mouse(visit, real, rows):
    visitor = visit(real)
    page = visitor.page
    page.get_by_role("heading", name="Train Flagship-Level AI Models").wait_for()
    page.get_by_text("Describe what you want to train in plain English").wait_for()
    page.get_by_role("button", name="Add your data").click()
    page.get_by_label("choose a file").set_input_files(rows)
    page.get_by_role("region", name="Data: pipes.jsonl").get_by_text("120 usable rows").first.wait_for()
    page.get_by_label("What you want to train").fill(PROMPT)
    page.get_by_role("button", name="Make the plan").click()
    page.get_by_role("heading", name="Analyzing your training requirements with AI...").wait_for()
    page.get_by_role("heading", name=PROMPT).wait_for()
    assert page.locator("h2[id^=tile-]").count() == 6

    page.get_by_label("Change in plain English").fill(EDIT)
    page.get_by_role("button", name="Change the plan").click()
    changes = page.get_by_role("status", name="What changed")
    changes.get_by_role("heading", name="You asked for").wait_for()
    assert [one.inner_text() for one in changes.locator("ins").all()[:2]] == ["12", "8"]
    assert re.search(r"\d (s|min|h)", changes.get_by_role("listitem").filter(has_text="Time").first.locator("ins").inner_text())

    start = page.get_by_role("button", name="Approve & Start Training")
    assert start.is_disabled() and page.get_by_text("The charges are not authorized yet.").is_visible()
    page.get_by_role("checkbox", name=re.compile("I accept")).check()
    page.get_by_role("button", name="Authorize Charges").click()
    start.click()
    page.wait_for_url(re.compile(r"/jobs/\w+$"))
    job_id = page.url.rsplit("/", 1)[1]
    page.get_by_role("heading", name="Setting up").wait_for()
    page.get_by_text("Live", exact=True).wait_for()
    page.get_by_role("region", name="Loss").wait_for(timeout=90_000)
    page.get_by_role("heading", name="Learning from now").wait_for()

    page.get_by_role("region", name="Result").wait_for(timeout=90_000)
    page.get_by_role("heading", name=re.compile("Loss on unseen rows down")).wait_for()
    page.get_by_role("heading", name="Promised, and checked").wait_for()
    job = real.job(job_id)
    assert job["stageSpecs"][0]["settings"]["lora"]["rank"] == 8
    assert job["result"]["evalAfter"]["loss"] < job["result"]["evalBefore"]["loss"], "nothing was learnt"
    page.get_by_role("link", name="Test Model").click()
    page.get_by_role("heading", name="Test the model").wait_for()
    page.get_by_label("Ask both models").fill(QUESTION)
    page.get_by_text("Settings", exact=True).last.click()
    page.get_by_label("Most tokens").fill("24")
    page.get_by_role("button", name="Ask both").click()
    answer = page.get_by_role("article", name="Comparison")
    answer.wait_for(timeout=90_000)
    base, tuned = (answer.get_by_role("region", name=name).locator("p").first.inner_text() for name in ("Base", "Tuned"))
    assert base != tuned, "two models, one answer"
    answer.get_by_role("button", name="Tuned is better").click()
    answer.get_by_role("button", name="Tuned is better", pressed=True).wait_for()
    page.get_by_role("button", name="End", exact=True).click()
    page.get_by_text("Session ready").wait_for(state="detached")


def test_by_keyboard_alone(visit, real, rows):
    """Every step with Tab, Enter, Space and letters; the file is chosen by the button that opens the system's own dialog."""
    visitor = visit(real)
    page = visitor.page
    page.on("filechooser", lambda chooser: None)  # asked for in time: Playwright does not wait until the browser hands dialogs over
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
    tab_to(page, "Change in plain English")
    page.keyboard.type("use 4 epochs")
    page.keyboard.press("Enter")
    page.get_by_role("status", name="What changed").wait_for()
    tab_to(page, "I accept")
    page.keyboard.press("Space")
    tab_to(page, "Authorize Charges")
    page.keyboard.press("Enter")
    page.get_by_text("authorized").first.wait_for()
    tab_to(page, "Approve & Start Training")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Setting up").wait_for()
    page.get_by_role("region", name="Result").wait_for(timeout=120_000)
    tab_to(page, "Test Model")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Test the model").wait_for()
    tab_to(page, "Ask both models")
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type(QUESTION)
    tab_to(page, "Settings")
    page.keyboard.press("Enter")
    tab_to(page, "Most tokens")
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("24")
    tab_to(page, "Ask both", exact=True)
    page.keyboard.press("Enter")
    page.get_by_role("region", name="Tuned").wait_for(timeout=90_000)
    tab_to(page, "Tuned is better")
    page.keyboard.press("Space")
    page.get_by_role("button", name="Tuned is better", pressed=True).wait_for()
    tab_to(page, "End", exact=True)
    page.keyboard.press("Enter")
    page.get_by_text("Session ready").wait_for(state="detached")


def tab_to(page, name, most=120, exact=False):
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
        if name == found.strip() if exact else name in found:
            assert page.evaluate("document.activeElement.matches(':focus-visible')")
            return
    raise AssertionError(f"the focus never reached {name!r}")
