"""Uploading data: what is kept, what is refused, and that a refusal leaves nothing behind."""

import io
import json
import zipfile
from pathlib import Path

import httpx
import pytest

from kriptik.data.prepare import prepare
from kriptik.server.uploads import clean_name
from kriptik.store import datasets

ROWS = [{"prompt": f"What does part {n} cost?", "completion": f"Part {n} costs {n * 7} crowns."} for n in range(60)]


def jsonl(rows):
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def upload(server, content, name="rows.jsonl", status=201, **options):
    return server.api("POST", "/data", status, files={"file": (name, content)}, **options)


def kept_files(server):
    return sorted(path.name for path in server.core.data_dir.rglob("*") if path.is_file())


def test_upload_is_checked_kept_listed_and_prepared(server, tmp_path):
    made = upload(server, jsonl([*ROWS, ROWS[0]]))
    assert (made["format"], made["rows"], made["source"], made["name"]) == ("prompt_completion", 61, "upload", "rows.jsonl")
    report = made["report"]
    assert report["usable"] == 60 and report["duplicatesDropped"] == 1 and report["overlapRows"] == 0
    assert report["trainRows"] + report["evalRows"] == 60 and report["evalRows"] == 12
    assert report["sufficiency"]["tier"] == "too_few" and report["datasetId"] == made["id"]
    assert server.api("GET", f"/data/{made['id']}") == made
    assert [one["id"] for one in server.api("GET", "/data")["datasets"]] == [made["id"]]
    with server.core.db.read() as session:
        row = datasets.get(session, server.core.owner_id, made["id"])
    prepared = prepare(Path(row.path), tmp_path / "out", name=row.name)
    assert prepared.report.train_rows == report["trainRows"], "what was shown is what is made"
    server.api("DELETE", f"/data/{made['id']}", 204)
    assert server.api("GET", f"/data/{made['id']}", 404)["code"] == "dataset_not_found"
    assert kept_files(server) == []


def test_samples_are_real_credited_and_taken_once(server):
    infos = {one["name"]: one for one in server.api("GET", "/data/samples")["samples"]}
    assert infos["zaragoza-construction-faq"]["installed"]
    made = server.api("POST", "/data/samples/zaragoza-construction-faq", 201)
    assert made["rows"] == 503 and made["report"]["overlapRows"] == 0 and made["source"] == "builtin"
    assert made["licence"] == "CC BY 4.0" and "Zaragoza AB" in made["credit"]
    assert server.api("POST", "/data/samples/zaragoza-construction-faq", 201)["id"] == made["id"]
    assert server.api("POST", "/data/samples/none", 404)["code"] == "no_such_sample"


def bomb():
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("rows.jsonl", b"0" * (30 << 20))
    return held.getvalue()


def climbing():
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        archive.writestr("../../up.jsonl", jsonl(ROWS))
    return held.getvalue()


LINE_7 = jsonl(ROWS[:6]) + b'{"prompt": "torn\n' + jsonl(ROWS[7:])


@pytest.mark.parametrize(
    ("content", "name", "code", "words"),
    [
        (LINE_7, "rows.jsonl", "bad_json", "Row 7"),
        (b"colour,size\nred,3\nblue,4\n", "t.csv", "no_usable_columns", "'colour', 'size'"),
        (b"", "rows.jsonl", "empty_file", "no rows"),
        (b"\x00\x01\x02binary\xff" * 90, "rows.jsonl", "not_text", "binary"),
        (b"MZ\x90", "tool.exe", "unsupported_file", "tool.exe"),
        (bomb(), "a.zip", "zip_bomb", "200 times"),
        (climbing(), "a.zip", "zip_path", "outside"),
        (b"PK\x03\x04 not really", "a.zip", "bad_zip", "damaged"),
        (jsonl([{"prompt": "", "completion": "x"}]), "rows.jsonl", "no_usable_rows", "None of the 1 rows"),
    ],
)
def test_bad_files_are_refused_and_leave_nothing(server, content, name, code, words):
    answer = upload(server, content, name, 422)
    assert answer["code"] == code and words in answer["detail"] and answer["nextStep"]
    if code == "bad_json":
        assert answer["fields"]["row"] == 7
    if code == "no_usable_columns":
        assert answer["fields"]["found"] == ["colour", "size"] and "messages" in answer["fields"]["needed"]
    assert server.api("GET", "/data")["datasets"] == [] and kept_files(server) == []
    assert not (server.home.parent / "up.jsonl").exists()


def test_a_hostile_name_is_only_shown(server):
    made = upload(server, jsonl(ROWS), "../../../etc/cron.d/evil.jsonl")
    assert made["name"] == "evil.jsonl"
    assert kept_files(server) == ["source.jsonl"]


NAMES = {
    "..": "upload",
    "": "upload",
    "a\x07b\n.csv": "ab.csv",
    "C:\\x\\rows.csv": "rows.csv",
    "a" * 400 + ".jsonl": "a" * 194 + ".jsonl",
    "\u202egpj.exe": "gpj.exe",
}


@pytest.mark.parametrize(("raw", "clean"), NAMES.items())
def test_clean_names(raw, clean):
    assert clean_name(raw) == clean


def test_too_large_is_refused_while_it_comes(server):
    server.core.settings.max_upload_mb = 1
    answer = upload(server, jsonl(ROWS) * 400, status=413)
    assert answer["code"] == "upload_too_large" and kept_files(server) == []

    def chunks():  # no length is told beforehand
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="r.jsonl"\r\n\r\n'
        for _ in range(30):
            yield b"a" * (100 << 10)
        yield b"\r\n--x--\r\n"

    headers = {"content-type": "multipart/form-data; boundary=x"}
    assert server.api("POST", "/data", 413, content=chunks(), headers=headers)["code"] == "upload_too_large"
    assert kept_files(server) == []


def test_what_is_no_upload(server):
    assert server.api("POST", "/data", 422, json={"file": "x"})["code"] == "no_upload"
    assert server.api("POST", "/data", 422, files={"other": ("a.jsonl", b"{}")})["code"] == "no_upload"
    cut = b'--x\r\nContent-Disposition: form-data; name="file"; filename="r.jsonl"\r\n\r\n{"text": "half'
    headers = {"content-type": "multipart/form-data; boundary=x"}
    assert server.api("POST", "/data", 422, content=cut, headers=headers)["code"] in ("no_upload", "bad_upload")
    two = [("file", ("a.jsonl", jsonl(ROWS))), ("file", ("b.jsonl", jsonl(ROWS)))]
    assert server.api("POST", "/data", 422, files=two)["code"] == "two_files"
    assert kept_files(server) == []


def test_data_needs_a_sign_in(server):

    answer = httpx.post(str(server.http.base_url) + "/api/training/data", files={"file": ("a.jsonl", jsonl(ROWS))}, trust_env=False)
    assert answer.status_code == 401 and kept_files(server) == []


def test_data_of_an_undecided_plan_is_not_deleted(server):
    made = server.api("POST", "/data/samples/zaragoza-construction-faq", 201)
    asked = {"prompt": "Quick fine-tune SmolLM2 for customer support", "context": {"existingData": made["id"]}}
    plan = server.api("POST", "/parse-intent", json=asked)["plan"]
    assert plan["choices"]["datasetId"] == made["id"]
    assert server.api("DELETE", f"/data/{made['id']}", 409)["code"] == "data_in_plan"
    server.api("POST", f"/plans/{plan['id']}/reject")
    server.api("DELETE", f"/data/{made['id']}", 204)
