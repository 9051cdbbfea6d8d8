"""Uploading data: what is kept, what is refused, and that a refusal leaves nothing behind."""

import io
import json
import zipfile
from pathlib import Path

import httpx
import pytest

from kriptik.data.prepare import PrepareSettings, prepare
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


def test_fixes_are_chosen_examined_and_used_when_the_rows_are_prepared(server, tmp_path):
    rows = [*ROWS, {"prompt": "Whom do I write to about it?", "completion": "Write to anna@example.com, please."}]
    made = upload(server, jsonl(rows), "rows.jsonl")
    finding = next(one for one in made["report"]["findings"] if one["code"] == "personal_data")
    assert finding["fix"] == "mask_pii" and not finding["fixed"]
    fixed = server.api("PUT", f"/data/{made['id']}/fixes", json={"fixes": ["mask_pii"]})
    after = next(one for one in fixed["report"]["findings"] if one["code"] == "personal_data")
    assert after["fixed"] and after["severity"] == "info" and fixed["report"]["fixes"] == ["mask_pii"]
    assert server.api("GET", f"/data/{made['id']}") == fixed and fixed["sha256"] == made["sha256"]
    with server.core.db.read() as session:
        row = datasets.get(session, server.core.owner_id, made["id"])
    settings = PrepareSettings(fixes=fixed["report"]["fixes"])
    prepared = prepare(Path(row.path), tmp_path / "out", name=row.name, settings=settings)
    assert "anna@" not in "".join(Path(p).read_text() for p in (prepared.train_path, prepared.eval_path) if p)
    back = server.api("PUT", f"/data/{made['id']}/fixes", json={"fixes": []})
    assert back["report"]["findings"] == made["report"]["findings"]
    answer = server.api("PUT", f"/data/{made['id']}/fixes", 422, json={"fixes": ["make_better"]})
    assert answer["code"] == "unknown_fix" and "mask_pii" in answer["fields"]["known"]
    assert server.api("PUT", "/data/01ARZ3NDEKTSV4RRFFQ69G5FAV/fixes", 404, json={"fixes": []})["code"] == "dataset_not_found"


def test_a_file_with_torn_rows_is_taken_when_they_shall_be_left_out(server):
    torn = jsonl(ROWS[:6]) + b'{"prompt": "torn\n' + jsonl(ROWS[7:])
    answer = upload(server, torn, "rows.jsonl", 422)
    assert answer["fields"]["fix"] == "drop_unreadable_rows" and answer["fields"]["unreadable"] == 1
    files = {"file": ("rows.jsonl", torn)}
    made = server.api("POST", "/data?fix=drop_unreadable_rows", 201, files=files)
    assert made["report"]["ready"] and made["report"]["rows"] == len(ROWS) and made["report"]["usable"] == len(ROWS) - 1


def test_an_openai_job_becomes_a_plan(server):
    job = {
        "model": "gpt-4o-mini-2024-07-18",
        "method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2, "learning_rate_multiplier": 0.5}}},
    }
    plain = server.api("POST", "/plans", json={"capability": "chat", "baseModel": "Qwen/Qwen3-8B"})["plan"]
    made = server.api("POST", "/plans/import", json={"job": job})
    choices = made["plan"]["choices"]
    assert choices["baseModel"] == "Qwen/Qwen3-8B" and choices["settings"]["epochs"] == 2
    assert choices["settings"]["learningRate"] == pytest.approx(plain["choices"]["settings"]["learningRate"] / 2, rel=1e-3)
    assert {"epochs", "learning_rate"} <= set(choices["customSettings"]) and "stands in" in made["notes"][0]
    assert server.api("GET", f"/plans/{made['plan']['id']}")["plan"]["choices"] == choices
    assert server.api("POST", "/plans/import", 422, json={"job": {"model": "x"}})["fields"] == {"field": "model"}
