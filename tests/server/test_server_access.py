"""Who may do what: tokens, one-time links, cookies with CSRF, headers, hosts, unknown routes, one server per home."""

import stat

import httpx
import pytest
from harness import until

from kriptik.server import pages
from kriptik.server.app import create_app
from kriptik.server.settings import Settings
from kriptik.spec.errors import ConflictError


@pytest.fixture
def anonymous(server):
    with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", trust_env=False, follow_redirects=False) as http:
        yield http


def sign_in(server, http):
    answer = http.get(server.app.state.sign_in_url())
    assert answer.status_code == 303
    assert "HttpOnly" in answer.headers.get_list("set-cookie")[0] and "SameSite=lax" in answer.headers.get_list("set-cookie")[0]


def test_only_health_the_link_and_the_page_need_no_sign_in(server, anonymous):
    schema = server.api("GET", "/openapi.json")
    open_routes = set()
    for path, methods in schema["paths"].items():
        if "/worker/" in path:
            continue
        for method in methods:
            url = path.replace("{index}", "0")
            answer = anonymous.request(method.upper(), url, json={})
            if answer.status_code != 401:
                open_routes.add((method, path))
            else:
                assert answer.json()["code"] == "not_signed_in"
    assert open_routes == {
        ("get", "/api/training/health"),
        ("get", "/api/training/resume/{job_id}"),
        ("post", "/api/training/resume/{job_id}"),
    }


def test_the_token_file_is_private_and_only_hashes_are_stored(server):
    token_file = server.home / "token"
    assert stat.S_IMODE(token_file.stat().st_mode) == 0o600
    assert stat.S_IMODE((server.home / "secret").stat().st_mode) == 0o600
    database = b"".join(path.read_bytes() for path in server.home.glob("kriptik.db*"))
    assert token_file.read_text().encode() not in database
    assert server.core.worker_token("x", 1).encode() not in database


def test_a_sign_in_link_works_once(server, anonymous):
    url = server.app.state.sign_in_url()
    assert anonymous.get(url).status_code == 303
    assert anonymous.get("/api/training/auth/me").json()["name"] == "Owner"
    with httpx.Client(trust_env=False) as other:
        answer = other.get(url)
        assert answer.status_code == 403 and answer.json()["code"] == "bad_link"


def test_cookies_need_the_csrf_header_for_changes(server, anonymous):
    sign_in(server, anonymous)
    body = {"label": "laptop"}
    answer = anonymous.post("/api/training/auth/tokens", json=body)
    assert answer.status_code == 403 and answer.json()["code"] == "csrf_missing"
    csrf = anonymous.cookies["kriptik_csrf"]
    assert anonymous.post("/api/training/auth/tokens", json=body, headers={"x-csrf-token": "wrong"}).status_code == 403
    made = anonymous.post("/api/training/auth/tokens", json=body, headers={"x-csrf-token": csrf}).json()
    bearer = {"Authorization": f"Bearer {made['token']}"}
    assert httpx.get(f"{anonymous.base_url}/api/training/auth/me", headers=bearer, trust_env=False).status_code == 200
    listed = anonymous.get("/api/training/auth/tokens").json()
    assert all(token["token"] is None for token in listed)
    anonymous.delete(f"/api/training/auth/tokens/{made['id']}", headers={"x-csrf-token": csrf})
    assert httpx.get(f"{anonymous.base_url}/api/training/auth/me", headers=bearer, trust_env=False).status_code == 401
    anonymous.post("/api/training/auth/sign-out", headers={"x-csrf-token": csrf})
    assert anonymous.get("/api/training/auth/me").status_code == 401


def test_headers_hosts_and_unknown_routes(server, anonymous):
    answer = server.http.get("/api/training/nothing/here")
    assert answer.status_code == 404 and answer.json()["code"] == "no_such_route"
    assert answer.headers["content-type"] == "application/problem+json"
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert "media-src 'self'" in answer.headers["content-security-policy"], "sounds and videos of a run are played"
    assert answer.headers["cache-control"] == "no-store"
    assert anonymous.get("/", headers={"Host": "evil.example"}).status_code == 400
    assert anonymous.get("/").headers["content-type"].startswith("text/html")
    page = anonymous.get("/jobs/x")
    assert "script-src 'self'" in page.headers["content-security-policy"] or "make web" in page.text
    assert "unsafe" not in server.http.get("/api/training/health").headers["content-security-policy"]


def test_without_a_built_page_every_address_says_the_command(server, anonymous, tmp_path, monkeypatch):
    monkeypatch.setattr(pages, "STATIC", tmp_path)
    for path in ("/", "/jobs/x", "/assets/index.js", "/favicon.ico"):
        answer = anonymous.get(path)
        assert answer.status_code == 200 and "make web" in answer.text
        assert "script" not in answer.headers["content-security-policy"]
    (tmp_path / "index.html").write_text("<p>built</p>")
    assert anonymous.get("/jobs/x").text == "<p>built</p>"
    assert anonymous.get("/assets/gone.js").status_code == 404, "a stale chunk must not be answered with a page"


def test_the_resume_link_shows_without_changing_and_acts_once(server, anonymous):
    job_id = server.train(steps=60, knobs={"stepS": 0.02})
    until(lambda: (server.job(job_id)["metrics"] or {}).get("step", 0) >= 3)
    server.api("POST", f"/jobs/{job_id}/freeze")
    job = server.wait(job_id, "frozen")
    token = job["freezeState"]["resumeUrl"].split("token=")[1]
    path = f"/api/training/resume/{job_id}"
    for _ in range(2):
        shown = anonymous.get(path, params={"token": token}).json()
        assert shown["canResume"] and shown["state"] == "frozen" and "prompt" not in shown
    assert server.job(job_id)["state"] == "frozen"
    assert anonymous.get(path, params={"token": token[:-2] + "xx"}).json()["code"] == "bad_link"
    other = job_id[:-1] + ("1" if job_id[-1] == "0" else "0")
    assert anonymous.post(f"/api/training/resume/{other}", json={"token": token}).status_code == 403
    assert anonymous.post(path, json={"token": token}).json()["success"]
    assert anonymous.post(path, json={"token": token}).json()["code"] == "link_expired"
    assert server.wait(job_id, "completed")["generation"] == 2


def test_a_second_server_on_the_same_home_is_refused(server):
    with pytest.raises(ConflictError) as refused:
        create_app(Settings.from_env(home=server.home), providers={})
    assert refused.value.code == "home_in_use"


def test_one_person_does_not_see_anothers_runs(server):
    from kriptik.spec.base import utc_now
    from kriptik.store import people
    from kriptik.store.tables import User

    job_id = server.train(steps=5)
    with server.core.db.write() as session:
        session.add(User(id="other", name="Other", preferences={}, created_at=utc_now()))
        session.flush()
        _row, token = people.add_token(session, "other", "t", utc_now())
    theirs = {"Authorization": f"Bearer {token}"}
    for path in ("", "/stream", "/budget", "/logs", "/metrics", "/ledger"):
        assert server.http.get(f"/api/training/jobs/{job_id}{path}", headers=theirs).status_code == 404
    assert server.http.get("/api/training/jobs", headers=theirs).json()["jobs"] == []
    server.wait(job_id, "completed")
    assert server.http.get("/api/training/notifications", headers=theirs).json()["notifications"] == []
