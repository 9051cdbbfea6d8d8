"""Bad input gets a clear code and changes nothing."""

import asyncio
import logging

import pytest
from fastapi import FastAPI, Request
from harness import until

from kriptik.server import problems


@pytest.fixture
def frozen_job(server):
    job_id = server.train(steps=60, knobs={"stepS": 0.02})
    until(lambda: (server.job(job_id)["metrics"] or {}).get("step", 0) >= 2)
    server.api("POST", f"/jobs/{job_id}/freeze")
    server.wait(job_id, "frozen")
    return job_id


BUDGETS = ["-1", "0", "NaN", "1e400", "-1e400", '"NaN"', '"1e400"', "1e12", "true", '"much"', "null", "[]", "{}"]


@pytest.mark.parametrize("budget", BUDGETS)
def test_impossible_budgets(server, frozen_job, budget):
    before = server.api("GET", f"/jobs/{frozen_job}/budget")
    headers = {**server.http.headers, "content-type": "application/json"}
    for method, path, name in (("PUT", "budget", "maxBudget"), ("POST", "resume", "newBudget")):
        if budget == "null":
            continue  # means: leave it as it is
        answer = server.http.request(
            method, f"/api/training/jobs/{frozen_job}/{path}", content=f'{{"{name}": {budget}}}', headers=headers
        )
        assert answer.status_code == 422, answer.text
        assert answer.json()["code"] in ("invalid_budget", "invalid_input") and name in answer.json()["fields"]
        assert answer.headers["content-type"] == "application/problem+json"
    after = server.api("GET", f"/jobs/{frozen_job}/budget")
    assert after == before and server.job(frozen_job)["state"] == "frozen"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"notifyAtPercent": 96}, "invalid_budget"),
        ({"freezeAtPercent": 101}, "invalid_budget"),
        ({"freezeAtPercent": 70}, "invalid_budget"),
        ({"notifyAtPercent": 0}, "invalid_budget"),
        ({"notificationChannels": ["pigeon"]}, "invalid_input"),
        ({"unknown": 1}, "invalid_input"),
    ],
)
def test_impossible_marks(server, frozen_job, change, code):
    before = server.api("GET", f"/jobs/{frozen_job}/budget")
    assert server.api("PUT", f"/jobs/{frozen_job}/budget", 422, json=change)["code"] == code
    assert server.api("GET", f"/jobs/{frozen_job}/budget") == before


def test_commands_in_the_wrong_state(server):
    job_id = server.train(steps=5)
    server.wait(job_id, "completed")
    before = server.job(job_id)
    for path, body in (
        ("resume", {}),
        ("retry", None),
        ("stop", None),
        ("freeze", None),
        ("pause", None),
        ("stages/0/approve", None),
        ("rollback", {"checkpointId": "s0-000005-g1"}),
    ):
        answer = server.api("POST", f"/jobs/{job_id}/{path}", 409, json=body)
        assert answer["code"] and answer["detail"], path
    assert server.api("PUT", f"/jobs/{job_id}/budget", 409, json={"maxBudget": 9})["code"] == "run_finished"
    assert server.api("POST", f"/jobs/{job_id}/stages/7/approve", 404)["code"] == "stage_not_found"
    assert server.job(job_id) == before


@pytest.mark.parametrize(
    "name", ["../../token", "..%2f..%2ftoken", "%2e%2e/%2e%2e/token", "/etc/passwd", "result/../../../token", "a%00b"]
)
def test_no_path_climbs_out_of_the_run(server, name):
    job_id = server.train(steps=3)
    server.wait(job_id, "completed")
    answer = server.http.get(f"/api/training/jobs/{job_id}/files/{name}")
    assert answer.status_code == 404 and server.http.headers["Authorization"][7:] not in answer.text
    listed = {f["path"] for f in server.api("GET", f"/jobs/{job_id}/files")["files"]}
    assert "result/state.json" in listed
    got = server.http.get(f"/api/training/jobs/{job_id}/files/result/state.json")
    assert got.status_code == 200 and "attachment" in got.headers["content-disposition"]


def test_a_link_inside_the_run_is_not_followed_out(server):
    job_id = server.train(steps=3)
    server.wait(job_id, "completed")
    (server.core.run_dir(job_id) / "out").symlink_to(server.home / "token")
    assert server.api("GET", f"/jobs/{job_id}/files/out", 404)["code"] == "no_such_file"


def test_malformed_json_and_unknown_ids(server):
    headers = {**server.http.headers, "content-type": "application/json"}
    answer = server.http.post("/api/training/jobs/x/resume", content="{", headers=headers)
    assert answer.status_code == 422 and answer.json()["code"] == "invalid_input"
    for path in ("/jobs/x", "/jobs/x/budget", "/test/sessions/x"):
        assert server.api("GET", path, 404)["code"].endswith("_not_found")
    assert server.api("GET", "/jobs?limit=0", 422)["code"] == "invalid_input"
    assert server.api("PUT", "/notifications/preferences", 422, json={"quietHoursStart": "25:00"})["code"] == "invalid_input"


def test_a_request_that_breaks_off_is_no_error_of_the_server(caplog):
    app, said = FastAPI(), []
    problems.install(app)

    @app.post("/")
    async def take(request: Request) -> int:
        return len(await request.body())

    async def receive():
        return {"type": "http.disconnect"}

    async def send(message):
        said.append(message)

    scope = {"type": "http", "method": "POST", "path": "/", "raw_path": b"/", "query_string": b"", "headers": [], "app": app}
    with caplog.at_level(logging.ERROR):
        asyncio.run(app(scope | {"client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2), "scheme": "http"}, receive, send))
    assert said[0]["status"] == 400 and not caplog.records


def test_a_picture_is_shown_in_place_and_nothing_else_is(server):
    job_id = server.train(steps=3)
    server.wait(job_id, "completed")
    folder = server.core.run_dir(job_id) / "samples"
    folder.mkdir()
    for name in ("a.png", "a.html", "a.svg"):
        (folder / name).write_bytes(b"<script>")
    shown = server.http.get(f"/api/training/jobs/{job_id}/files/samples/a.png")
    assert shown.headers["content-type"] == "image/png" and shown.headers["x-content-type-options"] == "nosniff"
    assert "inline" in shown.headers["content-disposition"]
    for name in ("a.html", "a.svg"):
        kept = server.http.get(f"/api/training/jobs/{job_id}/files/samples/{name}")
        assert kept.headers["content-type"] == "application/octet-stream" and "attachment" in kept.headers["content-disposition"]
