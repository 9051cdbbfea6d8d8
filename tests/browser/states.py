"""Every screen in every state: how to get there. Each function leaves the page in its state; `STATES` is the table.

`world` holds the servers and what lies on them (see `test_browser_states.world`).
"""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

import states_words

from kriptik.store.tables import Job

ROOT = Path(__file__).parent.parent.parent
LONG_MS = 40_000


@dataclass
class World:
    """Runs, plans and data sets by name on `server`; `empty` has none, `narrow` has one slot and a queue."""

    server: object
    empty: object
    narrow: object
    runs: dict[str, str] = field(default_factory=dict)
    plans: dict[str, str] = field(default_factory=dict)
    data: dict[str, str] = field(default_factory=dict)
    queued: str = ""
    resume_link: str = ""
    unbuilt: object = None
    """Makes the next answers those of a server whose page was never built; returns a function that ends it."""


def open_run(visitor, world, name):
    visitor.open(f"/jobs/{world.runs[name]}")
    visitor.page.get_by_role("heading", level=1).wait_for()


def open_plan(visitor, world, name):
    visitor.open(f"/plans/{world.plans[name]}")
    visitor.page.get_by_role("heading", level=1).wait_for()


def landing(visitor, world):
    visitor.open("/")
    visitor.page.get_by_role("heading", name="Train Flagship-Level AI Models").wait_for()
    visitor.page.get_by_role("article").first.wait_for()


def landing_empty(visitor, world):
    visitor.open("/")
    visitor.page.get_by_text("Your runs appear here").wait_for()


def data_picker(visitor, world):
    landing(visitor, world)
    visitor.page.get_by_role("button", name="Add your data").click()
    visitor.page.get_by_text("Drop your data here").wait_for()


def data_attached(visitor, world):
    data_picker(visitor, world)
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"How do I fix pipe {i}?"},
                {"role": "assistant", "content": f"Turn valve {i * 13}."},
            ]
        }
        for i in range(90)
    ]
    body = "\n".join(json.dumps(row) for row in [*rows, *rows[:4]])
    visitor.page.get_by_label("choose a file").set_input_files(
        {"name": "support-answers.jsonl", "mimeType": "application/json", "buffer": body.encode()}
    )
    visitor.page.get_by_role("region", name="Data: support-answers.jsonl").wait_for()


def data_refused(visitor, world):
    data_picker(visitor, world)
    visitor.page.get_by_label("choose a file").set_input_files(
        {"name": "rows.jsonl", "mimeType": "application/json", "buffer": b"\x00\x01\x02 not a data file"}
    )
    visitor.page.get_by_role("alert").wait_for()


def request_refused(visitor, world):
    landing(visitor, world)
    visitor.page.get_by_label("What you want to train").fill("what's the weather?")
    visitor.page.keyboard.press("Enter")
    visitor.page.get_by_role("alert").wait_for()


def generating(visitor, world):
    """The request is never answered."""
    landing(visitor, world)
    visitor.page.route("**/parse-intent", lambda route: None)
    visitor.page.get_by_label("What you want to train").fill("Quick fine-tune SmolLM2 for our customer support, budget $1")
    visitor.page.keyboard.press("Enter")
    visitor.page.get_by_role("heading", name="Analyzing your training requirements with AI...").wait_for()
    visitor.page.get_by_text(re.compile(r"Working for \d s")).wait_for()


def plan(visitor, world):
    open_plan(visitor, world, "plan")


def plan_with_data(visitor, world):
    open_plan(visitor, world, "with data")


def plan_flagship(visitor, world):
    open_plan(visitor, world, "flagship")


def plan_approved(visitor, world):
    open_plan(visitor, world, "approved")


def plan_alternatives(visitor, world):
    plan_with_data(visitor, world)
    visitor.page.get_by_role("button", name="Change Base model").click()
    visitor.page.get_by_text("Choose another").wait_for()


def plan_settings(visitor, world):
    plan_with_data(visitor, world)
    visitor.page.get_by_role("button", name="Change Settings").click()
    visitor.page.get_by_role("spinbutton", name="Learning rate").wait_for()


def plan_subject(visitor, world):
    """DreamBooth asks what its subject is, and what kind of thing."""
    open_plan(visitor, world, "subject")
    visitor.page.get_by_text(re.compile("DreamBooth is not told yet")).first.wait_for()
    visitor.page.get_by_role("button", name="Change Settings").click()
    visitor.page.get_by_role("textbox", name="Prompt of its class").wait_for()


def plan_person(visitor, world):
    """Pictures of a person are learnt with that person's consent alone."""
    open_plan(visitor, world, "person")
    visitor.page.get_by_role("heading", name="Consent of the person shown").scroll_into_view_if_needed()
    visitor.page.get_by_role("textbox", name="Who is shown").fill("Alex Example")
    visitor.page.get_by_text("Your request speaks of “my sister”").wait_for()


def plan_judge(visitor, world):
    """Who judges, by which principles, and what samples the answers."""
    open_plan(visitor, world, "judged")
    visitor.page.get_by_text(re.compile("The judge is the model itself")).first.wait_for()
    visitor.page.get_by_role("button", name="Change Method").click()
    visitor.page.get_by_role("combobox", name="Who judges").select_option("endpoint")
    visitor.page.get_by_role("textbox", name="Variable with its key").wait_for()


def plan_data(visitor, world):
    plan(visitor, world)
    visitor.page.get_by_role("button", name="Change Data").click()
    visitor.page.get_by_text("Drop your data here").wait_for()


def plan_edited(visitor, world):
    plan_id = world.server.api("POST", f"/plans/{world.plans['with data']}/again")["plan"]["id"]
    visitor.open(f"/plans/{plan_id}")
    visitor.page.get_by_label("Change in plain English").fill("use 3 epochs and rank 8")
    visitor.page.get_by_role("button", name="Change the plan").click()
    visitor.page.get_by_role("status", name="What changed").wait_for()


def plan_not_understood(visitor, world):
    plan_with_data(visitor, world)
    visitor.page.get_by_label("Change in plain English").fill("the weather is nice")
    visitor.page.get_by_role("button", name="Change the plan").click()
    visitor.page.get_by_role("alert").wait_for()


def plan_authorized(visitor, world):
    plan_with_data(visitor, world)
    visitor.page.get_by_role("checkbox", name=re.compile("I accept")).check()
    visitor.page.get_by_role("button", name="Authorize Charges").click()
    visitor.page.get_by_text("authorized").first.wait_for()


def plan_options_why(visitor, world):
    plan_with_data(visitor, world)
    visitor.page.get_by_text(re.compile("^Why")).first.click()
    visitor.page.get_by_text("Capability", exact=False).first.wait_for()
    visitor.page.evaluate("scrollTo(0, 0)")  # half under the bar at the bottom, a checkbox would count as too small


def plan_past_limit(visitor, world):
    """What was named cannot be had for the money: the plan says so, and the options are the nearest that can."""
    open_plan(visitor, world, "past limit")
    visitor.page.get_by_text("Nearest within your limits").first.wait_for()
    visitor.page.get_by_role("button", name=re.compile("^Take this one")).first.wait_for()


def plan_unsure(visitor, world):
    """What it is for is a guess: the first question asks after it."""
    open_plan(visitor, world, "unsure")
    visitor.page.get_by_role("button", name="It makes music").wait_for()


def plan_picked(visitor, world):
    plan_id = world.server.api("POST", f"/plans/{world.plans['past limit']}/again")["plan"]["id"]
    visitor.open(f"/plans/{plan_id}")
    visitor.page.get_by_role("button", name=re.compile("^Take this one")).first.click()
    visitor.page.get_by_role("status", name="What changed").wait_for()
    visitor.page.get_by_text("In this plan").wait_for()


def plan_model_gated(visitor, world):
    """The hub's answer is put in: these tests ask nothing outside."""
    told = {
        "id": "meta-llama/Llama-3.2-3B-Instruct", "status": "gated", "gated": True, "licence": "llama3.2",
        "sentence": "The hub asks to accept the terms of meta-llama/Llama-3.2-3B-Instruct first.",
        "nextStep": "Accept them on its page, then set HF_TOKEN.", "url": None, "revision": None,
        "licenceNote": "The card says gemma; the catalogue has Llama 3.2 Community, read on 2026-11-23.",
    }  # fmt: skip
    visitor.page.route("**/model-check", lambda route: route.fulfill(json=told))
    plan_with_data(visitor, world)
    visitor.page.get_by_text("Terms to accept").wait_for()


def findings(visitor, world):
    data_picker(visitor, world)
    rows = [
        {"prompt": f"Who looks after pipe {n}, model {n * 7}?", "completion": f"Anna, anna.{n}@example.org, for <b>pipe {n}</b>."}
        for n in range(90)
    ]
    body = "\n".join(json.dumps(row) for row in rows)
    visitor.page.get_by_label("choose a file").set_input_files(
        {"name": "contacts.jsonl", "mimeType": "application/json", "buffer": body.encode()}
    )
    visitor.page.get_by_role("button", name=re.compile("^Fix ?:")).first.wait_for()


def findings_fixed(visitor, world):
    findings(visitor, world)
    visitor.page.get_by_role("button", name=re.compile("^Fix ?:")).first.click()
    visitor.page.get_by_role("button", name=re.compile("^Take back")).first.wait_for()
    visitor.page.get_by_text("Fixed", exact=True).first.wait_for()


def attached_findings(visitor, world):
    plan_with_data(visitor, world)
    visitor.page.get_by_role("button", name="Change Data").click()
    visitor.page.get_by_role("button", name="Compare answers by hand").wait_for()


def labelling(visitor, world):
    """From rows with two answers to the page where people compare them."""
    data_picker(visitor, world)
    rows = [
        {"prompt": f"How do I fix pipe {n}?", "chosen": f"Turn valve {n * 13} left.", "rejected": f"Pipe {n} is lost."}
        for n in range(12)
    ]
    body = "\n".join(json.dumps(row) for row in rows)
    visitor.page.get_by_label("choose a file").set_input_files(
        {"name": "votes.jsonl", "mimeType": "application/json", "buffer": body.encode()}
    )
    visitor.page.get_by_role("button", name="Compare answers by hand").click()
    visitor.page.get_by_role("heading", name="Which answer is better?").wait_for()


def labelling_unasked(visitor, world):
    """Rows with one answer each, and no language model to write a second one."""
    data_attached(visitor, world)
    visitor.page.get_by_role("button", name="Compare answers by hand").click()
    visitor.page.get_by_text("no language model is set up here").wait_for()


def queued(visitor, world):
    visitor.open(f"/jobs/{world.queued}")
    visitor.page.get_by_text(re.compile("in the queue")).wait_for()


def set_up(visitor, world):
    open_run(visitor, world, "set-up")
    visitor.page.get_by_text("Running", exact=True).wait_for()


def live(visitor, world):
    open_run(visitor, world, "live")
    visitor.page.get_by_text("Live", exact=True).wait_for()
    visitor.page.get_by_role("region", name="Loss").wait_for()


def live_close(visitor, world):
    live(visitor, world)
    visitor.page.get_by_role("button", name="Last tenth").click()
    visitor.page.get_by_text(re.compile(r"steps \d+ to \d+")).wait_for()


def live_table(visitor, world):
    live(visitor, world)
    visitor.page.get_by_role("button", name="Table of Loss").click()
    visitor.page.get_by_role("rowheader").first.wait_for()


def live_notes(visitor, world):
    live(visitor, world)
    visitor.page.get_by_role("button", name="Notes and name").click()
    visitor.page.get_by_label("Notes").wait_for()


def live_budget(visitor, world):
    visitor.open(f"/jobs/{world.runs['live']}?panel=budget")
    visitor.page.get_by_label("Limit").wait_for()


def live_log(visitor, world):
    live(visitor, world)
    visitor.page.get_by_text("Log", exact=True).click()
    visitor.page.get_by_role("log").wait_for()


def live_stop(visitor, world):
    live(visitor, world)
    visitor.page.get_by_role("button", name="Stop").click()
    visitor.page.get_by_role("dialog", name="Stop this run for good?").wait_for()


def live_rollback(visitor, world):
    live(visitor, world)
    visitor.page.get_by_role("button", name=re.compile("^Rollback to step")).first.click(timeout=LONG_MS)
    visitor.page.get_by_role("dialog", name=re.compile("^Go back to step")).wait_for()


def live_test(visitor, world):
    live(visitor, world)
    visitor.page.get_by_role("button", name=re.compile("^Test step")).first.click(timeout=LONG_MS)
    visitor.page.get_by_label("Ask both models").fill("How do I reset my password?")
    visitor.page.get_by_role("button", name="Ask both").click()
    visitor.page.get_by_role("region", name="Tuned").wait_for(timeout=LONG_MS)


def stale(visitor, world):
    wire = visitor.wire()
    visitor.open(f"/jobs/{world.runs['live']}", port=wire.port)
    visitor.page.get_by_text("Live", exact=True).wait_for()
    wire.cut()
    visitor.page.get_by_text("What you see is as last heard").wait_for()


def no_connection(visitor, world):
    stale(visitor, world)
    visitor.page.get_by_text("No connection").wait_for()


def approval(visitor, world):
    open_run(visitor, world, "approval")
    visitor.page.get_by_role("button", name=re.compile("^Approve")).wait_for()


def resumed(visitor, world):
    open_run(visitor, world, "resumed")
    visitor.page.get_by_text("resumed here").first.wait_for()


def experts(visitor, world):
    open_run(visitor, world, "experts")
    visitor.page.get_by_role("img", name=re.compile("^Shares at low noise: expert 1 ")).wait_for()


def frozen(visitor, world):
    open_run(visitor, world, "frozen")
    visitor.page.get_by_role("dialog").wait_for()


def frozen_by_budget(visitor, world):
    open_run(visitor, world, "frozen by budget")
    visitor.page.get_by_role("dialog").wait_for()


def frozen_for_room(visitor, world):
    open_run(visitor, world, "no room")
    visitor.page.get_by_role("dialog").wait_for()


def failed(visitor, world):
    open_run(visitor, world, "failed")
    visitor.page.get_by_role("alert", name="The run failed").wait_for()


def stopped(visitor, world):
    open_run(visitor, world, "stopped")
    visitor.page.get_by_role("heading", name="This run was stopped.").wait_for()


def complete(visitor, world):
    open_run(visitor, world, "complete")
    visitor.page.get_by_role("region", name="Result").wait_for()


def export_chosen(visitor, world):
    complete(visitor, world)
    visitor.page.get_by_role("checkbox", name="Ollama").check()
    visitor.page.get_by_role("checkbox", name="Also push").check()
    visitor.page.get_by_label("Repository").fill("not a name")
    visitor.page.get_by_role("button", name="Export", exact=True).click()
    visitor.page.get_by_text("Name the repository as owner/name.").wait_for()


def export_working(visitor, world):
    open_run(visitor, world, "exporting")
    visitor.page.get_by_role("heading", name="Export", exact=True).wait_for()
    if visitor.page.get_by_role("button", name="Export", exact=True).is_visible():
        visitor.page.get_by_role("button", name="Export", exact=True).click()
    visitor.page.get_by_text("Merging, and comparing").wait_for(timeout=LONG_MS)


def export_done(visitor, world):
    complete(visitor, world)
    visitor.page.get_by_role("checkbox", name="Adapter").check()
    visitor.page.get_by_role("button", name="Export", exact=True).click()
    visitor.page.get_by_role("region", name="Export: Whole model, Adapter").wait_for(timeout=LONG_MS)


def export_failed(visitor, world):
    open_run(visitor, world, "not exported")
    visitor.page.get_by_role("checkbox", name="GGUF").check()
    visitor.page.get_by_role("button", name="Export", exact=True).click()
    visitor.page.get_by_role("region", name="Export: Whole model, GGUF").get_by_role("alert").wait_for(timeout=LONG_MS)


def test_page(visitor, world):
    visitor.open(f"/jobs/{world.runs['complete']}/test")
    visitor.page.get_by_label("Ask both models").wait_for()


def test_page_picture(visitor, world):
    """A run about pictures and words; it is told of as one here, since what it was trained on does not show on this page."""
    with world.server.core.db.write() as session:
        job = session.get_one(Job, world.runs["stopped"])
        job.estimate = {**job.estimate, "capability": "multimodal"}
    visitor.open(f"/jobs/{world.runs['stopped']}/test")
    field = visitor.page.get_by_label("picture to ask about")
    field.set_input_files({"name": "big.png", "mimeType": "image/png", "buffer": b"0" * 8_000_001})
    visitor.page.get_by_text("Choose a picture of at most").wait_for()
    field.set_input_files(ROOT / "docs" / "images" / "run.png")
    visitor.page.get_by_alt_text("The picture you ask about").wait_for()


def compared(visitor, world):
    test_page(visitor, world)
    visitor.page.get_by_label("Ask both models").fill("How do I reset my password?")
    visitor.page.get_by_role("button", name="Ask both").click()
    visitor.page.get_by_role("region", name="Tuned").wait_for(timeout=LONG_MS)
    visitor.page.get_by_text("Session ready").wait_for()


def runs(visitor, world):
    visitor.open("/jobs")
    visitor.page.get_by_role("article").first.wait_for()


def runs_empty(visitor, world):
    visitor.open("/jobs")
    visitor.page.get_by_text("No runs yet").wait_for()


def runs_not_found(visitor, world):
    runs(visitor, world)
    visitor.page.get_by_label("Find a run").fill("a run that is not there")
    visitor.page.get_by_text("No run matches").wait_for()


def run_delete(visitor, world):
    runs(visitor, world)
    visitor.page.get_by_role("button", name=re.compile("^Delete "), disabled=False).first.click()
    visitor.page.get_by_role("dialog", name=re.compile("^Delete")).wait_for()


def bell(visitor, world):
    runs(visitor, world)
    visitor.page.get_by_role("button", name=re.compile("^Notifications")).click()
    visitor.page.get_by_role("region", name="Notifications").get_by_role("listitem").first.wait_for()


def bell_empty(visitor, world):
    runs_empty(visitor, world)
    visitor.page.get_by_role("button", name="Notifications").click()
    visitor.page.get_by_text("Nothing yet.").wait_for()


def settings(visitor, world):
    visitor.open("/settings")
    visitor.page.get_by_role("heading", name="This server").wait_for()
    visitor.page.get_by_label("Budget alert at").wait_for()


def settings_link(visitor, world):
    settings(visitor, world)
    visitor.page.get_by_role("button", name="Make a sign-in link").click()
    visitor.page.get_by_text("/signin?token=").wait_for()


def sign_in(visitor, world):
    visitor.context.clear_cookies()
    visitor.open("/jobs")
    visitor.page.get_by_role("heading", name="Sign in to this server").wait_for()


def sign_in_again(visitor, world):
    visitor.open("/sign-in?problem=bad_link")
    visitor.page.get_by_text("was used already").wait_for()


def resume_link(visitor, world):
    visitor.context.clear_cookies()
    visitor.open(world.resume_link)
    visitor.page.get_by_role("button", name="Resume").wait_for()


def resume_dead(visitor, world):
    visitor.open(f"/resume/{world.runs['frozen']}?token=x")
    visitor.page.get_by_role("heading", name="This link does not open the run").wait_for()


def nowhere(visitor, world):
    visitor.open("/no/such/page")
    visitor.page.get_by_role("heading", name="There is no such page").wait_for()


def run_gone(visitor, world):
    visitor.open("/jobs/01NOSUCHRUN")
    visitor.page.get_by_role("alert").wait_for()


def plain_page(visitor, world):
    visitor.page.wait_for_load_state("networkidle")
    visitor.closing.append(world.unbuilt())
    visitor.open("/jobs")
    visitor.page.get_by_role("heading", name="KripTik is running").wait_for()


ON_EMPTY = (landing_empty, runs_empty, bell_empty)
ON_NARROW = (queued,)
ALL = (
    landing, landing_empty, data_picker, data_attached, data_refused, request_refused, generating, plan, plan_with_data,
    plan_flagship, plan_alternatives, plan_settings, plan_subject, plan_person, plan_judge, plan_data, plan_edited,
    plan_not_understood, plan_authorized, plan_approved,
    plan_options_why, plan_past_limit, plan_unsure, plan_picked, plan_model_gated, findings, findings_fixed, attached_findings,
    labelling, labelling_unasked,
    queued, set_up, live, live_close, live_table, live_notes, live_budget, live_log, live_stop, live_rollback, live_test, stale,
    no_connection, approval, resumed, experts, frozen, frozen_by_budget, frozen_for_room, failed, stopped, complete, export_chosen,
    export_working, export_done, export_failed, test_page, test_page_picture, compared, runs, runs_empty,
    runs_not_found, run_delete, bell, bell_empty, settings, settings_link, sign_in, sign_in_again, resume_link, resume_dead,
    nowhere, run_gone, *states_words.ALL, plain_page,
)  # fmt: skip
STATES = {function.__name__.replace("_", "-"): function for function in ALL}
