"""What a person does to runs, one by one: retry, roll back, find, delete, run again, look closer, be told, sign in."""

import json
import re
import time

import pytest
from harness import until

DEMO = "Quick fine-tune SmolLM2 for our customer support, budget $1"


@pytest.fixture(scope="module")
def approved(server):
    """A finished run of an approved plan, so that its report can be made."""
    data = server.api("POST", "/data/samples/zaragoza-construction-faq", 201)
    plan = server.api("POST", "/parse-intent", json={"prompt": DEMO, "context": {"existingData": data["id"]}})["plan"]
    terms = {"budgetAuthorization": {"maxBudget": 1, "termsAccepted": True}}
    job_id = server.api("POST", f"/plans/{plan['id']}/approve", json=terms)["jobId"]
    server.wait(job_id, "completed", limit_s=40)
    return job_id


def stop(server, job_id):
    server.api("POST", f"/jobs/{job_id}/stop")
    server.wait(job_id, "stopped", "completed")


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


def test_rollback_search_and_delete(visitor, server):
    job_id = server.train(300, "5", {"stepS": 0.05})
    page = visitor.page
    visitor.open(f"/jobs/{job_id}")
    page.get_by_role("button", name="Notes and name").click()
    page.get_by_label("Name").fill("Quokka")
    page.get_by_label("Notes", exact=True).fill("the one with the hat")
    page.get_by_role("button", name="Save").click()
    page.get_by_role("heading", name="Quokka").wait_for()
    page.get_by_role("button", name="Rollback to step 10").click(timeout=30_000)
    page.get_by_role("dialog", name="Go back to step 10?").get_by_role("button", name="Roll back").click()
    page.get_by_text("Going back to step 10").wait_for()
    page.get_by_text("resumed here").first.wait_for(timeout=30_000)
    stop(server, job_id)
    visitor.open("/jobs")
    page.get_by_text(re.compile("in runs, .* free")).wait_for()
    page.get_by_label("Find a run").fill("HAT quok")
    page.get_by_role("article").nth(1).wait_for(state="detached")
    row = page.get_by_role("article").filter(has_text="Quokka")
    assert page.get_by_role("article").count() == 1 and "the one with the hat" in row.inner_text()
    row.get_by_role("button", name="Delete Quokka").click()
    page.get_by_role("dialog", name="Delete Quokka?").get_by_role("button", name=re.compile("Delete")).click()
    page.get_by_text("No run matches").wait_for()
    server.api("GET", f"/jobs/{job_id}", 404)
    assert not server.core.run_dir(job_id).exists(), "its files are still there"


def test_a_run_is_made_again_with_a_change(visitor, server, approved):
    page = visitor.page
    visitor.open("/jobs")
    row = page.get_by_role("article").filter(has_text=DEMO).first
    row.get_by_role("button", name=re.compile("again with a change")).click()
    page.wait_for_url(re.compile(r"/plans/\w+$"))
    page.get_by_role("heading", name=DEMO).wait_for()
    page.get_by_role("heading", name="Data").wait_for()
    assert page.get_by_text("Zaragoza-construction-faq: 503 rows").is_visible(), "the rows came along"
    page.get_by_label("Change in plain English").fill("use 2 epochs")
    page.get_by_role("button", name="Change the plan").click()
    page.get_by_role("status", name="What changed").wait_for()
    page.get_by_role("checkbox", name=re.compile("I accept")).check()
    page.get_by_role("button", name="Authorize Charges").click()
    page.get_by_role("button", name="Approve & Start Training").click()
    page.wait_for_url(re.compile(r"/jobs/\w+$"))
    job_id = page.url.rsplit("/", 1)[1]
    assert job_id != approved and server.job(job_id)["stageSpecs"][0]["settings"]["epochs"] == 2
    stop(server, job_id)


def test_a_closer_look_stays_while_the_run_goes_on(visitor, server):
    """Drawn with the pointer: the window outlives live points, and the finer points are fetched."""
    job_id = server.train(4000, "50", {"stepS": 0.05, "slowFrom": 60})
    page = visitor.page
    visitor.open(f"/jobs/{job_id}")
    until(lambda: (server.job(job_id)["metrics"] or {}).get("step", 0) >= 60, 40)
    over = page.get_by_role("region", name="Gradient norm").locator(".u-over")
    over.scroll_into_view_if_needed()
    box = over.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 40, steps=5)
    with page.expect_response(lambda r: "/metrics?" in r.url and "fromStep=" in r.url):
        page.mouse.up()
    shown = page.get_by_text(re.compile(r"^steps \d+ to \d+$"))
    window = shown.inner_text()
    low, high = (int(number) for number in re.findall(r"\d+", window))
    step = server.job(job_id)["metrics"]["step"]
    until(lambda: server.job(job_id)["metrics"]["step"] > step + 2, 30)
    assert shown.inner_text() == window, "a live point undid the zoom"
    page.get_by_role("button", name="Table of Loss").click()
    steps = [int(cell) for cell in page.get_by_role("region", name="Loss").get_by_role("rowheader").all_inner_texts()]
    assert low <= min(steps) and max(steps) <= high < step
    page.get_by_role("button", name="All steps").click()
    shown.wait_for(state="detached")
    stop(server, job_id)


def test_a_notice_arrives_and_leads_on(visitor, server):
    page = visitor.page
    job_id = server.train(6, "5", {"stepS": 0.02})
    page.get_by_text(re.compile("Support bot: training complete")).first.wait_for(timeout=30_000)
    bell = page.get_by_role("button", name=re.compile(r"Notifications, \d+ unread"))
    unread = int(re.search(r"(\d+) unread", bell.get_attribute("aria-label"))[1])
    bell.click()
    page.get_by_role("region", name="Notifications").get_by_role("button", name="Test Model").first.click()
    page.wait_for_url(re.compile(f"/jobs/{job_id}"))
    until(lambda: server.api("GET", "/notifications")["unread"] == unread - 1)


def test_a_question_outlives_the_report_that_comes_late(visitor, server, approved):
    page = visitor.page

    def late(route):
        time.sleep(1.5)
        route.continue_()

    page.route("**/report", late)
    visitor.open(f"/jobs/{approved}/test")
    page.get_by_label("Ask both models").fill("my own question")
    with page.expect_response("**/report"):
        pass
    page.wait_for_timeout(300)
    assert page.get_by_label("Ask both models").input_value() == "my own question"
    page.unroute_all(behavior="wait")


def test_signing_in_by_a_link_that_works_once(visitor, browser, server):
    visitor.open("/settings")
    visitor.page.get_by_role("button", name="Make a sign-in link").click()
    link = visitor.page.get_by_text("/signin?token=").inner_text()
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"http://127.0.0.1:{server.port}/jobs")
    page.get_by_role("heading", name="Sign in to this server").wait_for()
    page.get_by_label("One-time sign-in link").fill(link)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("heading", name="Train Flagship-Level AI Models").wait_for()
    page.goto(f"http://127.0.0.1:{server.port}/settings")
    page.get_by_role("button", name="Sign out of this browser").click()
    page.get_by_role("heading", name="Sign in to this server").wait_for()
    page.goto(link)
    page.get_by_text("That sign-in link was used already or is too old.").wait_for()
    context.close()


def test_data_with_faults_is_told_before_anything_is_spent(visitor):
    page = visitor.page
    page.get_by_role("button", name="Add your data").click()
    bad = {"name": "rows.jsonl", "mimeType": "application/json", "buffer": b"\x00\x01\x02 not a data file"}
    page.get_by_label("choose a file").set_input_files(bad)
    page.get_by_role("alert").wait_for()
    rows = "\n".join(
        json.dumps({"messages": [{"role": "user", "content": f"q {i}"}, {"role": "assistant", "content": "a"}]}) for i in range(5)
    )
    few = {"name": "few.jsonl", "mimeType": "application/json", "buffer": rows.encode()}
    page.get_by_label("choose a file").set_input_files(few)
    page.get_by_role("region", name="Data: few.jsonl").wait_for()


def test_a_request_that_is_none_keeps_the_words(visitor):
    page = visitor.page
    field = page.get_by_label("What you want to train")
    field.fill("what's the weather?")
    page.keyboard.press("Enter")
    page.get_by_role("alert").get_by_text("This does not ask for a model to be trained.").wait_for()
    assert field.input_value() == "what's the weather?"


def test_a_judge_is_chosen_on_the_page(visitor, server):
    asked = {"prompt": "Train SmolLM2 135M by RLAIF for our chat, budget $2"}
    plan = server.api("POST", "/parse-intent", json=asked)["plan"]
    page = visitor.page
    visitor.open(f"/plans/{plan['id']}")
    page.get_by_role("button", name="Change Method").click()
    page.get_by_role("combobox", name="Who judges").select_option("endpoint")
    page.get_by_role("textbox", name="Model").fill("qwen3-32b")
    page.get_by_role("textbox", name="Address").fill("http://169.254.169.254/v1")
    page.get_by_role("textbox", name="Principles, one a line").fill("Be kind.\nhonest")
    page.get_by_role("button", name="Use these").click()
    page.get_by_role("alert").get_by_text("This cannot be the address of a judge").wait_for()
    page.get_by_role("textbox", name="Address").fill("http://127.0.0.1:8000/v1")
    page.get_by_role("button", name="Use these").click()
    page.get_by_text("The judge is qwen3-32b at http://127.0.0.1:8000/v1 (free).").first.wait_for()
    chosen = server.api("GET", f"/plans/{plan['id']}")["plan"]["choices"]
    assert chosen["judge"]["model"] == "qwen3-32b" and chosen["principles"] == ["Be kind.", "honest"]
