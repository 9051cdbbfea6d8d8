"""Uploads: checked before they are kept; what is refused leaves nothing behind."""

import io
import json
import stat
import zipfile

import pytest

GOOD = "".join(json.dumps({"prompt": f"Question number {n}?", "completion": f"Answer number {n}."}) + "\n" for n in range(20))


def upload(server, name, content, status=201):
    return server.api("POST", "/data", status, files={"file": (name, content)})


def zipped(*members, link=None):
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
        if link:
            info = zipfile.ZipInfo(link)
            info.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(info, "/etc/passwd")
    return sink.getvalue()


def kept(server):
    folder = server.home / "data" / "uploads"
    return sorted(folder.iterdir()) if folder.exists() else []


def test_a_good_file_is_reported_on(server):
    made = upload(server, "faq.jsonl", GOOD)
    assert (made["rows"], made["format"], made["name"]) == (20, "prompt_completion", "faq.jsonl")
    assert made["report"]["overlapRows"] == 0 and made["report"]["trainRows"] + made["report"]["evalRows"] == 20
    assert [d["id"] for d in server.api("GET", "/data")["datasets"]] == [made["id"]]
    assert server.api("GET", f"/data/{made['id']}") == made
    server.api("DELETE", f"/data/{made['id']}", 204)
    server.api("GET", f"/data/{made['id']}", 404)
    assert kept(server) == []


def test_a_zip_of_two_files_is_one_data_set(server):
    made = upload(server, "both.zip", zipped(("a.jsonl", GOOD), ("sub/b.csv", "question,answer\nWhy is that?,Because it is so.\n")))
    assert made["rows"] == 21


bad = GOOD.splitlines()
bad[6] = '{"prompt": "x", '
CASES = {
    "bad_json": ("rows.jsonl", "\n".join(bad), "bad_json", 7),
    "no_columns": ("rows.csv", "colour,size\nred,1\n", "unknown_columns", None),
    "empty": ("rows.jsonl", "", "empty_file", None),
    "unknown_kind": ("model.pkl", b"\x80\x04.", "unsupported_file", None),
    "binary": ("rows.jsonl", b"\x00\x01\x02" * 400, "not_text", None),
    "not_a_zip": ("rows.zip", b"PK not really", "bad_zip", None),
    "climbing": ("rows.zip", zipped(("../../evil.jsonl", GOOD)), "hostile_zip", None),
    "absolute": ("rows.zip", zipped(("/etc/evil.jsonl", GOOD)), "hostile_zip", None),
    "link": ("rows.zip", zipped(("a.jsonl", GOOD), link="b.jsonl"), "hostile_zip", None),
    "bomb": ("rows.zip", zipped(("a.jsonl", "0" * (64 << 20))), "hostile_zip", None),
    "nothing_inside": ("rows.zip", zipped(("a.exe", "x")), "nothing_to_read", None),
    "only_questions": ("rows.jsonl", '{"messages": [{"role": "user", "content": "hi"}]}\n' * 3, "no_usable_rows", None),
}


@pytest.mark.parametrize("case", CASES)
def test_what_cannot_be_used_says_why_and_leaves_nothing(server, case):
    name, content, code, row = CASES[case]
    problem = upload(server, name, content, 422)
    assert problem["code"] == code and problem["nextStep"]
    if row:
        assert problem["fields"]["row"] == row
    assert kept(server) == [] and server.api("GET", "/data")["datasets"] == []


def test_hostile_names_stay_inside(server):
    made = upload(server, "../../../etc/<b>faq</b>.jsonl", GOOD)
    assert made["name"] == "b_.jsonl" or ("/" not in made["name"] and "<" not in made["name"])
    assert len(kept(server)) == 1


def test_too_large_is_refused_while_it_comes(tmp_path, provider):
    from harness import Server

    server = Server(tmp_path / "home", provider, max_upload_mb=1)
    try:
        assert upload(server, "big.jsonl", GOOD * 1200, 413)["code"] == "file_too_large"
        assert kept(server) == []
    finally:
        server.stop()


def test_the_built_in_sample_is_credited_and_taken_once(server):
    made = server.api("POST", "/data/samples/zaragoza-construction-faq", 201)
    assert made["rows"] == 503 and "Zaragoza AB" in made["credit"] and made["licence"] == "CC BY 4.0"
    assert server.api("POST", "/data/samples/zaragoza-construction-faq", 201)["id"] == made["id"]
    assert server.api("POST", "/data/samples/nothing", 404)["code"] == "no_such_sample"
